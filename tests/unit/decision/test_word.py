"""What keepers report and people order: a person outranks the guard, and nobody is fought."""

from __future__ import annotations

import pytest
from tests.unit.decision.acting import DRAIN, ONE, SLOW, STOP, THROTTLE, Play, gate, guard

from tidegate.errors import OperatorError
from tidegate.model import HOUR, MINUTE, SECOND
from tidegate.policy.guards import Pool, Restart, Step

PEER = "up(smtp://192.0.2.2:25)"

# -- reports ---------------------------------------------------------------------------------------


def test_what_a_person_started_is_left_alone_until_open_has_held_once() -> None:
    play = Play(guard())
    play.to(10, la1=20.0)
    lines = play.to(11, play.report("taken", "apache"))
    assert lines == ["11 open apache"]
    assert (play.moves[-1].by, play.closed) == ("person", [])
    assert "a person opened it; it is left alone until its open condition holds" in play.reason
    assert play.to(1000, la1=20.0) == []
    assert play.to(1001, la1=1.0) == []
    assert play.to(1002, la1=20.0) == ["1002 close apache"]


def test_or_for_an_hour() -> None:
    play = Play(guard())
    play.to(10, la1=20.0)
    play.to(11, play.report("taken", "apache"))
    assert play.to(2 * 3600) == [f"{11 + 3600} close apache"]


def test_that_close_is_over_too_counts_for_open_to_have_held() -> None:
    play = Play(guard())
    play.to(10, la1=20.0, la5=7.0)
    play.to(11, play.report("taken", "apache"), la1=1.0)
    assert play.to(600) == [], "la5 would close it at once again"


def test_what_a_person_had_stopped_stays_theirs() -> None:
    play = Play(guard())
    play.to(10, la1=20.0)
    lines = play.to(11, play.report("away", "apache"))
    assert lines == ["11 warn apache"]
    assert "was not there to be closed (a person has stopped it)" in play.reason
    assert play.closed == []
    assert play.to(1000) == []
    assert play.to(1001, play.report("open", "apache")) == ["1001 close apache"], "it is back"


def test_reports_of_what_is_as_it_should_be_say_nothing() -> None:
    play = Play(guard())
    for state in ("open", "closing", "closed", "opening", "away", "taken", "refused"):
        assert play.to(play.second + 1, play.report(state, "apache")) == []
    assert play.to(play.second + 1, play.report("closed", "no.such.gate")) == []


def test_that_it_is_open_ends_nothing_that_a_person_said() -> None:
    play = Play(guard())
    play.to(1)
    play.say("close", "apache")
    assert play.to(2, play.report("open", "apache")) == []
    assert play.closed == ["apache"]
    play.say("open", "apache")
    assert play.to(100, play.report("open", "apache"), la1=20.0) == []


def test_after_a_refusal_the_next_step_goes_at_once_and_this_one_again_later() -> None:
    play = Play(guard(THROTTLE, SLOW, STOP))
    play.to(31, la1=20.0)
    lines = play.to(32, play.report("refused", "apache.properties", "no such unit"))
    assert lines == ["32 warn apache.properties", "32 close apache.stop"]
    assert play.moves[-2].reason == (
        "apache.properties could not be closed: no such unit; the next step is tried at once;"
        " this one again in 1m"
    )
    assert play.to(200) == ["92 close apache.properties"]


def test_nobody_waits_for_a_step_that_refused() -> None:
    play = Play(guard(SLOW, Step(STOP, after=5 * MINUTE)))
    play.to(1, la1=20.0)
    lines = play.to(2, play.report("refused", "apache.properties"))
    assert lines == ["2 warn apache.properties", "2 close apache.stop"]
    play = Play(guard(THROTTLE, SLOW, Step(STOP, after=5 * MINUTE)))
    play.to(31, la1=20.0)
    lines = play.to(32, play.report("refused", "apache.properties"))
    assert lines == ["32 warn apache.properties", "32 close apache.stop"]


def test_a_refusal_is_told_once_until_it_went_well() -> None:
    play = Play(guard())
    play.to(1, la1=20.0)
    told = 0
    for _n in range(4):
        lines = play.to(play.second + 1, play.report("refused", "apache", "gone"))
        told += any("warn" in line for line in lines)
        while not play.to(play.second + 1):
            pass
    assert told == 1
    play.to(play.second + 1, play.report("closed", "apache"))
    lines = play.to(play.second + 1, play.report("refused", "apache"))
    assert lines == [f"{play.second} warn apache"]
    assert "no reason given; this one again in 1m" in play.reason, "there is no next step"


# -- orders ----------------------------------------------------------------------------------------


def test_what_a_person_closes_stays_closed_until_the_time_is_over() -> None:
    play = Play(guard())
    play.to(1)
    assert play.say("close", "apache", minutes=30) == ["1 close apache"]
    move = play.moves[-1]
    assert (move.by, move.note, move.until) == ("root", "because", play.now + 30 * MINUTE)
    assert play.to(1800, la1=1.0) == []
    assert play.closed == ["apache"]
    assert play.guards.closed(play.now)["apache"] == play.now + SECOND, "no longer than they said"
    assert play.to(1900) == ["1801 open apache"]
    assert play.reason == "the time is over that a person named"


def test_or_until_they_open_it() -> None:
    play = Play(guard())
    play.to(1)
    play.say("close", "apache")
    assert play.to(20_000) == []
    assert play.say("open", "apache") == ["20000 open apache"]
    assert play.closed == []


