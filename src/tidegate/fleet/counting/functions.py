"""The engine's functions as values: what they are asked, what they answer.

Touches nothing: `tidegate.lua` beside it is the other side of each layout here, and says what
counts. Limits: what comes from the engine is untrusted, and raises nothing but Malformed.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from enum import IntEnum, StrEnum
from functools import lru_cache
from importlib.resources import files
from struct import Struct
from typing import NamedTuple
from zlib import crc32

from tidegate.errors import OperatorError
from tidegate.frames import Malformed
from tidegate.model import HOUR, Micros, Subject
from tidegate.policy.models import Rule

LIBRARY = "tidegate1"
SHARDS = 256
"""How many shards a cluster has; one engine with all keys needs no more than one."""
MOST_SUMS = 50
"""Sums in one call: what one call takes of the engine's time stays below a millisecond."""
NEED = 1025
SPAN = 30 * 24 * HOUR

_MILLI = 1000
_HEARD = 256  # crossings of one answer that are looked at; an honest engine has fewer
_HEAD = Struct(">BQ")
_TROUBLES = Struct(">6I")
_SUBJECT = rb"[A-Za-z0-9:./@\\_-]{1,128}"
_COUNTABLE = re.compile(_SUBJECT.decode("ascii"), re.ASCII)
_KEY = re.compile(rb"([wdsa]):([A-Za-z0-9_-]{11}):(" + _SUBJECT + rb")")

Argument = bytes | str | int
Command = tuple[Argument, ...]


class Form(StrEnum):
    """How a rule counts: events, different values, points over a limit, points up to it."""

    WINDOW = "w"
    DISTINCT = "d"
    SCORE = "s"
    REACHED = "a"

    __hash__ = str.__hash__  # not a call of Python for each key that terms are a part of

    @property
    def scored(self) -> bool:
        """Whether it counts points."""
        return self is Form.SCORE or self is Form.REACHED


class Terms(NamedTuple):
    """What a rule counts: `need` events or values within `within`, or (scores) over `need` points
    that halve in `within`. `mark` is 8 bytes: hosts count together where it is the same."""

    form: Form
    mark: bytes
    need: int
    within: Micros


class Hit(NamedTuple):
    """What one host counted once. `place` (6 bytes) names its line: the same line twice is one hit.

    `value` (8 bytes) where different values count, `points` where points do.
    """

    time: Micros
    place: bytes
    value: bytes = bytes(8)
    points: int = 1


class Sum(NamedTuple):
    """Hits of one subject, at most `NEED`."""

    terms: Terms
    subject: Subject
    hits: tuple[Hit, ...]


class Status(IntEnum):
    """What became of a batch."""

    COUNTED = 1  # now, or when it came for the first time
    OLD = 2  # a later one, named in the answer, has been counted
    GAP = 3  # the one after that named in the answer has to come first
    SKEWED = 4  # the host's clock is more than a minute from the engine's


class Crossing(NamedTuple):
    """A limit was crossed, says the engine, which nobody has to believe.

    `token` names it, to confirm it. From the `first` to the `last` of the hits that crossed it, by
    hosts with these tags (see `tag`). `arrived`: when the engine found it.
    """

    token: bytes
    arrived: Micros
    first: Micros
    last: Micros
    count: int  # type: ignore[assignment]  # the word is ours, not tuple.count
    tags: tuple[bytes, ...]
    form: Form
    mark: bytes
    subject: Subject


class Troubles(NamedTuple):
    """Hits that were not counted, by reason; `refused`: sums over the host's quota of new
    subjects; `unleased`: crossings that are not handed out again, since too many wait."""

    ahead: int = 0
    late: int = 0
    rested: int = 0
    twice: int = 0
    refused: int = 0
    unleased: int = 0


class Answer(NamedTuple):
    """What the engine says of a batch; `now` is its own time."""

    now: Micros
    status: Status
    epoch: int
    counter: int
    troubles: Troubles
    crossings: tuple[Crossing, ...]


def terms_of(rule: Rule, mark: bytes) -> Terms:
    """How the fleet counts by a rule. OperatorError where it cannot."""
    if rule.score is None:
        if rule.threshold > NEED:
            raise OperatorError(
                f'rule {rule.name}: count = "fleet" counts to {NEED} at most; '
                'raise what each event is worth, or say count = "host"'
            )
        form = Form.DISTINCT if rule.distinct else Form.WINDOW
        return Terms(form, mark, rule.threshold, min(rule.within, SPAN))
    if rule.score.form != "exponential":
        raise OperatorError(
            f'rule {rule.name}: count = "fleet" needs points that halve (half-life = "1h"): '
            f"a score that fades {rule.score.form} depends on the order of events"
        )
    form = Form.SCORE if rule.score.over else Form.REACHED
    return Terms(form, mark, min(rule.score.limit, 65_535), min(rule.score.span, SPAN))


@lru_cache(1 << 15)
def tag(host: str) -> bytes:
    """How the engine shortens a host's name where it says who counted."""
    return hashlib.sha1(host.encode(), usedforsecurity=False).digest()[:4]


def place_of(origin: str, offset: int, repeat: int = 0) -> bytes:
    """The name of a line by where it stands, so that reading it again counts nothing."""
    text = f"{origin} {offset} {repeat}".encode("utf-8", "surrogateescape")
    return hashlib.blake2b(text, digest_size=6).digest()


def shard_of(subject: Subject, shards: int) -> int:
    """The shard that counts a subject."""
    if shards == 1:
        return 0
    return crc32(subject.encode()) % shards


def countable(subject: Subject) -> bool:
    """Whether the engine takes a subject: all are that Tidegate makes itself, but some services."""
    return _COUNTABLE.fullmatch(subject) is not None


