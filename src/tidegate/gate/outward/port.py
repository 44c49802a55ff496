"""What an outward gate is: caps that stand by themselves, and sources that are cut off for a time.

Touches nothing itself. Every cut carries its end, so that it is let back without us.
Limits: `MOST` sources cut off or watched at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from tidegate.gate.port import Refusal
from tidegate.model import Confined as Confined
from tidegate.model import Micros, Subject
from tidegate.policy.outward import OutwardSpec

MOST = 4096
MOST_TOLD = 2000
"""Sources and caps that one answer names, those that were cut most first: it has to fit a frame."""


class Capped(NamedTuple):
    """What one cap has kept back of one source lately, by the kernel's own counter."""

    subject: Subject
    what: str
    packets: int
    bytes: int


class Filtered(NamedTuple):
    """What one named filter has dropped since its rules were put in."""

    name: str
    packets: int
    bytes: int


class OutwardState(NamedTuple):
    """How the outward gate stands: "" or why it does not, whom it capped, what it filtered, and who
    is cut off or watched in the kernel."""

    why: str
    capped: tuple[Capped, ...] = ()
    filtered: tuple[Filtered, ...] = ()
    confined: tuple[Confined, ...] = ()


class OutwardGate(Protocol):
    """Something that caps what leaves. Every method may raise GateError: nothing is known to have
    been done, and `confine` is how to go on."""

    def govern(self, spec: OutwardSpec | None, spared: Sequence[Subject]) -> None:
        """These caps are wanted (None: none, the table goes); `spared` are never cut off or capped:
        this host's own addresses, gateway, resolvers, the allowlist. In force with `confine`."""

    def confine(self, confined: Sequence[Confined], now: Micros) -> list[Refusal]:
        """Exactly these are cut off or watched, and the caps stand. Idempotent: said again after a
        start, a drift, and now and then. What the kernel remembers of destinations stays."""

    def drifted(self) -> bool:
        """Whether somebody else changed our table. Cheap: called each second."""

    def state(self, now: Micros) -> OutwardState:
        """How it stands, read from the kernel; some milliseconds."""

    def open_all(self) -> None:
        """Nothing is capped or cut off any more (`off`): the table is gone afterwards."""
