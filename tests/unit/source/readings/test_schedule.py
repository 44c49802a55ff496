"""When readings are due."""

from __future__ import annotations

import random

from tidegate.model import SECOND
from tidegate.source.readings.schedule import LEAST, Schedule


def test_what_is_new_is_due_at_once_and_then_on_the_grid():
    schedule = Schedule()
    schedule.want({"la1": SECOND, "queue(exim)": 10 * SECOND}, 12_345_678)
    assert schedule.due(12_345_678) == ["la1", "queue(exim)"]
    assert schedule.next() == 13 * SECOND
    assert schedule.due(13 * SECOND) == ["la1"]
    assert schedule.due(14 * SECOND) == ["la1"]


def test_lateness_never_adds_up():
    schedule = Schedule()
    schedule.want({"la1": SECOND}, 0)
    chance = random.Random(7)
    now, taken = 0, 0
    while now < 1000 * SECOND:
        taken += bool(schedule.due(now))
        now = schedule.next() + chance.randrange(400_000)
    assert 999 <= taken <= 1001


def test_missed_moments_are_left_out():
    schedule = Schedule()
    schedule.want({"la1": SECOND}, 0)
    assert schedule.due(0) == ["la1"]
    assert schedule.due(90 * SECOND + 3) == ["la1"]
    assert schedule.due(90 * SECOND + 4) == []
    assert schedule.next() == 91 * SECOND


def test_the_same_interval_falls_due_together_whenever_it_was_wanted():
    schedule = Schedule()
    schedule.want({"la1": SECOND}, 100_000)
    schedule.due(100_000)
    schedule.want({"la1": SECOND, "la5": SECOND}, 700_000)
    assert schedule.due(700_000) == ["la5"]
    schedule.due(SECOND)
    assert sorted(schedule.due(2 * SECOND)) == ["la1", "la5"]


def test_wanting_it_more_often_takes_effect_at_once_and_there_is_a_least():
    schedule = Schedule()
    schedule.want({"x": 3600 * SECOND}, 0)
    schedule.due(0)
    schedule.want({"x": 1}, SECOND)
    assert schedule.next() == SECOND + LEAST


def test_nothing_is_due_where_nothing_is_wanted():
    schedule = Schedule()
    schedule.want({"x": SECOND}, 0)
    schedule.want({}, 0)
    assert schedule.next() is None
    assert schedule.due(9 * SECOND) == []
    assert "x" not in schedule
