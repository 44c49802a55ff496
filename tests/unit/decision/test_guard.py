"""The control law of a guard, as stories: what closes when, what opens when, and what does not."""

from __future__ import annotations

import pytest
from tests.unit.decision.acting import (
    DRAIN,
    LOW,
    SLOW,
    STOP,
    THROTTLE,
    Play,
    gate,
    guard,
)

from tidegate.decision.guard import PROBE
from tidegate.decision.warning import DARK
from tidegate.model import MINUTE, SECOND
from tidegate.policy.guards import (
    Command,
    Compare,
    Held,
    Pool,
    Restart,
    Run,
    Step,
)

LONG = 3 * 3600
PEER = "up(smtp://192.0.2.2:25)"

# -- one gate --------------------------------------------------------------------------------------


def test_it_closes_when_close_holds_and_opens_when_open_does() -> None:
    play = Play(guard())
    assert play.to(100, la1=5.0) == []
    assert play.to(101, la1=10.0) == ["101 close apache"]
    assert play.closed == ["apache"]
    assert play.reason == "la1 10 (limit 10), la5 0 (limit 6)"
    assert [one.value for one in play.moves[-1].samples] == [10.0, 0.0]
    assert play.to(300, la1=5.0) == [], "in between it stays as it is"
    assert play.to(301, la1=2.0) == ["301 open apache"]
    assert play.reason == "la1 2 (limit 2); it was closed for 3m20s"
    assert play.closed == []


def test_it_stays_closed_for_a_while_and_open_for_a_while() -> None:
    play = Play(guard(least_closed=2 * MINUTE, least_open=3 * MINUTE, flaps=9))
    assert play.to(1, la1=10.0) == ["1 close apache"]
    assert play.to(300, la1=0.0) == ["121 open apache"]
    assert play.to(400, la1=50.0) == ["301 close apache"]


def test_unknown_never_closes() -> None:
    play = Play(guard())
    assert play.to(100, la1=None, la5=None) == []
    assert play.to(200, la1=None, la5=7.0) == ["101 close apache"], "what is known is enough"


def test_close_wins_and_open_fires_by_itself_as_soon_as_close_ends() -> None:
    play = Play(guard())
    assert play.to(1, la1=10.0, la5=6.0) == ["1 close apache"]
    assert play.to(400, la1=1.0, la5=6.5) == []
    assert play.to(401, la5=5.9) == ["401 open apache"]


def test_close_does_not_win_for_ever_over_open() -> None:
    play = Play(guard())
    play.to(1, la1=10.0, la5=50.0)
    assert play.to(900, la1=1.0) == ["541 open apache"], "after least_closed and longest_damped"
    assert "is left from before, which closes it no longer" in play.reason
    assert play.to(1000, la1=3.0) == ["901 close apache"], "open does not hold: that is no memory"


def test_after_that_a_close_that_ended_closes_as_ever() -> None:
    play = Play(guard())
    play.to(1, la1=10.0, la5=50.0)
    play.to(900, la1=1.0)
    assert play.to(910, la5=1.0) == []
    assert play.to(920, la5=7.0) == ["911 close apache"]


def test_without_an_open_condition_it_opens_when_close_has_not_held_for_a_while() -> None:
    play = Play(guard(open=None, patience=2 * MINUTE))
    play.to(1, la1=10.0)
    play.to(100, la1=9.0)
    play.to(150, la1=10.0)
    assert play.to(600, la1=9.0) == ["271 open apache"]


def test_what_is_unknown_is_not_known_to_have_ended() -> None:
    play = Play(guard(open=None))
    play.to(1, la1=10.0)
    play.to(10, la1=9.0)
    play.to(200, la1=None)
    assert play.to(400, la1=9.0) == ["261 open apache"], "a minute since it is known"


def test_nothing_stays_closed_that_nobody_can_judge() -> None:
    play = Play(guard())
    play.to(10, la1=10.0)
    assert play.blind(1000) == [f"{10 + 4 + DARK // SECOND} open apache"]
    assert "nobody could judge it for 10m: la1 unknown: not read for" in play.reason


