"""The frozen values that every stage shares: Kind, Event, Batch, Verdict, Decision and friends.

Touches nothing: no I/O, no clock. Times are whole microseconds since the epoch, UTC, so that
windows compare exactly. Limits: plain data only; what a value means is decided by its stage.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, NewType

Micros = int
"""A moment (microseconds since 1970-01-01T00:00:00Z) or a span, by context."""

SECOND: Micros = 1_000_000
MINUTE: Micros = 60 * SECOND
HOUR: Micros = 60 * MINUTE
DAY: Micros = 24 * HOUR

Subject = NewType("Subject", str)
"""Whom an event is about, as canonical text (see `tidegate.subject`): `192.0.2.7`,
`2001:db8:1:2::/64`, `2001:db8::1` (a /128), `192.0.2.0/24`, `uid:1000`, `service:exim4`,
or a lower-case host name, which is counted and shown but never resolved and never banned."""

Class = Literal["abuse", "success", "notice"]


@dataclass(frozen=True, slots=True)
class Kind:
    """What a detector says of a line; one object per detector, shared by all its events.

    `name` is dotted (`exim.malware`); `weight` is what one event adds to a rule that names
    no weight of its own (0: evidence only); `detector` is the name of the detector that saw it.
    """

    name: str
    klass: Class
    weight: int
    detector: str
    pack: str


class Event(NamedTuple):
    """One observed fact. `offset` is where its line starts in the source, in bytes.

    `count` is more than 1 for "message repeated 5 times". `session` groups the lines of one
    connection ("" where the log has none). `fields` is empty unless the engine was asked for them.
    """

    time: Micros
    kind: Kind
    subject: Subject
    count: int  # type: ignore[assignment]  # the word is ours, not tuple.count
    session: str
    offset: int
    length: int
    fields: Mapping[str, str]


class Success(NamedTuple):
    """The successes of one subject in one block: how many, where the first stands, times."""

    count: int  # type: ignore[assignment]  # the word is ours, not tuple.count
    first_offset: int
    first_time: Micros
    last_time: Micros


class Quarantined(NamedTuple):
    """A line that made a detector fail or run away; it was skipped, the rest went on."""

    offset: int
    detector: str
    reason: str
    line: bytes  # at most 200 bytes


Framing = Literal["lines", "journal", "audit"]
"""How a block's bytes are laid out: a line each, journal entries, or ModSecurity's records."""


class Block(NamedTuple):
    """A run of whole lines from one source.

    `data` ends with a newline; `offset` is where `data[0]` stands in the source. `arrival` is
    now (in replay: the file's mtime); events more than 60 s ahead of it are clamped to it.
    `origin` numbers the file (inode) the bytes came from, see `Origin`.
    """

    source: str
    data: bytes
    offset: int
    arrival: Micros
    origin: int
    framing: Framing = "lines"


@dataclass(frozen=True, slots=True)
class Origin:
    """A file (or journal, or pipe) that lines come from, so that they can be found again.

    `identity` is `inode:fingerprint` of a file, `journal:MATCHES` or `stdin`. `number` is its
    row in the ledger; rereadable: whether an offset can be read a second time.
    """

    number: int
    source: str
    path: str
    identity: str
    rereadable: bool = True


@dataclass(slots=True)
class Batch:
    """What one block held, in line order. Filled once by the engine, then only read."""

    source: str
    origin: int
    events: list[Event] = field(default_factory=list)
    successes: dict[Subject, Success] = field(default_factory=dict)
    lines: int = 0
    hits: int = 0
    clamped: int = 0
    cut: int = 0
    quarantined: list[Quarantined] = field(default_factory=list)
    disabled: list[str] = field(default_factory=list)


class Ref(NamedTuple):
    """Where one counted line stands: origin number and byte offset, and its event time."""

    time: Micros
    origin: int
    offset: int


class Verdict(NamedTuple):
    """A rule was crossed: `count` in `within`, by these lines, the last of which triggered it.

    Of a score, `count` is its points and `release` when they will have faded (0: the ladder says
    for how long). `twice`: it holds for twice the count. `watched`: one offence on probation.
    `knocked`: no line, but a try of the banned at this port. `tide`: the threshold was that of this
    tide ("": the rule's own). `shares`: hosts that counted together, and how much each; `refs` are
    our own lines then, which may be none, and `identity` is the decision's id.
    """

    rule: str
    subject: Subject
    time: Micros
    count: int  # type: ignore[assignment]  # the word is ours, not tuple.count
    refs: tuple[Ref, ...]
    release: Micros = 0
    twice: bool = False
    watched: bool = False
    knocked: int = 0
    tide: Literal["", "low", "high", "flood"] = ""
    shares: tuple[tuple[str, int], ...] = ()
    identity: str = ""


class Term(NamedTuple):
    """What came of a verdict: the ban's end, until when one new offence is enough (0: never), and
    how far tries of the banned may prolong it. No end: nobody was convicted."""

    until: Micros
    watched: Micros = 0
    most: Micros = 0


class Shared(NamedTuple):
    """One thing that a tally took in and that all hosts are to count together: of which line.

    `amount`: what it is worth, in counts or points. `value`: of a rule that counts different
    values, the one it had; where only its hash is remembered, that is the amount.
    """

    rule: str
    subject: Subject
    time: Micros
    origin: int
    offset: int
    amount: int = 1
    value: str = ""


class Evidence(NamedTuple):
    """A line that was counted against somebody, as it stands in its source."""

    time: Micros
    path: str
    offset: int
    line: str


class Sample(NamedTuple):
    """A reading taken: a number in its base unit (bytes, seconds, ...) at that time.

    `value` None: it could not be taken, and `why` says why. `whole` is what a percentage of it is
    a share of (None: it has none).
    """

    reading: str
    time: Micros
    value: float | None
    whole: float | None = None
    why: str = ""


class GateReport(NamedTuple):
    """What a keeper says of one gate. `away`: what it would close is not there to be closed (a
    person has stopped it); `taken`: a person opened what we had closed; `refused`: it failed."""

    gate: str
    state: Literal["open", "closing", "closed", "opening", "away", "taken", "refused"]
    since: Micros
    detail: str = ""


GuardVerb = Literal["close", "open", "fire", "warn", "clear", "give-up", "hold", "resume"]


class Move(NamedTuple):
    """What a guard wants done: with one of its gates ("" for notices), why, by which readings.

    `fire` restarts or runs, `warn` and `clear` only tell, `give-up` tells loudly. `step` counts the
    ladder from 0. `until`: a person's closing ends then (0: the guard's own condition says).
    """

    time: Micros
    guard: str
    gate: str
    verb: GuardVerb
    reason: str
    samples: tuple[Sample, ...] = ()
    step: int = 0
    by: str = "guard"
    note: str = ""
    until: Micros = 0


Action = Literal[
    "ban", "unban", "allow", "disallow", "quarantine", "release",
    "close", "open", "fire", "warn", "clear", "give-up", "hold", "resume",
]  # fmt: skip
Mode = Literal["enforce", "observe"]


@dataclass(frozen=True, slots=True)
class Decision:
    """What we now want, and why. `ports` empty means everything.

    `id` is a hash of rule, subject, time and offset of the line that triggered it, so that
    deriving it twice is harmless. `until` is event time + duration. `spared` names why it is not
    carried out ("allowlist", "own address", "session", "good record" ...; "" otherwise).
    `watched`: of a quarantine or a release, until when the source is on probation (0: never).
    """

    id: str
    time: Micros
    action: Action
    subject: Subject
    rule: str
    ports: tuple[int, ...]
    until: Micros
    duration: Micros
    count: int
    step: int
    mode: Mode
    reason: str
    spared: str = ""
    by: str = "rule"
    note: str = ""
    refs: tuple[Ref, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    collateral: bool = False
    watched: Micros = 0


class Ban(NamedTuple):
    """A closing that is wanted now: this subject, these ports (none: everything), until then."""

    subject: Subject
    ports: tuple[int, ...]
    until: Micros


class Confined(NamedTuple):
    """A source that is cut off until a time, and after that under a tighter cap until another.

    `until` 0: not cut off (any more), only watched."""

    subject: Subject
    until: Micros
    watched: Micros


class Outcome(NamedTuple):
    """What a gate did with a decision: `state` is applied, refused, skipped (already over),
    observed (mode), or spared; `detail` is the refusal's text."""

    id: str
    state: Literal["applied", "refused", "skipped", "observed", "spared"]
    detail: str
    time: Micros


class Position(NamedTuple):
    """Where to read on: of this file (by inode and fingerprint) or journal (by cursor)."""

    source: str
    path: str
    identity: str
    offset: int
    cursor: str = ""


class Change(NamedTuple):
    """One changed piece of the core's memory, for a checkpoint. `value` None: forget it."""

    part: str
    key: str
    value: bytes | None
