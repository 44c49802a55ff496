"""What the host looks like just now, for people: kept of the moment before a guard moves.

Touches /proc and the guard's own capture commands. Limits: in time and size by the guard's terms.
"""

from __future__ import annotations

from collections.abc import Callable

from tidegate.frames import Frame
from tidegate.model import Micros
from tidegate.policy.models import Policy


class Captures:
    """Captures asked for by guards' names; `taken` gives those that are done, as frames."""

    def __init__(
        self, policy: Policy, clock: Callable[[], Micros], wake: Callable[[], None]
    ) -> None:
        self.policy = policy
        self._clock = clock
        self._wake = wake
        self._done: list[Frame] = []

    def ask(self, name: str) -> None:
        """Begin one."""
        self._done.append({"type": "captured", "name": name, "time": self._clock(), "text": ""})

    def taken(self) -> list[Frame]:
        """What is done since last asked."""
        found, self._done = self._done, []
        return found

    def close(self) -> None:
        """End what is under way."""