def test_what_can_be_judged_again_begins_anew() -> None:
    play = Play(guard())
    play.to(10, la1=10.0)
    assert play.blind(500) == []
    assert play.to(501, la1=5.0) == []
    assert play.blind(1000) == []


@pytest.mark.parametrize("opens", [LOW, None])
def test_unknown_for_long_opens_with_or_without_an_open_condition(opens: Compare | None) -> None:
    play = Play(guard(open=opens))
    play.to(10, la1=10.0, la5=7.0)
    assert play.to(2000, la1=None, la5=None) == ["611 open apache"]
    play = Play(guard(open=opens))
    play.to(10, la1=10.0, la5=7.0)
    assert play.to(2000, la1=None) == [], "la5 is known, and closes"


# -- flapping --------------------------------------------------------------------------------------


def flap(play: Play, times: int) -> list[int]:
    """Close it as soon as it may be, and let it open; for how long each time it was closed."""
    found = []
    for _n in range(times):
        while not play.to(play.second + 1, la1=20.0):
            pass
        closed = play.second
        while not play.to(play.second + 1, la1=1.0):
            pass
        found.append(play.second - closed)
    return found


def test_what_closes_soon_again_stays_closed_for_longer() -> None:
    play = Play(guard())
    assert flap(play, 3) == [60, 540, 540], "by longest_damped, eight minutes, at the most"
    assert "closed before not long ago, so now for at least 9m" in play.moves[-2].reason


def test_what_closes_again_after_long_does_not() -> None:
    play = Play(guard())
    assert flap(play, 1) == [60]
    play.to(LONG)
    assert 60 <= flap(play, 1)[0] <= 75


def test_how_often_it_may_flap_is_said_by_the_policy() -> None:
    play = Play(guard(flaps=3, longest_damped=MINUTE))
    found = flap(play, 5)
    assert found[:3] == [60, 60, 60]
    assert found[4] == 120
    assert 60 < found[3] <= 120


def test_it_is_never_kept_closed_for_longer_than_the_cap() -> None:
    play = Play(guard(longest_damped=0))
    assert flap(play, 6) == [60] * 6


# -- ladders ---------------------------------------------------------------------------------------


def test_a_ladder_goes_up_step_by_step_and_down_from_the_top() -> None:
    play = Play(guard(THROTTLE, SLOW, STOP))
    up = play.to(200, la1=20.0)
    assert up == ["1 close apache.throttle", "31 close apache.properties", "61 close apache.stop"]
    assert "apache.properties has been closed for 30s" in play.reason
    assert [move.step for move in play.moves] == [0, 1, 2]
    probe = PROBE // SECOND
    assert play.to(900, la1=1.0) == [
        "201 open apache.stop",
        f"{201 + probe} open apache.properties",
        f"{201 + 2 * probe} open apache.throttle",
    ]


@pytest.mark.parametrize("restarts", [False, True])
def test_a_step_that_helps_is_given_time(restarts: bool) -> None:
    play = Play(guard(THROTTLE, STOP))
    assert play.to(10, la1=60.0) == ["1 close apache.throttle"]
    for second in range(11, 90):
        if restarts:
            play.restart()
        assert play.to(second, la1=60.0 - (second - 10) / 2) == [], "la1 falls"
    assert play.to(200) == ["107 close apache.stop"], "and then no more: it looks 15 s back"


def test_load_that_comes_back_while_it_is_throttled_stops_at_once() -> None:
    play = Play(guard(THROTTLE, STOP))
    play.to(10, la1=20.0)
    assert play.to(20, la1=5.0) == []
    assert play.to(100, la1=20.0) == ["31 close apache.stop"]
    play = Play(guard(THROTTLE, STOP))
    play.to(10, la1=20.0)
    play.to(300, la1=5.0)
    assert play.to(301, la1=11.0) == ["301 close apache.stop"], "throttling does not help"


