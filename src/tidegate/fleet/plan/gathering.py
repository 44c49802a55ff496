"""Asks the members of a fleet for what they have seen, and gathers it, some hosts at a time.

Touches the engine it is given, and waits for answers as long as it is told. Limits: only signed
pieces of members count; a host that sends nothing for `patience`, or more than it was asked for, is
left out from there on, and that is said.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from tidegate.errors import FleetError
from tidegate.fleet.decisions import stream
from tidegate.fleet.engine.engine import Engine
from tidegate.fleet.fields import Malformed
from tidegate.fleet.plan import planning
from tidegate.fleet.plan.planning import Ask, Piece, decode_piece, encode_ask
from tidegate.fleet.trust.members import Roster
from tidegate.fleet.wire import Kind, unseal
from tidegate.model import Micros

_KEY = stream.STREAM.decode()
_PAUSE = 0.2
_COUNT = b"16"
_PAGES = 2_000
_MOST_PAGES = 10_000  # of what is kept, which is read in smaller ones
_SLACK = 1 << 20
_PAPERS = (bytes((Kind.CERTIFICATE,)), bytes((Kind.REVOCATIONS,)))

Seal = Callable[[Kind, bytes, Micros], bytes]


class Answer(NamedTuple):
    """What a host has sent: whole stretches, the oldest first, and what is missing."""

    host: str
    stretches: tuple[bytes, ...]
    left_out: tuple[str, ...] = ()


class Box:
    """What has come of one host. `whole`: nothing more is to come."""

    def __init__(self, host: str, most: int) -> None:
        self.host = host
        self._most = most + _SLACK
        self._pieces: dict[int, Piece] = {}
        self._size = 0
        self._end = -1
        self.trouble = ""

    @property
    def whole(self) -> bool:
        """Whether all of it is here, or nothing more is taken."""
        return bool(self.trouble) or 0 <= self._end == len(self._pieces) - 1

    def put(self, piece: Piece) -> bool:
        """Take in a piece that this host signed; False where it told nothing new."""
        if piece.number in self._pieces or self.trouble:
            return False
        self._size += len(piece.data)
        if self._size > self._most or piece.number > self._most // planning.PIECE + 1024:
            self.trouble = "sent more than it was asked for"
            return False
        self._pieces[piece.number] = piece
        if piece.last:
            self._end = piece.number
        return True

    def answer(self) -> Answer:
        """What can be used of it: as far as it came without a gap."""
        found: list[bytes] = []
        parts: list[bytes] = []
        number = 0
        while (piece := self._pieces.get(number)) is not None:
            parts.append(piece.data)
            if piece.ends:
                found.append(b"".join(parts))
                parts = []
            number += 1
        notes = []
        if self.trouble:
            notes.append(self.trouble)
        elif not self._pieces:
            notes.append("sent nothing: it is away, or of a version that can't")
        elif not self.whole:
            notes.append(f"sent {len(found)} stretches, then nothing more")
        if missed := max((one.left_out for one in self._pieces.values()), default=0):
            notes.append(f"{missed} older stretches found no room (--most)")
        return Answer(self.host, tuple(found), tuple(notes))


def members(engine: Engine, roster: Roster) -> Roster:
    """Take the desk's papers into a roster, as the engine has them."""
    cursor, papers, brief = b"0", dict[bytes, None](), True
    for _ in range(_MOST_PAGES):
        (reply,) = engine.call(_KEY, [stream.scan(cursor, brief=brief)])
        if brief and stream.is_unknown(reply):
            brief = False  # an engine that has lost our functions still says who is a member
            continue
        if isinstance(reply, Exception):
            raise FleetError(f"the engine does not say who is a member: {reply}")
        try:
            cursor, found = stream.page(reply)
        except Malformed as error:
            raise FleetError(f"the engine makes no sense: {error}") from error
        papers.update(dict.fromkeys(one for one in found if one[3:4] in _PAPERS))
        if cursor == b"0":
            break
    else:
        raise FleetError("the engine makes no sense: what it keeps has no end")
    for paper in papers:
        roster.take(paper)
    return roster


def gather(
    engine: Engine, roster: Roster, seal: Seal, hosts: Sequence[str], since: Micros, most: int,
    patience: float, clock: Callable[[], Micros], tick: Callable[[int, int], None],
) -> Iterator[Answer]:  # fmt: skip
    """The answers of these hosts, `most` bytes of all; `tick` hears how many have answered."""
    done = 0
    for start in range(0, len(hosts), planning.HOSTS):
        wave = tuple(hosts[start : start + planning.HOSTS])
        ask = Ask(secrets.token_bytes(planning.ID), since, most // len(hosts), wave)
        boxes = {host: Box(host, ask.most) for host in wave}
        for came in _ask(engine, roster, seal, ask, boxes, patience, clock):
            tick(done + came, len(hosts))
        done += len(wave)
        yield from (boxes[host].answer() for host in wave)


def _ask(
    engine: Engine, roster: Roster, seal: Seal, ask: Ask, boxes: dict[str, Box], patience: float,
    clock: Callable[[], Micros],
) -> Iterator[int]:  # fmt: skip
    now = clock()
    said = planning.say(seal(Kind.PLAN, encode_ask(ask), now))
    (reply,) = engine.call(_KEY, [said])
    if isinstance(reply, Exception):
        raise FleetError(f"the engine does not take the question: {reply}")
    deadline = time.monotonic() + patience
    name = planning.box(ask.id)
    while time.monotonic() < deadline and not all(box.whole for box in boxes.values()):
        if _collect(engine, roster, ask, boxes, name):
            deadline = time.monotonic() + patience
        else:
            time.sleep(_PAUSE)
        yield sum(box.whole for box in boxes.values())
    engine.call(planning.Planning.key, [(b"PEXPIRE", name, b"1")])


def _collect(engine: Engine, roster: Roster, ask: Ask, boxes: dict[str, Box], name: bytes) -> bool:
    """Take what lies there; whether it was anything."""
    key, came, cursor = planning.Planning.key, False, b"0"
    for _ in range(_PAGES):
        (reply,) = engine.call(key, [(b"HSCAN", name, cursor, b"COUNT", _COUNT)])
        if isinstance(reply, Exception):
            raise FleetError(f"the engine does not hand out the answers: {reply}")
        try:
            cursor, found = stream.rows(reply)
        except Malformed as error:
            raise FleetError(f"the engine makes no sense: {error}") from error
        for _field, data in found:
            came |= _take(roster, ask, boxes, data)
        if taken := [field for field, _data in found]:
            engine.call(key, [(b"HDEL", name, *taken)])
        if cursor == b"0":
            break
    return came


def _take(roster: Roster, ask: Ask, boxes: dict[str, Box], data: bytes) -> bool:
    try:
        sealed = unseal(data, roster.fleet)
        message = sealed.message
        piece = decode_piece(message.body)
    except Malformed:
        return False
    box = boxes.get(message.host)
    if box is None or message.kind is not Kind.EVENTS or piece.ask != ask.id:
        return False
    if roster.refusal(message) or not roster.is_signed(sealed):
        return False
    return box.put(piece)
