"""The engine's functions in memory: the twin that tests count with, and hold the engine against.

Touches nothing: the time is set from outside. It takes the same commands as the engine, gives the
same answers, and is written to be read, not to be fast. Limits: keys never expire here, which must
not be seen: what the engine forgets could count no more.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from operator import itemgetter

from tidegate.fleet.counting.functions import Command, Form, Status, tag

LATE, SKEW, REST, LEASE, UNANSWERED = 900_000, 60_000, 10_000, 2_000, 300_000
PENDING, HANDED, QUOTA, RECENT, HALVINGS, FINE = 10_000, 16, 20_000, 32, 16, 1 << 20
LEAST, HIGHEST = 1 / 64, float(1 << 52)

_KEY = re.compile(r"(\{tg:\d+\})([wdsa]):([\w-]+):(.+)")
_RECORD = re.compile(r"(\{tg:\d+\})h:(.+)")


@dataclass(frozen=True)
class Noted:
    """What is remembered of one hit; all times here are milliseconds."""

    time: int
    tag: bytes
    name: bytes  # its place; where different values count, the value


@dataclass
class Tally:
    """What is remembered of a subject by a rule. The sums are a score's."""

    floor: int = 0
    entries: list[Noted] = field(default_factory=list)
    newest: int = 0
    epoch: int = 0
    before: float = 0
    now: float = 0

    def put(self, noted: Noted) -> None:
        """Behind everything that is not newer."""
        self.entries.insert(bisect_right(self.entries, noted.time, key=lambda e: e.time), noted)


@dataclass
class _Record:
    epoch: int
    counter: int
    minute: int
    created: int
    answer: bytes


@dataclass
class _Call:
    now: int
    tag: bytes
    crossed: list[bytes] = field(default_factory=list)
    ahead: int = 0
    late: int = 0
    rested: int = 0
    twice: int = 0
    refused: int = 0
    lost: int = 0


class Oracle:
    """An engine in memory. `now` (milliseconds) is moved by whoever holds it."""

    def __init__(self, now: int) -> None:
        self.now = now
        self.records: dict[str, _Record] = {}
        self.tallies: dict[str, Tally] = {}
        self.waiting: dict[str, dict[bytes, int]] = {}

    def call(self, command: Command) -> bytes | int:
        """Answer a command of `functions`."""
        name, number = command[1], command[2]
        assert isinstance(number, int)
        keys = [str(key) for key in command[3 : 3 + number]]
        args = [one for one in command[3 + number :] if isinstance(one, bytes)]
        if name == "tg1_count":
            return _moment(self.now) + self._count(keys, args)
        if name == "tg1_due":
            return _moment(self.now) + _framed([one for key in keys for one in self._due(key)])
        assert name == "tg1_confirm"
        waiting = self.waiting.get(keys[0], {})
        return sum(waiting.pop(token, None) is not None for token in args)

    def _count(self, keys: list[str], args: list[bytes]) -> bytes:
        head = args[0]
        epoch, counter = int.from_bytes(head[:3]), int.from_bytes(head[3:8])
        back, sent = int.from_bytes(head[8:10]), int.from_bytes(head[10:])
        if abs(sent - self.now) > SKEW:
            return _status(Status.SKEWED, epoch, counter)
        record = self.records.get(keys[0])
        last = 0
        if record is not None:
            if (epoch, counter) < (record.epoch, record.counter):
                return _status(Status.OLD, record.epoch, record.counter)
            if (epoch, counter) == (record.epoch, record.counter):
                return record.answer
            last = record.counter if epoch == record.epoch else 0
        if counter != max(last + 1, counter - back):
            return _status(Status.GAP, epoch, max(last + 1, counter - back) - 1)
        minute = self.now // 60_000
        same = record is not None and record.minute == minute
        created = record.created if record is not None and same else 0
        match = _RECORD.fullmatch(keys[0])
        assert match is not None
        call = _Call(self.now, tag(match[2]))
        for key, body in zip(keys[1:], args[1:], strict=True):
            if key not in self.tallies and created >= QUOTA:
                call.refused += 1
            else:
                created += self._sum(call, key, body)
        answer = _status(Status.COUNTED, epoch, counter) + self._found(call, match[1] + "p")
        self.records[keys[0]] = _Record(epoch, counter, minute, created, answer)
        return answer

    def _sum(self, call: _Call, key: str, body: bytes) -> bool:
        """Count a sum; whether there is a tally now where there was none."""
        known = self.tallies.get(key)
        tally = replace(known, entries=list(known.entries)) if known else Tally()
        match = _KEY.fullmatch(key)
        assert match is not None
        form = Form(match[2])
        need, within = int.from_bytes(body[:2]), int.from_bytes(body[2:8])
        width = 12 if form is Form.WINDOW else 14
        hits = [body[at : at + width] for at in range(8, len(body), width)]
        scored = form.scored
        kept = (_score if scored else _window)(call, key, tally, hits, need, within)
        if kept:
            self.tallies[key] = tally
        return kept and known is None

    def _due(self, key: str) -> list[bytes]:
        waiting = self.waiting.setdefault(key, {})
        order = sorted(waiting.items(), key=itemgetter(1, 0))
        found = []
        for token in [token for token, due in order if due <= self.now][:HANDED]:
            if self.now - int.from_bytes(token[:6]) > UNANSWERED:
                del waiting[token]
            else:
                waiting[token] = self.now + LEASE
                found.append(token)
        return found

    def _found(self, call: _Call, key: str) -> bytes:
        found = self._due(key)
        waiting = self.waiting[key]
        room = PENDING - len(waiting)
        for number, token in enumerate(call.crossed):
            found.append(token)
            if number < room:
                waiting[token] = self.now + LEASE
            else:
                call.lost += 1
        troubles = (call.ahead, call.late, call.rested, call.twice, call.refused, call.lost)
        if not found and not any(troubles):
            return b""
        return b"".join(one.to_bytes(4) for one in troubles) + _framed(found)


