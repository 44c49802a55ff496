"""Floods of half-open connections: the change point where handshakes no longer come to their end.

Touches nothing. CUSUM on what begins and what finishes (Wang, Zhang, Shin: Detecting SYN Flooding
Attacks, INFOCOM 2002; there SYN and FIN): K is the running mean of what finishes in a period,
X = (begun - finished) / K, y = max(0, y + X - a), alarm at y > N with a = .35 and N = 1.05. Periods
of 5 s instead of 20. Senders are forged, so an alarm is about a service, never about an address.
Limits: `SERVICES` ports; K is `LEAST` at least, so below 28 a second nothing is a flood.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tidegate.evidence.finding import Finding
from tidegate.model import MINUTE, SECOND, Micros, Subject

PERIOD = 5 * SECOND
SERVICES = 256
LEAST = 100.0
ALLOWED = 0.35
ALARM = 1.05
ALPHA = 0.9
_HIGHEST = 4 * ALARM
"""y is not let higher, so that an attack's end is seen within some periods, however large."""
_AGAIN = MINUTE
_MOST_PERIODS = 64


class Handshakes(NamedTuple):
    """So many connections to this port began since the last such value, so many came about."""

    time: Micros
    port: int
    begun: int
    finished: int


class _Service:
    __slots__ = ("begun", "finished", "mean", "said", "sum")

    def __init__(self) -> None:
        self.begun = self.finished = 0
        self.mean = LEAST
        self.sum = 0.0
        self.said: Micros | None = None


class Floods:
    """All services of this host, or of those behind it, by port."""

    def __init__(self) -> None:
        self._services: dict[int, _Service] = {}
        self._end: Micros | None = None
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._services)

    def add(self, port: int, begun: int, finished: int) -> None:
        """Count in the present period; `turn` first, to say which that is."""
        service = self._services.get(port)
        if service is None:
            if len(self._services) >= SERVICES:
                self._make_room()
            service = self._services[port] = _Service()
        service.begun += begun
        service.finished += finished

    def turn(self, now: Micros) -> list[Finding]:
        """Close the periods that are over; what is flooded in them."""
        if self._end is None:
            self._end = now + PERIOD
        found: list[Finding] = []
        rounds = 0
        while now >= self._end and rounds < _MOST_PERIODS:
            found += self._close(self._end)
            self._end += PERIOD
            rounds += 1
        if now >= self._end:  # silence for minutes: nothing happened in them
            self._end = now + PERIOD
        return found

    def count(self, values: Sequence[Handshakes]) -> list[Finding]:
        """Count these, oldest first."""
        found: list[Finding] = []
        for one in sorted(values):
            found += self.turn(one.time)
            self.add(one.port, one.begun, one.finished)
        return found

    def _close(self, end: Micros) -> list[Finding]:
        found = []
        for port in sorted(self._services):
            service = self._services[port]
            begun, finished = service.begun, service.finished
            # Of a crowd that came at once, some percent are lost, too: so measured by what it is.
            usual = max(service.mean, finished)
            service.sum += (begun - finished) / usual - ALLOWED
            service.sum = min(max(service.sum, 0.0), _HIGHEST)
            service.mean = max(ALPHA * service.mean + (1 - ALPHA) * finished, LEAST)
            service.begun = service.finished = 0
            over = service.sum > ALARM and begun > finished
            if over and (service.said is None or end - service.said >= _AGAIN):
                service.said = end
                text = f"{begun} connections begun in {PERIOD // SECOND}s, {finished} came about"
                subject = Subject(f"service:{port}")
                found.append(Finding(end, "inward.syn_flood", subject, text))
            elif not begun and not finished and not service.sum and service.mean == LEAST:
                del self._services[port]
        return found

    def _make_room(self) -> None:
        """The quietest goes: many ports are a scan, and a flooded one is none of the quiet."""
        port = min(self._services, key=lambda one: (self._services[one].begun, one))
        del self._services[port]
        self.evicted += 1