def test_what_a_person_opens_is_not_closed_again_at_once() -> None:
    play = Play(guard())
    play.to(10, la1=20.0)
    assert play.say("open", "apache") == ["10 open apache"]
    assert "left alone until its open condition holds, or for 1h" in play.reason
    assert play.to(3700) == ["3610 close apache"]


def test_nor_within_the_time_they_named_even_if_open_holds_meanwhile() -> None:
    play = Play(guard())
    play.to(10, la1=20.0)
    play.say("open", "apache", minutes=120)
    assert play.to(600, la1=1.0) == []
    assert play.to(9000, la1=20.0) == [f"{10 + 7200} close apache"]


def test_held_it_closes_nothing_but_opens_what_is_closed() -> None:
    play = Play(guard())
    play.to(10, la1=20.0)
    assert play.say("hold", "apache", minutes=60) == ["10 hold apache"]
    assert play.closed == ["apache"], "it stays as it is"
    assert play.to(200, la1=1.0) == ["61 open apache"]
    assert play.closed == []
    assert play.to(3600, la1=20.0) == []
    assert play.to(3700) == ["3610 close apache"]


def test_resume_ends_a_hold() -> None:
    play = Play(guard())
    play.say("hold", "apache")
    assert play.to(9000, la1=20.0) == []
    assert play.say("resume", "apache") == ["9000 resume apache"]
    assert play.to(9001) == ["9001 close apache"]


def test_resume_ends_what_a_person_closed_and_the_guard_decides_anew() -> None:
    play = Play(guard())
    play.to(1)
    play.say("close", "apache")
    play.say("resume", "apache")
    assert play.closed == []
    play.say("close", "apache")
    play.to(2, la1=20.0)
    play.say("resume", "apache")
    assert play.to(3) == ["3 close apache"]


def test_resume_ends_being_left_alone() -> None:
    play = Play(guard())
    play.to(10, la1=20.0)
    play.say("open", "apache")
    play.say("resume", "apache")
    assert play.to(11) == ["11 close apache"]


def test_a_guards_name_means_all_its_gates() -> None:
    play = Play(guard(THROTTLE, SLOW, STOP))
    play.to(1)
    assert play.say("close", "apache") == [
        "1 close apache.throttle", "1 close apache.properties", "1 close apache.stop",
    ]  # fmt: skip
    assert play.say("open", "apache") == [
        "1 open apache.stop", "1 open apache.properties", "1 open apache.throttle",
    ]  # fmt: skip
    play.say("close", "apache.stop")
    assert play.closed == ["apache.stop"]


def test_what_a_person_closed_counts_as_a_step_taken() -> None:
    play = Play(guard(THROTTLE, STOP))
    play.to(1)
    play.say("close", "apache.throttle")
    assert play.to(100, la1=20.0) == ["31 close apache.stop"]
    assert play.to(200, la1=1.0) == ["101 open apache.stop"]
    assert play.to(2000) == [], "the throttle is theirs"
    assert play.closed == ["apache.throttle"]


def test_a_person_may_close_the_last_one_and_is_told() -> None:
    play = Play(guard(DRAIN), pools=[Pool("web", (PEER,))])
    play.read(1, {PEER: 0.0})
    play.say("close", "apache.haproxy")
    assert play.reason == f"although pool web needs 1 in service, and {PEER} is down"
    assert play.to(100) == []
    assert play.closed == ["apache.haproxy"]


def test_a_person_started_what_a_person_had_closed() -> None:
    play = Play(guard())
    play.to(1)
    play.say("close", "apache")
    assert play.to(2, play.report("taken", "apache")) == ["2 open apache"]
    assert play.closed == []


def test_orders_that_make_no_sense_say_what_does() -> None:
    play = Play(guard(gate("zope", Restart("zope"))))
    with pytest.raises(OperatorError, match="tidegate hold zope"):
        play.say("close", "zope")
    with pytest.raises(OperatorError, match="there is no gate 'nginx'; there is: apache, zope"):
        play.say("close", "nginx")
    warns = Play(guard(close=None, open=None, steps=(), warn=None))
    with pytest.raises(OperatorError, match="guard apache only warns"):
        warns.say("close", "apache")


def test_held_a_restart_is_not_fired() -> None:
    play = Play(guard(gate("zope", Restart("zope"))))
    play.say("hold", "zope", minutes=10)
    assert play.to(1000, la1=20.0)[0] == "600 fire zope"
    assert HOUR > 10 * MINUTE
    assert ONE.name == "apache"


def test_who_opens_what_is_held_still_holds_it() -> None:
    play = Play(guard())
    play.to(10, la1=20.0)
    play.say("hold", "apache")
    play.say("open", "apache")
    assert play.to(9000) == []
    play.say("resume", "apache")
    assert play.to(9001) == ["9001 close apache"]


def test_a_step_that_a_person_keeps_open_does_not_have_the_next_close_at_once() -> None:
    play = Play(guard(THROTTLE, Step(STOP, after=5 * MINUTE)))
    play.to(1)
    play.say("hold", "apache.throttle")
    assert play.to(310, la1=20.0) == ["302 close apache.stop"], "as if the throttle did not help"
    play = Play(guard(THROTTLE, Step(STOP, after=5 * MINUTE)))
    play.to(100, la1=20.0)
    play.say("open", "apache.throttle")
    assert play.to(410) == ["400 close apache.stop"]


def test_the_hour_that_a_person_named_is_an_hour_though_the_clock_is_set_back() -> None:
    play = Play(guard())
    play.second = 100_000
    play.say("close", "apache", minutes=60)
    play.second = 10
    assert play.to(3700) == ["3611 open apache"]
