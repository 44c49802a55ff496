"""Rules of sysfence as they are: run and log at each look, or once at each crossing."""

from __future__ import annotations

import pytest
from tests.unit.decision.acting import Play, gate

from tidegate.errors import OperatorError
from tidegate.model import SECOND
from tidegate.policy.guards import Compare, Run, Trigger

HIGH = Compare("la1", ">=", 10)


def rule(**more: object) -> Trigger:
    told: dict[str, object] = {"gate": gate("high.run", Run("logger high")), **more}
    return Trigger("high", HIGH, **told)  # type: ignore[arg-type]


def test_it_runs_at_each_look_while_it_holds() -> None:
    play = Play(triggers=[rule(every=10 * SECOND)])
    assert play.to(25, la1=20.0) == ["1 fire high.run", "11 fire high.run", "21 fire high.run"]
    assert play.reason == "la1 20 (limit 10)"
    assert play.to(60, la1=1.0) == []
    assert play.to(62, la1=20.0) == ["61 fire high.run"]


def test_once_is_at_each_crossing_and_it_begins_as_did_not_hold() -> None:
    play = Play(triggers=[rule(run_once=True)])
    assert play.to(100, la1=20.0) == ["1 fire high.run"]
    assert play.to(150, la1=1.0) == []
    assert play.to(200, la1=20.0) == ["151 fire high.run"]


def test_logging_and_running_are_once_each_for_itself() -> None:
    play = Play(triggers=[rule(log=True, log_once=True)])
    assert play.to(15, la1=20.0) == ["1 warn", "1 fire high.run", "11 fire high.run"]
    play = Play(triggers=[rule(log=True, run_once=True)])
    assert play.to(15, la1=20.0) == ["1 warn", "1 fire high.run", "11 warn"]
    play = Play(triggers=[rule(gate=None, log=True)])
    assert play.to(15, la1=20.0) == ["1 warn", "11 warn"]


def test_a_crossing_between_two_looks_is_none() -> None:
    play = Play(triggers=[rule(run_once=True)])
    play.to(1, la1=20.0)
    play.to(5, la1=1.0)
    assert play.to(30, la1=20.0) == []


def test_unknown_runs_nothing_and_is_no_crossing() -> None:
    play = Play(triggers=[rule(run_once=True)])
    assert play.to(1, la1=20.0) == ["1 fire high.run"]
    assert play.to(50, la1=None) == []
    assert play.to(100, la1=20.0) == []


def test_what_it_remembers_outlives_a_restart_and_a_reload() -> None:
    play = Play(triggers=[rule(run_once=True)])
    play.to(1, la1=20.0)
    play.restart()
    assert play.to(50) == []
    before = play.guards
    play = Play(triggers=[rule(run_once=True)])
    play.guards.take_over(before)
    assert play.to(100, la1=20.0) == []


def test_a_clock_that_is_set_back_does_not_make_it_wait() -> None:
    play = Play(triggers=[rule()])
    play.second = 90_000
    play.to(90_001, la1=20.0)
    play.second = 0
    assert play.to(1) == ["1 fire high.run"]


def test_a_person_may_hold_it_and_no_more() -> None:
    play = Play(triggers=[rule()])
    assert play.say("hold", "high", minutes=1) == ["0 hold"]
    assert play.to(65, la1=20.0) == ["61 fire high.run"]
    play.say("hold", "high")
    play.say("resume", "high")
    assert play.to(75) == ["71 fire high.run"]
    with pytest.raises(OperatorError, match="write hold or resume, not close"):
        play.say("close", "high")
