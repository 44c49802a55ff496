"""Can two conditions hold together? la1 <= 2 and la5 >= 6 can; la1 <= 2 and la1 >= 10 can not.

Touches nothing. Readings are taken to know nothing of each other, so the answer is yes where it
depends on them. Limits: conditions with many alternatives are said to hold together unseen.
"""

from __future__ import annotations

from itertools import product
from math import inf

from tidegate.policy.guards import And, Compare, Condition, Or

_MOST = 256


def together(one: Condition, other: Condition) -> Condition | None:
    """Comparisons of both that can be true at once, as a condition; None where there are none."""
    ways, others = _ways(one), _ways(other)
    if ways is None or others is None:
        return And((one, other))
    for first, second in product(ways, others):
        if _possible((*first, *second)):
            every = tuple(dict.fromkeys((*first, *second)))
            return every[0] if len(every) == 1 else And(every)
    return None


def _ways(condition: Condition) -> list[tuple[Compare, ...]] | None:
    """The alternatives in which a condition holds; None for too many."""
    if isinstance(condition, Compare):
        return [(condition,)]
    if not isinstance(condition, And | Or):
        return None
    parts = [_ways(operand) for operand in condition.operands]
    if isinstance(condition, Or):
        found = [way for part in parts for way in part or ()]
        return None if None in parts or len(found) > _MOST else found
    ways: list[tuple[Compare, ...]] = [()]
    for part in parts:
        if part is None or len(ways) * len(part) > _MOST:
            return None
        ways = [(*before, *way) for before in ways for way in part]
    return ways


def _possible(compares: tuple[Compare, ...]) -> bool:
    """Whether numbers exist with which all of these hold."""
    ranges: dict[tuple[str, bool], tuple[float, bool, float, bool]] = {}
    for reading, operator, limit, percent in compares:
        low, above, high, below = ranges.get((reading, percent), (-inf, False, inf, False))
        if operator in (">", ">=", "==") and (limit, operator == ">") > (low, above):
            low, above = limit, operator == ">"
        if operator in ("<", "<=", "==") and (-limit, operator == "<") > (-high, below):
            high, below = limit, operator == "<"
        ranges[reading, percent] = (low, above, high, below)
    return all(
        low < high or (low == high and not above and not below)
        for low, above, high, below in ranges.values()
    )
