"""Which readings a policy needs, each as often as whoever needs it most."""

from __future__ import annotations

from tidegate.model import MINUTE, SECOND
from tidegate.policy.guards import (
    And,
    Compare,
    GateSpec,
    GuardSpec,
    Held,
    Not,
    Or,
    Pool,
    ReadingSpec,
    Service,
    Step,
    Trigger,
)
from tidegate.policy.models import Policy
from tidegate.policy.needs import compares, holds, needed, source_of

LOAD = Compare("la1", ">=", 10)
FULL = Compare("disk.full-in(/var)", "<", 3600)
OWN = Compare("lag", ">", 30)
PEER = "up(smtp://192.0.2.2:25)"


def test_every_comparison_and_every_span_is_found() -> None:
    inner = Held(LOAD, MINUTE)
    outer = Held(Or((Not(inner), FULL)), SECOND)
    assert list(compares(And((outer, OWN)))) == [LOAD, FULL, OWN]
    assert list(holds(And((outer, OWN)))) == [inner, outer], "inner ones first"


def test_what_is_worked_out_stands_for_what_has_to_be_taken() -> None:
    assert source_of("disk.full-in(/var)") == "disk.available(/var)"
    assert source_of('inodes.full-in("/var/a b")') == 'inodes.free("/var/a b")'
    assert source_of("queue.clear-in(exim)") == "queue(exim)"
    assert source_of("la1") == "la1"


def test_cheap_readings_each_second_others_as_often_as_is_asked() -> None:
    policy = Policy(
        guards=(GuardSpec("a", close=Or((LOAD, FULL)), warn=OWN),),
        readings=(ReadingSpec("lag", command=("lag",), every=45 * SECOND),),
    )
    assert needed(policy) == {
        "la1": SECOND,
        "disk.available(/var)": 10 * SECOND,
        "lag": 45 * SECOND,
    }


def test_who_needs_it_most_says_how_often() -> None:
    now = Compare("disk.available(/var)", "<", 1 << 20)
    policy = Policy(guards=(GuardSpec("a", close=FULL), GuardSpec("b", close=now)))
    assert needed(policy) == {"disk.available(/var)": SECOND}


def test_steps_triggers_and_peers_need_theirs_and_what_is_off_needs_none() -> None:
    stop = GateSpec("a.stop", Service("a"), pool="mail")
    policy = Policy(
        guards=(
            GuardSpec("a", close=LOAD, steps=(Step(stop, when=Compare("la5", ">", 1)),)),
            GuardSpec("b", close=FULL, enabled=False),
        ),
        triggers=(Trigger("t", Compare("memfree", "<", 1)),),
        pools=(Pool("mail", (PEER,)), Pool("unused", ("up(tcp://192.0.2.3:1)",))),
    )
    assert set(needed(policy)) == {"la1", "la5", "memfree", PEER}
