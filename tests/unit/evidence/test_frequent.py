"""Heavy hitters: what SpaceSaving promises, held against exact counts; subjects by their hashes."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.evidence.frequent import EXACT, KINDS, Frequent, Subjects
from tidegate.model import Subject

NAMES = st.sampled_from("aaaaabbbccdefghijklmnopqrstuvwxyz")
STREAMS = st.lists(st.tuples(NAMES, st.integers(1, 9)), max_size=300)


@given(STREAMS, st.integers(1, 12))
def test_every_estimate_holds_the_truth_and_no_heavy_one_is_lost(stream, capacity):
    exact: Counter[str] = Counter()
    frequent = Frequent(capacity)
    for name, count in stream:
        exact[name] += count
        frequent.add(name, count)
    found = dict(frequent.items())
    assert frequent.total == exact.total()
    assert len(found) == len(frequent) == min(capacity, len(exact))
    for name, counter in found.items():
        assert counter.count - counter.over <= exact[name] <= counter.count
        assert counter.over <= exact.total() / capacity
    # Metwally et al., theorem 2: what is above the share of one counter has one.
    assert {name for name, count in exact.items() if count > exact.total() / capacity} <= set(found)


@given(STREAMS)
def test_with_room_for_all_it_counts_exactly(stream):
    exact: Counter[str] = Counter()
    frequent = Frequent(100)
    for name, count in stream:
        exact[name] += count
        frequent.add(name, count)
    assert {name: one.count for name, one in frequent.items()} == exact
    assert not any(one.over for _name, one in frequent.items())


def test_a_newcomer_takes_the_place_of_the_least_and_nothing_of_what_it_was():
    frequent = Frequent(2)
    frequent.add("often", 5).note("exim.malware", 5, Subject("192.0.2.1"), 10)
    frequent.add("once").note("exim.malware", 1, Subject("192.0.2.2"), 20)
    fresh = frequent.add("new")
    fresh.note("sshd.auth_failed", 1, Subject("192.0.2.3"), 15)
    assert set(dict(frequent.items())) == {"often", "new"}
    assert (fresh.count, fresh.over, fresh.last) == (2, 1, 15)
    assert fresh.kinds == {"sshd.auth_failed": 1}
    assert len(fresh.subjects) == 1


def test_a_counter_names_a_few_kinds_and_counts_those_on():
    counter = Frequent(1).add("x")
    for number in range(KINDS + 3):
        counter.note(f"kind{number}", 1, Subject("192.0.2.1"), 0)
    counter.note("kind0", 2, Subject("192.0.2.1"), 0)
    assert counter.kinds == {"kind0": 3} | {f"kind{n}": 1 for n in range(1, KINDS)}
    assert counter.looked == KINDS + 5


@pytest.mark.parametrize("many", [0, 1, 5, EXACT - 1])
def test_few_subjects_are_counted_exactly(many):
    subjects = Subjects()
    for number in range(many):
        for _twice in range(2):
            subjects.add(Subject(f"192.0.2.{number}"))
    assert len(subjects) == many


@pytest.mark.parametrize("many", [200, 5000, 60_000])
def test_many_subjects_are_estimated_also_from_parts(many):
    parts = [Subjects() for _ in range(3)]
    for number in range(many):
        mark = Subject(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
        parts[number % 3].add(mark)
        parts[(number + 1) % 3].add(mark)
    whole = Subjects()
    for part in parts:
        whole.join(part)
    assert len(whole) == pytest.approx(many, rel=0.45)
