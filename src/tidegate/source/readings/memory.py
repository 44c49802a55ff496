"""Readings in memory: the twin that tests and simulations give samples to.

Touches nothing. Limits: takes nothing by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tidegate.model import Micros, Sample
from tidegate.source.readings.port import Captured


class MemoryReadings:
    """Readings that hand over what was put into `coming` and `captures`; `wanted` as last told."""

    def __init__(self) -> None:
        self.trouble = ""
        self.wanted: dict[str, Micros] = {}
        self.coming: list[Sample] = []
        self.captures: list[Captured] = []
        self.asked: list[str] = []

    def fileno(self) -> int:
        """Nothing to wait for."""
        return -1

    def want(self, wanted: Mapping[str, Micros]) -> None:
        """Remember what is wanted."""
        self.wanted = dict(wanted)

    def take(self) -> Sequence[Sample]:
        """What was put in since last asked."""
        found, self.coming = self.coming, []
        return found

    def capture(self, name: str) -> None:
        """Remember that it was asked for."""
        self.asked.append(name)

    def captured(self) -> Sequence[Captured]:
        """What was put in since last asked."""
        found, self.captures = self.captures, []
        return found

    def reload(self) -> None:
        """There is no policy to read."""

    def close(self) -> None:
        """Nothing to end."""
