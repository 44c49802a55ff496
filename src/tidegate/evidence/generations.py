"""A memory that forgets by age and by number: two generations, of which the older goes as a whole.

Touches nothing: told the time. What is looked at stays; what is not, for one to two spans, goes.
Limits: `most` entries; when that forces one to go early, everything dropped counts as evicted.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from tidegate.model import Micros

Value = TypeVar("Value")


class Generations(Generic[Value]):
    """Up to `most` values by key, each kept for `span` at least after it was last looked at, unless
    there are too many."""

    __slots__ = ("_half", "_old", "_span", "_turned", "_young", "evicted")

    def __init__(self, most: int, span: Micros) -> None:
        self._half = max(most // 2, 1)
        self._span = span
        self._young: dict[str, Value] = {}
        self._old: dict[str, Value] = {}
        self._turned: Micros | None = None
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def get(self, key: str) -> Value | None:
        """What is kept for this key; it counts as looked at."""
        found = self._young.get(key)
        if found is None and self._old:
            found = self._old.pop(key, None)
            if found is not None:
                self._young[key] = found
        return found

    def put(self, key: str, value: Value, now: Micros) -> list[Value]:
        """Keep this; returns what had to go for it, or was old enough to."""
        self._old.pop(key, None)
        self._young[key] = value
        full = len(self._young) > self._half
        return self.turn(now, early=True) if full else []

    def turn(self, now: Micros, *, early: bool = False) -> list[Value]:
        """Begin a new generation if this one is old enough; returns what went with the oldest."""
        if self._turned is None:
            self._turned = now
        due = now - self._turned >= self._span
        if not due and not early:
            return []
        gone = list(self._old.values())
        if not due:
            self.evicted += len(gone)
        self._young, self._old = {}, self._young
        self._turned = now
        return gone

    def shrink(self, most: int) -> None:
        """From now on only so many."""
        self._half = max(most // 2, 1)

    def values(self) -> list[Value]:
        """Everything that is kept, oldest generation first."""
        return [*self._old.values(), *self._young.values()]
