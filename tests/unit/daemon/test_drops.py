"""Counters that begin anew, added up by the hour."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tidegate.daemon import drops as drops_module
from tidegate.daemon.drops import Drops
from tidegate.gate.port import Dropped
from tidegate.model import HOUR, SECOND, Change

NOW = 1_700_000_000 * SECOND // HOUR * HOUR


def reading(packets, name="ban4_32_25", ports=(25,)):
    return Dropped(name, ports, packets, packets * 60)


def test_only_what_moved_is_added_and_sets_of_the_same_ports_together():
    drops = Drops()
    drops.take([reading(3), reading(2, "ban6_64_25"), reading(0, "ban4_32", ())], NOW)
    drops.take([reading(3), reading(4, "ban6_64_25"), reading(7, "ban4_32", ())], NOW + SECOND)
    assert drops.since(NOW) == {(25,): (7, 420), (): (7, 420)}


def test_only_the_hours_asked_for():
    drops = Drops()
    drops.take([reading(3)], NOW - HOUR)
    drops.take([reading(5)], NOW)
    assert drops.since(NOW + SECOND) == {(25,): (2, 120)}
    assert drops.since(NOW - 1) == {(25,): (5, 300)}


@given(st.lists(st.lists(st.integers(1, 1000), min_size=1, max_size=5), max_size=6))
def test_a_table_put_in_anew_loses_nothing_that_was_read(lives):
    """Each life of the table counts from zero, and is read after every packet that it dropped."""
    drops, total = Drops(), 0
    for life in lives:
        count = 0
        for moved in life:
            count += moved
            drops.take([reading(count)], NOW)
        total += count
        drops.take([reading(0)], NOW)  # it cannot be told apart from one that went on, otherwise
    assert drops.since(0).get((25,), (0, 0)) == (total, total * 60)


def test_a_counter_that_stands_lower_has_begun_anew():
    drops = Drops()
    for packets in (5, 3, 4):
        drops.take([reading(packets)], NOW)
    assert drops.since(0) == {(25,): (9, 540)}


def test_a_restart_changes_nothing_and_counts_the_new_table_from_its_beginning():
    drops = Drops()
    drops.take([reading(3), reading(9, "ban4_32", ())], NOW)
    again = Drops()
    assert all(again.restore(change) for change in drops.changes())
    assert list(drops.changes()) == []
    again.take([reading(2)], NOW)
    assert again.since(0) == {(25,): (5, 300), (): (9, 540)}


def test_what_is_not_its_own_is_left():
    drops = Drops()
    assert not drops.restore(Change("success", "1 25", b"x" * 16))
    assert not drops.restore(Change("dropped", "1 25", b"short"))
    assert not drops.restore(Change("dropped", "one 25", b"x" * 16))
    assert not drops.restore(Change("dropped", "1 25", None))


def test_it_is_bounded_and_forgets_the_oldest_hours(monkeypatch):
    monkeypatch.setattr(drops_module, "HOURS", 2)
    drops = Drops()
    for n in range(4):
        drops.take([reading(n + 1)], NOW + n * HOUR)
    assert drops.since(0) == {(25,): (2, 120)}
    assert sum(change.value is None for change in drops.changes()) == 2
