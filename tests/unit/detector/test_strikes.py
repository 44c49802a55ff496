"""Three failures in ten minutes of the log's own time switch a detector off."""

from __future__ import annotations

from tidegate.detector.strikes import Strikes
from tidegate.model import MINUTE


def test_the_third_in_ten_minutes() -> None:
    strikes = Strikes()
    assert [strikes.failed("a", time * MINUTE) for time in (100, 105, 109)] == [False, False, True]
    assert strikes.disabled == ["a"]
    assert not strikes.failed("a", 110 * MINUTE)
    assert strikes.disabled == ["a"]


def test_a_minute_too_slow() -> None:
    strikes = Strikes()
    assert not any(strikes.failed("a", time * MINUTE) for time in (100, 105, 110, 115, 120))
    assert strikes.disabled == []


def test_time_may_run_backwards() -> None:
    strikes = Strikes()
    assert [strikes.failed("a", time * MINUTE) for time in (109, 105, 100)] == [False, False, True]


def test_each_detector_for_itself() -> None:
    strikes = Strikes()
    assert not any(strikes.failed(name, 0) for name in ("a", "b", "a", "b"))
    assert strikes.failed("b", 0)
    assert strikes.disabled == ["b"]
