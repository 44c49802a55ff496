"""The breaker: notices when Tidegate itself begins to do harm, and spares those it would hurt.

Touches nothing. Speed alone never disables protection: above 1,000 new bans a minute a rule only
stays on the first step of its ladder. It trips when at least 20 would-be bans in 10 minutes include
20 % or more with a success in the last 30 days. Limits: counts per rule and overall, no subject.
"""

from __future__ import annotations

from collections import deque

from tidegate.model import MINUTE, Micros

WATCHED: Micros = 10 * MINUTE
LEAST = 20
SHARE = 0.2
SPARED_FOR: Micros = 15 * MINUTE
FAST = 1000


class Breaker:
    """Watches the stream of would-be bans."""

    def __init__(self) -> None:
        self.tripped_until: Micros = 0
        self.trips = 0
        self._recent: deque[tuple[Micros, bool]] = deque()
        self._good = 0
        self._speed: dict[str, deque[Micros]] = {}

    def spares(self, time: Micros, good: bool) -> tuple[bool, bool]:
        """Note a would-be ban; (whether to spare it, whether it tripped the breaker just now)."""
        self._recent.append((time, good))
        self._good += good
        while self._recent and time - self._recent[0][0] > WATCHED:
            self._good -= self._recent.popleft()[1]
        total = len(self._recent)
        now_tripped = False
        if time >= self.tripped_until and total >= LEAST and self._good >= SHARE * total:
            self.tripped_until = time + SPARED_FOR
            self.trips += 1
            now_tripped = True
        return good and time < self.tripped_until, now_tripped

    def fast(self, rule: str, time: Micros) -> bool:
        """Note a new ban of a rule; whether it made more than 1,000 in the last minute."""
        times = self._speed.setdefault(rule, deque())
        times.append(time)
        while times and time - times[0] > MINUTE:
            times.popleft()
        return len(times) > FAST

    def restore(self, tripped_until: Micros) -> None:
        """Take back a saved state."""
        self.tripped_until = tripped_until
