"""Whether what a gate is closed for becomes less."""

from __future__ import annotations

import pytest

from tidegate.decision.course import BACK, Course
from tidegate.model import SECOND

START = 1_800_000_000 * SECOND


def follow(each: Course, values: list[float | None], start: int = 0) -> list[bool]:
    found = []
    for n, value in enumerate(values):
        each.note(START + (start + n) * SECOND, value)
        found.append(each.falling)
    return found


def test_what_falls_is_seen_after_a_while_and_what_stands_is_not() -> None:
    assert follow(Course(), [2 - 0.05 * n for n in range(30)]) == [False] * 15 + [True] * 15
    assert not any(follow(Course(), [2.0] * 60))
    assert not any(follow(Course(), [1 + 0.1 * n for n in range(60)]))


def test_it_falls_no_more_soon_after_it_stands_again() -> None:
    found = follow(Course(), [2 - 0.05 * n for n in range(30)] + [0.5] * 30)
    assert found[29]
    assert not any(found[30 + 20 :]), "within what it looks back, and a step"


def test_the_least_fall_that_counts() -> None:
    assert not any(follow(Course(), [1.0] * 15 + [0.985] * 10))
    assert any(follow(Course(), [1.0] * 15 + [0.975] * 10))


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_what_is_not_exceeded_does_not_fall(value: float) -> None:
    assert not any(follow(Course(), [1.0] * 20 + [value] * 20)[20:])


def test_unknown_begins_anew() -> None:
    assert not any(follow(Course(), [2.0] * 20 + [None] + [1.0] * 14))


def test_a_clock_that_is_set_back_tells_nothing_false() -> None:
    each = Course()
    follow(each, [2.0] * 60, start=7200)
    assert not any(follow(each, [1.0] * 60))


def test_it_is_bounded_and_outlives_a_restart() -> None:
    one, other = Course(), Course()
    values: list[float | None] = [9 - 0.01 * n for n in range(500)]
    follow(one, values)
    assert len(one.packed()) <= BACK // (5 * SECOND) + 2
    other.unpack(one.packed())
    assert follow(one, [4.0, 3.9], 500) == follow(other, [4.0, 3.9], 500) == [True, True]