def test_every_step_has_its_own_time_after_the_one_before() -> None:
    play = Play(guard(THROTTLE, Step(SLOW, after=5 * SECOND), Step(STOP, after=2 * MINUTE)))
    assert play.to(300, la1=20.0) == [
        "1 close apache.throttle", "6 close apache.properties", "126 close apache.stop",
    ]  # fmt: skip


def test_a_step_with_a_condition_of_its_own_closes_by_that_alone() -> None:
    early = Step(THROTTLE, when=Compare("la1", ">=", 6))
    play = Play(guard(early, STOP))
    assert play.to(100, la1=7.0) == ["1 close apache.throttle"]
    assert play.reason == "la1 7 (limit 6)"
    late = Step(STOP, when=Compare("la1", ">=", 50))
    play = Play(guard(THROTTLE, late))
    assert play.to(300, la1=20.0) == ["1 close apache.throttle"]
    assert play.to(301, la1=50.0) == ["301 close apache.stop"]


def test_who_has_no_time_closes_what_is_below_at_once_too() -> None:
    late = Step(STOP, when=Compare("la1", ">=", 50))
    play = Play(guard(THROTTLE, SLOW, late))
    assert play.to(9, la1=60.0) == [
        "1 close apache.throttle", "1 close apache.properties", "1 close apache.stop",
    ]  # fmt: skip


def test_what_its_own_condition_closes_it_keeps_closed() -> None:
    disk = Compare("disk.free(/)", "<", 100)
    play = Play(guard(Step(STOP, when=disk), close=None))
    assert play.read(1, {"disk.free(/)": 50.0}) == ["1 close apache.stop"]
    assert play.to(500) == [], "la1 would open it"
    assert play.read(501, {"disk.free(/)": 150.0}) == ["501 open apache.stop"]


def test_close_wins_over_open_by_the_guards_condition_and_by_the_steps_own() -> None:
    disk = Compare("disk.free(/)", "<", 100)
    play = Play(guard(Step(STOP, when=disk)))
    play.read(1, {"disk.free(/)": 50.0})
    assert play.to(500, la1=1.0) == [], "its own still holds"
    play = Play(guard(Step(STOP, when=Compare("la1", ">=", 50))))
    play.to(1, la1=60.0)
    assert play.to(500, la1=1.0, la5=7.0) == [], "the guard's does"
    assert play.to(501, la5=1.0) == ["501 open apache.stop"]


def test_a_throttle_closes_again_at_once_a_stop_does_not() -> None:
    play = Play(guard(THROTTLE, Step(STOP, after=0)))
    play.to(100, la1=20.0)
    assert "101 open apache.stop" in play.to(221, la1=1.0)
    assert play.closed == []
    assert play.to(300, la1=20.0) == ["222 close apache.throttle", "222 close apache.stop"]
    play = Play(guard(THROTTLE, Step(STOP, after=0), least_open=10 * MINUTE))
    play.to(100, la1=20.0)
    play.to(221, la1=1.0)
    assert play.to(900, la1=20.0) == ["222 close apache.throttle", "701 close apache.stop"]


def test_in_the_dark_steps_open_one_at_a_time() -> None:
    play = Play(guard(THROTTLE, STOP))
    play.to(100, la1=20.0)
    first, second = play.blind(1500)
    assert first.endswith("open apache.stop")
    assert second.endswith("open apache.throttle")
    assert int(second.split()[0]) - int(first.split()[0]) >= PROBE // SECOND


# -- the last one ----------------------------------------------------------------------------------

WEB = Pool("web", (PEER,))


def test_a_member_leaves_its_pool_only_while_another_is_well() -> None:
    play = Play(guard(THROTTLE, DRAIN, STOP), pools=[WEB])
    assert play.read(100, {"la1": 20.0, PEER: 1.0})[1] == "31 close apache.haproxy"


