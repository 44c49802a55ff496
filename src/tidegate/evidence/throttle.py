"""Backlogs: how far a source is behind what its caps let through.

Touches nothing. The virus throttle (Williamson: Throttling Viruses, ACSAC 2002; Twycross and
Williamson: Implementing and Testing a Virus Throttle, USENIX Security 2003) delays connections to
new hosts in a queue that is served once a second, and stops a machine whose queue grows beyond 100.
Here the kernel's caps drop instead of queueing, and what they kept back is the queue's length.
Limits: whole numbers, so that the same cuts give the same level everywhere.
"""

from __future__ import annotations

from tidegate.model import SECOND, Micros
from tidegate.policy.outward import Rate

QUEUE = 100
"""So many packets to new destinations kept back, of which one a second is forgiven, convict."""
PATIENCE = SECOND // 4
"""So long after the first cut those that were let through may take to answer."""
FLOODING = 20
"""A flood: so many seconds' worth of a cap (minutes', of a cap per minute) are kept back, ten times
the cap being forgiven meanwhile."""
SUSPECT = 2
"""The same for who speaks IRC, too, with only the cap forgiven: bots do both."""
SIGNATURES = 3


class Backlog:
    """A bucket that leaks. Levels in packets."""

    __slots__ = ("_at", "_level", "_rate", "destinations", "packets", "since")

    def __init__(self, rate: Rate, now: Micros) -> None:
        self._rate = rate
        self._level = 0
        self._at = now
        self.since = now
        self.packets = 0
        self.destinations: tuple[str, ...] = ()

    def add(self, packets: int, first: Micros, now: Micros, destinations: tuple[str, ...]) -> None:
        """So many were kept back between these two times."""
        self.leak(now)
        if not self._level:
            self.since = min(first, now)
            self.packets = 0
        self.packets += packets
        self._level += packets * self._rate.per
        if destinations:
            self.destinations = destinations

    def leak(self, now: Micros) -> None:
        """Forgive what the time since has earned."""
        if now > self._at:
            self._level = max(self._level - (now - self._at) * self._rate.packets, 0)
            self._at = now

    def over(self, packets: int) -> bool:
        """Whether more than this is in it."""
        return self._level > packets * self._rate.per

    @property
    def empty(self) -> bool:
        """Whether everything is forgiven."""
        return not self._level

    def clear(self) -> None:
        """Begin anew."""
        self._level = 0
        self.packets = 0


def leak_of(rate: Rate, *, suspect: bool) -> Rate:
    """How fast the backlog of this cap is forgiven."""
    return rate if suspect else Rate(rate.packets * 10, rate.per, rate.burst)


def most_of(rate: Rate, *, suspect: bool) -> int:
    """How much of it convicts."""
    return rate.packets * (SUSPECT if suspect else FLOODING)
