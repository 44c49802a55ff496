"""What readings are to the daemon: asked for by name, taken elsewhere, handed over as samples.

Touches nothing itself. Taking a reading may hang (a probe, a command, a disk of the network), so
none is taken in the watcher: the sampler, a process of its own, takes them all.
Limits: nothing here ever blocks; a reading that can't be taken is a sample without a value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from tidegate.model import Micros, Sample


class Captured(NamedTuple):
    """What the host looked like when a guard moved: `name` is the guard's, `text` for people."""

    name: str
    time: Micros
    text: str


class Readings(Protocol):
    """Where samples come from. The loop watches `fileno` and calls `take` when it is readable.
    `trouble`: what hinders it at large; "" when nothing does."""

    trouble: str

    def fileno(self) -> int:
        """Readable when samples have arrived; -1: there is nothing to wait for."""

    def want(self, wanted: Mapping[str, Micros]) -> None:
        """From now on take exactly these, each so often (canonical names; microseconds)."""

    def take(self) -> Sequence[Sample]:
        """What has arrived since last asked. Raises SourceError where the sampler is gone."""

    def capture(self, name: str) -> None:
        """Ask for a capture by this guard's terms; it arrives with `captured`."""

    def captured(self) -> Sequence[Captured]:
        """Captures that have arrived since last asked."""

    def reload(self) -> None:
        """Have the policy read again: readings of the administrator's own, terms of captures."""

    def close(self) -> None:
        """End it; twice is harmless."""