@pytest.mark.parametrize(("value", "said"), [(None, "unknown"), (0.0, "down")])
def test_the_last_one_stays_and_it_is_said_once(value: float | None, said: str) -> None:
    play = Play(guard(THROTTLE, DRAIN), pools=[WEB])
    lines = play.read(500, {"la1": 20.0, PEER: value})
    assert lines == ["1 warn apache.haproxy", "1 close apache.throttle"][::-1]
    assert f"pool web needs 1 in service, and {PEER} is {said}" in play.moves[1].reason
    assert play.closed == ["apache.throttle"]
    assert play.read(501, {PEER: 1.0}) == ["501 close apache.haproxy"]


def test_it_is_said_again_when_it_is_so_again() -> None:
    play = Play(guard(DRAIN), pools=[WEB])
    assert play.read(10, {"la1": 20.0, PEER: 0.0}) == ["1 warn apache.haproxy"]
    assert play.read(11, {PEER: 1.0}) == ["11 close apache.haproxy"]
    assert play.read(20, {PEER: 0.0}) == ["12 open apache.haproxy"], "which says it, too"
    assert play.read(30, {PEER: 1.0}) == [], "it has to be open for a minute"
    assert play.read(40, {PEER: 0.0}) == ["31 warn apache.haproxy"]


def test_the_next_step_goes_on_without_the_one_that_a_pool_needs() -> None:
    play = Play(guard(THROTTLE, DRAIN, SLOW), pools=[WEB])
    lines = play.read(100, {"la1": 20.0, PEER: 0.0})
    assert "31 close apache.properties" in lines


def test_who_left_comes_back_when_the_other_fails() -> None:
    play = Play(guard(DRAIN), pools=[WEB])
    assert play.read(1, {"la1": 20.0, PEER: 1.0}) == ["1 close apache.haproxy"]
    assert play.read(50, {PEER: None}) == [], "unknown is not down"
    assert play.read(51, {PEER: 0.0})[0] == "51 open apache.haproxy"
    assert play.moves[1].reason.startswith("its pool needs it: pool web needs 1 in service")
    assert play.closed == []


def test_a_pool_that_needs_two_counts_two() -> None:
    pool = Pool("web", (PEER, "up(smtp://192.0.2.3:25)"), 2)
    play = Play(guard(DRAIN), pools=[pool])
    play.read(10, {"la1": 20.0, PEER: 1.0, "up(smtp://192.0.2.3:25)": None})
    assert play.closed == []
    assert play.read(11, {"up(smtp://192.0.2.3:25)": 1.0}) == ["11 close apache.haproxy"]


# -- what has no closed state ----------------------------------------------------------------------

ZOPE = gate("zope", Restart("zope"))
LEAK = Held(Compare("swapused", ">=", 256), 10 * SECOND)


def test_a_restart_waits_looks_again_and_gives_up_loudly() -> None:
    play = Play(guard(ZOPE, close=LEAK, open=None))
    day = 24 * 3600
    lines = play.read(4000, {"swapused": 300.0})
    assert lines == ["11 fire zope", "311 fire zope", "611 give-up zope"]
    assert "restarting zope 2 times in 1d did not help" in play.reason
    assert play.closed == [], "it is fired, not closed"
    assert play.read(4100, {"swapused": 0.0}) == []
    assert play.read(4200, {"swapused": 300.0}) == ["4111 give-up zope"], "once more, as it is new"
    play.second = day + 200
    assert play.read(day + 300, {"swapused": 0.0}) == []
    assert play.read(day + 320, {"swapused": 300.0}) == [f"{day + 311} fire zope"]


def test_a_restart_that_helps_is_no_more_than_that() -> None:
    play = Play(guard(ZOPE, close=LEAK, open=None))
    assert play.read(20, {"swapused": 300.0}) == ["11 fire zope"]
    assert play.read(3000, {"swapused": 0.0}) == []


