"""Conditions: Kleene's logic, `for SPAN`, and what is told of them."""

from __future__ import annotations

import math
from itertools import product

import pytest

from tidegate.evidence.conditions import BLINK, Evidence, number
from tidegate.model import HOUR, MINUTE, SECOND, Change, Micros, Sample
from tidegate.policy.guards import And, Compare, Condition, GuardSpec, Held, Not, Or
from tidegate.policy.models import Policy

START = 1_800_000_000 * SECOND
LA1 = Compare("la1", ">=", 10)
LA5 = Compare("la5", ">=", 6)
SWAP = Compare("swapused", ">=", 90, percent=True)


def evidence(*conditions: Condition) -> Evidence:
    guards = tuple(GuardSpec(f"g{n}", close=one) for n, one in enumerate(conditions))
    return Evidence(Policy(guards=guards))


def look(each: Evidence, now: Micros = START, **values: float | None) -> None:
    each.look(now, [Sample(name, now, value) for name, value in values.items()])


@pytest.mark.parametrize(
    ("operator", "below", "at", "above"),
    [
        ("<", True, False, False), ("<=", True, True, False), (">", False, False, True),
        (">=", False, True, True), ("==", False, True, False), ("!=", True, False, True),
    ],
)  # fmt: skip
def test_comparisons(operator: str, below: bool, at: bool, above: bool) -> None:
    one = Compare("la1", operator, 10)  # type: ignore[arg-type]
    each = evidence(one)
    for value, expected in ((9.99, below), (10.0, at), (10.01, above)):
        look(each, la1=value)
        assert each.holds(one, START) is expected


TRUTH: dict[str, float | None] = {"true": 100.0, "false": 0.0, "unknown": None}
SAID = {"true": True, "false": False, "unknown": None}


@pytest.mark.parametrize(("left", "right"), list(product(TRUTH, TRUTH)))
def test_and_or_not_by_kleene(left: str, right: str) -> None:
    both, either, neither = And((LA1, LA5)), Or((LA1, LA5)), Not(LA1)
    each = evidence(both, either, neither)
    look(each, la1=TRUTH[left], la5=TRUTH[right])
    order = {False: 0, None: 1, True: 2}
    values = sorted((SAID[left], SAID[right]), key=lambda one: order[one])
    assert each.holds(both, START) is values[0], "the least true of them"
    assert each.holds(either, START) is values[1], "the most true of them"
    opposite = {True: False, False: True, None: None}
    assert each.holds(neither, START) is opposite[SAID[left]]


def test_a_share_of_what_is_not_there_is_unknown() -> None:
    each = evidence(SWAP)
    for whole, value, expected in ((0.0, 0.0, None), (None, 0.0, None), (100.0, 90.0, True)):
        each.look(START, [Sample("swapused", START, value, whole)])
        assert each.holds(SWAP, START) is expected


def test_no_number_is_unknown_and_endless_is_a_number() -> None:
    full = Compare("disk.full-in(/)", "<", 60)
    each = evidence(LA1, full)
    look(each, la1=math.nan)
    assert each.holds(LA1, START) is None
    look(each, la1=math.inf)
    assert each.holds(LA1, START) is True


# -- for SPAN --------------------------------------------------------------------------------------

HELD = Held(LA1, 30 * SECOND)


def looks(each: Evidence, values: str, start: int = 0, every: int = 5) -> list[bool | None]:
    """A look every five seconds: `x` over the limit, `.` under it, `?` unknown."""
    found = []
    for n, char in enumerate(values):
        now = START + (start + n * every) * SECOND
        look(each, now, la1={"x": 11.0, ".": 1.0, "?": None}[char])
        found.append(each.holds(HELD, now))
    return found


def test_it_holds_once_it_has_held_for_the_span_without_a_break() -> None:
    each = evidence(HELD)
    assert looks(each, "xxxxxxxx") == [False] * 6 + [True] * 2
    assert looks(each, ".xxxxxxx", start=40) == [False] * 7 + [True]


def test_what_is_unknown_neither_counts_nor_breaks() -> None:
    each = evidence(HELD)
    found = looks(each, "xxx??xxxxxx")
    assert found[3:5] == [None, None]
    assert found.index(True) == 9, "ten seconds before it, and twenty since it is known again"


def test_time_that_nobody_looked_at_does_not_count() -> None:
    each = evidence(HELD)
    looks(each, "xx")
    assert BLINK < MINUTE
    assert looks(each, "xxxxxx", start=60) == [False] * 5 + [True]


def test_a_clock_that_is_set_back_does_not_count_either() -> None:
    each = evidence(HELD)
    looks(each, "xxx")
    assert looks(each, "xxxxxx", start=-3600) == [False] * 4 + [True] * 2


def test_asking_changes_nothing() -> None:
    one, other = evidence(HELD), evidence(HELD)
    looks(one, "xxx")
    looks(other, "xxx")
    for _n in range(100):
        one.holds(HELD, START + 10 * SECOND)
    assert looks(one, "xxxxx", start=15) == looks(other, "xxxxx", start=15)


