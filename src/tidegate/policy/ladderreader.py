"""Ladders out of policy tables: a guard's gates by their names, with when each of them is due.

Touches nothing. One gate alone has the guard's name, those of a ladder `GUARD.KIND`.
Limits: the order is the administrator's; where a harsher step stands before a milder, it is noted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from tidegate.policy import guardvalues as read
from tidegate.policy import values
from tidegate.policy.conditionreader import ConditionReader
from tidegate.policy.gatereader import HARSHNESS, KINDS, GateReader
from tidegate.policy.guards import Agent, GateSpec, Haproxy, Properties, Step, Terms, Throttle
from tidegate.policy.sections import Read, Sections, subtable

STEP: dict[str, Read] = {"when": values.text, "after": read.span, "name": values.text}


class LadderReader:
    """Reads the gates of one guard after the other."""

    def __init__(self, sections: Sections, gates: GateReader, conditions: ConditionReader) -> None:
        self._sections = sections
        self._gates = gates
        self._conditions = conditions

    def steps(self, name: str, table: Mapping[str, Any], pool: str) -> tuple[Step, ...]:
        """The steps of the guard of that name; its gates belong to this pool."""
        return tuple(_pooled(step, pool) for step in self._steps(name, table))

    def _steps(self, name: str, table: Mapping[str, Any]) -> tuple[Step, ...]:
        path = f"guard.{name}"
        if "ladder" not in table:
            kind = next((kind for kind in KINDS if kind in table), None)
            terms = kind and self._gates.terms(f"{path}.{kind}", kind, table[kind])
            return (Step(GateSpec(name, terms)),) if terms else ()
        given = table["ladder"]
        if not isinstance(given, list) or not given:
            said = "expected a list of gates, such as [{ throttle = { ports = [80] } }]"
            self._sections.fault(f"{path}.ladder", said)
            return ()
        steps = []
        for number, one in enumerate(given, 1):
            where = f"{path}.ladder.{number}"
            step = self._step(name, where, self._sections.table(where, one), len(given) == 1)
            if step is not None:
                steps.append(step)
        self._order(f"{path}.ladder", [step.gate for step in steps])
        return tuple(steps)

    def _step(self, name: str, path: str, table: Mapping[str, Any], alone: bool) -> Step | None:
        kinds = [kind for kind in KINDS if kind in table]
        data = self._sections.section(path, table, {**STEP, **dict.fromkeys(KINDS, subtable)})
        if len(kinds) != 1:
            self._sections.fault(path, f"expected one kind of gate of {', '.join(KINDS)}")
            return None
        kind = kinds[0]
        terms = self._gates.terms(f"{path}.{kind}", kind, table[kind])
        when = self._conditions.condition(f"{path}.when", data.get("when"))
        if terms is None:
            return None
        called = data.get("name", "stop" if kind == "service" else kind)
        gate = GateSpec(name if alone and "name" not in data else f"{name}.{called}", terms)
        return Step(gate, data.get("after", _AFTER), when)

    def _order(self, path: str, gates: Sequence[GateSpec]) -> None:
        """A step that is harder to take back than the next would better come after it."""
        ranked = [
            (HARSHNESS[type(one.terms)], one) for one in gates if type(one.terms) in HARSHNESS
        ]
        for (before, harsh), (after, mild) in pairwise(ranked):
            if before > after:
                said = f"{mild.name} takes less away than {harsh.name}, and comes after it"
                self._sections.note(path, said)


_AFTER = Step(GateSpec("", Throttle((80,)))).after


def _pooled(step: Step, pool: str) -> Step:
    """The step with its pool, where its gate takes a member out of service."""
    if not pool or not _takes_out(step.gate.terms):
        return step
    return replace(step, gate=replace(step.gate, pool=pool))


def _takes_out(terms: Terms) -> bool:
    if isinstance(terms, Haproxy | Agent):
        return terms.weight == 0
    return not isinstance(terms, Throttle | Properties)
