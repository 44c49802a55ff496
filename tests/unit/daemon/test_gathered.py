"""Deeds become closings: only what was really closed, until when, and who opened it."""

from __future__ import annotations

import pytest
from tests.unit.daemon.test_effect import NOW, A, B, deed

from tidegate.daemon.gathered import Gathered, is_person, taken
from tidegate.decision.incidents import Cause
from tidegate.gate.switches.port import LEASE
from tidegate.ledger.port import Deed
from tidegate.model import HOUR, MINUTE, Subject
from tidegate.policy.guards import (
    Agent,
    Command,
    Freeze,
    GateSpec,
    GuardSpec,
    Haproxy,
    Properties,
    Refuse,
    Restart,
    Run,
    Service,
    Step,
    Throttle,
)
from tidegate.policy.models import Policy

ANNA = "anna (uid 1000)"
WEB = GuardSpec(
    "web",
    steps=(
        Step(GateSpec("web.throttle", Throttle((80, 443)))),
        Step(GateSpec("web.stop", Service("apache2.service"))),
    ),
)
POLICY = Policy(guards=(WEB,))


def move(action: str, ago: int, gate: str = "web.stop", **more: object) -> Deed:
    values = {"action": action, "subject": Subject(f"gate:{gate}"), "rule": "web", "by": "guard",
              "ports": (), "count": 0, "time": NOW - ago * MINUTE}  # fmt: skip
    return deed(f"{action} {ago} {gate}", span=0, **values | more)


def gathered(*deeds: Deed, shut=(), policy=POLICY):
    walk = Gathered(policy, shut, NOW)
    found = list(walk.closings(deeds))
    return found, walk.mishaps


def test_a_ban_and_a_quarantine():
    (ban, cut), mishaps = gathered(
        deed(), deed("two", action="quarantine", subject=B, ports=(), rule="outward-scan")
    )
    assert (ban.what, ban.services, ban.start, ban.end) == (
        "ban", ("port 25",), NOW - 2 * HOUR, NOW - HOUR,
    )  # fmt: skip
    assert (cut.what, cut.services, cut.name) == ("quarantine", ("outward",), "outward-scan")
    assert mishaps == []
    (every,), _mishaps = gathered(deed(ports=()))
    assert every.services == ("every port",)


@pytest.mark.parametrize(
    "more", [{"mode": "observe"}, {"spared": "allowlist"}, {"state": "skipped"}]
)
def test_what_closed_nothing_is_no_closing(more):
    assert gathered(deed(**more)) == ([], [])
    if "spared" not in more:
        assert gathered(move("close", 5, **more)) == ([], [])


def test_what_a_person_opened_is_admitted_and_what_a_reload_opened_is_not():
    opened = NOW - HOUR - 30 * MINUTE
    ban = deed(undone=opened)
    unban = deed("u", action="unban", time=opened, by=ANNA)
    (one,), (slip,) = gathered(ban, unban)
    assert (one.end, one.undone) == (opened, True)
    assert (slip.slip, slip.subject, slip.by, slip.span) == ("opened", A, ANNA, 30 * MINUTE)
    assert slip.cause == Cause("wave", "virus", ("port 25",))
    assert gathered(ban, unban._replace(by="reload"))[1] == []
    assert gathered(ban._replace(by=ANNA), unban)[1] == [], "a person's own ban is no mistake"


def test_a_quarantine_that_a_person_ended():
    opened = NOW - HOUR - MINUTE
    cut = deed(action="quarantine", subject=Subject("uid:33"), undone=opened)
    release = deed("r", action="release", subject=Subject("uid:33"), time=opened, by=ANNA)
    (_one,), (slip,) = gathered(cut, release)
    assert (slip.slip, slip.cause.sort) == ("opened", "cut")


def test_good_records_the_breaker_and_refusals_are_admitted():
    found, mishaps = gathered(
        deed(collateral=True),
        deed("hand", by=ANNA, collateral=True),
        deed("two", subject=B, spared="good record"),
        deed("three", state="refused", detail="the set is full"),
        move("close", 5, state="refused", detail="no such unit"),
    )
    assert [one.id for one in found] == ["one", "hand"]
    assert [(one.slip, one.detail) for one in mishaps] == [
        ("good", ""), ("spared", ""), ("refused", "the set is full"), ("refused", "no such unit"),
    ]  # fmt: skip
    assert mishaps[-1].cause == Cause("guard", "web")


def test_gates_close_until_they_open():
    found, mishaps = gathered(
        move("close", 50),
        move("close", 49),
        move("open", 40),
        move("close", 30, "web.throttle"),
        move("open", 20, "web.throttle", by=ANNA),
        move("warn", 10),
        move("fire", 9, "web.restart"),
        move("close", 5),
        shut=["web.stop"],
    )
    assert [(one.what, one.services, one.start, one.end) for one in found] == [
        ("stop", ("apache2.service",), NOW - 50 * MINUTE, NOW - 40 * MINUTE),
        ("limit", ("port 80", "port 443"), NOW - 30 * MINUTE, NOW - 20 * MINUTE),
        ("run", ("web",), NOW - 9 * MINUTE, NOW - 9 * MINUTE),
        ("stop", ("apache2.service",), NOW - 5 * MINUTE, None),
    ]
    assert [(one.slip, one.span) for one in mishaps] == [("opened", 10 * MINUTE)]


def test_a_gate_that_nobody_holds_closed_any_more_has_opened_by_itself():
    (one,), _mishaps = gathered(move("close", 50))
    assert one.end == one.start + LEASE


@pytest.mark.parametrize(
    ("name", "what"), [("old.throttle", "limit"), ("old.stop", "stop"), ("old", "stop")]
)
def test_a_gate_that_left_the_policy_is_known_by_its_name(name, what):
    (one,), _mishaps = gathered(move("close", 5, name, rule="old"))
    assert (one.what, one.services) == (what, ("old",))


@pytest.mark.parametrize(
    ("terms", "what", "services"),
    [
        (Service("exim4"), "stop", ("exim4",)),
        (Freeze("x.service"), "stop", ("x.service",)),
        (Refuse((25,)), "stop", ("port 25",)),
        (Command(("a",), ("b",)), "stop", ("g",)),
        (Throttle((80,)), "limit", ("port 80",)),
        (Properties("x.service", ()), "limit", ("x.service",)),
        (Haproxy("/s", "web", "a"), "limit", ("web/a",)),
        (Agent("127.0.0.1:7"), "limit", ("g",)),
        (Restart("zope"), "run", ("zope",)),
        (Run("true"), "run", ("g",)),
    ],
)
def test_what_each_gate_takes_away(terms, what, services):
    assert taken(terms, "g") == (what, services)


def test_who_is_a_person():
    assert is_person(ANNA)
    assert is_person("person")
    assert is_person("anna (uid 1000) at web2")
    assert not any(is_person(one) for one in ("fleet:web2", "fleet", "x) at (uid 1", "uid at b)"))
    assert not any(is_person(one) for one in ("rule", "guard", "reload", "", "(uid 7"))
