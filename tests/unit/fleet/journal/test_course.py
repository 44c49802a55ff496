"""Which published policy a host takes: canaries first, and back by itself when it does harm."""

import pytest

from tidegate.fleet.journal.course import MOST_REFUSED, PART, Book, Course, Signs
from tidegate.model import MINUTE, SECOND, Change

NOW = 1000 * MINUTE
CALM = Signs()


def book(number, canary=False, mine=True, trial=0, until=0):
    return Book(f"{number:032x}", number, "abc", canary, mine, trial, until, "office")


FIRST, SECOND_ = book(1), book(2)
TRIED = book(3, True, True, 600, NOW + 15 * MINUTE)


def test_the_highest_holds_and_without_any_the_own():
    course = Course()
    assert course.wanted([], NOW) == ""
    assert course.wanted([FIRST, SECOND_], NOW) == SECOND_.id


def test_only_canaries_try_and_only_until_the_trial_is_over():
    course, shelf = Course(), [FIRST, TRIED]
    assert course.wanted(shelf, NOW) == TRIED.id
    assert course.wanted(shelf, TRIED.until) == FIRST.id
    assert course.wanted([FIRST, TRIED._replace(mine=False)], NOW) == FIRST.id
    assert course.wanted([*shelf, book(4)], NOW) == book(4).id


@pytest.mark.parametrize(
    ("signs", "word"),
    [(Signs(trips=1), "breaker"), (Signs(disabled=1), "switched off"),
     (Signs(aside=3), "set aside"), (Signs(errors=1), "wrong")],
)  # fmt: skip
def test_a_canary_that_does_harm_goes_back_and_does_not_try_again(signs, word):
    course = Course()
    course.taken(TRIED, CALM, NOW)
    assert course.look(TRIED, CALM, NOW + SECOND) == ""
    why = course.look(TRIED, signs, NOW + 2 * SECOND)
    assert word in why
    course.refuse(TRIED.id, why)
    assert course.wanted([FIRST, TRIED], NOW) == FIRST.id
    assert course.refused == {TRIED.id: why}


def test_harm_that_was_there_before_is_not_the_canarys():
    course = Course()
    before = Signs(1, 7, 2, 9)
    course.taken(TRIED, before, NOW)
    assert course.look(TRIED, before, NOW + SECOND) == ""


def test_what_all_hosts_take_is_not_on_trial():
    course = Course()
    course.taken(FIRST, CALM, NOW)
    assert course.look(FIRST, Signs(9, 9, 9, 9), NOW + SECOND) == ""


def test_who_starts_twice_while_it_tries_goes_back():
    course = Course()
    course.taken(TRIED, CALM, NOW)
    for why in (False, True):
        again = Course()
        for change in course.changes():
            assert again.restore(change)
        assert bool(again.began(TRIED, CALM, NOW + MINUTE)) is why
        course = again


def test_what_is_remembered_is_bounded_and_survives():
    course = Course()
    for number in range(MOST_REFUSED + 5):
        course.refuse(f"{number:032x}", "x" * 1000)
    assert len(course.refused) == MOST_REFUSED
    (change,) = course.changes()
    assert course.changes() == []
    again = Course()
    assert again.restore(change)
    assert again.refused == course.refused
    assert not again.restore(Change("ladder", "x", b""))
    for damaged in (b"", b"[]", b"{", b'{"refused": 3}', None):
        assert Course().restore(Change(PART, "course", damaged))
