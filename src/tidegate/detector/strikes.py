"""Strikes: detectors that failed, and those switched off because they did so too often.

Touches nothing: the time of a failure is the event time of the line.
Limits: three failures in ten minutes switch a detector off for as long as its engine lives.
"""

from __future__ import annotations

from tidegate.model import MINUTE, Micros

FAILURES = 3
WITHIN = 10 * MINUTE
SHOWN = 200
"""Bytes of a quarantined line that are kept."""


class Strikes:
    """Counts failures by detector; `disabled` are those switched off, in order."""

    def __init__(self) -> None:
        self.disabled: list[str] = []
        self._times: dict[str, list[Micros]] = {}

    def failed(self, detector: str, time: Micros) -> bool:
        """Note a failure; whether it switched the detector off just now."""
        times = [each for each in self._times.get(detector, ()) if abs(time - each) < WITHIN]
        self._times[detector] = [*times, time]
        if len(times) + 1 < FAILURES or detector in self.disabled:
            return False
        self.disabled.append(detector)
        return True
