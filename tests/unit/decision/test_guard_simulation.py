"""The control law on curves of load: how often a service is stopped, and how soon it is back."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.decision.simulation import (
    ABUSE,
    ALONE,
    BELOW,
    CURVES,
    STOP,
    THROTTLE,
    Curve,
    Host,
    Load,
    Run,
    plain,
    play,
    recorded,
    steady,
)

from tidegate.decision.guard import PROBE
from tidegate.decision.rung import longest
from tidegate.model import SECOND
from tidegate.policy.guards import GuardSpec

BEARABLE = Host(own=0.5, share=0.97)
"""A host on which what the throttle leaves of the abuse is less than what the guard closes for."""


def test_the_model_has_the_kernels_averages() -> None:
    load = Load()
    for _tick in range(12):
        load.tick(1)
    assert load.read() == (0.63, 0.18, 0.06), "1 - exp(-1), -(1/5), -(1/15)"
    for _tick in range(12):
        load.tick(0)
    assert load.read()[0] == 0.23, "a minute later by the same formula"


@pytest.mark.parametrize("tasks", [30, 50, 150])
def test_the_model_flaps_as_the_bare_rules_do(tasks: float) -> None:
    stops, _up = plain(steady(tasks))
    assert 17 <= stops <= 21


@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("stopping", [0, 60])
def test_stopping_alone_stops_little_and_is_open_soon_after(curve: str, stopping: int) -> None:
    run = play(ALONE, CURVES[curve], Host(stopping=stopping))
    assert 1 <= run.count(STOP.name) <= 5
    assert run.open_after(STOP.name, ABUSE) <= 600


@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("stopping", [0, 60])
def test_with_a_throttle_below_it_hardly_stops_at_all(curve: str, stopping: int) -> None:
    run = play(BELOW, CURVES[curve], replace(BEARABLE, stopping=stopping))
    assert run.count(THROTTLE.name) >= 1
    assert run.count(STOP.name) <= 2
    assert run.open_after(STOP.name, ABUSE) <= 120


@pytest.mark.parametrize("tasks", [100, 300])
def test_a_throttle_that_works_is_not_followed_by_a_stop(tasks: float) -> None:
    run = play(BELOW, steady(tasks), Host(share=1, lag=10))
    assert max(la1 for la1, _la5, _la15 in run.loads) > 15, "the averages are over every limit"
    assert run.count(STOP.name) == 0


def test_a_throttle_that_does_not_help_ends_in_a_stop() -> None:
    run = play(BELOW, steady(50), Host(share=0.3))
    assert 1 <= run.count(STOP.name) <= 5
    assert run.open_after(STOP.name, ABUSE) <= 600


@pytest.mark.parametrize("spec", [ALONE, BELOW])
def test_restarts_at_any_time_change_nothing(spec: GuardSpec) -> None:
    curve = recorded(3, 80)
    once = play(spec, curve, Host(stopping=20))
    assert len(once.moves) >= 6
    assert play(spec, curve, Host(stopping=20), restarts=frozenset(range(3600))) == once


# -- whatever the curve ----------------------------------------------------------------------------


@st.composite
def curves(draw: st.DrawFn) -> Curve:
    """Pieces of any height and length, and then calm."""
    pieces = draw(
        st.lists(st.tuples(st.integers(5, 600), st.floats(0, 300)), min_size=1, max_size=12)
    )
    found: list[float] = []
    for seconds, tasks in pieces:
        found += [tasks] * seconds
    found = found[:2400]
    return lambda second: found[second] if second < len(found) else 0


hosts = st.builds(
    Host,
    own=st.floats(0, 1.5),
    stopping=st.integers(0, 120),
    share=st.floats(0, 1),
    lag=st.integers(0, 60),
)


def overdue(run: Run, gate: str) -> int:
    """The longest time, in seconds, in which a gate was closed while its open condition held."""
    worst = lasting = 0
    for closed, (la1, _la5, _la15) in zip(run.closed, run.loads, strict=True):
        lasting = lasting + 1 if gate in closed and la1 <= 2 else 0
        worst = max(worst, lasting)
    return worst


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(curve=curves(), host=hosts)
def test_nothing_is_left_closed_once_its_open_condition_holds(curve: Curve, host: Host) -> None:
    cap = longest(ALONE) // SECOND
    alone, below = play(ALONE, curve, host), play(BELOW, curve, host)
    for run in (alone, below):
        assert overdue(run, STOP.name) <= cap
        assert not run.closed[-1], "and calm ends it all"
    assert overdue(below, THROTTLE.name) <= 2 * cap + PROBE // SECOND
    for run in (alone, below):
        assert run.count(STOP.name) <= 5, "in an hour"