def test_unknown_after_giving_up_says_nothing_new() -> None:
    play = Play(guard(ZOPE, close=LEAK, open=None))
    play.read(1000, {"swapused": 300.0})
    assert play.read(1100, {"swapused": None}) == []
    assert play.read(1300, {"swapused": 300.0}) == []


def test_a_script_runs_once_each_time() -> None:
    play = Play(guard(gate("apache", Run("logger high")), open=None))
    assert play.to(100, la1=20.0) == ["1 fire apache"]
    assert play.to(200, la1=1.0) == []
    assert play.to(300, la1=20.0) == ["201 fire apache"]


def test_a_restart_below_is_not_done_for_the_sake_of_what_is_above() -> None:
    play = Play(guard(Step(ZOPE, when=LEAK), Step(STOP, when=Compare("la1", ">=", 50))))
    assert play.read(60, {"la1": 60.0, "swapused": 0.0}) == ["1 close apache.stop"]


def test_above_a_restart_the_ladder_waits_until_it_was_looked_at_again() -> None:
    play = Play(guard(Step(ZOPE), STOP))
    lines = play.to(2000, la1=20.0)
    assert lines[:2] == ["1 fire zope", "301 fire zope"]
    assert "601 close apache.stop" in lines


def test_commands_close_and_open_like_any_gate() -> None:
    play = Play(guard(gate("apache", Command(("drain",), ("undrain",)))))
    play.to(100, la1=20.0)
    assert play.closed == ["apache"]
    assert play.to(200, la1=1.0) == ["101 open apache"]


# -- the clock -------------------------------------------------------------------------------------


def test_a_clock_that_is_set_back_keeps_nothing_closed() -> None:
    play = Play(guard())
    play.second = 100_000
    play.to(100_100, la1=20.0)
    play.second = 10
    assert play.to(1000, la1=1.0) == ["71 open apache"], "a minute from now"
    play.to(1100, la1=20.0)
    play.second = 1000
    assert play.to(2000, la1=1.0) == ["1541 open apache"], "no later than the cap"


def test_nor_does_it_keep_the_steps_below_or_what_nobody_can_judge() -> None:
    play = Play(guard(THROTTLE, Step(STOP, after=0)))
    play.second = 100_000
    play.to(100_100, la1=20.0)
    assert play.to(100_105, la1=1.0) == ["100101 open apache.stop"]
    play.second = 10
    assert play.to(1000) == ["131 open apache.throttle"]
    play = Play(guard(open=None))
    play.second = 100_000
    play.to(100_100, la1=20.0)
    play.to(100_130, la1=1.0)
    play.second = 10
    assert play.to(1000) == ["71 open apache"]
    play = Play(guard())
    play.second = 100_000
    play.to(100_001, la1=20.0, la5=1.0)
    play.to(100_100, la1=None)
    play.second = 10
    assert play.to(1000) == ["611 open apache"]


def test_what_nobody_renewed_has_opened_and_is_not_closed_again_without_a_reading() -> None:
    for restarts in (False, True):  # the machine slept; we were not there
        play = Play(guard(THROTTLE, Step(STOP, after=0)))
        play.to(100, la1=20.0)
        if restarts:
            play.restart()
        play.second += 2 * 3600
        assert play.blind(7301) == ["7301 open apache.stop", "7301 open apache.throttle"]
        assert play.reason.startswith("nobody renewed it for 2h")
        assert play.closed == []
        assert play.to(7400)[0] == "7302 close apache.throttle", "if it has to be, it closes anew"


def test_a_restart_within_its_end_keeps_it_closed() -> None:
    play = Play(guard())
    play.to(100, la1=20.0)
    play.restart()
    play.second += 120
    assert play.blind(230) == []
    assert play.closed == ["apache"]


def test_nobody_renews_what_a_person_closed_and_yet_it_is_their_word() -> None:
    play = Play(guard())
    play.to(1)
    play.say("close", "apache", minutes=600)
    play.restart()
    play.second += 3600
    assert play.blind(3700) == []
    assert play.closed == ["apache"]
