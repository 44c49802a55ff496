"""What an address gate is: closes for a subject and ports until a time, and can take it back.

Touches nothing itself. Every closing carries its end, so that it opens without us.
Limits: addresses and networks only; the subject text must be canonical (`tidegate.subject`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

from tidegate.model import Ban, Micros, Subject


class Request(NamedTuple):
    """One typed request. `ban` sets the end to `until` (extends or shortens); `unban` opens at once
    (ports None: every scope); `allow`/`disallow` put a subject before the drop until a time."""

    verb: Literal["ban", "unban", "allow", "disallow"]
    subject: Subject
    ports: tuple[int, ...] | None
    until: Micros


class Refusal(NamedTuple):
    """Why one request was not carried out; `place` is its position in the list that was sent."""

    place: int
    reason: str


class Closed(NamedTuple):
    """What is closed in the kernel, as observed: the subject, its ports, and when it opens."""

    subject: Subject
    ports: tuple[int, ...]
    until: Micros


class Gate(Protocol):
    """Something that can close for subjects and open again."""

    def apply(self, requests: Sequence[Request], now: Micros) -> list[Refusal]:
        """Carry out in order; what the kernel or the rules refuse is returned, the rest is done."""

    def replace(self, bans: Sequence[Ban], allows: Sequence[Ban], now: Micros) -> list[Refusal]:
        """Make exactly this the state, in one transaction: no packet slips through in between."""

    def drifted(self) -> bool:
        """Whether somebody else changed our table since we last did. Cheap: called each second."""

    def observe(self) -> list[Closed]:
        """What is closed now, read from the world. Costly with many elements: not on a hot path."""

    def open_all(self) -> None:
        """Open everything now (`off`): the table is gone afterwards."""
