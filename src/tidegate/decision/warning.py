"""A guard's warning: told once at the crossing, and once more when all is clear again.

Touches nothing. It holds what a guard asks about the host, too: `Evidence`, as a protocol.
Limits: it only tells; whom, and how often, is decided where notices go out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from tidegate.model import MINUTE, Change, GuardVerb, Micros, Move, Sample
from tidegate.policy.guards import Condition, GuardSpec

DARK: Micros = 10 * MINUTE
"""What nobody can judge for this long is over: a warning ends, and what is closed opens."""


class Evidence(Protocol):
    """What is known of the host; `tidegate.evidence.conditions.Evidence` is one."""

    def look(self, now: Micros, samples: Sequence[Sample]) -> None:
        """Take in what was read."""

    def holds(self, condition: Condition, now: Micros) -> bool | None:
        """Whether a condition holds; None where that is unknown."""

    def excess(self, condition: Condition, now: Micros) -> float | None:
        """How far beyond its limits a condition is; negative where it does not hold."""

    def value(self, reading: str, now: Micros) -> float | None:
        """The number that a reading is now; None where it is unknown."""

    def samples(self, condition: Condition, now: Micros) -> tuple[Sample, ...]:
        """What is known of every reading in a condition."""

    def told(self, condition: Condition, now: Micros) -> str:
        """The readings of a condition with their limits, for people."""

    def changes(self) -> Iterator[Change]:
        """What changed since the last call, for a checkpoint."""

    def restore(self, change: Change) -> bool:
        """Take back one saved change; False if it is not its own."""

    def take_over(self, old: Any) -> None:
        """On reload: what was read is still true."""


class Crossing:
    """Whether a guard's `warn` has been told and is not over."""

    def __init__(self, spec: GuardSpec, evidence: Evidence) -> None:
        self.on = False
        self._spec, self._evidence = spec, evidence
        self._calm: Micros = 0  # since when it does not hold

    def step(self, now: Micros) -> list[Move]:
        """What to tell now."""
        warn = self._spec.warn
        if warn is None:
            return []
        self._calm = min(self._calm, now)
        holds = self._evidence.holds(warn, now)
        if holds:
            self._calm = 0
            if self.on:
                return []
            self.on = True
            return [self._move("warn", warn, now)]
        if not self.on:
            return []
        self._calm = self._calm or now
        if now < self._calm + (self._spec.patience if holds is False else DARK):
            return []
        self.on, self._calm = False, 0
        return [self._move("clear", warn, now)]

    def packed(self) -> tuple[int, Micros]:
        """Its state."""
        return int(self.on), self._calm

    def unpack(self, on: int, calm: Micros) -> None:
        """Take back its state."""
        self.on, self._calm = bool(on) and self._spec.warn is not None, calm

    def _move(self, verb: GuardVerb, warn: Condition, now: Micros) -> Move:
        told, samples = self._evidence.told(warn, now), self._evidence.samples(warn, now)
        return Move(now, self._spec.name, "", verb, told, samples)
