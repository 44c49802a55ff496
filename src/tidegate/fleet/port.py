"""What the fleet is to the daemon: told what is counted and decided here, it tells of the others.

Touches nothing itself; `MemoryFleet` is the twin where there is nobody to talk to, and for tests.
Limits: nothing here ever waits; what the fleet tells is believed already as far as signatures and
counts go, and what comes of it here, this host's allowlist, breaker and caps decide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

from tidegate.model import Change, Decision, Micros, Shared, Subject

Share = tuple[str, int]
"""A host, and how much of it was counted there."""

Why = Literal["unban", "revoked", "taken back"]
"""Why something is open again: a person pardoned; a host fell with all that needed it; or the host
that closed says that it would not any more."""

What = Literal["why", "hosts"]
PoolWord = Literal["in", "leave", "out"]


class Conviction(NamedTuple):
    """Claims of members reach a rule's limit. `id` is the same on all hosts that heard the same;
    `first` and `time`: of the first and the last event that made it. Answer with `settled`."""

    id: str
    rule: str
    subject: Subject
    time: Micros
    count: int  # type: ignore[assignment]  # the word is ours, not tuple.count
    shares: tuple[Share, ...]
    first: Micros


class Closing(NamedTuple):
    """Another host has closed for somebody, and may be believed. `by`: "rule", or the person.
    `hosts`: how many counted in it (1: it is that host's word)."""

    id: str
    host: str
    rule: str
    by: str
    subject: Subject
    ports: tuple[int, ...]
    time: Micros
    until: Micros
    note: str = ""
    hosts: int = 1


class Opening(NamedTuple):
    """Open again. "unban": a person on `host` pardons, everything of the subject or of `rule` or
    `ports` where they are said, whoever closed. Else only what the fleet's `id` (of a Closing or a
    Conviction) has caused here."""

    id: str
    subject: Subject
    ports: tuple[int, ...]
    rule: str
    why: Why
    host: str
    by: str
    time: Micros


class Report(NamedTuple):
    """A member as others see it. `sent` by its own clock, `heard` by ours. `policy`: the number of
    the journal it applies (0: its own files), `policy_hash` what it has; `skew`: its clock against
    the engine's, `lag` between a crossing and what came of it, in microseconds. `drift`: bans that
    it wants and the fleet does not, or the other way. `trouble` "": it is well."""

    host: str
    sent: Micros = 0
    version: str = ""
    policy: int = 0
    policy_hash: str = ""
    skew: Micros = 0
    lag: Micros = 0
    spool: int = 0
    drift: int = 0
    bans: int = 0
    digest: str = ""
    trouble: str = ""
    member: bool = True
    more: Mapping[str, Any] = {}  # what the watcher put in by `report`, within bounds


class Quote(NamedTuple):
    """A line that another host counted: printable, bounded."""

    host: str
    rule: str
    time: Micros
    path: str
    line: str


State = Literal["off", "starting", "joined", "away", "alone"]


class Health(NamedTuple):
    """How the conversation is. `state`: "off" there is no fleet; "away" the engine does not answer;
    "alone" it does, but nothing may be believed (`detail` says why: no member, or clocks differ).

    `members`: enrolled hosts; `skew`: of our clock against the engine's; `lag`: a crossing
    until it was heard here; `spool`: hits that wait; `dropped`: hits left out; `refused`: how much
    was refused, by "HOST REASON"; `digest`: equal on hosts that want the same; `said`, `heard`:
    messages. `standing`: bans of others that hold here, `drift`: that are not believed here;
    `decides`: whether what people order here is for all hosts; `cost`: of one processor. All but
    these since the process began.
    """

    state: State = "off"
    detail: str = ""
    host: str = ""
    engine: str = ""
    members: int = 0
    skew: Micros = 0
    lag: Micros = 0
    spool: int = 0
    dropped: int = 0
    refused: Mapping[str, int] = {}
    digest: str = ""
    said: int = 0
    heard: int = 0
    standing: int = 0
    cost: float = 0.0
    troubles: tuple[str, ...] = ()
    drift: int = 0
    decides: bool = True


Row = Quote | Report
Told = tuple[int, tuple[Row, ...]]
"""The number that `ask` gave, and the rows that answer it."""


class Place(NamedTuple):
    """How this host is in a pool: "in" service, about to "leave" it, or "out". `least` others are
    to be in service where it is not; `number` changes with the word, and comes with the answer."""

    pool: str
    least: int
    word: PoolWord
    number: int


class Seat(NamedTuple):
    """What the engine answers to the word of this number: whether this host may be out, and how
    many others are in service."""

    pool: str
    number: int
    may: bool
    others: int


class Heard(NamedTuple):
    """What has come since last asked. `changes` are the fleet's memory, to be written down with the
    checkpoint and given back by `restore`. `journal`: sealed POLICY messages of members who may
    publish, verified; the same may come again."""

    convictions: tuple[Conviction, ...] = ()
    closings: tuple[Closing, ...] = ()
    openings: tuple[Opening, ...] = ()
    changes: tuple[Change, ...] = ()
    journal: tuple[bytes, ...] = ()
    told: tuple[Told, ...] = ()
    seats: tuple[Seat, ...] = ()

    def __bool__(self) -> bool:
        return any(self)


class Fleet(Protocol):
    """The other hosts. The loop watches `fileno` and calls `take` when it is readable. All methods
    may raise FleetError where the process behind it is gone: then all of it is made anew."""

    health: Health
    trouble: str
    """What hinders it at large, "" when nothing does."""

    def fileno(self) -> int:
        """Readable when something has arrived; -1: there is nothing to wait for."""

    def share(self, counted: Sequence[Shared]) -> None:
        """This was counted here, by rules that all count together."""

    def remember(self, counted: Sequence[Shared]) -> None:
        """This was counted here before this start: perhaps shared already, perhaps not."""

    def say(self, decisions: Sequence[Decision]) -> None:
        """This was decided here: bans of own rules in enforce mode, bans and unbans of people. What
        can't be said (a `uid:33`, something spared or observed) is left out by itself."""

    def settled(self, number: str, until: Micros) -> None:
        """What came of the conviction or closing of this id here: closed until then; 0: nothing."""

    def explain(self, subject: Subject, rule: str, until: Micros, quotes: Sequence[Quote]) -> None:
        """The lines that this host counted, for `why` on all hosts; `Quote.host` may be ""."""

    def look(self, listed: Sequence[Subject]) -> None:
        """Who must never be closed for: allowlist, own addresses, surroundings. All of them."""

    def restore(self, changes: Sequence[Change]) -> None:
        """What `Heard.changes` said before the last stop, as it was written down."""

    def reload(self) -> None:
        """The policy is another one now."""

    def report(self, more: Mapping[str, Any]) -> None:
        """What others should see of this host: `version`, `policy`, `policy_hash`, `bans`,
        `trouble` go into the fields of Report, anything else that JSON takes into `more`."""

    def pools(self, places: Sequence[Place]) -> None:
        """All pools that this host is in, and how. To be said every second; the answers come as
        `Heard.seats`."""

    def ask(self, what: What, subject: Subject | str = "") -> int:
        """Ask what all hosts know of a subject ("why"), or how they are ("hosts"). The answer comes
        in `Heard.told` under this number, also where the engine is away: then without rows."""

    def take(self) -> Heard:
        """What has arrived since last asked."""


@dataclass(slots=True)
class MemoryFleet:
    """Nobody to talk to; `trouble` says why, where there should be somebody. Tests put what others
    say into `coming`, and find what was said to them in the other lists."""

    trouble: str = ""
    health: Health = field(default_factory=Health)
    coming: list[Heard] = field(default_factory=list)
    shared: list[Shared] = field(default_factory=list)
    said: list[Decision] = field(default_factory=list)
    ends: dict[str, Micros] = field(default_factory=dict)
    quotes: list[tuple[Subject, str, Micros, tuple[Quote, ...]]] = field(default_factory=list)
    listed: tuple[Subject, ...] = ()
    restored: list[Change] = field(default_factory=list)
    reloads: int = 0
    reported: Mapping[str, Any] = field(default_factory=dict)
    places: tuple[Place, ...] = ()
    keeping: bool = False
    """Whether to keep what is told; only tests look at it."""
    _asked: int = 0

    def fileno(self) -> int:
        """Nothing to wait for."""
        return -1

    def share(self, counted: Sequence[Shared]) -> None:
        """Nobody counts with us."""
        if self.keeping:
            self.shared += counted

    def remember(self, counted: Sequence[Shared]) -> None:
        """Nobody counts with us."""
        self.share(counted)

    def say(self, decisions: Sequence[Decision]) -> None:
        """Nobody hears it."""
        if self.keeping:
            self.said += decisions

    def settled(self, number: str, until: Micros) -> None:
        """Nobody convicted."""
        if self.keeping:
            self.ends[number] = until

    def explain(self, subject: Subject, rule: str, until: Micros, quotes: Sequence[Quote]) -> None:
        """Nobody asks."""
        if self.keeping:
            self.quotes.append((subject, rule, until, tuple(quotes)))

    def look(self, listed: Sequence[Subject]) -> None:
        """Nobody closes for anybody."""
        self.listed = tuple(listed)

    def restore(self, changes: Sequence[Change]) -> None:
        """There is nothing to remember."""
        self.restored = list(changes)

    def reload(self) -> None:
        """There is no policy to read."""
        self.reloads += 1

    def report(self, more: Mapping[str, Any]) -> None:
        """Nobody sees it."""
        self.reported = more

    def pools(self, places: Sequence[Place]) -> None:
        """Nobody else is in them."""
        self.places = tuple(places)

    def ask(self, what: What, subject: Subject | str = "") -> int:
        """Nobody answers: at once."""
        self._asked += 1
        self.coming.append(Heard(told=((self._asked, ()),)))
        return self._asked

    def take(self) -> Heard:
        """The next of what was put in."""
        return self.coming.pop(0) if self.coming else Heard()
