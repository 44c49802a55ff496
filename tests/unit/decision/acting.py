"""Guards on a stage: readings go in second by second, moves come out as lines of a story.

Touches nothing. `Play(spec).to(30, la1=11)` steps until second 30 with the load at 11, and returns
lines such as `12 close apache.stop`. Limits: one reading every second for each name.
"""

from __future__ import annotations

from collections.abc import Sequence

from tidegate.decision.guards import Guards
from tidegate.decision.word import Order
from tidegate.evidence.conditions import Evidence
from tidegate.model import MINUTE, SECOND, Change, GateReport, Micros, Move, Sample
from tidegate.policy.guards import (
    Compare,
    Condition,
    GateSpec,
    GuardSpec,
    Haproxy,
    Or,
    Pool,
    Properties,
    Service,
    Step,
    Terms,
    Throttle,
    Trigger,
)
from tidegate.policy.models import Policy

START: Micros = 1_800_000_000 * SECOND
HIGH = Or((Compare("la1", ">=", 10), Compare("la5", ">=", 6)))
LOW = Compare("la1", "<=", 2)

THROTTLE = GateSpec("apache.throttle", Throttle((80,)))
DRAIN = GateSpec("apache.haproxy", Haproxy("/run/h", "web", "node1"), pool="web")
SLOW = GateSpec("apache.properties", Properties("apache2.service", (("CPUWeight", "20"),)))
STOP = GateSpec("apache.stop", Service("apache2.service"))
ONE = GateSpec("apache", Service("apache2.service"))


def guard(*gates: GateSpec | Step, close: Condition | None = HIGH, **more: object) -> GuardSpec:
    """A guard named apache with these steps; by itself with one gate that stops it."""
    steps = tuple(one if isinstance(one, Step) else Step(one) for one in gates or (ONE,))
    told: dict[str, object] = {"open": LOW, "steps": steps, **more}
    return GuardSpec("apache", close, **told)  # type: ignore[arg-type]


def gate(name: str, terms: Terms, pool: str = "") -> GateSpec:
    return GateSpec(name, terms, pool)


class Play:
    """Guards under way. `second` is where the story stands."""

    def __init__(
        self, *specs: GuardSpec, pools: Sequence[Pool] = (), triggers: Sequence[Trigger] = ()
    ) -> None:
        self.policy = Policy(guards=specs, pools=tuple(pools), triggers=tuple(triggers))
        self.guards = Guards(self.policy, Evidence(self.policy))
        self.second = 0
        self.values: dict[str, float | None] = {"la1": 0.0, "la5": 0.0}
        self.moves: list[Move] = []

    @property
    def now(self) -> Micros:
        return START + self.second * SECOND

    def to(self, second: int, *reports: GateReport, **values: float | None) -> list[str]:
        """Step until that second with these readings (and those of before); what was moved."""
        return self.read(second, values, reports)

    def read(
        self, second: int, values: dict[str, float | None], reports: Sequence[GateReport] = ()
    ) -> list[str]:
        """The same, for readings whose names are no words of Python."""
        self.values |= values
        lines = []
        while self.second < second:
            self.second += 1
            samples = [Sample(name, self.now, value) for name, value in self.values.items()]
            moves = self.guards.step(self.now, samples, reports)
            reports = ()
            self.moves += moves
            lines += [f"{self.second} {move.verb} {move.gate}".rstrip() for move in moves]
        return lines

    def blind(self, second: int) -> list[str]:
        """Nothing is read any more."""
        kept, self.values = self.values, {}
        lines = self.to(second)
        self.values = kept
        return lines

    def say(self, verb: Order, name: str, minutes: int = 0) -> list[str]:
        """A person's order; what was moved."""
        until = self.now + minutes * MINUTE if minutes else 0
        moves = self.guards.order(verb, name, self.now, until, "root", "because")
        self.moves += moves
        return [f"{self.second} {move.verb} {move.gate}".rstrip() for move in moves]

    def report(self, state: str, name: str, detail: str = "") -> GateReport:
        return GateReport(name, state, self.now, detail)  # type: ignore[arg-type]

    @property
    def closed(self) -> list[str]:
        return sorted(self.guards.closed(self.now))

    @property
    def reason(self) -> str:
        """Of the last move."""
        return self.moves[-1].reason

    def saved(self) -> list[Change]:
        return list(self.guards.changes())

    def restart(self) -> None:
        """End them, and begin anew from what was saved."""
        saved = list(self.guards.changes())
        fresh = Guards(self.policy, Evidence(self.policy))
        assert all(fresh.restore(change) for change in saved)
        self.guards = fresh

    def reload(self, *specs: GuardSpec) -> None:
        """Another policy."""
        self.policy = Policy(guards=specs)
        fresh = Guards(self.policy, Evidence(self.policy))
        fresh.take_over(self.guards)
        self.guards = fresh
