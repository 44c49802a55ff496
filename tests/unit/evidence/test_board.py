"""The board: what is known of a reading now, and what follows from its history."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.evidence.board import LEAST_POINTS, POINTS, Board, Point, slope
from tidegate.model import HOUR, MINUTE, SECOND, Change, Micros, Sample

START = 1_800_000_000 * SECOND
LEFT = "disk.available(/var)"
FULL_IN = "disk.full-in(/var)"


def board() -> Board:
    return Board({"la1": SECOND, LEFT: 10 * SECOND}, [FULL_IN, "la1"])


def fill(each: Board, value: float, pace: float, count: int = 30, start: Micros = START) -> Micros:
    """Samples every ten seconds, from a value on, at a pace per second; when the last one came."""
    for n in range(count):
        each.take([Sample(LEFT, start + n * 10 * SECOND, value + pace * 10 * n)])
    return start + (count - 1) * 10 * SECOND


def test_the_latest_sample_holds_until_three_are_missing() -> None:
    each = board()
    each.take([Sample("la1", START, 3.0), Sample("la1", START + SECOND, 4.0)])
    assert each.value("la1", START + SECOND) == 4.0
    assert each.value("la1", START + 4 * SECOND) == 4.0
    late = each.at("la1", START + 5 * SECOND)
    assert (late.value, late.why) == (None, "not read for 4 s")


def test_what_was_read_before_the_clock_was_set_back_does_not_hold_till_it_is_that_late_again() -> (
    None
):
    each = board()
    each.take([Sample("la1", START, 50.0), Sample(LEFT, START, 5.0)])
    assert each.value("la1", START - 3 * SECOND) == 50.0, "two processes look at it one by one"
    ahead = each.at("la1", START - HOUR)
    assert (ahead.value, ahead.why) == (None, "not read since the clock was set back")


def test_what_was_never_read_or_could_not_be_is_unknown_with_the_reason() -> None:
    each = board()
    assert each.at("la1", START).why == "not read yet"
    each.take([Sample("la1", START, None, None, "no such file")])
    assert each.at("la1", START) == Sample("la1", START, None, None, "no such file")


def test_what_nobody_asked_for_is_not_kept() -> None:
    each = board()
    each.take([Sample("la5", START, 3.0)])
    assert each.value("la5", START) is None


def test_a_disk_that_fills_steadily_is_full_in_time() -> None:
    each = board()
    now = fill(each, 1e9, -1e6)
    assert each.value(FULL_IN, now) == pytest.approx((1e9 - 290e6) / 1e6)
    assert each.at(FULL_IN, now).reading == FULL_IN


@pytest.mark.parametrize("pace", [0.0, 1e6])
def test_a_disk_that_does_not_fill_never_is(pace: float) -> None:
    each = board()
    assert each.value(FULL_IN, fill(each, 1e9, pace)) == math.inf


def test_a_full_disk_is_full_now_whatever_its_history() -> None:
    each = board()
    each.take([Sample(LEFT, START, 0.0)])
    assert each.value(FULL_IN, START) == 0


def test_too_few_values_tell_nothing() -> None:
    each = board()
    now = fill(each, 1e9, -1e6, LEAST_POINTS - 1)
    assert each.at(FULL_IN, now).why == f"fewer than {LEAST_POINTS} values of {LEFT} yet"
    each.take([Sample(LEFT, now + 10 * SECOND, 9e8)])
    assert each.value(FULL_IN, now + 10 * SECOND) is not None


def test_a_history_is_as_old_as_what_it_tells_of() -> None:
    each = board()
    now = fill(each, 1e9, -1e6)
    assert each.value(FULL_IN, now + 31 * SECOND) is None, "not read for three intervals"
    each.take([Sample(LEFT, now + HOUR, 5e8)])
    assert each.value(FULL_IN, now + HOUR) is None, "nobody looked for an hour"


def test_a_clock_that_is_set_back_begins_a_new_history() -> None:
    each = board()
    now = fill(each, 1e9, -1e6)
    back = fill(each, 1e9, -2e6, start=now - HOUR)
    assert each.value(FULL_IN, back) == pytest.approx((1e9 - 580e6) / 2e6)


def test_the_same_moment_twice_changes_nothing() -> None:
    each = board()
    now = fill(each, 1e9, -1e6)
    found = each.value(FULL_IN, now)
    each.take([Sample(LEFT, now, 1e9 - 290e6)])
    assert each.value(FULL_IN, now) == found


def test_wild_values_do_not_move_a_slope() -> None:
    random_ = random.Random(7)
    points = [Point(START + n * 10 * SECOND, 1e9 - 1e6 * 10 * n) for n in range(POINTS)]
    for n in random_.sample(range(POINTS), POINTS // 4):
        points[n] = points[n]._replace(value=random_.uniform(0, 1e12))
    # A quarter of the points spoils nearly half of the pairs; the median is still among the rest.
    assert slope(points) == pytest.approx(-1e6, rel=0.05)


@given(st.lists(st.floats(-1e12, 1e12), min_size=2, max_size=20))
def test_a_slope_is_between_the_steepest(values: list[float]) -> None:
    points = [Point(START + n * SECOND, value) for n, value in enumerate(values)]
    steps = [b - a for a, b in pairwise(values)]
    assert min(steps) - 1e-3 <= slope(points) <= max(steps) + 1e-3


def test_a_history_outlives_a_restart_and_a_reload() -> None:
    each = board()
    now = fill(each, 1e9, -1e6)
    restored, reloaded = board(), board()
    for change in each.changes():
        assert restored.restore(change)
    assert list(each.changes()) == [], "nothing changed since"
    reloaded.take_over(each)
    last = Sample(LEFT, now, 1e9 - 290e6)
    for one in (restored, reloaded):
        one.take([last])
        assert one.value(FULL_IN, now) == each.value(FULL_IN, now)
    assert reloaded.value(LEFT, now) == 1e9 - 290e6, "and so does what was read"


def test_a_saved_history_that_is_damaged_or_no_more_needed_is_forgotten() -> None:
    each = board()
    assert each.restore(Change("history", LEFT, b"odd"))
    assert each.restore(Change("history", "disk.available(/old)", b""))
    assert not each.restore(Change("other", LEFT, b""))
    assert list(each.changes()) == [Change("history", "disk.available(/old)", None)]
    each.take([Sample(LEFT, START, math.inf), Sample(LEFT, START, math.nan)])
    assert list(each.changes()) == [], "what is no number is no point"


def test_a_history_is_bounded() -> None:
    each = board()
    fill(each, 1e9, -1.0, 5 * POINTS)
    (change,) = each.changes()
    assert change.value is not None
    assert len(change.value) == 16 * POINTS
    assert MINUTE * 10 == POINTS * 10 * SECOND
