"""Lines that hosts have counted against somebody, for `why` on all of them.

Touches nothing: gives commands for the engine, takes replies. Limits: `LINES` lines of each host
and rule, `MOST` hosts and rules of a subject; they go with the ban. What a line says is its host's
word, signed; nothing is decided by it.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from tidegate.fleet.counting.functions import Command
from tidegate.fleet.decisions.stream import STREAM, Reply
from tidegate.fleet.fields import HOST, RULE, Malformed
from tidegate.fleet.port import Quote, Row, Told
from tidegate.fleet.trust.admission import Refusal
from tidegate.fleet.trust.trust import Trust
from tidegate.fleet.wire import Kind, unseal
from tidegate.model import Micros, Subject
from tidegate.text import printable

WHY = b"{tg:decisions}:why:"
MOST = 64
LINES = 10
_LONGEST = 400
_WAITING = 1_000
_AT_ONCE = 8
_LAST = 1 << 62

Seal = Callable[[Kind, bytes, Micros], bytes]


class _Lines(NamedTuple):
    subject: Subject
    rule: str
    until: Micros
    quotes: tuple[Quote, ...]


class Quotes:
    """Own lines out, others' in, when somebody asks. `told` is emptied by whoever takes it."""

    part = "quotes"
    key = STREAM.decode()

    def __init__(self, host: str, trust: Trust, seal: Seal) -> None:
        self.host = host
        self.told: list[Told] = []
        self.dropped = 0
        self._trust, self._seal = trust, seal
        self._new: deque[_Lines] = deque()
        self._room: deque[_Lines] = deque()  # of whom others have not quoted too much yet
        self._asked: deque[tuple[int, Subject]] = deque()
        self._sent: tuple[int, int, int] = (0, 0, 0)  # looked for room, written, asked

    def explain(self, subject: Subject, rule: str, until: Micros, quotes: Sequence[Quote]) -> None:
        """These lines were counted here."""
        if not quotes or not RULE.fullmatch(rule):
            return
        if len(self._new) >= _WAITING:
            self.dropped += 1
            return
        self._new.append(_Lines(subject, rule, until, tuple(quotes[-LINES:])))

    def ask(self, number: int, subject: Subject) -> None:
        """What do the others know of somebody."""
        self._asked.append((number, subject))

    def commands(self, now: Micros) -> Sequence[Command]:
        """First whether there is room, in the next exchange the lines; and what was asked."""
        looking = min(len(self._new), _AT_ONCE)
        found: list[Command] = [
            (b"HLEN", _key(self._new[place].subject)) for place in range(looking)
        ]
        written = min(len(self._room), _AT_ONCE)
        for place in range(written):
            found += self._write(self._room[place], now)
        asked = min(len(self._asked), _AT_ONCE)
        found += [
            (b"HSCAN", _key(self._asked[place][1]), b"0", b"COUNT", b"%d" % MOST)
            for place in range(asked)
        ]
        self._sent = (looking, written, asked)
        return found

    def _write(self, one: _Lines, now: Micros) -> list[Command]:
        rows = [
            [quote.time, printable(quote.path[:_LONGEST]), printable(quote.line[:_LONGEST])]
            for quote in one.quotes
        ]
        said = {"what": "quotes", "subject": one.subject, "rule": one.rule, "rows": rows}
        body = self._seal(Kind.REPORT, json.dumps(said).encode(), now)
        left = b"%d" % max(1, (one.until - now) // 1000)
        key = _key(one.subject)
        return [
            (b"HSET", key, f"{self.host} {one.rule}".encode(), body),
            (b"PEXPIRE", key, left, b"NX"),
            (b"PEXPIRE", key, left, b"GT"),
        ]

    def take(self, replies: Sequence[Reply], now: Micros) -> None:
        """What came of it."""
        looking, written, asked = self._sent
        if len(replies) != looking + 3 * written + asked:
            raise Malformed(f"{len(replies)} replies about quotes")
        for _ in range(written):
            self._room.popleft()
        for reply in replies[:looking]:
            one = self._new.popleft()
            if isinstance(reply, int) and reply < MOST and one.until > now:
                self._room.append(one)
            else:
                self.dropped += 1
        for reply in replies[looking + 3 * written :]:
            number, subject = self._asked.popleft()
            self.told.append((number, tuple(self._rows(reply, subject, now))))
        self._sent = (0, 0, 0)

    def lost(self) -> None:
        """Who asks gets an answer all the same."""
        self.told += [(number, ()) for number, _subject in self._asked]
        self._asked.clear()
        self._sent = (0, 0, 0)

    def _rows(self, reply: Reply, subject: Subject, now: Micros) -> list[Row]:
        found = reply[1] if isinstance(reply, list) and len(reply) == 2 else []
        bodies = found[1::2] if isinstance(found, list) else []
        rows: list[Row] = []
        for body in bodies[:MOST]:
            if isinstance(body, bytes):
                rows += self._read(body, subject, now)
        return sorted(rows)

    def _read(self, body: bytes, subject: Subject, now: Micros) -> list[Quote]:
        """The lines in a sealed message about this subject, if it is rightly signed."""
        try:
            host = unseal(body, self._trust.roster.fleet).message.host
        except Malformed:
            return []
        if host == self.host or not HOST.fullmatch(host):
            return []
        sealed = self._trust.admit(body, now)
        if isinstance(sealed, Refusal) or sealed.message.kind is not Kind.REPORT:
            return []
        try:
            said = json.loads(sealed.message.body)
            if said["what"] != "quotes" or said["subject"] != subject:
                return []
            rule = printable(str(said["rule"])[:64])
            return [
                Quote(host, rule, int(time), _text(path), _text(line))
                for time, path, line in said["rows"][:LINES]
                if 0 <= time < _LAST
            ]
        except (ValueError, TypeError, KeyError, RecursionError):
            return []


def _text(said: object) -> str:
    return printable(str(said)[:_LONGEST])


def _key(subject: Subject) -> bytes:
    return WHY + subject.encode()
