"""What can never hold and what holds together: against trying every value there is."""

from __future__ import annotations

import operator as operators
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.policy.expressions import both, either, parse
from tidegate.policy.guards import And, Compare, Condition, GuardSpec, Held, Not, Or
from tidegate.policy.ranges import faults, never, notes, overlaps

OPERATORS = {
    "<": operators.lt, "<=": operators.le, ">": operators.gt,
    ">=": operators.ge, "==": operators.eq, "!=": operators.ne,
}  # fmt: skip
READINGS = ("la1", "la5", "up(tcp://a:1)", "lag")
VALUES = {
    "la1": (0.0, 0.5, 1.0, 1.5, 2.0, 3.0),
    "la5": (0.0, 0.5, 1.0, 1.5, 2.0, 3.0),
    "up(tcp://a:1)": (0.0, 1.0),
    "lag": (-1.0, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0),
}


def true(condition: Condition, values: dict[str, float]) -> bool:
    match condition:
        case Compare(reading, operator, limit):
            return OPERATORS[operator](values[reading], limit)
        case Not(operand):
            return not true(operand, values)
        case And(operands):
            return all(true(one, values) for one in operands)
        case Or(operands):
            return any(true(one, values) for one in operands)
        case Held(operand):
            return true(operand, values)


def moments() -> list[dict[str, float]]:
    return [
        dict(zip(READINGS, found, strict=True))
        for found in product(*(VALUES[one] for one in READINGS))
    ]


MOMENTS = moments()
_COMPARE = st.builds(
    Compare,
    st.sampled_from(READINGS),
    st.sampled_from(["<", "<=", ">", ">=", "==", "!="]),
    st.sampled_from([0.0, 1.0, 2.0]),
    st.just(False),
)
_CONDITION = st.recursive(
    _COMPARE,
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=4).map(both),
        st.lists(inner, min_size=2, max_size=4).map(either),
        inner.map(Not),
    ),
    max_leaves=8,
)


@given(_CONDITION)
def test_never_is_what_no_values_make_true(condition: Condition) -> None:
    assert never(condition) == (not any(true(condition, values) for values in MOMENTS))


@given(_CONDITION, _CONDITION)
def test_overlaps_are_where_both_hold(close: Condition, opened: Condition) -> None:
    guard = GuardSpec("x", close, opened)
    together = any(true(close, values) and true(opened, values) for values in MOMENTS)
    assert bool(overlaps(guard)) == together


@given(_CONDITION, _CONDITION)
def test_what_would_never_open_is_refused(close: Condition, opened: Condition) -> None:
    """And nothing else: there are values that close, and others that open and do not close."""
    guard = GuardSpec("x", close, opened)
    closes = any(true(close, values) for values in MOMENTS)
    opens = any(true(opened, values) and not true(close, values) for values in MOMENTS)
    assert bool(faults(guard)) == (not (closes and opens))


@pytest.mark.parametrize(
    ("close", "opened", "key"),
    [
        ("la1 >= 2 for 1m", "la1 >= 10", "open"),
        ("not (la1 >= 2 for 1m)", "la1 >= 2", ""),
        ("la1 >= 10 for 1m", "la1 >= 10 and la1 < 3", "open"),
        ("disk.free(/) < 1G or disk.free(/) >= 1G", "la1 < 2", "close"),
        ("memused > 90% and memused < 10%", "la1 < 2", "close"),
        ("memused > 90% and memused < 10G", "memused < 50%", ""),
        ("psi.io.full > 101%", "la1 < 2", "close"),
        ("swapused < 0", "la1 < 2", "close"),
    ],
)
def test_with_times_shares_and_units(close: str, opened: str, key: str) -> None:
    found = faults(GuardSpec("x", parse(close), parse(opened)))
    assert [where for where, _said in found] == ([key] if key else [])


def test_past_what_can_be_looked_at_nothing_is_said() -> None:
    clauses = [f"(rtt(h{n}) > 1s or rtt(i{n}) > 1s)" for n in range(12)]
    guard = GuardSpec("x", parse(" and ".join(clauses)), parse("la1 < 2"))
    assert (faults(guard), overlaps(guard)) == ([], ())


def test_examples_are_few() -> None:
    close = parse("la1 > 9 or la5 > 9 or la15 > 9 or memfree < 1M or swapused > 1G")
    (said,) = overlaps(GuardSpec("x", close, parse("la1 < 2")))
    assert said.count(" while ") == 3
    assert ", or …)" in said


def test_warnings_and_steps_without_close_have_no_overlap() -> None:
    assert notes(GuardSpec("x", warn=parse("la1 > 3"))) == []