def _window(
    call: _Call, key: str, tally: Tally, hits: Sequence[bytes], need: int, within: int
) -> bool:
    oldest = call.now - within - LATE
    different = len(hits[0]) == 14
    tally.entries = [one for one in tally.entries if one.time >= oldest]
    for hit in hits:
        noted = Noted(int.from_bytes(hit[:6]), call.tag, hit[6:])
        if not _in_time(call, noted.time, oldest):
            continue
        if noted.time < tally.floor:
            call.rested += 1
        elif different:
            same = [one for one in tally.entries if one.name == noted.name]
            if same and same[0].time >= noted.time:
                call.twice += 1
                continue
            tally.entries = [one for one in tally.entries if one.name != noted.name]
            tally.put(noted)
        elif noted in tally.entries:
            call.twice += 1
        else:
            tally.put(noted)
    while (crossed := _first_crossing(tally.entries, need, within)) is not None:
        _hand_out(call, key, crossed, crossed[-1].time, need)
        tally.floor = crossed[-1].time + REST
        tally.entries = [one for one in tally.entries if one.time >= tally.floor]
    tally.entries = tally.entries[-4 * need :]
    newest = tally.entries[-1].time if tally.entries else 0
    return max(tally.floor, newest) >= oldest


def _first_crossing(entries: Sequence[Noted], need: int, within: int) -> Sequence[Noted] | None:
    for start in range(len(entries) - need + 1):
        chosen = entries[start : start + need]
        if chosen[-1].time - chosen[0].time <= within:
            return chosen
    return None


def _score(
    call: _Call, key: str, tally: Tally, hits: Sequence[bytes], limit: int, span: int
) -> bool:
    oldest = call.now - span - LATE
    over = f"}}{Form.SCORE}:" in key
    if abs(fading(tally, call.now, span)) < LEAST and max(tally.floor, tally.newest) < oldest:
        tally.__init__()  # type: ignore[misc]  # it has faded
    for hit in hits:
        noted = Noted(int.from_bytes(hit[:6]), call.tag, hit[6:12])
        if not _in_time(call, noted.time, oldest):
            continue
        if noted in tally.entries:
            call.twice += 1
        else:
            _give(tally, noted.time, int.from_bytes(hit[12:], signed=True), span)
            tally.put(noted)
    tally.entries = tally.entries[-RECENT:]
    if not tally.entries:
        return False
    points = math.floor(fading(tally, tally.newest, span) * 1024 + 0.5) / 1024
    if tally.newest >= tally.floor and (points > limit or (not over and points == limit)):
        _hand_out(call, key, tally.entries, tally.newest, min(math.floor(points), 0xFFFFFFFF))
        tally.floor = tally.newest + REST
    return True


def fading(tally: Tally, time: int, span: int) -> float:
    """The points of a score at a time."""
    total = tally.now + math.floor(tally.before / 2**HALVINGS)
    return float(total / FINE * 2.0 ** ((tally.epoch * span * HALVINGS - time) / span))


def _give(tally: Tally, time: int, points: int, span: int) -> None:
    epoch = time // (span * HALVINGS)
    if epoch < tally.epoch - 1:
        return
    if epoch > tally.epoch:
        tally.before = tally.now if epoch == tally.epoch + 1 else 0
        tally.now, tally.epoch = 0, epoch
    weight = math.floor(points * 2.0 ** ((time - epoch * span * HALVINGS) / span) * FINE + 0.5)
    if epoch == tally.epoch:
        tally.now = max(-HIGHEST, min(tally.now + weight, HIGHEST))
    else:
        tally.before = max(-HIGHEST, min(tally.before + weight, HIGHEST))
    tally.newest = max(tally.newest, time)


def _in_time(call: _Call, time: int, oldest: int) -> bool:
    call.ahead += time > call.now + SKEW
    call.late += time < oldest
    return oldest <= time <= call.now + SKEW


def _hand_out(call: _Call, key: str, crossed: Sequence[Noted], last: int, count: int) -> None:
    tags = list(dict.fromkeys(one.tag for one in crossed))
    times = _moment(call.now) + _moment(crossed[0].time) + _moment(last)
    numbers = count.to_bytes(4) + len(tags).to_bytes(2)
    call.crossed.append(times + numbers + b"".join(tags) + key.partition("}")[2].encode())


def _status(status: Status, epoch: int, counter: int) -> bytes:
    return bytes((status,)) + epoch.to_bytes(3) + counter.to_bytes(5)


def _framed(tokens: Sequence[bytes]) -> bytes:
    return b"".join(len(one).to_bytes(2) + one for one in tokens)


def _moment(time: int) -> bytes:
    return time.to_bytes(6)
