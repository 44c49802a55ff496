"""Which readings a policy needs, and how often each has to be taken.

Touches nothing. What the board works out of a history by itself (`disk.full-in`) stands for the
reading that it is worked out of (`disk.available`), which is what has to be taken.
Limits: a reading is taken for as long as anybody in the policy asks for it, whatever the tide.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tidegate.model import SECOND, Micros
from tidegate.policy.guards import And, Compare, Condition, GuardSpec, Held, Not, Or
from tidegate.policy.models import Policy
from tidegate.policy.readings import quoted, reading_of, split

DERIVED: Mapping[str, str] = {
    "disk.full-in": "disk.available",
    "inodes.full-in": "inodes.free",
    "queue.clear-in": "queue",
}
"""What is worked out of the history of another reading with the same argument."""
DERIVED_EVERY: Micros = 10 * SECOND
"""How often a reading that has a history is looked at; a slope needs time, not many points."""


def compares(condition: Condition) -> Iterator[Compare]:
    """Every comparison in a condition, in the order it is written."""
    if isinstance(condition, Compare):
        yield condition
    elif isinstance(condition, And | Or):
        for operand in condition.operands:
            yield from compares(operand)
    else:
        yield from compares(condition.operand)


def holds(condition: Condition) -> Iterator[Held]:
    """Every `for SPAN` in a condition, inner ones first."""
    if isinstance(condition, And | Or):
        for operand in condition.operands:
            yield from holds(operand)
    elif isinstance(condition, Not | Held):
        yield from holds(condition.operand)
        if isinstance(condition, Held):
            yield condition


def source_of(reading: str) -> str:
    """The reading that has to be taken for this one: itself, where it is not worked out."""
    name, argument = split(reading)
    return f"{DERIVED[name]}({quoted(argument)})" if name in DERIVED else reading


def conditions(policy: Policy) -> Iterator[Condition]:
    """Every condition of a policy's guards and triggers that are switched on."""
    for guard in policy.guards:
        if guard.enabled:
            yield from guard_conditions(guard)
    for trigger in policy.triggers:
        yield trigger.when


def guard_conditions(guard: GuardSpec) -> Iterator[Condition]:
    """Every condition of one guard."""
    for found in (guard.close, guard.open, guard.warn, *(step.when for step in guard.steps)):
        if found is not None:
            yield found


def needed(policy: Policy) -> dict[str, Micros]:
    """What has to be taken, by canonical name, and how often: the shortest that anybody needs."""
    own = {one.name: one.every for one in policy.readings}
    found: dict[str, Micros] = {}
    for condition in conditions(policy):
        for compare in compares(condition):
            taken = source_of(compare.reading)
            every = own.get(taken, reading_of(taken).interval)
            if taken != compare.reading:
                every = max(every, DERIVED_EVERY)
            found[taken] = min(every, found.get(taken, every))
    pools = {gate.pool for one in policy.guards if one.enabled for gate in one.gates if gate.pool}
    for pool in policy.pools:
        if pool.name in pools:
            for peer in pool.peers:
                every = own.get(peer, reading_of(peer).interval)
                found[peer] = min(every, found.get(peer, every))
    return found
