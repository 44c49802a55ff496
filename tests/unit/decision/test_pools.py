"""A guard whose gate takes its host out of a pool, and a fleet that has a word in it."""

from __future__ import annotations

from tests.unit.decision.acting import DRAIN, SLOW, THROTTLE, Play, gate, guard

from tidegate.decision.pools import Word
from tidegate.policy.guards import Pool, Restart

PEER = "up(smtp://192.0.2.2:25)"
WEB = Pool("web", (PEER,))
UNASKED, MAY, AWAY = Word("unasked"), Word("may", 1), Word("away")


def play(*gates, peer: float | None = 1.0, word: Word | None = UNASKED, **more) -> Play:
    made = Play(guard(*(gates or (DRAIN,)), **more), pools=[WEB])
    made.values[PEER] = peer
    say(made, word)
    return made


def say(here: Play, word: Word | None) -> None:
    here.guards.pools.words = {} if word is None else {"web": word}


def kept(here: Play) -> str:
    return here.guards.stand("apache.haproxy", here.now).kept


def test_it_asks_before_it_leaves_and_leaves_when_it_may() -> None:
    here = play()
    assert here.to(3, la1=1.0) == []
    assert here.guards.pools.leaving == set()
    assert here.to(5, la1=20.0) == []
    assert here.guards.pools.leaving == {"web"}
    say(here, MAY)
    assert here.to(6) == ["6 close apache.haproxy"]


def test_whom_the_fleet_keeps_stays_says_why_once_and_asks_on() -> None:
    here = play()
    here.to(1, la1=20.0)
    say(here, Word("stay", 0))
    assert here.to(20) == ["2 warn apache.haproxy"]
    why = "the fleet keeps it: pool web needs 1 others in service, and 0 say so"
    assert here.moves[-1].reason == f"apache.haproxy is left open: {why}"
    assert kept(here) == why
    assert here.closed == []
    assert here.guards.pools.leaving == {"web"}
    say(here, MAY)
    assert here.to(21) == ["21 close apache.haproxy"]
    assert kept(here) == ""


def test_it_is_asked_for_nothing_where_nothing_would_close() -> None:
    here = play(THROTTLE, DRAIN)
    assert here.to(20, la1=20.0) == ["1 close apache.throttle"]
    assert here.guards.pools.leaving == set(), "the step before has half a minute to help"
    here.to(31)
    assert here.guards.pools.leaving == {"web"}
    here.to(33, la1=1.0)
    assert here.guards.pools.leaving == set()


def test_the_fleet_can_not_take_out_whom_probes_keep() -> None:
    here = play(peer=0.0, word=MAY)
    assert here.to(20, la1=20.0) == ["1 warn apache.haproxy"]
    assert here.closed == []
    assert here.guards.pools.leaving == set(), "others may go as long as this one has to stay"
    assert kept(here).startswith("pool web needs 1 in service, and up(")


def test_where_nobody_answers_the_probes_decide_alone_and_it_is_said() -> None:
    here = play(word=AWAY)
    assert here.to(1, la1=20.0) == ["1 close apache.haproxy"]
    assert "its fleet does not answer, so the probes of its pool decided" in here.moves[-1].reason
    here = play(word=AWAY, peer=0.0)
    assert here.to(1, la1=20.0) == ["1 warn apache.haproxy"]
    assert kept(here).endswith("is down; its fleet does not answer: the probes alone decide")


def test_the_step_above_does_not_overtake_a_question_but_a_refusal() -> None:
    here = play(DRAIN, SLOW)
    assert here.to(40, la1=20.0) == []
    say(here, Word("stay", 0))
    assert here.to(41) == ["41 warn apache.haproxy", "41 close apache.properties"]


def test_who_is_out_comes_back_when_the_fleet_needs_it() -> None:
    here = play(word=MAY)
    here.to(1, la1=20.0)
    say(here, Word("stay", 0))
    assert here.to(5) == [], "not at once: others may only be late"
    say(here, Word("stay", 0, back=True))
    assert here.to(6)[0] == "6 open apache.haproxy"
    assert here.moves[-1].reason.startswith("its pool needs it: the fleet keeps it: pool web")


def test_who_only_observes_asks_nobody() -> None:
    here = play(mode="observe")
    assert here.to(1, la1=20.0) == ["1 close apache.haproxy"]
    assert here.guards.pools.leaving == set()


def test_a_restart_asks_too() -> None:
    here = play(gate("zope", Restart("zope"), "web"), open=None)
    assert here.to(3, la1=20.0) == []
    assert here.guards.pools.leaving == {"web"}
    say(here, MAY)
    assert here.to(4) == ["4 fire zope"]
    here.to(10)
    assert here.guards.pools.leaving == set(), "only when it is time for the next"
