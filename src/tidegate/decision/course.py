"""Whether what a gate is closed for becomes less: then the step that was taken helps.

Touches nothing. The averages of load fall slowly: for a minute or two after the cause is gone they
are over every limit, which is no reason to close more.
Limits: looks 15 seconds back, at one number; a few points are remembered.
"""

from __future__ import annotations

from collections.abc import Iterable

from tidegate.model import SECOND, Micros

BACK: Micros = 15 * SECOND
"""How far it looks back. In this time an average over five minutes falls by five in a hundred."""
LESS = 0.98
"""What counts as less: this share of what it was."""
_EVERY: Micros = BACK // 3


class Course:
    """How far `close` was exceeded of late."""

    def __init__(self) -> None:
        self.falling = False
        self._points: list[tuple[Micros, float]] = []  # the oldest first

    def note(self, now: Micros, excess: float | None) -> None:
        """Take in how far it is exceeded now; None: unknown, or nobody cares."""
        self.falling = False
        if excess is None:
            self._points = []
            return
        points = self._points
        if not points or not 0 <= now - points[-1][0] < _EVERY:
            points.append((now, excess))
        while len(points) > 1 and not 0 <= now - points[1][0] < BACK:
            del points[0]
        then, before = points[0]
        self.falling = now - then >= BACK and 0 < excess < LESS * before

    def packed(self) -> list[tuple[Micros, float]]:
        """Its points."""
        return self._points

    def unpack(self, points: Iterable[tuple[Micros, float]]) -> None:
        """Take back its points. Raises TypeError or ValueError where they are none."""
        self._points = [(int(time), float(excess)) for time, excess in points][-8:]
