"""How much is listened to, so that listening costs no more than it may: whole sources by a share.

Touches nothing; told the time and what it cost. Loud sources come down first, in the number of
their destinations; then whole sources, others every ten seconds. Limits: a share is never less
than one in 65,536; what comes in at the most is `INWARD` connections a second.
"""

from __future__ import annotations

from collections import Counter

from tidegate.model import SECOND, Micros
from tidegate.source.traffic.filters import MOST_LOUD, WHOLE, Share

ALLOWED = 0.004
"""Of one processor, for hearing of connections; telling and judging them costs as much again."""
LOUD = 100
"""Connections a second to different destinations, beyond which one source is heard in part."""
INWARD = 150
TURN: Micros = 10 * SECOND
_LEAST = 16
_SALT = 0x85EBCA6B


class Sampling:
    """`share` is what is listened to."""

    def __init__(self, allowed: float = ALLOWED) -> None:
        self.share = Share()
        self._allowed = allowed
        self._turned: Micros = 0
        self._salt = 1

    @property
    def part(self) -> float:
        """The share of sources that is listened to."""
        return self.share.whole / WHOLE

    def look(
        self, now: Micros, span: Micros, cost: float, by_key: Counter[int], inward: int
    ) -> bool:
        """A second or so is over: it cost so much of a processor, so many connections came per key,
        and so many came in. True where the share has changed."""
        seconds = max(span, SECOND // 10) / SECOND
        parts = self._parts(by_key, seconds)
        fresh = Share(
            self.share.salt,
            self._whole(cost * self._left(parts, by_key, seconds)),
            parts,
            self._inward(inward / seconds),
        )
        if fresh.whole < WHOLE and not 0 <= now - self._turned < TURN:
            self._turned = now
            self._salt = self._salt * _SALT + 1 & 0xFFFFFFFF
            fresh = fresh._replace(salt=self._salt)
        changed, self.share = fresh != self.share, fresh
        return changed

    def _left(
        self, parts: tuple[tuple[int, int], ...], by_key: Counter[int], seconds: float
    ) -> float:
        """The share of what came that will come still, now that some are loud."""
        known = dict(self.share.loud)
        over = sum(by_key[key] - LOUD * seconds for key, _part in parts if key not in known)
        return 1 - max(0.0, over) / max(1, by_key.total())

    def _whole(self, cost: float) -> int:
        whole = self.share.whole
        if cost > self._allowed:
            return max(_LEAST, int(whole * max(0.05, self._allowed / cost)))
        if cost < self._allowed / 2 and whole < WHOLE:
            return min(WHOLE, whole * 3 // 2 + 1)
        return whole

    def _parts(self, by_key: Counter[int], seconds: float) -> tuple[tuple[int, int], ...]:
        """Loud sources with the share of their destinations that makes them bearable."""
        parts = dict(self.share.loud)
        rates = {key: by_key[key] / seconds * WHOLE / part for key, part in parts.items()}
        rates |= {
            key: count / seconds
            for key, count in by_key.most_common(MOST_LOUD)
            if key not in parts and count / seconds > LOUD
        }
        for key, rate in rates.items():
            part = parts.get(key, WHOLE)
            wanted = min(WHOLE, max(1, int(WHOLE * LOUD / max(rate, 1.0))))
            if wanted == WHOLE or key not in parts or not wanted / 2 <= part <= wanted * 2:
                parts[key] = wanted
        still = {key: part for key, part in parts.items() if part < WHOLE}
        loudest = sorted(still, key=lambda key: rates.get(key, 0.0), reverse=True)[:MOST_LOUD]
        return tuple(sorted((key, still[key]) for key in loudest))

    def _inward(self, rate: float) -> int:
        part = self.share.inward
        if rate > INWARD or (rate < INWARD / 3 and part < WHOLE):
            return min(WHOLE, max(_LEAST, int(part * (INWARD / 2) / max(rate, 1.0))))
        return part
