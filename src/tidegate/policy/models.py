"""The frozen Policy: what the administrator wants, already checked and in final units.

Touches nothing. Times in microseconds, ports as sorted tuples, addresses as canonical subjects.
Limits: plain values without behaviour, so that two policies can be compared and hashed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from tidegate.model import DAY, HOUR, MINUTE, Micros, Mode, Subject
from tidegate.policy.fleet import FleetSpec
from tidegate.policy.flow import FlowPort
from tidegate.policy.guards import (
    KERNEL,
    GateSpec,
    GuardSpec,
    Level,
    NoticeSpec,
    Pool,
    ReadingSpec,
    Trigger,
)
from tidegate.policy.outward import OutwardSpec, Owner

EngineName = Literal["auto", "vectorscan", "re"]
Start = Literal["end", "beginning"]
GoodRecordTerms = Literal["ignore", "double", "spare"]


@dataclass(frozen=True, slots=True)
class BanTerms:
    """What a conviction closes and for how long: the n-th offence takes the n-th step.

    `service`: the ports are those of the service that was attacked, as its pack states them.
    `outward`: not kept out, but in: what leaves from the subject is cut off (a quarantine).
    """

    ports: tuple[int, ...] = ()
    ladder: tuple[Micros, ...] = (10 * MINUTE, HOUR, DAY, 7 * DAY)
    service: bool = False
    outward: bool = False


TIDES: tuple[Level, ...] = ("low", "high", "flood")
"""The host's tides, the lowest first."""

Where = tuple[tuple[str, tuple[str, ...]], ...]
"""Conditions on an event's fields, all of which must hold: the field's name, and the values it may
have (`*` in one takes any text)."""


class Counted(NamedTuple):
    """A kind that a rule counts: what one is worth (None: its detector's own weight), where its
    fields are so, unless they are so (any one of these conditions is enough)."""

    kind: str
    weight: int | None = None
    where: Where = ()
    unless: Where = ()


@dataclass(frozen=True, slots=True)
class ScoreTerms:
    """Points that fade: over `limit` (or, with `over` False, from it on) convicts.

    A ban ends when the score has come down to `release`. "linear" and "steps" lose `points` per
    `span`, the one continuously, the other as ModSecurity's deprecatevar does; "exponential" halves
    in `span`. `knock`: what one more try of somebody who is closed for adds.
    """

    limit: int
    over: bool
    release: int
    span: Micros
    points: int = 0
    form: Literal["linear", "steps", "exponential"] = "linear"
    knock: int = 1


@dataclass(frozen=True, slots=True)
class Rule:
    """N in M: at least `threshold` counted within `within`, per subject; or a score that fades.

    `on` is what counts. `distinct`: count only different values of this field. `reset_on`: kinds
    that begin the count anew. `good_record`: whoever succeeded in the last 30 days needs twice the
    count ("double") or is not convicted by this rule at all ("spare"). `probation`: for as long as
    the next step of the ladder would take, one new offence after a ban is enough. `stated` is the
    condition in the administrator's words ("more than 15 in 5m"). `tightened`: the threshold (of a
    score: its limit) from this tide on, the lower tide first. `shared`: the hosts of a fleet count
    together (never without `[fleet]`).
    """

    name: str
    on: tuple[Counted, ...]
    threshold: int
    within: Micros
    ban: BanTerms
    stated: str
    mode: Mode = "enforce"
    enabled: bool = True
    forget: Micros = 30 * DAY
    score: ScoreTerms | None = None
    distinct: str = ""
    reset_on: tuple[str, ...] = ()
    good_record: GoodRecordTerms = "ignore"
    probation: bool = False
    tightened: tuple[tuple[Level, int], ...] = ()
    shared: bool = False

    def threshold_at(self, tide: Level) -> int:
        """The threshold, or of a score its limit, while the host's tide is so."""
        found = self.threshold if self.score is None else self.score.limit
        for level, number in self.tightened:
            if TIDES.index(level) <= TIDES.index(tide):
                found = number
        return found

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds it counts, each once."""
        return tuple(dict.fromkeys(one.kind for one in self.on))


@dataclass(frozen=True, slots=True)
class Escalation:
    """When a whole network is closed: `children` different ones in it, each convicted within
    `within`, and nobody in it with a good record; then for `duration`.

    `length` is the network's prefix length; its children are addresses, or networks one level down.
    """

    family: Literal[4, 6]
    length: int
    children: int
    within: Micros
    duration: Micros


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """A named source: files (paths or globs) or the journal, and which detectors read it.

    `journal` None: not the journal; (): the trusted matches of its detectors' packs.
    `zone` is an IANA name or ""; `start` applies where no position is known. `outward`: what we
    write ourselves of traffic that leaves; it is there where `[outward]` is. `netflow`: what
    routers tell of theirs, of which the same findings come.
    """

    name: str
    files: tuple[str, ...] = ()
    journal: tuple[tuple[str, ...], ...] | None = None
    detectors: tuple[str, ...] = ()
    zone: str = ""
    start: Start = "end"
    enabled: bool = True
    stdin: bool = False
    outward: bool = False
    netflow: FlowPort | None = None


OUTWARD = SourceSpec("outward", detectors=("outward", "inward"), outward=True)
"""The source of our own findings; no other may have its name."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Every bound, so that each is a visible number."""

    subjects: int = 1_000_000
    ledger_bytes: int = 256 << 20
    events_bytes: int = 64 << 20
    keep: Micros = 30 * DAY
    longest_ban: Micros = 30 * DAY
    widest_ipv4: int = 16
    widest_ipv6: int = 48


