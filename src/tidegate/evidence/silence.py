"""Whether the network itself is down: then what fails is nobody's fault.

Touches nothing: told the time. While nobody at all is answered, a failure proves nothing against
those whose tries otherwise come about. Limits: remembers the last long silence only.
"""

from __future__ import annotations

from tidegate.model import SECOND, Micros

ALIVE = 2 * SECOND
"""Somebody was answered within this span: the network works."""


class Silence:
    """When anybody was answered, and the last time when nobody was."""

    __slots__ = ("_began", "_ended", "_heard")

    def __init__(self) -> None:
        self._heard: Micros | None = None
        self._began: Micros = 0
        self._ended: Micros = 0

    def heard(self, time: Micros) -> None:
        """Somebody was answered."""
        last = self._heard
        if last is not None and time - last > ALIVE:
            self._began, self._ended = last, time
        self._heard = time if last is None else max(last, time)

    def explains(self, now: Micros, tried: Micros | None = None) -> bool:
        """Whether a failure known now, of a try then, may be the network's."""
        if self._heard is None or now - self._heard > ALIVE:
            return True
        return tried is not None and self._began <= tried < self._ended
