"""The walk: up with each miss, down with each hit, and what counts as either."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.evidence.walk import DISTINCT, FLOOR, GRACE, HASTE, PAIRS, PENDING, THRESHOLD, Walk
from tidegate.model import DAY, HOUR, MINUTE, SECOND

NOW = 1_000 * DAY


def walk(*steps):
    """`+` a miss, `-` a hit, of a destination each, within a second."""
    found = Walk(NOW)
    for n, step in enumerate("".join(steps)):
        if step == "+":
            found.missed(f"m{n}", f"m{n}:80/tcp", NOW)
        else:
            found.answered(f"h{n}", NOW)
    return found


@pytest.mark.parametrize(
    ("steps", "value"),
    [
        ("", 0),
        ("+++", 3),
        ("---", -6),
        ("+++-", 1),
        ("-" * 30, FLOOR),
        ("-" * 30 + "+" * 29, 9),
        ("++-" * 40, 0),
    ],
)
def test_misses_climb_and_hits_descend(steps, value):
    assert walk(steps).value == value
    assert not walk(steps).crossed


def test_it_crosses_at_the_threshold():
    assert walk("+" * THRESHOLD).crossed
    assert not walk("+" * (THRESHOLD - 1)).crossed
    assert walk("-" * 50 + "+" * (THRESHOLD - FLOOR)).crossed


def test_only_the_first_contact_with_a_destination_counts():
    found = Walk(NOW)
    for _ in range(20):
        found.missed("a", "a", NOW)
        found.answered("b", NOW)
        found.missed("b", "b", NOW)
        found.tried("a", "a", NOW)
    assert (found.value, len(found.pending)) == (-1, 0)


def test_a_miss_that_proves_a_hit_is_taken_back():
    found = walk("+++")
    found.answered("m0", NOW)
    assert (found.value, found.misses, found.hits) == (0, 2, 1)


def test_misses_are_forgiven_by_and_by():
    found = walk("+" * 8)
    found.missed("late", "late", NOW + 5 * MINUTE)
    assert found.value == 4
    seldom = Walk(NOW)
    for n in range(60):
        seldom.missed(f"m{n}", "m", NOW + n * 2 * MINUTE)
    assert seldom.value <= 1


def test_what_is_tried_is_a_miss_once_it_is_old():
    found = Walk(NOW)
    for n in range(5):
        found.tried(f"d{n}", f"d{n}:80/tcp", NOW + n)
    assert found.overdue(NOW + GRACE - 1) == []
    assert [one[0] for one in found.overdue(NOW + GRACE + 2)] == ["d0", "d1", "d2"]
    assert found.waiting(NOW + 1) == 2
    found.answered("d0", NOW + SECOND)
    found.unheard("d1")
    found.unheard("d1")
    assert [one[0] for one in found.overdue(NOW + MINUTE)] == ["d2", "d3", "d4"]
    assert found.unknown == 1


def test_many_tries_at_once_wait_less_and_are_bounded():
    found = Walk(NOW)
    for n in range(PENDING + 50):
        found.tried(f"d{n}", "d", NOW)
    assert len(found.pending) == PENDING
    assert found.unknown == 50
    assert len(found.overdue(NOW + HASTE)) == PENDING


def test_who_gave_up_is_a_miss_only_while_it_is_remembered():
    found = Walk(NOW)
    found.gave_up("a", "a", NOW, counts=True)
    assert found.value == 0
    found.tried("a", "a", NOW)
    found.gave_up("a", "a", NOW, counts=True)
    assert found.value == 1


def test_what_proves_nothing_does_not_count():
    found = Walk(NOW)
    found.tried("a", "a", NOW)
    found.missed("a", "a", NOW, counts=False)
    assert (found.value, found.pending) == (0, {})


def test_the_slow_are_found_within_a_day_and_forgotten_after_two():
    found = Walk(NOW)
    for n in range(DISTINCT):
        assert not found.slow
        found.missed(f"m{n}", "m", NOW + n * 20 * MINUTE)
    assert found.slow
    assert found.day == (DISTINCT, 0)
    found.answered("h", NOW + 4 * DAY)
    assert found.day == (0, 1)
    half = walk("+-" * 100)
    assert not half.slow


def test_a_good_record_is_more_hits_than_misses():
    assert walk("-" * 10).good
    assert not walk("-" * 9).good
    assert not walk("-" * 10, "+" * 10).good


def test_lately_fades():
    found = walk("-" * 8, "+" * 4)
    found.lately(NOW + 20 * SECOND)
    assert (found.answers, found.failures) == (2, 1)
    found.lately(NOW + HOUR)
    assert (found.answers, found.failures) == (0, 0)


def test_after_a_conviction_it_begins_anew():
    found = walk("+" * 12)
    found.convicted(NOW)
    assert (found.value, found.day, len(found.pairs), found.named) == (0, (0, 0), 0, [])
    found.missed("m0", "m0", NOW)
    assert found.value == 1


@given(
    st.lists(
        st.tuples(st.sampled_from(["tried", "hit", "miss", "gone"]), st.integers(0, 3000)),
        max_size=400,
    )
)
def test_it_never_leaves_its_bounds(steps):
    found = Walk(NOW)
    for n, (step, name) in enumerate(steps):
        time = NOW + n * SECOND // 7
        if step == "tried":
            found.tried(f"{name}", "x", time)
        elif step == "hit":
            found.answered(f"{name}", time)
        elif step == "miss":
            found.missed(f"{name}", "x", time)
        else:
            found.unheard(f"{name}")
        assert found.value >= FLOOR - PENDING
        assert len(found.pending) <= PENDING
        assert len(found.pairs) <= PAIRS
        assert found.misses >= 0 and found.failures >= 0
