"""What a host has seen, sent to a member who plans a policy: asked for and answered, both signed.

Touches nothing but the folder of kept events, where `kept` reads it. Limits: only who may publish
may ask; one question at a time, ASKS an hour; the newest stretches up to the bytes that were asked
for; no more than WAITING pieces lie in the engine, which can read them, as all that is said.

    body of PLAN:   id 16 | since 6 | most bytes 8 | hosts 2+(name 1+n)
    body of EVENTS: id 16 | number 4 | flags 1 (1: the last, 2: a stretch ends) | left out 4 | bytes
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tidegate.chronicle.store import FOLDER, stretches
from tidegate.chronicle.stretch import untorn
from tidegate.fleet import fields
from tidegate.fleet.decisions import stream
from tidegate.fleet.decisions.stream import Command, Reply
from tidegate.fleet.fields import HOST, Malformed, Reader
from tidegate.fleet.trust.admission import Budget, Refusal
from tidegate.fleet.trust.trust import Trust
from tidegate.fleet.wire import Kind
from tidegate.model import MINUTE, Micros

PIECE = 60_000
AT_ONCE = 4
WAITING = 64
ASKS = 60
HOSTS = 64
"""So many hosts are asked at once."""
FRESH: Micros = 2 * MINUTE
PATIENCE: Micros = MINUTE
ID = 16
_LIVES = b"%d" % (5 * MINUTE // 1000)
_LAST, _ENDS = 1, 2
_REMEMBERED = 256

COMMANDS = ("hset", "hlen", "hscan", "hdel", "pexpire", "xadd")
"""What a host must be allowed to do here, with keys that begin with `{tg:`."""

Seal = Callable[[Kind, bytes, Micros], bytes]
Kept = Callable[[Micros, int], tuple[int, Iterator[bytes]]]
"""What was kept since then, of so many bytes: how many stretches are left out, and the others."""


class Ask(NamedTuple):
    """A question to these hosts: what they have seen since then, `most` bytes of each."""

    id: bytes
    since: Micros
    most: int
    hosts: tuple[str, ...]


class Piece(NamedTuple):
    """A part of an answer. `left_out`: older stretches that there was no room for."""

    ask: bytes
    number: int
    data: bytes
    last: bool = False
    ends: bool = False
    left_out: int = 0


def encode_ask(ask: Ask) -> bytes:
    """The body of PLAN."""
    hosts = b"".join(fields.name(one, HOST) for one in ask.hosts)
    head = ask.id + fields.moment(ask.since) + fields.number(ask.most, 8)
    return head + fields.number(len(ask.hosts), 2) + hosts


def decode_ask(body: bytes) -> Ask:
    """The question in a body. Malformed where it is none."""
    reader = Reader(body)
    number, since, most = reader.take(ID), reader.moment(), reader.number(8)
    hosts = tuple(reader.name(HOST) for _ in range(reader.number(2, 1, HOSTS)))
    reader.end()
    return Ask(number, since, most, hosts)


def encode_piece(piece: Piece) -> bytes:
    """The body of EVENTS."""
    flags = _LAST * piece.last | _ENDS * piece.ends
    head = piece.ask + fields.number(piece.number, 4) + bytes((flags,))
    return head + fields.number(piece.left_out, 4) + piece.data


def decode_piece(body: bytes) -> Piece:
    """The part of an answer in a body. Malformed where it is none."""
    reader = Reader(body)
    ask, number, flags = reader.take(ID), reader.number(4), reader.number(1, 0, _LAST | _ENDS)
    left_out = reader.number(4)
    data = reader.take(len(body) - len(reader.taken))
    return Piece(ask, number, data, bool(flags & _LAST), bool(flags & _ENDS), left_out)


def box(ask: bytes) -> bytes:
    """Where the answers to a question lie."""
    return b"{tg:plan}:" + ask.hex().encode()


def nothing(_since: Micros, _most: int) -> tuple[int, Iterator[bytes]]:
    """Where nothing is kept."""
    return 0, iter(())


def kept(state: Path) -> Kept:
    """What is kept below the state folder; a file is read when its turn comes."""
    folder = state / FOLDER

    def found(since: Micros, most: int) -> tuple[int, Iterator[bytes]]:
        wanted: list[Path] = []
        left_out, left = 0, most
        for path, _number in reversed(stretches(folder)):
            try:
                state = path.stat()
            except OSError:
                continue  # dropped just now
            if state.st_mtime_ns // 1000 >= since:
                left -= state.st_size
                if left < 0:
                    left_out += 1
                else:
                    wanted.append(path)
        return left_out, _contents(wanted[::-1], most)

    return found


def _contents(paths: Sequence[Path], most: int) -> Iterator[bytes]:
    for path in paths:
        try:
            yield untorn(path.read_bytes())[:most]  # the newest may have grown meanwhile
        except OSError:
            continue


class Planning:
    """Answers who plans, for `member.errands`. `kept` is set by whoever knows where events are."""

    part = "plan"
    key = "{tg:plan}"

    def __init__(self, host: str, trust: Trust, seal: Seal, kept: Kept = nothing) -> None:
        self.host, self.kept = host, kept
        self.answered = 0
        self._trust, self._seal = trust, seal
        self._heard: deque[bytes] = deque(maxlen=_REMEMBERED)
        self._budget = Budget(1, ASKS)  # one a minute, so many at once
        self._ask: Ask | None = None
        self._pieces: Iterator[Piece] = iter(())
        self._sent: list[Piece] = []
        self._waiting = 0
        self._progress: Micros = 0

    def hear(self, body: bytes, now: Micros) -> None:
        """Somebody plans, as the stream has it."""
        sealed = self._trust.admit(body, now)
        if isinstance(sealed, Refusal) or sealed.message.kind is not Kind.PLAN:
            return
        try:
            ask = decode_ask(sealed.message.body)
        except Malformed:
            return
        if self.host not in ask.hosts or ask.id in self._heard:
            return
        # Somebody else could say it again, long after it was asked.
        if abs(now - sealed.message.sent) > FRESH or not self._budget.take("", now):
            return
        self._heard.append(ask.id)
        self._ask, self._sent, self._waiting, self._progress = ask, [], 0, now
        self._pieces = pieces(ask, self.kept)

    def commands(self, now: Micros) -> Sequence[Command]:
        """The next pieces, where there is room for them."""
        ask = self._ask
        if ask is None:
            return ()
        if now - self._progress > PATIENCE:  # nobody takes them
            self._ask = None
            return ()
        if not self._sent and self._waiting < WAITING:
            while len(self._sent) < AT_ONCE and (piece := next(self._pieces, None)) is not None:
                self._sent.append(piece)
        name = box(ask.id)
        found: list[Command] = []
        for piece in self._sent:
            sealed = self._seal(Kind.EVENTS, encode_piece(piece), now)
            found.append((b"HSET", name, b"%s:%d" % (self.host.encode(), piece.number), sealed))
        return [*found, (b"PEXPIRE", name, _LIVES), (b"HLEN", name)]

    def take(self, replies: Sequence[Reply], now: Micros) -> None:
        """What the engine has now."""
        if self._ask is None:
            return
        if any(isinstance(reply, Exception) for reply in replies):
            self._ask = None
            return
        if self._sent:
            self._progress = now
        if any(piece.last for piece in self._sent):
            self._ask = None
            self.answered += 1
        self._sent = []
        self._waiting = replies[-1] if replies and isinstance(replies[-1], int) else 0

    def lost(self) -> None:
        """What was on the way is sent again: a piece that comes twice is the same."""


def pieces(ask: Ask, kept: Kept) -> Iterator[Piece]:
    """An answer in parts, each small enough for a message."""
    left_out, found = kept(ask.since, ask.most)
    number = 0
    for data in found:
        for start in range(0, len(data), PIECE):
            part = data[start : start + PIECE]
            yield Piece(ask.id, number, part, ends=start + PIECE >= len(data), left_out=left_out)
            number += 1
    yield Piece(ask.id, number, b"", last=True, left_out=left_out)


def say(sealed: bytes) -> Command:
    """Ask all who are awake."""
    return stream.tell(sealed)
