"""Switches in memory: the twin for tests, for `--observe`, and for whoever runs without root.

Touches nothing. Limits: closes and opens at once, unless `stuck` says what becomes of a gate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tidegate.model import GateReport, Micros


class MemorySwitches:
    """Remembers what is closed until when, and what was fired."""

    def __init__(self) -> None:
        self.closed: dict[str, Micros] = {}
        self.fired: list[str] = []
        self.stuck: dict[str, GateReport] = {}
        self._reports: list[GateReport] = []

    def fileno(self) -> int:
        """Nothing to wait for."""
        return -1

    def want(self, closed: Mapping[str, Micros], now: Micros) -> None:
        """Close and open at once, and report it."""
        for gate in closed.keys() - self.closed.keys():
            self._reports.append(self.stuck.get(gate) or GateReport(gate, "closed", now))
        for gate in self.closed.keys() - closed.keys():
            self._reports.append(GateReport(gate, "open", now))
        self.closed = {gate: until for gate, until in closed.items() if gate not in self.stuck}

    def fire(self, gate: str, now: Micros) -> None:
        """Remember it, and report that it is done."""
        self.fired.append(gate)
        self._reports.append(self.stuck.get(gate) or GateReport(gate, "open", now))

    def reports(self) -> Sequence[GateReport]:
        """What has changed since last asked."""
        found, self._reports = self._reports, []
        return found

    def troubles(self) -> Sequence[str]:
        """Nothing hinders it."""
        return ()

    def reload(self) -> None:
        """Nothing to read."""

    def open_all(self) -> None:
        """Open everything."""
        self.closed = {}

    def close(self) -> None:
        """Nothing to end."""
