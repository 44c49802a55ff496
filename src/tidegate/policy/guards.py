"""What the administrator says of guards: conditions on readings, gates, ladders, as frozen values.

Touches nothing. Spans in microseconds, sizes in bytes, shares in percent. Read by `guardreader`
from `[guard.NAME]`, `[gate.NAME]`, `[reading.NAME]`, `[pool.NAME]` and `[notify.NAME]`.
Limits: plain values without behaviour, so that two policies can be compared and hashed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from tidegate.model import HOUR, MINUTE, SECOND, Micros, Mode

LEASE: Micros = 5 * MINUTE
"""For how long a closing holds unless it is renewed; it is renewed every few seconds."""

Operator = Literal["<", "<=", ">", ">=", "==", "!="]
Level = Literal["low", "high", "flood"]
"""The host's tide, the lowest first."""


class Compare(NamedTuple):
    """A reading beside a limit. `reading` is canonical (`la1`, `disk.free(/var)`); `limit` is in
    the reading's base unit (bytes, seconds, a plain number), or in percent of its whole."""

    reading: str
    operator: Operator
    limit: float
    percent: bool = False


class Not(NamedTuple):
    """True where its operand is false; unknown stays unknown (Kleene's strong logic)."""

    operand: Condition


class And(NamedTuple):
    """False where one is false, else unknown where one is unknown."""

    operands: tuple[Condition, ...]


class Or(NamedTuple):
    """True where one is true, else unknown where one is unknown."""

    operands: tuple[Condition, ...]


class Held(NamedTuple):
    """True once its operand has been true, without a break, for `span` (`la1 >= 10 for 30s`)."""

    operand: Condition
    span: Micros


Condition = Compare | Not | And | Or | Held


# -- gates: what is closed -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Throttle:
    """In the kernel: at most `rate` new connections per source in `per`, `burst` at once, to these
    ports (TCP); what is over is dropped, so the heaviest are hit first, the others not at all."""

    ports: tuple[int, ...]
    rate: int = 20
    per: Micros = MINUTE
    burst: int = 5


@dataclass(frozen=True, slots=True)
class Refuse:
    """In the kernel: new connections to these ports are refused by a reset, so that a sender of
    mail moves to the next MX; connections that stand go on. "421": a responder of ours answers
    `421 try later` instead of the service."""

    ports: tuple[int, ...]
    answer: Literal["reset", "421"] = "reset"


@dataclass(frozen=True, slots=True)
class Haproxy:
    """By HAProxy's Runtime API: drain a server, or lower its weight to `weight` percent; put back
    as it was. `socket` is a path, or host:port."""

    socket: str
    backend: str
    server: str
    weight: int = 0  # percent; 0: state drain


@dataclass(frozen=True, slots=True)
class Agent:
    """By HAProxy's agent-check: a responder that says `drain 0%`, `ready up 100%`, or a weight."""

    listen: str  # host:port that HAProxy's agent-addr and agent-port point at
    weight: int = 0


@dataclass(frozen=True, slots=True)
class Keepalived:
    """By a `track_file`: `value` while closed, 0 while open."""

    file: str
    value: int = -100


@dataclass(frozen=True, slots=True)
class Properties:
    """Resource limits of a running unit (`systemctl set-property --runtime`), put back as they
    were: `settings` such as ("CPUWeight", "20")."""

    unit: str
    settings: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Freeze:
    """Every process of a unit (or of a control group's path) stands still; thawed when open."""

    unit: str


@dataclass(frozen=True, slots=True)
class Halt:
    """Programs of a user that run from where everybody may write: stopped (SIGSTOP), or given
    little processor time. Made for a user who is cut off, by `[outward]`; no guard's gate."""

    uid: int
    how: Literal["throttle", "freeze"]


@dataclass(frozen=True, slots=True)
class Service:
    """Stopped while closed, started when open, if it was us who stopped it. `service` is a systemd
    unit, or the name of an init script; `stop_within`: how long stopping may take."""

    service: str
    stop_within: Micros = 2 * MINUTE


@dataclass(frozen=True, slots=True)
class Command:
    """Any command, and the one that undoes it; lists of words, never a shell's text, unless
    `shell` (only what a sysfence file says). No undo: it can't be closed, only run once."""

    close: tuple[str, ...]
    open: tuple[str, ...]
    timeout: Micros = MINUTE


@dataclass(frozen=True, slots=True)
class Restart:
    """Not closed but restarted: then `wait` before it is looked at again, at most `most` times in
    `within`; after that it is given up, loudly."""

    service: str
    wait: Micros = 5 * MINUTE
    most: int = 2
    within: Micros = 24 * HOUR


