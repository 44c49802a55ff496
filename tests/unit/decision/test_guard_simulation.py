"""The control law on curves of load: how often a service is stopped, and how soon it is back."""

from __future__ import annotations

import pytest
from tests.unit.decision.simulation import (
    ALONE,
    BELOW,
    CURVES,
    STOP,
    Host,
    Load,
    plain,
    play,
    steady,
)

ABUSE = 2400
"""Seconds of abuse in every curve, of an hour."""


def test_the_model_has_the_kernels_averages() -> None:
    load = Load()
    for _tick in range(12):
        load.tick(1)
    assert load.read() == (0.63, 0.18, 0.06), "1 - exp(-1), -(1/5), -(1/15)"


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
    run = play(BELOW, CURVES[curve], Host(stopping=stopping, share=0.97))
    assert run.count(STOP.name) <= 2
    assert run.open_after(STOP.name, ABUSE) <= 120
