"""What traffic is to the daemon: listened to elsewhere, handed over as contacts and cuts.

Touches nothing itself; `MemoryTraffic` is the twin that tests give values to.
Limits: nothing here ever waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from tidegate.model import Micros
from tidegate.traffic import Contact, Cut


class Counted(NamedTuple):
    """TCP connections that came in for one of our ports: begun, and finished shaking hands."""

    time: Micros
    port: int
    begun: int
    finished: int


@dataclass(frozen=True, slots=True)
class Heard:
    """What has arrived since last asked."""

    contacts: Sequence[Contact] = ()
    cuts: Sequence[Cut] = ()
    handshakes: Sequence[Counted] = ()


@dataclass(frozen=True, slots=True)
class MeterHealth:
    """How the listening is. `share`: of the sources that are listened to just now; `loud`: sources
    of which only some destinations are; `cost`: of one processor; `lost`: events and packets that
    the kernel had no room to tell of, `passed_over` packets of those kept back that were too many
    to be looked at one by one (the kernel counts them), `unsent` what was not handed over in time,
    `nameless` connections of this host whose user nobody could tell; all since the process began.
    """

    events: int = 0
    waiting: int = 0
    lost: int = 0
    passed_over: int = 0
    overruns: int = 0
    unsent: int = 0
    nameless: int = 0
    given_up: int = 0
    share: float = 1.0
    loud: int = 0
    cost: float = 0.0
    troubles: tuple[str, ...] = ()


class Traffic(Protocol):
    """Where contacts and cuts come from. The loop watches `fileno` and calls `take` when it is
    readable. `health` as last said; `trouble`: what hinders it at large, "" when nothing does."""

    health: MeterHealth
    trouble: str

    def fileno(self) -> int:
        """Readable when something has arrived; -1: there is nothing to wait for."""

    def take(self) -> Heard:
        """What has arrived since last asked. Raises SourceError where the meter is gone."""

    def reload(self) -> None:
        """Have the policy read again. Raises SourceError where the meter is gone."""


@dataclass(slots=True)
class MemoryTraffic:
    """Traffic that hands over what was put into `coming`; `trouble` says why there is no other."""

    trouble: str = ""
    health: MeterHealth = field(default_factory=MeterHealth)
    coming: list[Heard] = field(default_factory=list)
    reloads: int = 0

    def fileno(self) -> int:
        """Nothing to wait for."""
        return -1

    def take(self) -> Heard:
        """The next of what was put in."""
        return self.coming.pop(0) if self.coming else Heard()

    def reload(self) -> None:
        """There is no policy to read."""
        self.reloads += 1
