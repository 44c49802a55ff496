"""What an address gate is: closes for a subject and ports until a time, and can take it back.

Touches nothing itself. Every closing carries its end, so that it opens without us.
Limits: addresses and networks only; the subject text must be canonical (`tidegate.subject`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

from tidegate.model import DAY, Ban, GateReport, Micros, Subject
from tidegate.policy.guards import GateSpec
from tidegate.subject import Network

CAPACITY = 131_072
"""Elements in one set; the kernel sets aside 16 bytes for each beforehand."""

MAX_PORTS = 40
"""Ports in one scope: the kernel set is named after them, and its name holds 255 characters."""

MAX_SCOPES = 64
"""Different (family, prefix length, ports) at once; each is a kernel set of some megabytes."""

WIDEST = {4: 8, 6: 16}
"""The shortest prefix that any gate takes, per family, whatever the policy says."""

MAX_DOORS, MAX_DOOR_PORTS = 64, 128
"""Gates of guards that the kernel keeps, and ports of one of them."""

LONGEST: Micros = 366 * DAY
"""The longest closing that any gate takes; a later end is brought forward to this."""


Verb = Literal["ban", "unban", "allow", "disallow"]


class Request(NamedTuple):
    """One typed request. `ban` sets the end to `until` (extends or shortens; an end that is not
    after now opens); `unban` opens at once (ports None: every scope); `allow`/`disallow` put a
    subject before the drop until a time (ports () or None: an allow is for everything)."""

    verb: Verb
    subject: Subject
    ports: tuple[int, ...] | None
    until: Micros


class Refusal(NamedTuple):
    """Why one request was not carried out; `index` is its place in the list that was sent."""

    index: int  # type: ignore[assignment]
    reason: str


class Closed(NamedTuple):
    """What is closed in the kernel, as observed: the subject, its ports, and when it opens.

    `allow` is true for a timed allow: not closed, but put before the drop until then.
    """

    subject: Subject
    ports: tuple[int, ...]
    until: Micros
    allow: bool = False


class Knock(NamedTuple):
    """Somebody who is closed for tried again: the subject of the sender (IPv6: its /64), and the
    TCP port. Nothing was said in return, so the sender may be forged."""

    subject: Subject
    port: int


class Dropped(NamedTuple):
    """What one set of bans has dropped since it was put in, by the kernel's own counter."""

    name: str
    ports: tuple[int, ...]
    packets: int
    bytes: int


class Throttled(NamedTuple):
    """What one gate of a guard has cut or refused since its rules were put in, by the kernel's own
    counter; `heaviest`: who was cut most (IPv6: the /64) within the last minutes, and how often."""

    gate: str
    packets: int
    bytes: int
    heaviest: tuple[tuple[Subject, int], ...] = ()


class Gate(Protocol):
    """Something that can close for subjects and open again.

    Every method may raise GateError: the world refused the whole of it, nothing is known to have
    been done, and `replace` is how to go on.
    """

    @property
    def evicted(self) -> int:
        """How many closings gave way, since the gate was made, because a set was full."""

    def apply(self, requests: Sequence[Request], now: Micros) -> list[Refusal]:
        """Carry out in order; what the kernel or the rules refuse is returned, the rest is done."""

    def replace(self, bans: Sequence[Ban], allows: Sequence[Ban], now: Micros) -> list[Refusal]:
        """Make exactly this the state, in one transaction: no packet slips through in between.

        The index of a refusal counts through the bans, then the allows.
        """

    def drifted(self) -> bool:
        """Whether somebody else changed our table since we last did. Cheap: called each second."""

    def observe(self, now: Micros) -> list[Closed]:
        """What is closed now, read from the world. Costly with many elements: not on a hot path."""

    def dropped(self) -> list[Dropped]:
        """What was dropped so far, by set; cheap, however many are closed for."""

    def switch(self, closed: Mapping[str, Micros], now: Micros) -> list[GateReport]:
        """Exactly these gates of guards are closed, each until then; every other one is open.

        Idempotent: said again to renew. An end more than LEASE ahead is cut to that. How every
        gate of the policy stands is returned, and why one could not be closed. What `apply` and
        `replace` do leaves them as they are.
        """

    def throttled(self) -> list[Throttled]:
        """What each gate of a guard has cut or refused so far; a few milliseconds at the most."""

    def open_all(self) -> None:
        """Open everything now (`off`): the table is gone afterwards."""


class AllowingGate(Gate, Protocol):
    """A gate whose static allowlist, and whose gates of guards, can be set; they are in force with
    the next replacement."""

    allow: tuple[Network, ...]
    gates: tuple[GateSpec, ...]
