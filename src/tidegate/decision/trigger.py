"""Rules of sysfence that are no half of a pair: they run and log while their condition holds.

Touches nothing. Looked at every `every`, as sysfence does; with `once` only at a crossing, which
is kept apart for running and for logging, and begins as "did not hold".
Limits: unknown runs nothing; a person may hold it, there is nothing to close or open.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from tidegate.decision.warning import Evidence
from tidegate.model import Change, GateReport, GuardVerb, Micros, Move
from tidegate.policy.guards import Trigger


class Firing:
    """One trigger, and what it remembers."""

    def __init__(self, spec: Trigger, evidence: Evidence) -> None:
        self.spec = spec
        self.hold: Micros = 0
        self._evidence = evidence
        self._next: Micros = 0
        self._ran = False  # what held when it was last looked at, for `run once`
        self._logged = False  # and for `log once`
        self._failed = False  # the last time, which has been told
        self._saved = b""

    def step(self, now: Micros) -> list[Move]:
        """What to do now: tell first, then run."""
        if self._next - self.spec.every <= now < self._next:
            return []
        self._next = now + self.spec.every
        holds = self._evidence.holds(self.spec.when, now)
        if holds is None or now < self.hold:
            return []
        moves = []
        if holds and self.spec.log and not (self.spec.log_once and self._logged):
            moves.append(self._move("warn", now))
        if holds and self.spec.gate is not None and not (self.spec.run_once and self._ran):
            moves.append(self._move("fire", now))
        self._ran = self._logged = holds
        return moves

    def hear(self, report: GateReport, now: Micros) -> list[Move]:
        """What became of its command: a failure is told once, until it has gone well again."""
        if report.state == "open":
            self._failed = False
        if report.state != "refused" or self._failed:
            return []
        self._failed = True
        why = f"{self.spec.name} could not be run: {report.detail or 'no reason given'}"
        return [self._move("warn", now)._replace(gate=report.gate, reason=why)]

    @property
    def part(self) -> str:
        """The name of its part of the core's memory."""
        return f"trigger {self.spec.name}"

    def changes(self) -> Iterator[Change]:
        """Its state, if it changed since the last call."""
        packed = self.packed()
        if packed != self._saved:
            self._saved = packed
            yield Change(self.part, "state", packed)

    def packed(self) -> bytes:
        """Its state."""
        return json.dumps([self._next, self._ran, self._logged, self.hold]).encode()

    def restore(self, packed: bytes) -> None:
        """Take back its saved state; nothing where it is damaged."""
        try:
            after, ran, logged, hold = map(int, json.loads(packed))
        except (ValueError, TypeError):
            return
        self._next, self._ran, self._logged, self.hold = after, bool(ran), bool(logged), hold

    def _move(self, verb: GuardVerb, now: Micros) -> Move:
        gate = self.spec.gate.name if self.spec.gate is not None and verb == "fire" else ""
        told = self._evidence.told(self.spec.when, now)
        samples = self._evidence.samples(self.spec.when, now)
        return Move(now, self.spec.name, gate, verb, told, samples)
