"""Which gates of guards are closed, since when, until when; in memory and behind a keeper."""

from __future__ import annotations

import pytest
from tests.unit.gate.conftest import START, Setting

from tidegate.errors import GateError
from tidegate.frames import Malformed
from tidegate.gate.closings import Closings
from tidegate.gate.doorman import Doorman
from tidegate.gate.memory import MemoryGate
from tidegate.gate.port import MAX_DOORS, Throttled
from tidegate.gate.remote import RemoteGate
from tidegate.gate.smtp421 import Responder
from tidegate.model import HOUR, MINUTE, SECOND, GateReport
from tidegate.policy.guards import LEASE, GateSpec, Refuse, Service, Throttle

WEB = GateSpec("web", Throttle((80,)))
MAIL = GateSpec("mail", Refuse((25,)))
UNTIL = START + MINUTE


def test_everything_is_open_at_first() -> None:
    closings = Closings((WEB, MAIL))
    assert closings.take({}, START) == [
        GateReport("web", "open", START),
        GateReport("mail", "open", START),
    ]
    assert closings.standing(START) == {}


def test_closed_is_what_was_named_since_it_was_first_named() -> None:
    closings = Closings((WEB, MAIL))
    closings.take({"web": UNTIL}, START)
    later = START + 10 * SECOND
    reports = closings.take({"web": later + MINUTE, "mail": later + MINUTE}, later)
    assert reports == [GateReport("web", "closed", START), GateReport("mail", "closed", later)]
    assert closings.take({"mail": UNTIL}, later + SECOND) == [
        GateReport("web", "open", later + SECOND),
        GateReport("mail", "closed", later),
    ]


def test_it_ends_by_itself_and_has_been_open_since_then() -> None:
    closings = Closings((WEB,))
    closings.take({"web": UNTIL}, START)
    assert closings.standing(UNTIL - 1) == {"web": UNTIL}
    assert closings.standing(UNTIL) == {}
    assert closings.reports(UNTIL + HOUR) == [GateReport("web", "open", UNTIL)]
    assert closings.take({}, UNTIL + HOUR) == [GateReport("web", "open", UNTIL)]
    again = UNTIL + 2 * HOUR
    assert closings.take({"web": again + MINUTE}, again) == [GateReport("web", "closed", again)]


def test_an_end_is_no_further_than_the_lease_and_one_that_is_over_closes_nothing() -> None:
    closings = Closings((WEB, MAIL))
    closings.take({"web": START + 10 * HOUR, "mail": START}, START)
    assert closings.standing(START) == {"web": START + LEASE}
    assert closings.standing(START - HOUR) == {"web": START - HOUR + LEASE}, "a clock set back"


def test_what_can_not_be_closed_is_refused_with_its_reason() -> None:
    many = [GateSpec(f"gate{n}", Refuse((n,))) for n in range(1, MAX_DOORS + 2)]
    odd = (
        GateSpec("none", Refuse(())),
        GateSpec("twice", Refuse((25, 25))),
        GateSpec("far", Refuse((65536,))),
        GateSpec("rate", Throttle((80,), rate=0)),
        GateSpec("stop", Service("x.service")),
    )
    closings = Closings((*odd, *many, GateSpec("gate1", Refuse((99,)))))
    assert len(closings.specs) == MAX_DOORS
    wanted = {spec.name: UNTIL for spec in (*odd, *many)} | {"unheard-of": UNTIL}
    refused = {
        one.gate: one.detail for one in closings.take(wanted, START) if one.state == "refused"
    }
    assert refused == {
        "none": "it needs 1 to 128 ports",
        "twice": "ports must be 1-65535, each once",
        "far": "ports must be 1-65535, each once",
        "rate": "the kernel can't keep that rate",
        "stop": "policy has no such gate of the kernel",
        f"gate{MAX_DOORS + 1}": "there are too many gates, or two of that name",
        "unheard-of": "policy has no such gate of the kernel",
    }


def test_other_gates_leave_those_that_remain() -> None:
    closings = Closings((WEB, MAIL))
    closings.take({"web": UNTIL, "mail": UNTIL}, START)
    assert not closings.govern((WEB, MAIL))
    assert closings.govern((MAIL,))
    assert closings.standing(START) == {"mail": UNTIL}
    assert closings.reports(START) == [GateReport("mail", "closed", START)]


def test_an_earlier_life_is_taken_over() -> None:
    closings = Closings((MAIL,))
    assert not closings.known
    closings.adopt({"mail": UNTIL, "gone": UNTIL}, START)
    assert closings.known
    assert closings.reports(START) == [GateReport("mail", "closed", START)]


def test_in_memory() -> None:
    gate = MemoryGate(gates=(WEB, MAIL))
    assert [one.state for one in gate.switch({"mail": UNTIL}, START)] == ["open", "closed"]
    assert gate.switched(START) == {"mail": UNTIL}
    gate.replace([], [], START)
    assert gate.switched(START) == {"mail": UNTIL}
    assert gate.throttled() == [Throttled("web", 0, 0), Throttled("mail", 0, 0)]
    gate.open_all()
    assert gate.switched(START) == {}


def test_behind_a_keeper(setting: Setting, remote: RemoteGate) -> None:
    assert remote.switch({"web": UNTIL}, START) == [
        GateReport("web", "refused", START, "policy has no such gate of the kernel")
    ]
    setting.change(gates=(WEB, MAIL))
    assert remote.reload()
    assert not remote.reload()
    reports = remote.switch({"web": UNTIL}, START)
    assert reports == [GateReport("web", "closed", START), GateReport("mail", "open", START)]
    assert setting.gate.switched(START) == {"web": UNTIL}
    told = [Throttled("web", 7, 420, (("203.0.113.1", 5), ("2001:db8::/64", 2)))]
    setting.gate.throttled = lambda: told  # type: ignore
    assert remote.throttled() == told
    setting.off_file.touch()
    with pytest.raises(GateError, match="switched off"):
        remote.switch({"web": UNTIL}, START)


def test_without_a_responder_it_is_said_that_connections_are_refused(setting: Setting) -> None:
    responder = Responder()
    responder.why = "no responder: Address already in use"
    later = GateSpec("later", Refuse((25,), "421"))
    setting.gate.gates = (later, MAIL)
    doorman = Doorman(setting.gate, responder)
    responder.tick = lambda wanted: None  # type: ignore[method-assign]
    doorman.tick((later, MAIL), off=False)
    answer = doorman.switch({"type": "switch", "closed": {"later": UNTIL, "mail": UNTIL}}, START)
    assert answer["reports"] == [
        GateReport("later", "closed", START, f"{responder.why}; connections are refused"),
        GateReport("mail", "closed", START),
    ]
    doorman.close()


@pytest.mark.parametrize(
    "closed", [None, [], {"web": "soon"}, {"web": True}, {str(n): UNTIL for n in range(1001)}]
)
def test_what_is_no_switch_is_malformed(setting: Setting, closed: object) -> None:
    with pytest.raises(Malformed):
        Doorman(setting.gate, None).switch({"type": "switch", "closed": closed}, START)
