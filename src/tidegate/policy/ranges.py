"""Whether the conditions of a guard can be meant: what can never hold, and what holds together.

Touches nothing. A condition is taken apart into ways to hold, each a range for every reading; two
ranges of one reading meet or they do not, and different readings know nothing of each other.
Limits: past 256 ways nothing is said; whole numbers are taken for any; `for` is looked through.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from math import inf

from tidegate.policy.expressions import OPPOSITE, either, readings_of, text_of
from tidegate.policy.guards import (
    ONCE,
    And,
    Compare,
    Condition,
    GuardSpec,
    Held,
    Not,
    Operator,
    Or,
)
from tidegate.policy.readings import reading_of

MOST = 256
_SHOWN = 3

Way = tuple[Compare, ...]
"""Comparisons that hold together; with one way of its ways a condition holds."""


def faults(guard: GuardSpec) -> list[tuple[str, str]]:
    """What can't be meant, as (key, what is wrong)."""
    found = []
    fired = bool(guard.steps) and isinstance(guard.steps[0].gate.terms, ONCE)
    close = "restart.when" if fired else "close"
    conditions = [
        (close, guard.close, "so nothing would ever be closed"),
        ("open", guard.open, "so it would stay closed for ever"),
        ("warn", guard.warn, "so nobody would ever be warned"),
    ]
    for number, step in enumerate(guard.steps, 1):
        conditions.append((f"ladder.{number}.when", step.when, "so this step is never taken by it"))
    for key, condition, then in conditions:
        if condition is not None and never(condition):
            found.append((key, f"{text_of(condition)} can never hold, {then}"))
    closing = _closing(guard)
    if closing is not None and never(Not(closing), lasting=True):
        found.append((close, f"{text_of(closing)} always holds, so it would never open"))
    elif not found and guard.open is not None and closing is not None:
        found += _reversed(closing, guard.open)
    return found


def notes(guard: GuardSpec) -> list[tuple[str, str]]:
    """What is allowed and yet worth a look, as (key, what it is)."""
    found = [("open", said) for said in overlaps(guard)]
    close, opened = _closing(guard), guard.open
    if close is None or opened is None:
        return found
    flags = all(reading_of(one).unit == "flag" for one in readings_of(close))
    if not flags and never(And((Not(close), Not(opened))), lasting=True):
        said = "nothing lies between close and open: at the limit it closes and opens in turn"
        found.append(("open", f"{said}; a gap would be better, as between la1 >= 10 and la1 <= 2"))
    same = _directions(close) & _directions(opened)
    for reading, up in sorted(same):
        if (reading, not up) not in _directions(opened):
            more, less = ("high", "low") if up else ("low", "high")
            said = f"close and open both ask for a {more} {reading}"
            found.append(("open", f"{said}: it stays closed where that is {less}"))
    return found


def overlaps(guard: GuardSpec) -> tuple[str, ...]:
    """Where close and open can hold together, such as la5 >= 6 while la1 <= 2; a line, or none."""
    close = _closing(guard)
    if close is None or guard.open is None:
        return ()
    closing, opening = ways(close), ways(guard.open)
    if closing is None or opening is None or len(closing) * len(opening) > MOST * 16:
        return ()
    shown = dict.fromkeys(
        f"{_said(first)} while {_said(second)}"
        for first, second in product(closing, opening)
        if possible((*first, *second))
    )
    if not shown:
        return ()
    examples = ", or ".join(list(shown)[:_SHOWN]) + (", or …" if len(shown) > _SHOWN else "")
    then = "close wins then, and it opens as soon as close has ended"
    return (f"close and open can hold together ({examples}): {then}",)


def _closing(guard: GuardSpec) -> Condition | None:
    """What closes anything: `close`, or without it what the steps say themselves."""
    whens = [step.when for step in guard.steps if step.when is not None]
    return guard.close or (either(whens) if whens else None)


