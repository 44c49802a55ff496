"""Backlogs: what is kept back goes in, time lets it out, and how much convicts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tidegate.evidence.throttle import FLOODING, QUEUE, SUSPECT, Backlog, leak_of, most_of
from tidegate.model import MINUTE, SECOND
from tidegate.policy.outward import Rate

ONE = Rate(1, SECOND, 1)


def test_a_queue_that_is_served_once_a_second():
    queue = Backlog(ONE, 0)
    queue.add(QUEUE, 0, 0, ("a",))
    assert not queue.over(QUEUE)
    queue.add(1, 0, 0, ())
    assert queue.over(QUEUE)
    assert (queue.packets, queue.destinations) == (QUEUE + 1, ("a",))
    queue.leak(SECOND)
    assert not queue.over(QUEUE)
    queue.leak(200 * SECOND)
    assert queue.empty
    queue.add(5, 299 * SECOND, 300 * SECOND, ("b",))
    assert (queue.since, queue.packets) == (299 * SECOND, 5)
    queue.clear()
    assert queue.empty


def test_a_cap_by_the_minute_leaks_by_the_minute():
    rate = leak_of(Rate(20, MINUTE, 40), suspect=False)
    backlog = Backlog(rate, 0)
    backlog.add(400, 0, 0, ())
    assert not backlog.over(most_of(Rate(20, MINUTE, 40), suspect=False))
    backlog.leak(MINUTE)
    assert backlog.over(199) and not backlog.over(200)
    assert leak_of(ONE, suspect=True) == ONE
    assert (most_of(ONE, suspect=True), most_of(ONE, suspect=False)) == (SUSPECT, FLOODING)


@given(
    st.lists(st.tuples(st.integers(0, 500), st.integers(0, 3 * SECOND)), max_size=50),
    st.integers(1, 100),
)
def test_who_stays_below_what_is_forgiven_never_builds_one_up(steps, rate):
    backlog, now = Backlog(Rate(rate, SECOND, 1), 0), 0
    for packets, pause in steps:
        now += max(pause, packets * SECOND // rate + 1)
        backlog.add(packets, now, now, ())
        assert not backlog.over(500)
    backlog.leak(now - 5)  # a clock that went back
    assert not backlog.over(500)
