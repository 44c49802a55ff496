"""Warnings: told once at the crossing, and once when all is clear again."""

from __future__ import annotations

from tests.unit.decision.acting import Play, guard

from tidegate.decision.warning import DARK
from tidegate.model import MINUTE, SECOND
from tidegate.policy.guards import Compare, GuardSpec

BUSY = Compare("la1", ">=", 8)


def warns(**more: object) -> GuardSpec:
    return guard(close=None, open=None, steps=(), warn=BUSY, **more)


def test_it_is_told_once_at_the_crossing_and_once_at_the_end() -> None:
    play = Play(warns())
    assert play.to(100, la1=8.0) == ["1 warn"]
    assert play.reason == "la1 8 (limit 8)"
    assert play.to(300, la1=7.0) == ["161 clear"]
    assert play.reason == "la1 7 (limit 8)"
    assert play.to(301, la1=9.0) == ["301 warn"]


def test_what_goes_up_and_down_is_told_once() -> None:
    play = Play(warns(patience=2 * MINUTE))
    lines = []
    for n in range(20):
        lines += play.to(play.second + 60, la1=9.0 if n % 2 == 0 else 5.0)
    assert lines == ["1 warn"]
    assert play.to(2000) == ["1261 clear"]


def test_unknown_warns_of_nothing_and_clears_nothing_at_first() -> None:
    play = Play(warns())
    assert play.to(100, la1=None) == []
    play.to(101, la1=9.0)
    assert play.to(101 + DARK // SECOND, la1=None) == []
    assert play.to(2000) == [f"{102 + DARK // SECOND} clear"]
    assert "unknown" in play.reason


def test_a_warning_lifts_the_tide() -> None:
    play = Play(warns(tide="flood"))
    play.to(1, la1=5.0)
    assert play.guards.tide(play.now) == "low"
    play.to(2, la1=9.0)
    assert play.guards.tide(play.now) == "flood"


def test_it_outlives_a_restart() -> None:
    play = Play(warns())
    play.to(1, la1=9.0)
    play.restart()
    assert play.to(100) == []
    assert play.to(300, la1=1.0) == ["161 clear"]


def test_a_guard_may_warn_before_it_closes() -> None:
    play = Play(guard(warn=BUSY))
    assert play.to(10, la1=8.0) == ["1 warn"]
    assert play.to(11, la1=10.0) == ["11 close apache"]


def test_a_clock_that_is_set_back_does_not_keep_it_on() -> None:
    play = Play(warns())
    play.second = 90_000
    play.to(90_001, la1=9.0)
    play.to(90_010, la1=1.0)
    play.second = 0
    assert play.to(100) == ["61 clear"]