def never(condition: Condition, *, lasting: bool = False) -> bool:
    """Whether it can hold in no way; False where that is not known."""
    found = ways(condition, lasting=lasting)
    return found is not None and not any(possible(way) for way in found)


def ways(condition: Condition, *, truth: bool = True, lasting: bool = False) -> list[Way] | None:
    """The ways in which a condition is true (or false); None for too many.

    `X for 30s` is true in no other way than X, and false anyhow, at first; `lasting`: as X is.
    """
    match condition:
        case Compare(operator=operator):
            return [(condition if truth else condition._replace(operator=OPPOSITE[operator]),)]
        case Not(operand):
            return ways(operand, truth=not truth, lasting=lasting)
        case Held(operand):
            return ways(operand, truth=truth, lasting=lasting) if truth or lasting else [()]
        case And(operands) | Or(operands):
            parts = []
            for operand in operands:
                part = ways(operand, truth=truth, lasting=lasting)
                if part is None:
                    return None
                parts.append(part)
            return _all_of(parts) if isinstance(condition, And) == truth else _one_of(parts)


def _one_of(parts: list[list[Way]]) -> list[Way] | None:
    found = [way for part in parts for way in part]
    return found if len(found) <= MOST else None


def _all_of(parts: list[list[Way]]) -> list[Way] | None:
    found: list[Way] = [()]
    for part in parts:
        if len(found) * len(part) > MOST * 16:
            return None
        found = [way for one, other in product(found, part) if possible(way := (*one, *other))]
        if len(found) > MOST:
            return None
    return found


def possible(way: Way) -> bool:
    """Whether there are numbers with which all of these hold."""
    groups: dict[tuple[str, bool], list[Compare]] = {}
    for one in way:
        groups.setdefault((one.reading, one.percent), []).append(one)
    return all(_meet(reading, percent, group) for (reading, percent), group in groups.items())


def _meet(reading: str, percent: bool, group: list[Compare]) -> bool:
    unit = reading_of(reading).unit
    if unit == "flag":
        return any(all(_true(one, value) for one in group) for value in (0.0, 1.0))
    low, high = (-inf if unit == "any" else 0.0), (100.0 if percent or unit == "percent" else inf)
    above = below = False
    for one in group:
        if one.operator in (">", ">=", "==") and (one.limit, one.operator == ">") > (low, above):
            low, above = one.limit, one.operator == ">"
        if one.operator in ("<", "<=", "==") and (-one.limit, one.operator == "<") > (-high, below):
            high, below = one.limit, one.operator == "<"
    if low == high:
        return not above and not below and all(_true(one, low) for one in group)
    return low < high


def _true(one: Compare, value: float) -> bool:
    outcomes: dict[Operator, bool] = {
        "<": value < one.limit, "<=": value <= one.limit, ">": value > one.limit,
        ">=": value >= one.limit, "==": value == one.limit, "!=": value != one.limit,
    }  # fmt: skip
    return outcomes[one.operator]


def _reversed(close: Condition, opened: Condition) -> Iterator[tuple[str, str]]:
    """An open that holds only where close does: close wins, so it would never open."""
    if not never(And((opened, Not(close))), lasting=True):
        return
    said = (
        f"open ({text_of(opened)}) holds only where close ({text_of(close)}) does, and close wins"
    )
    such = ""
    if isinstance(close, Compare):
        calm = text_of(close._replace(operator=OPPOSITE[close.operator]))
        such = f"; expected what holds when it is calm: {calm}, or better with a gap"
    yield "open", f"{said}, so it would never open{such}"


def _directions(condition: Condition) -> set[tuple[str, bool]]:
    """Which readings it wants high (True) or low (False)."""
    return {
        (one.reading, one.operator in (">", ">="))
        for way in ways(condition) or ()
        for one in way
        if one.operator not in ("==", "!=")
    }


def _said(way: Way) -> str:
    return " and ".join(text_of(one) for one in way) or "anything"