def test_two_that_differ_in_and_or_only_are_two() -> None:
    both, either = Held(And((LA1, LA5)), MINUTE), Held(Or((LA1, LA5)), MINUTE)
    assert both == either, "tuples of the same content are equal, whatever their class"
    each = evidence(both, either)
    for n in range(20):
        look(each, START + n * 5 * SECOND, la1=11.0, la5=0.0)
    assert each.holds(both, START + 95 * SECOND) is False
    assert each.holds(either, START + 95 * SECOND) is True


def test_a_span_that_nobody_looked_at_has_not_passed() -> None:
    each = evidence(LA1)
    look(each, la1=11.0)
    assert each.holds(HELD, START) is False
    assert each.holds(Held(LA1, 0), START) is True
    look(each, la1=None)
    assert each.holds(HELD, START) is None


def test_since_when_it_holds_outlives_a_restart_and_a_reload() -> None:
    each = evidence(HELD)
    looks(each, "xxx")
    saved = list(each.changes())
    assert [change.part for change in saved] == ["held"]
    restored, reloaded = evidence(HELD), evidence(HELD, LA5)
    assert all(restored.restore(change) for change in saved)
    reloaded.take_over(each)
    expected = looks(each, "xxxxx", start=15)
    assert looks(restored, "xxxxx", start=15) == looks(reloaded, "xxxxx", start=15) == expected
    assert True in expected


def test_saved_conditions_that_are_gone_are_forgotten() -> None:
    old, new = evidence(HELD), evidence(LA1)
    looks(old, "xxx")
    (saved,) = old.changes()
    assert new.restore(saved)
    assert list(new.changes()) == [Change("held", saved.key, None)]
    assert list(new.changes()) == []
    assert not new.restore(Change("guard x", "state", b""))
    assert old.restore(Change("held", saved.key, b"odd"))


# -- how far beyond --------------------------------------------------------------------------------


def test_how_far_a_condition_is_beyond_its_limits() -> None:
    low = Compare("memfree", "<", 100)
    whole = Or((LA1, And((LA5, low))))
    each = evidence(whole, Held(LA1, MINUTE), Not(LA1))
    look(each, la1=15.0, la5=12.0, memfree=50.0)
    assert each.excess(LA1, START) == 0.5
    assert each.excess(low, START) == 0.5
    assert each.excess(And((LA5, low)), START) == 0.5
    assert each.excess(Or((LA1, LA5)), START) == 1.0
    assert each.excess(Held(LA1, MINUTE), START) == 0.5
    assert each.excess(Not(LA1), START) == -0.5
    assert each.excess(Compare("la1", "==", 15), START) == 0
    assert each.excess(Compare("la1", "!=", 15), START) == -1
    assert each.excess(Compare("la1", ">", 0), START) == 15, "a limit of 0 has no shares"
    look(each, START + SECOND, la5=None)
    later = START + SECOND
    assert each.excess(whole, later) == 0.5, "what is known is enough where one is"
    assert each.excess(And((LA5, low)), later) is None
    assert each.excess(Not(LA5), later) is None


# -- what is told ----------------------------------------------------------------------------------


def test_it_is_told_with_values_and_limits() -> None:
    both = Or((LA1, LA5))
    each = evidence(both, SWAP)
    look(each, la1=11.2, la5=4.1)
    assert each.told(both, START) == "la1 11.2 (limit 10), la5 4.1 (limit 6)"
    look(each, la5=None)
    assert each.told(both, START) == "la1 11.2 (limit 10), la5 unknown (limit 6)"
    later = START + HOUR
    assert "la1 unknown: not read for 3600 s (limit 10)" in each.told(both, later)
    each.look(START, [Sample("swapused", START, 300.0, 1200.0)])
    assert each.told(SWAP, START) == "swapused 25% (limit 90%)"
    each.look(START, [Sample("swapused", START, 0.0, 0.0)])
    assert each.told(SWAP, START) == "swapused unknown: there is none (limit 90%)"


def test_two_limits_of_one_reading_stand_together() -> None:
    both = And((LA1, Compare("la1", "<", 50), LA1))
    each = evidence(both)
    look(each, la1=12.0)
    assert each.told(both, START) == "la1 12 (limit 10 and 50)"
    assert [one.reading for one in each.samples(both, START)] == ["la1"]
    assert each.value("la1", START) == 12.0


@pytest.mark.parametrize(
    ("reading", "value", "said"),
    [
        ("la1", 11.25, "11.25"), ("la1", 1e20, "1e+20"), ("memfree", 512.0, "512 B"),
        ("memfree", 220200960.0, "210 MiB"), ("memfree", 5.5 * 1024**4, "5.5 TiB"),
        ("interface.in(eth0)", 2048.0, "2 KiB/s"), ("psi.cpu.some", 12.5, "12.5%"),
        ("disk.full-in(/)", 5400.0, "1h30m"), ("disk.full-in(/)", math.inf, "never"),
        ("rtt(192.0.2.1)", 0.0123, "12.3 ms"), ("listen.overflows", 3.0, "3/s"),
        ("la1", math.inf, "inf"), ("lag", 7.0, "7"), ("processes", 1234.0, "1234"),
    ],
)  # fmt: skip
def test_numbers_for_people(reading: str, value: float, said: str) -> None:
    assert number(reading, value) == said