def record_key(host: str, shard: int) -> str:
    """Where the engine keeps what it answered a host last."""
    return f"{{tg:{shard:02d}}}h:{host}"


def sum_key(terms: Terms, subject: Subject, shard: int) -> str:
    """Where the engine counts a subject by a rule."""
    return f"{{tg:{shard:02d}}}{_name(terms.form, terms.mark)}:{subject}"


@lru_cache(1024)
def _name(form: Form, mark: bytes) -> str:
    return f"{form}:{urlsafe_b64encode(mark).rstrip(b'=').decode()}"


def waiting_key(shard: int) -> str:
    """Where the engine keeps crossings that nobody has confirmed."""
    return f"{{tg:{shard:02d}}}p"


def count_command(
    host: str, shard: int, number: tuple[int, int], back: int, sent: Micros, sums: Sequence[Sum]
) -> Command:
    """Ask to count. `number` is (epoch, counter); the host still has the `back` batches before."""
    epoch, counter = number
    head = epoch.to_bytes(3) + counter.to_bytes(5) + back.to_bytes(2) + _moment(sent)
    keys = [sum_key(one.terms, one.subject, shard) for one in sums]
    return (
        "FCALL", "tg1_count", 1 + len(keys), record_key(host, shard), *keys,
        head, *[_body(one) for one in sums],
    )  # fmt: skip


def due_command(shards: Sequence[int]) -> Command:
    """Ask for crossings that nobody confirmed in time. In a cluster: of one shard a call."""
    return ("FCALL", "tg1_due", len(shards), *[waiting_key(shard) for shard in shards])


def confirm_command(shard: int, tokens: Sequence[bytes]) -> Command:
    """Say that these crossings of a shard were passed on; at most 50."""
    return ("FCALL", "tg1_confirm", 1, waiting_key(shard), *tokens)


def library() -> str:
    """The functions, as the engine takes them."""
    return files("tidegate.fleet.counting").joinpath("tidegate.lua").read_text("utf-8")


def load_command() -> Command:
    """Put the functions into the engine; harmless where they are."""
    return ("FUNCTION", "LOAD", "REPLACE", library())


def read_answer(reply: object) -> Answer:
    """What `count_command` was answered. Malformed where it is no such answer."""
    data = _bytes_of(reply)
    now = _take_moment(data, 0)
    if len(data) < 6 + _HEAD.size:
        raise Malformed("an answer that ends too early")
    status, number = _HEAD.unpack_from(data, 6)
    if status not in tuple(Status):
        raise Malformed(f"an answer of status {status}")
    troubles = Troubles()
    crossings: tuple[Crossing, ...] = ()
    if len(data) > 15:
        if len(data) < 15 + _TROUBLES.size:
            raise Malformed("an answer that ends too early")
        troubles = Troubles(*_TROUBLES.unpack_from(data, 15))
        crossings = _crossings(data, 15 + _TROUBLES.size)
    return Answer(now, Status(status), number >> 40, number & (1 << 40) - 1, troubles, crossings)


def read_due(reply: object) -> tuple[Micros, tuple[Crossing, ...]]:
    """What `due_command` was answered: the engine's time, and crossings to pass on."""
    data = _bytes_of(reply)
    return _take_moment(data, 0), _crossings(data, 6)


def read_crossing(token: bytes) -> Crossing:
    """A crossing by its token. Malformed where it is none."""
    if len(token) < 24:
        raise Malformed("a crossing that ends too early")
    arrived, first, last = (_take_moment(token, at) for at in (0, 6, 12))
    count, hosts = int.from_bytes(token[18:22]), int.from_bytes(token[22:24])
    rest = 24 + 4 * hosts
    found = _KEY.fullmatch(token, rest)
    if found is None:
        raise Malformed("a crossing of nobody")
    try:
        subject = Subject(found[3].decode("ascii"))
        mark = urlsafe_b64decode(found[2] + b"=")
    except ValueError as error:
        raise Malformed("a crossing of nobody") from error
    tags = tuple(token[at : at + 4] for at in range(24, rest, 4))
    return Crossing(
        token, arrived, first, last, count, tags, Form(found[1].decode()), mark, subject
    )


def _crossings(data: bytes, at: int) -> tuple[Crossing, ...]:
    found: list[Crossing] = []
    while at < len(data) and len(found) < _HEARD:  # what is left out is lent again
        size = int.from_bytes(data[at : at + 2])
        if at + 2 + size > len(data):
            raise Malformed("a crossing that ends too early")
        with contextlib.suppress(Malformed):  # whoever put it there must not stop our counting
            found.append(read_crossing(data[at + 2 : at + 2 + size]))
        at += 2 + size
    return tuple(found)


def _body(one: Sum) -> bytes:
    form, _mark, need, within = one.terms
    parts = [need.to_bytes(2), _moment(within)]
    for hit in one.hits:
        parts += [_moment(hit.time), hit.value if form is Form.DISTINCT else hit.place]
        if form.scored:
            points = max(-32_768, min(hit.points, 32_767))
            parts.append(points.to_bytes(2, signed=True))
    return b"".join(parts)


def _moment(time: Micros) -> bytes:
    return (time // _MILLI).to_bytes(6)


def _take_moment(data: bytes, at: int) -> Micros:
    if len(data) < at + 6:
        raise Malformed("an answer that ends too early")
    return int.from_bytes(data[at : at + 6]) * _MILLI


def _bytes_of(reply: object) -> bytes:
    if not isinstance(reply, bytes):
        raise Malformed(f"{str(reply)[:200]} where an answer was expected")
    return reply
