"""All guards together: what is wanted closed, the tide, restarts and reloads."""

from __future__ import annotations

import json
from dataclasses import replace

from tests.unit.decision.acting import LOW, SLOW, START, STOP, THROTTLE, Play, gate, guard

from tidegate.decision.guards import Guards
from tidegate.evidence.conditions import Evidence
from tidegate.model import HOUR, MINUTE, SECOND, Change, Sample
from tidegate.policy.guards import (
    LEASE,
    Compare,
    GateSpec,
    GuardSpec,
    Held,
    Service,
    Step,
    Throttle,
    Trigger,
)
from tidegate.policy.models import Policy

EXIM = GuardSpec(
    "exim", Compare("queue(exim)", ">", 1000), Compare("queue(exim)", "<", 100),
    steps=(Step(gate("exim", Service("exim4"))),), tide="flood",
)  # fmt: skip


def test_each_guard_by_itself() -> None:
    play = Play(guard(), EXIM)
    assert play.to(10, la1=20.0) == ["1 close apache"]
    assert play.read(20, {"queue(exim)": 2000.0}) == ["11 close exim"]
    assert play.closed == ["apache", "exim"]
    assert play.read(200, {"queue(exim)": None}) == [], "the other is as it was"
    assert play.closed == ["apache", "exim"]


def test_a_closing_has_an_end_that_is_renewed() -> None:
    play = Play(guard())
    play.to(1, la1=20.0)
    assert play.guards.closed(play.now) == {"apache": play.now + LEASE}
    play.to(1000)
    assert play.guards.closed(play.now) == {"apache": play.now + LEASE}
    assert LEASE == 5 * MINUTE


def test_a_persons_closing_ends_when_they_said_and_not_with_the_lease() -> None:
    play = Play(guard())
    play.to(1)
    play.say("close", "apache", minutes=60)
    assert play.guards.closed(play.now) == {"apache": play.now + LEASE}
    later = play.now + 58 * MINUTE
    assert play.guards.closed(later) == {"apache": later + 2 * MINUTE}
    assert play.guards.closed(play.now + HOUR) == {}


def test_who_only_observes_moves_and_closes_nothing() -> None:
    play = Play(guard(mode="observe"))
    assert play.to(10, la1=20.0) == ["1 close apache"]
    assert play.closed == []
    assert play.guards.tide(play.now) == "low"
    play.say("close", "apache")
    assert play.closed == ["apache"], "a person's word is no observation"


def test_who_is_off_is_not_there() -> None:
    play = Play(guard(enabled=False))
    assert play.to(10, la1=20.0) == []
    assert play.guards.readings() == {}


def test_the_tide_is_the_highest() -> None:
    play = Play(guard(), EXIM)
    assert play.guards.tide(play.now) == "low"
    play.to(1, la1=20.0)
    assert play.guards.tide(play.now) == "high"
    play.read(2, {"queue(exim)": 2000.0})
    assert play.guards.tide(play.now) == "flood"


def test_all_readings_that_are_needed() -> None:
    play = Play(guard(), EXIM)
    assert play.guards.readings() == {"la1": SECOND, "la5": SECOND, "queue(exim)": 10 * SECOND}


def test_what_is_saved_is_small_and_only_what_changed() -> None:
    play = Play(guard(THROTTLE, SLOW, STOP), EXIM)
    assert len(play.saved()) == 2
    play.to(100)
    quiet = play.saved()
    play.to(200)
    assert [change.part for change in play.saved()] == []
    assert {change.part for change in quiet} <= {"guard apache", "guard exim"}
    for n in range(300):
        play.to(play.second + 20, la1=20.0 if n % 2 else 1.0)
    (change,) = play.saved()
    assert change.value is not None
    assert len(change.value) < 1000


def test_what_is_damaged_or_gone_is_not_restored() -> None:
    play = Play(guard())
    odd = (
        b"", b"{}", b"[]", b"\xff", b'{"rungs":{"apache":{"state":"ajar"}},"times":[0,0,0,0,0]}',
        b'{"rungs":{"apache":{"colour":1}},"times":[0,0,0,0,0],"course":[]}',
        b'{"rungs":{},"times":[0],"course":[]}', b'{"rungs":{},"times":[0,0,0,0,0],"course":[[1]]}',
    )  # fmt: skip
    for value in odd:
        assert play.guards.restore(Change("guard apache", "state", value))
        assert play.guards.restore(Change("trigger none", "state", value))
    assert play.guards.restore(Change("guard gone", "state", b"x"))
    assert play.guards.restore(Change("guard apache", "state", None))
    for part in ("success", "guard", "window spam"):
        assert not play.guards.restore(Change(part, "state", b"x"))
    assert play.closed == []
    assert play.to(10, la1=20.0) == ["1 close apache"]


def test_a_gate_that_a_guard_has_no_more_is_not_restored() -> None:
    play = Play(guard(THROTTLE, STOP))
    play.to(100, la1=20.0)
    saved = play.saved()
    fresh = Play(guard(STOP))
    for change in saved:
        fresh.guards.restore(change)
    fresh.second = 100
    assert fresh.closed == ["apache.stop"]
    assert json.loads(saved[0].value or b"")["rungs"].keys() == {"apache.throttle", "apache.stop"}


