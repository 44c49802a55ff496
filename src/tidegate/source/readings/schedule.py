"""When each reading is due: on a grid of its own interval, so that lateness never adds up.

Touches nothing; the time is the caller's monotonic clock, in microseconds. Readings with the same
interval fall due together, and their samples go out together.
Limits: a moment that was missed is left out, not made up for.
"""

from __future__ import annotations

from collections.abc import Mapping

from tidegate.model import Micros

LEAST: Micros = 100_000


class Schedule:
    """The readings that are wanted, each with the moment when it is next due."""

    def __init__(self) -> None:
        self._every: dict[str, Micros] = {}
        self._due: dict[str, Micros] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._every

    def want(self, wanted: Mapping[str, Micros], now: Micros) -> None:
        """From now on exactly these, each so often; what is new is due at once."""
        self._every = {name: max(every, LEAST) for name, every in wanted.items()}
        self._due = {name: min(self._due.get(name, now), now + every)
                     for name, every in self._every.items()}  # fmt: skip

    def due(self, now: Micros) -> list[str]:
        """Those that are due, in the order they were wanted; they are then due at the next point
        of their grid that is at least half an interval away."""
        found = [name for name, at in self._due.items() if at <= now]
        for name in found:
            every = self._every[name]
            self._due[name] = (now + every // 2) // every * every + every
        return found

    def next(self) -> Micros | None:
        """The moment of the next one; None where nothing is wanted."""
        return min(self._due.values(), default=None)