@dataclass(frozen=True, slots=True)
class Run:
    """Not closed but run, by `/bin/sh -c`: what a sysfence rule says. There is nothing to undo."""

    script: str
    timeout: Micros = 10 * MINUTE


Terms = (
    Throttle | Refuse | Haproxy | Agent | Keepalived | Properties | Freeze | Service | Command
    | Restart | Run | Halt
)  # fmt: skip
KERNEL = (Throttle, Refuse)
"""By the keeper, each with a timeout in the kernel; all others by the service keeper."""
ONCE = (Restart, Run)
"""There is no closed state: they are fired."""


@dataclass(frozen=True, slots=True)
class GateSpec:
    """A gate by the name that people close, open, hold and resume it by: the guard's, where it has
    one gate only, else `GUARD.KIND` (`apache.throttle`, `apache.stop`).

    `pool`: closing it takes a member out of this pool, which never goes below its minimum.
    """

    name: str
    terms: Terms
    pool: str = ""


@dataclass(frozen=True, slots=True)
class Pool:
    """Members of which some must stay: `peers` are readings that tell whether another member is
    well (`up(smtp://192.0.2.2:25)`); `least` members, this one included, stay in service. `fleet`:
    hosts of the fleet that are members are asked too."""

    name: str
    peers: tuple[str, ...]
    least: int = 1
    fleet: bool = True


# -- guards: when ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a guard's ladder: closed once the step before has been closed for `after` and did
    not help; or, if it has a `when` of its own, as soon as that holds, and only then."""

    gate: GateSpec
    after: Micros = 30 * SECOND
    when: Condition | None = None


@dataclass(frozen=True, slots=True)
class Capture:
    """What is kept of the moment before a closing or a warning, besides load, pressure, the top
    processes, connections and queues: what these commands print."""

    commands: tuple[tuple[str, ...], ...] = ()
    timeout: Micros = 5 * SECOND
    largest: int = 64 << 10


@dataclass(frozen=True, slots=True)
class GuardSpec:
    """Readings in, closings out. Closes where `close` holds, opens where `open` holds and `close`
    does not; stays as it is in between, and where a reading is unknown.

    `least_closed`, `least_open`: how long it stays so at least. `patience`: `close` must be false
    this long before a missing `open` condition (None) opens. `flaps`: a step that closes more often
    than that, not long one after the other, stays closed for longer each time, by
    `longest_damped` at the most, so that it is never kept off after calm. `warn` only notifies.
    `tide`: the host's level while it is closed (or while `warn` holds). `stated_close` and so on:
    the text as written.
    """

    name: str
    close: Condition | None = None
    open: Condition | None = None
    warn: Condition | None = None
    steps: tuple[Step, ...] = ()
    least_closed: Micros = MINUTE
    least_open: Micros = MINUTE
    patience: Micros = MINUTE
    flaps: int = 1
    longest_damped: Micros = 8 * MINUTE
    tide: Level = "high"
    capture: Capture | None = None
    notify: tuple[str, ...] = ()
    mode: Mode = "enforce"
    enabled: bool = True
    stated_close: str = ""
    stated_open: str = ""
    stated_warn: str = ""

    @property
    def gates(self) -> tuple[GateSpec, ...]:
        """Its gates, the most reversible first."""
        return tuple(step.gate for step in self.steps)


@dataclass(frozen=True, slots=True)
class Trigger:
    """A sysfence rule that is no half of a pair: runs and logs while `when` holds, or once at each
    crossing (`run_once`, `log_once`); looked at every `every`."""

    name: str
    when: Condition
    every: Micros = 10 * SECOND
    gate: GateSpec | None = None  # a Run
    run_once: bool = False
    log: bool = False
    log_once: bool = False
    stated: str = ""
    mode: Mode = "enforce"
    notify: tuple[str, ...] = ()


# -- readings and notices ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ReadingSpec:
    """A reading of the administrator's own: the number that a command prints or a file holds."""

    name: str
    command: tuple[str, ...] = ()
    file: str = ""
    every: Micros = 30 * SECOND
    timeout: Micros = 10 * SECOND


@dataclass(frozen=True, slots=True)
class NoticeSpec:
    """Where notices go: to an address by mail, a web hook, or a command that reads one on its
    standard input. `most` in `within`; what is over waits and goes out as one digest."""

    name: str
    mail: str = ""
    sender: str = ""
    webhook: str = ""
    command: tuple[str, ...] = ()
    most: int = 4
    within: Micros = HOUR
