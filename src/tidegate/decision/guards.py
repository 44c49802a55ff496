"""All guards of a policy: readings in, moves out; which gates are to be closed now, and the tide.

Touches nothing. The same samples, reports and orders at the same times give the same moves.
Limits: says what is wanted; keepers carry it out, and open by themselves what nobody renews.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from tidegate.decision.guard import Guard, granted
from tidegate.decision.pools import Pools
from tidegate.decision.rung import FOREVER, SHUT, State
from tidegate.decision.trigger import Firing
from tidegate.decision.warning import Evidence
from tidegate.decision.word import Order, hear, obey
from tidegate.errors import OperatorError
from tidegate.model import Change, GateReport, Micros, Move, Sample
from tidegate.policy.guards import LEASE, GuardSpec, Level
from tidegate.policy.models import Policy
from tidegate.policy.needs import guard_conditions, needed

_GONE = "it is not in the policy any more"
_LEVELS: tuple[Level, ...] = ("low", "high", "flood")


class Stand(NamedTuple):
    """How a gate stands for its guard: `state` (see `rung.State`) ends at `until`, a person keeps
    the guard from it until `held`, it was restarted at `fired`; times 0 for none. `kept`: why its
    pool keeps it open."""

    state: State = "open"
    until: Micros = 0
    held: Micros = 0
    fired: tuple[Micros, ...] = ()
    given_up: bool = False
    kept: str = ""


class Guards:
    """The guards and triggers of one policy that are switched on.

    `evidence` judges their conditions (`tidegate.evidence.conditions.Evidence`); it belongs to
    them from then on, and is saved, restored and taken over with them. `pools`: what the fleet says
    of them is put in there, and what is asked of it.
    """

    def __init__(self, policy: Policy, evidence: Evidence) -> None:
        self._policy, self._evidence = policy, evidence
        self.pools = Pools(policy.pools, evidence)
        self._guards = {spec.name: self._made(spec) for spec in policy.guards if spec.enabled}
        self._firings = {spec.name: Firing(spec, evidence) for spec in policy.triggers}
        self._gates = {
            gate.name: (guard, k)
            for guard in self._guards.values()
            for k, gate in enumerate(guard.spec.gates)
        }
        self._gone: list[Move] = []  # gates that a reload left without a guard

    def _made(self, spec: GuardSpec) -> Guard:
        acts = _acts(self._policy, spec)
        leave = self.pools.leave if acts else granted  # who only observes leaves nothing
        return Guard(spec, self._evidence, self.pools.lacking, acts=acts, leave=leave)

    def readings(self) -> Mapping[str, Micros]:
        """What has to be taken, by canonical name, and how often."""
        return needed(self._policy)

    def step(
        self, now: Micros, samples: Sequence[Sample], reports: Sequence[GateReport]
    ) -> list[Move]:
        """Take in what was read and reported; what to do now. Call it every second or so."""
        self._evidence.look(now, samples)
        self.pools.leaving.clear()
        moves = [move._replace(time=now) for move in self._gone]
        self._gone = []
        for report in reports:
            found = self._gates.get(report.gate)
            if found is not None:
                moves += hear(*found, report, now)
            elif report.gate in self._firings:
                moves += self._firings[report.gate].hear(report, now)
        for guard in self._guards.values():
            moves += guard.step(now)
        for firing in self._firings.values():
            moves += firing.step(now)
        return moves

    def order(
        self, verb: Order, name: str, now: Micros, until: Micros = 0, by: str = "", note: str = ""
    ) -> list[Move]:
        """Carry out a person's order about a gate, or about every gate of a guard.

        `until`: for how long (0: until they say otherwise). OperatorError where there is no such
        gate or guard, or nothing that could be closed.
        """
        if name in self._firings:
            return self._order_firing(verb, name, now, until, by, note)
        if name in self._gates:
            return obey(*self._gates[name], verb, now, until, by, note)
        if name not in self._guards:
            known = ", ".join(dict.fromkeys([*self._guards, *self._gates]))
            raise OperatorError(f"there is no gate {name!r}; there is: {known or 'none'}")
        guard = self._guards[name]
        if not guard.rungs:
            raise OperatorError(f"guard {name} only warns: it has no gate to {verb}")
        every = range(len(guard.rungs))
        order = every if verb == "close" else reversed(every)
        return [move for k in order for move in obey(guard, k, verb, now, until, by, note)]

    def closed(self, now: Micros) -> dict[str, Micros]:
        """The gates that are to be closed now, each until when; said again, it is renewed.

        What only observes (a guard, or the whole policy) is left out, unless a person closed it.
        """
        return {
            gate: min(until, now + LEASE) if until else now + LEASE
            for guard in self._guards.values()
            for gate, until, person in guard.closed(now)
            if person or guard.acts
        }

    def stand(self, gate: str, now: Micros) -> Stand:
        """How one of the gates stands; as nothing had ever happened where there is none."""
        if gate in self._firings:
            return Stand(held=_ahead(self._firings[gate].hold, now))
        guard, k = self._gates.get(gate, (None, 0))
        if guard is None:
            return Stand()
        rung = guard.rungs[k]
        held, given_up = _ahead(rung.hold, now), rung.said == "gave up"
        kept = guard.missed(k, now) if rung.said == "pool" and rung.state == "open" else ""
        return Stand(rung.state, rung.until, held, tuple(rung.fired), given_up, kept)

    def known(self, name: str, now: Micros) -> list[Sample]:
        """Every reading of this guard as it is now; one without a value says why."""
        guard, firing = self._guards.get(name), self._firings.get(name)
        conditions = () if firing is None else (firing.spec.when,)
        found = {
            sample.reading: sample
            for condition in (conditions if guard is None else guard_conditions(guard.spec))
            for sample in self._evidence.samples(condition, now)
        }
        return list(found.values())

    def unknown(self, name: str, now: Micros) -> list[Sample]:
        """The readings of this guard that nobody knows now; each sample says why."""
        return [sample for sample in self.known(name, now) if sample.value is None]

    def tide(self, now: Micros) -> Level:
        """The host's level now: the highest of guards that are closed or warn."""
        raised = (
            guard.spec.tide
            for guard in self._guards.values()
            if guard.raised and guard.spec.mode == "enforce"
        )
        return max(raised, key=_LEVELS.index, default="low")

    def changes(self) -> Iterator[Change]:
        """What changed since the last call, for a checkpoint."""
        yield from self._evidence.changes()
        for guard in self._guards.values():
            yield from guard.changes()
        for firing in self._firings.values():
            yield from firing.changes()

    def restore(self, change: Change) -> bool:
        """Take back one saved change; False if it is not ours."""
        kind, _blank, name = change.part.partition(" ")
        if kind not in ("guard", "trigger") or not name:
            return self._evidence.restore(change)
        one = self._guards.get(name) if kind == "guard" else self._firings.get(name)
        if one is not None and change.value is not None:
            one.restore(change.value)
        return True

    def take_over(self, old: Guards) -> None:
        """On reload: what is closed stays closed where its gate is still there, and opens else."""
        self._evidence.take_over(old._evidence)
        for name, guard in old._guards.items():
            if name in self._guards:
                self._guards[name].restore(guard.packed())
        for name, firing in old._firings.items():
            if name in self._firings:
                self._firings[name].restore(firing.packed())
        self._gone = [
            Move(0, name, step.gate.name, "open", self._why_gone(step.gate.name), (), k)
            for name, guard in old._guards.items()
            for k, (step, rung) in enumerate(zip(guard.spec.steps, guard.rungs, strict=True))
            if rung.state in SHUT and not self._shut(step.gate.name)
        ]

    def _why_gone(self, gate: str) -> str:
        return "it closes something else now" if gate in self._gates else _GONE

    def _shut(self, gate: str) -> bool:
        guard, k = self._gates.get(gate, (None, 0))
        return guard is not None and guard.rungs[k].state in SHUT

    def _order_firing(
        self, verb: Order, name: str, now: Micros, until: Micros, by: str, note: str
    ) -> list[Move]:
        if verb not in ("hold", "resume"):
            raise OperatorError(f"{name} is run, not closed: write hold or resume, not {verb}")
        self._firings[name].hold = (until or FOREVER) if verb == "hold" else 0
        return [Move(now, name, "", verb, "", (), 0, by, note, until)]


def _acts(policy: Policy, spec: GuardSpec) -> bool:
    return policy.mode == "enforce" and spec.mode == "enforce"


def _ahead(until: Micros, now: Micros) -> Micros:
    return until if until > now else 0