@dataclass(frozen=True, slots=True)
class Paths:
    """Where Tidegate keeps things; only tests and unusual hosts change these.

    `gates` is root's alone (what has to be undone stands there), unlike `state`; so is `fleet`
    (the keys of this host, whose word it takes; below it what was published).
    """

    state: str = "/var/lib/tidegate"
    run: str = "/run/tidegate"
    off: str = "/etc/tidegate/off"
    detectors: str = "/etc/tidegate/detectors"
    gates: str = "/var/lib/tidegate-gates"
    fleet: str = "/var/lib/tidegate-fleet"


@dataclass(frozen=True, slots=True)
class Policy:
    """Everything the administrator said. `hash` names the merged text, 12 hexadecimal digits."""

    mode: Mode = "enforce"
    allow: tuple[Subject, ...] = ()
    proxies: tuple[Subject, ...] = ()
    sources: tuple[SourceSpec, ...] = ()
    rules: tuple[Rule, ...] = ()
    escalation: tuple[Escalation, ...] = ()
    guards: tuple[GuardSpec, ...] = ()
    triggers: tuple[Trigger, ...] = ()
    readings: tuple[ReadingSpec, ...] = ()
    pools: tuple[Pool, ...] = ()
    notices: tuple[NoticeSpec, ...] = ()
    outward: OutwardSpec | None = None
    owners: tuple[Owner, ...] = ()
    fleet: FleetSpec | None = None
    limits: Limits = field(default_factory=Limits)
    paths: Paths = field(default_factory=Paths)
    engine: EngineName = "auto"
    hash: str = ""
    files: tuple[str, ...] = ()

    @property
    def stated_rules(self) -> int:
        """How many rules are switched on, as the administrator counts them."""
        return len(
            {
                rule.name.rpartition(".")[0] if rule.ban.service else rule.name
                for rule in self.rules
                if rule.enabled
            }
        )

    @property
    def gates(self) -> tuple[GateSpec, ...]:
        """Every gate of the guards that are switched on, and of every trigger."""
        ran = tuple(one.gate for one in self.triggers if one.gate is not None)
        return tuple(gate for one in self.guards if one.enabled for gate in one.gates) + ran

    @property
    def guarded(self) -> bool:
        """Whether anything that is switched on looks at readings: then there is a sampler."""
        return any(guard.enabled for guard in self.guards) or bool(self.triggers)

    @property
    def has_switches(self) -> bool:
        """Whether some gate is no firewall entry, or programs of who is cut off are halted: then
        there is a service keeper."""
        halts = self.outward is not None and self.outward.stop != "never"
        return halts or any(not isinstance(gate.terms, KERNEL) for gate in self.gates)

    def rule(self, name: str) -> Rule | None:
        """The rule of that name, enabled or not."""
        return next((rule for rule in self.rules if rule.name == name), None)
