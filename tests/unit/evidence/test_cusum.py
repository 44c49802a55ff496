"""Floods of half-open connections: found within periods, nothing for ordinary days, bounded."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.evidence.cusum import PERIOD, SERVICES, Floods, Handshakes
from tidegate.model import HOUR, MINUTE, SECOND

START = 1_000 * HOUR


def day(rate, *, periods=200, lost=0.05, seed=1, port=80, start=START):
    """Connections that begin at about this rate, some of which never come about."""
    chance = random.Random(seed)
    found = []
    for n in range(periods):
        begun = sum(chance.random() < 0.5 for _ in range(int(rate * 2 * PERIOD / SECOND)))
        finished = sum(chance.random() > lost for _ in range(begun))
        found.append(Handshakes(start + n * PERIOD + 1, port, begun, finished))
    return found


@pytest.mark.parametrize("rate", [1, 10, 100, 400])
@pytest.mark.parametrize("lost", [0.0, 0.1, 0.2])
def test_ordinary_days_are_no_floods(rate, lost):
    floods = Floods()
    assert floods.count(day(rate, lost=lost)) == []


def test_a_sudden_crowd_is_no_flood():
    floods = Floods()
    assert floods.count([*day(10), *day(300, start=START + HOUR)]) == []


@pytest.mark.parametrize(("normal", "flood"), [(0, 60), (10, 100), (100, 1000), (100, 100_000)])
def test_a_flood_is_found_within_three_periods_and_said_once_a_minute(normal, flood):
    floods = Floods()
    calm = day(normal, periods=100)
    begin = START + 100 * PERIOD
    attack = [Handshakes(begin + n * SECOND, 80, flood + normal, normal) for n in range(120)]
    found = floods.count([*calm, *attack])
    assert {(one.kind, one.subject) for one in found} == {("inward.syn_flood", "service:80")}
    assert found[0].time - begin <= 3 * PERIOD
    assert 2 <= len(found) <= 3
    print(
        f"{normal}/s, then {flood}/s that don't come about: {(found[0].time - begin) / SECOND:.0f} s"
    )
    # And its end is seen: calm again, nothing more is said.
    floods.turn(begin + 2 * MINUTE + PERIOD)
    assert floods.count(day(normal, start=begin + 3 * MINUTE)) == []


def test_silence_forgets_services():
    floods = Floods()
    floods.count(day(5, periods=3))
    assert len(floods) == 1
    floods.turn(START + HOUR)
    assert len(floods) == 0
    assert floods.turn(START + 1000 * HOUR) == []


def test_services_are_bounded_and_the_quiet_go_first():
    floods = Floods()
    floods.turn(START)
    floods.add(80, 5000, 0)
    for port in range(1000, 3000):
        floods.add(port, 1, 0)
    assert len(floods) == SERVICES
    assert floods.evicted == 2001 - SERVICES
    assert [one.subject for one in floods.turn(START + PERIOD)] == ["service:80"]


@given(
    st.lists(
        st.builds(
            Handshakes,
            st.integers(START, START + HOUR),
            st.integers(0, 3),
            st.integers(0, 10**6),
            st.integers(0, 10**6),
        ),
        max_size=40,
    ),
    st.randoms(use_true_random=False),
)
def test_the_order_within_a_call_does_not_matter(values, chance):
    one, other = Floods(), Floods()
    found = one.count(values)
    chance.shuffle(values)
    assert other.count(values) == found