# -- reloads ---------------------------------------------------------------------------------------


def test_on_reload_what_is_closed_stays_closed() -> None:
    play = Play(guard(THROTTLE, STOP))
    play.to(100, la1=20.0)
    play.reload(guard(THROTTLE, SLOW, STOP))
    assert play.closed == ["apache.stop", "apache.throttle"]
    assert play.to(130, la1=1.0) == ["101 open apache.stop"]


def test_on_reload_a_gate_without_a_guard_opens_and_it_is_said() -> None:
    play = Play(guard(THROTTLE, STOP), EXIM)
    play.read(100, {"la1": 20.0, "queue(exim)": 2000.0})
    play.reload(guard(THROTTLE))
    assert play.closed == ["apache.throttle"]
    assert play.to(101) == ["101 open apache.stop", "101 open exim"]
    assert play.reason == "it is not in the policy any more"
    assert play.moves[-1].time == play.now
    assert play.to(102) == []


def test_on_reload_a_gate_that_closes_something_else_begins_open() -> None:
    play = Play(guard())
    play.to(100, la1=20.0)
    play.reload(guard(GateSpec("apache", Service("nginx.service"))))
    assert play.closed == [], "no reading ever said that nginx is to be stopped"
    assert play.to(101, la1=5.0) == ["101 open apache"]
    assert play.reason == "it closes something else now"
    assert play.to(160, la1=5.0) == []


def test_a_throttle_with_another_rate_stays_closed() -> None:
    play = Play(guard(THROTTLE))
    play.to(100, la1=20.0)
    play.reload(guard(GateSpec("apache.throttle", Throttle((80, 443), rate=5))))
    assert play.closed == ["apache.throttle"]


def test_on_reload_what_moved_to_another_guard_or_is_off_opens() -> None:
    play = Play(guard(STOP))
    play.to(100, la1=20.0)
    play.reload(replace(guard(STOP), name="web", close=Compare("la1", ">=", 99)))
    assert play.closed == []
    assert play.to(101) == ["101 open apache.stop"]
    play = Play(guard(STOP))
    play.to(100, la1=20.0)
    play.reload(guard(STOP, enabled=False))
    assert play.to(101) == ["101 open apache.stop"]


def test_on_reload_a_guard_that_only_observes_now_opens() -> None:
    play = Play(guard())
    play.to(100, la1=20.0)
    play.reload(guard(mode="observe"))
    assert play.closed == []
    assert play.to(101, la1=5.0) == ["101 open apache"]
    assert play.reason == "its guard only observes now"


def test_what_was_only_observed_does_not_close_without_its_condition_once_it_is_enforced() -> None:
    for restarts in (False, True):
        play = Play(guard(mode="observe"))
        play.to(100, la1=20.0)
        play.to(1000, la1=5.0)
        if restarts:
            saved = play.saved()
            play = Play(guard())
            play.second = 1000
            for change in saved:
                play.guards.restore(change)
        else:
            play.reload(guard())
        assert play.to(1100, la1=5.0) == []
        assert play.closed == [], "between close and open nothing moves"
        assert play.to(1200, la1=20.0) == ["1101 close apache"]


def test_where_the_whole_policy_observes_only_a_person_closes() -> None:
    policy = Policy(guards=(guard(STOP),), mode="observe")
    guards = Guards(policy, Evidence(policy))
    guards.step(START, [Sample("la1", START, 20.0)], ())
    assert guards.tide(START) == "high"
    assert guards.closed(START) == {}
    guards.order("close", "apache.stop", START)
    assert set(guards.closed(START)) == {"apache.stop"}


def test_on_reload_what_was_read_is_still_true() -> None:
    held = Held(Compare("la1", ">=", 10), 30 * SECOND)
    play = Play(guard(close=held))
    play.to(25, la1=20.0)
    play.reload(guard(close=held, open=LOW, flaps=2))
    assert play.to(40) == ["31 close apache"]


# -- restarts --------------------------------------------------------------------------------------


def story(restarts: bool) -> list[str]:
    """Half an hour in which much happens; with a restart at every second, or none."""
    spec = guard(
        THROTTLE, SLOW, STOP,
        close=Held(Compare("la1", ">=", 10), 5 * SECOND), warn=Compare("la1", ">=", 8),
    )  # fmt: skip
    play = Play(spec, triggers=[Trigger("log", Compare("la1", ">=", 9), log=True, log_once=True)])
    lines = []
    for second in range(1, 1800):
        if second == 400:
            lines += play.say("open", "apache.stop")
        if second == 900:
            lines += play.say("close", "apache.properties", minutes=5)
        if second == 1000:
            lines += play.say("hold", "apache.throttle", minutes=3)
        if restarts:
            play.restart()
        load = 0.5 if second % 600 > 300 else 4 + 20 * (second % 600) / 300
        found = None if 700 < second < 720 else load
        lines += play.to(second, la1=found)
    return lines


def test_a_restart_at_any_moment_changes_no_decision() -> None:
    once = story(restarts=False)
    assert len(once) > 15, "much happens"
    assert story(restarts=True) == once
