"""The in-memory twin of the outward gate: the same words, no kernel, no privilege.

Touches nothing. Serves tests. Limits: nothing is capped, since no packet comes by here.
"""

from __future__ import annotations

from collections.abc import Sequence

from tidegate.gate.outward.cover import judge
from tidegate.gate.outward.port import Filtered, OutwardState
from tidegate.gate.port import LONGEST, Refusal
from tidegate.model import Confined, Micros, Subject
from tidegate.policy.outward import OutwardSpec


class MemoryOutward:
    """An `OutwardGate` that only remembers. `disturb` makes it drift; `standing`: there is a
    table, so to speak."""

    def __init__(self) -> None:
        self.spec: OutwardSpec | None = None
        self.spared: tuple[Subject, ...] = ()
        self.standing = False
        self._confined: list[Confined] = []
        self._disturbed = False

    def govern(self, spec: OutwardSpec | None, spared: Sequence[Subject]) -> None:
        """See `OutwardGate.govern`."""
        self.spec, self.spared = spec, tuple(spared)

    def confine(self, confined: Sequence[Confined], now: Micros) -> list[Refusal]:
        """See `OutwardGate.confine`."""
        if self.spec is None:
            self.open_all()
            return []
        self._confined, refusals = judge(confined, self.spec, self.spared, now, LONGEST)
        self.standing, self._disturbed = True, False
        return refusals

    def drifted(self) -> bool:
        """Whether `disturb` was called since the last `confine`."""
        return self._disturbed

    def state(self, now: Micros) -> OutwardState:
        """Who is cut off or watched now; an end that is over is 0, as the kernel tells it."""
        if self.spec is None:
            return OutwardState("there is no [outward] in the policy")
        ahead = (
            Confined(
                one.subject,
                one.until if one.until > now else 0,
                one.watched if one.watched > now else 0,
            )
            for one in self._confined
        )
        filtered = tuple(Filtered(one.name, 0, 0) for one in self.spec.filters)
        return OutwardState(
            "", (), filtered, tuple(one for one in ahead if one.until or one.watched)
        )

    def open_all(self) -> None:
        """See `OutwardGate.open_all`."""
        self._confined, self.standing = [], False

    def disturb(self) -> None:
        """Lose everything, as by a stranger's `nft flush ruleset`."""
        self.open_all()
        self._disturbed = True
