"""What followed a ban: counted from the line behind it to ten minutes after its end."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from tidegate.evidence.aftermath import REMEMBERED, SPAN, Aftermath, Course
from tidegate.model import HOUR, MINUTE, SECOND, Change, Decision, Event, Kind, Ref, Subject

NOW = 1_700_000_000 * SECOND
A, B = Subject("192.0.2.7"), Subject("192.0.2.8")
ABUSE = Kind("exim.malware", "abuse", 1, "exim.malware-data", "exim")
MAIL = Kind("exim.accepted", "success", 0, "exim.accepted", "exim")


def ban(name="one", subject=A, time=NOW, span=HOUR, refs=(NOW - 20 * MINUTE, NOW - 1, NOW), **more):
    values = {"action": "ban", "mode": "enforce", "spared": ""} | more
    return Decision(
        id=name, time=time, subject=subject, rule="virus", ports=(25,), until=time + span,
        duration=span, count=16, step=0, reason="", refs=tuple(Ref(at, 1, 0) for at in refs),
        **values,
    )  # fmt: skip


def event(time, subject=A, kind=ABUSE, count=1):
    return Event(time, kind, subject, count, "", 0, 10, {})


def counts(course: Course) -> tuple[int, int, int]:
    return course.before, course.during, course.after


def test_a_course_from_the_lines_before_to_ten_minutes_after():
    made = Aftermath()
    made.begin(ban())
    made.tally([event(NOW - 5), event(NOW), event(NOW + 1), event(NOW + 2, count=3)])
    made.tally([event(NOW + 3, B), event(NOW + 4, kind=MAIL)])
    made.tally([event(NOW + HOUR), event(NOW + HOUR + SPAN - 1)])
    made.tally([event(NOW + HOUR + SPAN)])
    made.tally([event(NOW + HOUR + 1)])  # nobody listens any more
    assert counts(made.courses["one"]) == (2, 4, 2)


def test_what_was_not_closed_has_no_course():
    made = Aftermath()
    for odd in ({"mode": "observe"}, {"spared": "allowlist"}, {"action": "unban"}):
        made.begin(ban(**odd))
    assert made.courses == {}


def test_the_next_ban_takes_over():
    made = Aftermath()
    made.begin(ban())
    made.begin(ban("two", time=NOW + MINUTE))
    made.tally([event(NOW + 2 * MINUTE)])
    one, two = made.courses.values()
    assert (one.until, one.stop) == (NOW + MINUTE, NOW + MINUTE)
    assert (counts(one), counts(two)) == ((2, 0, 0), (2, 1, 0))


def test_a_ban_in_the_time_after_another_ends_that():
    made = Aftermath()
    made.begin(ban())
    made.begin(ban("two", time=NOW + HOUR + MINUTE))
    one = made.courses["one"]
    assert (one.until, one.stop) == (NOW + HOUR, NOW + HOUR + MINUTE)


def test_after_a_person_opened_it_is_afterwards():
    made = Aftermath()
    made.begin(ban())
    made.opened(A, NOW + MINUTE)
    made.opened(B, NOW)
    made.tally([event(NOW + 2 * MINUTE)])
    assert counts(made.courses["one"]) == (2, 0, 1)
    made.opened(A, NOW + 2 * MINUTE)
    assert made.courses["one"].until == NOW + MINUTE


def test_it_is_bounded_and_forgets_the_oldest():
    made = Aftermath(capacity=3)
    for n in range(5):
        made.begin(ban(str(n), Subject(f"192.0.2.{n}"), time=NOW + n))
    assert list(made.courses) == ["2", "3", "4"]
    made.tally([event(NOW + MINUTE, Subject("192.0.2.0"))])
    assert {change.key for change in made.changes() if change.value is None} == {"0", "1"}


def test_it_expires():
    made = Aftermath()
    made.begin(ban())
    made.expire(NOW + HOUR + SPAN)
    made.tally([event(NOW + HOUR + 1)])
    assert counts(made.courses["one"]) == (2, 0, 1)
    made.expire(NOW + HOUR + SPAN + REMEMBERED + 1)
    assert made.courses == {}
    assert [change.value for change in made.changes()] == [None]


def restored(changes: Iterable[Change]) -> Aftermath:
    made = Aftermath()
    assert all(made.restore(change) for change in changes)
    made.settle()
    return made


def test_a_restart_changes_nothing():
    made = Aftermath()
    made.begin(ban("z"))
    made.begin(ban("a", time=NOW + 1))
    made.begin(ban("b", B, time=NOW + 2))
    made.begin(ban("c", B, time=NOW + 3))
    made.tally([event(NOW + 5), event(NOW + 6, B)])
    again = restored(made.changes())
    assert list(made.changes()) == []
    assert list(again.courses.items()) == list(made.courses.items())
    for one in (made, again):
        one.tally([event(NOW + 7), event(NOW + 8, B)])
    assert again.courses == made.courses
    assert counts(again.courses["a"]) == (2, 2, 0)


def test_what_is_not_its_own_is_left():
    made = Aftermath()
    assert not made.restore(Change("success", "x", b"1" * 60))
    assert not made.restore(Change("course", "x", b"short"))
    assert not made.restore(Change("course", "x", None))


@given(st.lists(st.integers(-20, 100), max_size=40), st.integers(1, 60))
def test_it_counts_as_one_would_by_hand(minutes, span):
    made = Aftermath()
    made.begin(ban(span=span * MINUTE))
    times = sorted(NOW + at * MINUTE for at in minutes)
    for time in times:
        made.tally([event(time)])
    until = NOW + span * MINUTE
    during = sum(NOW < time < until for time in times)
    after = sum(until <= time < until + SPAN for time in times)
    assert counts(made.courses["one"]) == (2, during, after)
