"""What people are told of guards and gates, and what they order: shapes and refusals, in memory."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from tests.unit.daemon.test_guarding import NOW, ONE, RUN, Scene

from tidegate.control.call import Call
from tidegate.control.peer import Peer
from tidegate.daemon import asked, gateview, gatework
from tidegate.daemon.moves import PREFIX
from tidegate.model import MINUTE, SECOND, GateReport, Subject

ANNA = Peer(1, 1000, 1000, "anna", frozenset())


def watcher(here: Scene, *, observe: bool = False) -> Any:
    """A watcher with these guards, as far as it is asked."""
    policy, guards = here.policy, here.guarding.guards
    pipeline = SimpleNamespace(policy=policy, guards=guards)
    wiring = SimpleNamespace(observe=observe)
    return SimpleNamespace(
        pipeline=pipeline, guarding=here.guarding, wiring=wiring, checkpoint=lambda _now: None
    )


def gate(here: Scene, name: str = "web") -> dict[str, Any]:
    """How one gate is shown."""
    _status, answer = gatework.guards(watcher(here), Call("GET", "/guards", {}, {}, ANNA), here.now)
    json.dumps(answer)
    assert isinstance(answer, dict)
    return next(one for row in answer["guards"] for one in row["gates"] if one["gate"] == name)


def order(here: Scene, verb: str, name: str = "web", **body: str) -> list[dict[str, Any]]:
    call = Call("POST", "/gate", {}, {"verb": verb, "gate": name, **body}, ANNA)
    _status, answer = gatework.order(watcher(here), call, here.now)
    assert isinstance(answer, dict)
    moves: list[dict[str, Any]] = answer["moves"]
    return moves


def test_a_closed_gate_says_what_it_does_and_when_it_opens() -> None:
    here = Scene()
    here.load(1, 2)
    assert (gate(here)["state"], gate(here)["opens"]) == ("open", "")
    here.load(11, 2)
    shown = gate(here)
    assert (shown["state"], shown["wanted"], shown["what"]) == ("closed", "closed", "service")
    assert (shown["does"], shown["opens"]) == ("apache2 is stopped", "when la1 <= 2")
    assert (shown["held"], shown["left_alone"], shown["observed"]) == (None, None, "open")


def test_who_holds_a_gate_is_told_until_resume() -> None:
    here = Scene()
    here.load(11, 2)
    order(here, "hold", note="upgrade tonight")
    held = gate(here)["held"]
    assert (held["by"], held["note"], held["until"]) == ("anna (uid 1000)", "upgrade tonight", None)
    order(here, "resume")
    assert gate(here)["held"] is None


def test_what_a_person_closed_and_opened_has_its_time() -> None:
    here = Scene()
    here.load(1, 2)
    order(here, "close", **{"for": "10m"})
    here.load(1)
    assert gate(here)["opens"].startswith("at 2023-11-14T22:23:")
    order(here, "open")
    here.load(5)
    assert gate(here)["left_alone"] is not None
    assert gate(here)["state"] == "taken"
    here.load(1, 2)
    assert gate(here)["left_alone"] is None, "open holds: its guard decides again"


def test_list_has_a_row_also_where_the_ledger_forgot_the_closing() -> None:
    here = Scene()
    here.load(11, 2)
    (row,) = gateview.closed(watcher(here), here.now)
    assert (row["subject"], row["gate"], row["by"]) == ("gate:web", "web", "guard")
    assert 290 < row["left"] <= 300
    for number in range(60):  # a person holds and resumes it again and again
        order(here, "hold" if number % 2 else "resume")
        here.now += SECOND
    (again,) = gateview.closed(watcher(here), here.now)
    assert (again["gate"], again["rule"], again["reason"]) == ("web", "web", "long ago")


def test_where_the_policy_only_observes_nothing_is_closed_and_nobody_can_close() -> None:
    here = Scene('mode = "observe"\n' + ONE)
    here.load(11, 2)
    assert list(gateview.closed(watcher(here), here.now)) == []
    assert (gate(here)["state"], gate(here)["observed"]) == ("open", "closed")
    call = Call("POST", "/gate", {}, {"verb": "close", "gate": "web"}, ANNA)
    with pytest.raises(asked.WrongError, match="the daemon only observes"):
        gatework.order(watcher(here, observe=True), call, here.now)


def test_what_is_only_run_is_ready_runs_and_may_be_held() -> None:
    here = Scene(RUN)
    here.load(1, 2)
    assert (gate(here, "tell")["state"], gate(here, "tell")["at_most"]) == ("ready", None)
    told = gatework.why(watcher(here), "tell", here.now)
    assert (told["stated"], told["now"]) == ("run when la1 >= 10, once at each crossing", ["la1 1"])
    order(here, "hold", "tell")
    assert gate(here, "tell")["held"]["by"] == "anna (uid 1000)"
    with pytest.raises(asked.WrongError, match="write hold or resume, not close"):
        order(here, "close", "tell")


def test_a_restart_says_how_often_and_that_it_is_given_up() -> None:
    text = '[guard.web]\nrestart = { service = "zope", when = "la1 >= 10", wait = "1s" }\n'
    here = Scene(text)
    here.load(11, 8)
    shown = gate(here)
    assert (shown["state"], len(shown["fired"]), shown["at_most"]) == ("given up", 2, 2)
    here.guarding.states["web"] = GateReport("web", "refused", NOW, "no such service")
    assert gate(here)["state"] == "given up"


def test_history_of_a_guard_is_that_of_its_gates_and_a_gate_that_is_gone_is_found() -> None:
    here = Scene()
    here.load(11, 2)
    assert [one.decision.action for one in gatework.history(watcher(here), "web", 9)] == ["close"]
    here.policy = Scene(RUN).policy
    assert [one.decision.action for one in gatework.history(watcher(here), "web", 9)] == ["close"]
    assert gatework.history(watcher(here), "nothing", 9) == []


def test_who_mistypes_is_told_which_gates_there_are() -> None:
    here = Scene()
    with pytest.raises(asked.WrongError, match="there is no gate 'wbe'; gates: web"):
        order(here, "open", "wbe")
    with pytest.raises(asked.WrongError, match=r"or a gate: web$"):
        gatework.subject(watcher(here), "wbe")
    assert gatework.subject(watcher(here), "192.0.2.7") == Subject("192.0.2.7")
    assert gatework.names_gate(watcher(here), "web")
    assert here.ledger.history(1, Subject(PREFIX + "web")) == []


def test_without_open_it_is_said_how_long_calm_has_to_last() -> None:
    here = Scene('[guard.web]\nclose = "la1 >= 10"\nservice = "apache2"\n')
    here.load(11, 2)
    assert gate(here)["opens"] == "once its condition has not held for 1m"
    assert here.now - NOW < MINUTE
