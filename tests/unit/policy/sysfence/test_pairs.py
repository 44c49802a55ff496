"""Rules that stop and start one service: recognised, made one guard, and why two are worse."""

from __future__ import annotations

import pytest
from tests.unit.decision.simulation import START as BEGIN
from tests.unit.decision.simulation import Host, samples

from tidegate.decision.guards import Guards
from tidegate.evidence.conditions import Evidence
from tidegate.model import MINUTE, SECOND
from tidegate.policy.expressions import parse
from tidegate.policy.guards import (
    Restart,
    Run,
    Service,
)
from tidegate.policy.models import Policy
from tidegate.policy.sysfence import Reading, guards
from tidegate.policy.sysfence.pairs import together
from tidegate.policy.sysfence.services import Does, does

STOP = """rule "Stop" { la1 >= 10 or la5 >= 6 } run '/etc/init.d/apache2 stop'\n"""
START = """rule "Start" { la1 <= 2 } run once '/etc/init.d/apache2 start'\n"""


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("/etc/init.d/apache2 stop;", Does("stop", "apache2")),
        ("/etc/init.d/apache2 start", Does("start", "apache2")),
        ("/etc/rc.d/init.d/mysql  stop ; ", Does("stop", "mysql")),
        ("/etc/rc.d/nginx stop", Does("stop", "nginx")),
        ("service apache2 stop", Does("stop", "apache2")),
        ("/usr/sbin/service apache2 start >/dev/null 2>&1", Does("start", "apache2")),
        ("systemctl stop apache2.service", Does("stop", "apache2")),
        ("/bin/systemctl --no-block start apache2", Does("start", "apache2")),
        ("systemctl stop apache2.socket", Does("stop", "apache2.socket")),
        ("sudo systemctl stop php8.2-fpm", Does("stop", "php8.2-fpm")),
        ("invoke-rc.d --quiet exim4 stop", Does("stop", "exim4")),
        ("rc-service nginx start", Does("start", "nginx")),
        ("\n service a stop \n", Does("stop", "a")),
        ("/etc/rc.d/init.d/zope restart", Does("restart", "zope")),
        ("systemctl try-restart zope", Does("restart", "zope")),
        ("/etc/init.d/a stop; sleep 120; /etc/init.d/a start", Does("restart", "a", 120 * SECOND)),
        ("service a stop && sleep 2m && service a start", Does("restart", "a", 2 * MINUTE)),
        ("service a stop; service a start", Does("restart", "a")),
        ("service a stop; service b start", None),
        ("service a start; service a stop", None),
        ("service a stop; service b stop", None),
        ("service a stop; echo hi | mail root", None),
        ("service a stop; rm -rf /x; service a start", None),
        ("service a reload", None),
        ("service $A stop", None),
        ("systemctl stop a b", None),
        ("systemctl stop", None),
        ("/etc/init.d/../x stop", None),
        ("/opt/init.d/x stop", None),
        ("echo 'service a stop'", None),
        ("sleep 5", None),
        ("sudo", None),
        ("", None),
        (";;", None),
    ],
)
def test_what_a_command_does_to_a_service(script: str, expected: Does | None) -> None:
    assert does(script) == expected


@pytest.mark.parametrize(
    ("stop", "start", "expected"),
    [
        ("la5 >= 6", "la1 <= 2", "la5 >= 6 and la1 <= 2"),
        ("la1 >= 10 or la5 >= 6", "la1 <= 2", "la5 >= 6 and la1 <= 2"),
        ("la1 >= 10", "la1 <= 2", ""),
        ("la1 > 10 or la5 > 6", "la1 < 2 and la5 < 3", ""),
        ("la1 <= 2", "la1 <= 2", "la1 <= 2"),
    ],
)
def test_how_two_conditions_hold_together(stop: str, start: str, expected: str) -> None:
    assert together(parse(stop), parse(start)) == expected


def test_too_many_alternatives_are_said_to_hold_together() -> None:
    many = " and ".join(f"(la1 > {n} or la5 > {n})" for n in range(2, 20))
    assert together(parse(many), parse("la1 < 1")).startswith("la1 < 1 and (la1 > 2")


@pytest.mark.parametrize("limit", ["inf", "-5"])
def test_a_pair_that_makes_no_guard_stays_as_it_is(limit: str) -> None:
    text = STOP.replace("10", limit).replace(" or la5 >= 6", "") + START
    specs, triggers, notes, _faults = guards("", [("a", text)])
    assert specs == ()
    assert [one.name for one in triggers] == ["stop", "start"]
    assert any("kept as it is, no guard" in note for note in notes)


def test_a_pair_becomes_one_guard() -> None:
    specs, triggers, notes, faults = guards("web", [("/etc/sf.conf", STOP + START)])
    (spec,) = specs
    assert (triggers, faults) == ((), ())
    assert spec.name == "web.apache2"
    assert spec.close == parse("la1 >= 10 or la5 >= 6")
    assert spec.open == parse("la1 <= 2")
    assert [(gate.name, gate.terms) for gate in spec.gates] == [("web.apache2", Service("apache2"))]
    assert (spec.stated_close, spec.stated_open) == ("la1 >= 10 or la5 >= 6", "la1 <= 2")
    assert notes[0].startswith('/etc/sf.conf:1:1: "Stop" stops apache2 and "Start" starts it')


def test_the_halves_may_stand_in_two_files_and_be_spelt_in_two_ways() -> None:
    other = 'if "b" { la1 < 1 } run "systemctl start apache2.service"'
    specs, triggers, _notes, _faults = guards("", [("a", STOP), ("b", other)])
    assert [spec.name for spec in specs] == ["apache2"]
    assert triggers == ()


def test_several_reasons_to_stop_are_one_closing() -> None:
    more = 'if "mem" { memfree < 10M } run "/etc/init.d/apache2 stop"\n'
    (spec,), triggers, notes, _faults = guards("", [("a", STOP + more + START)])
    assert spec.close == parse("la1 >= 10 or la5 >= 6 or memfree < 10M")
    assert '"Stop" or "mem" stops apache2' in notes[0]
    assert triggers == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (STOP, "stops apache2, but no rule starts it again"),
        (START, "starts apache2, but no rule stops it"),
        (STOP + START.replace("apache2", "nginx"), "no rule starts it again"),
    ],
)
def test_half_a_pair_stays_a_rule_and_is_said(text: str, said: str) -> None:
    specs, triggers, notes, _faults = guards("", [("a", text)])
    assert specs == ()
    assert len(triggers) == text.count("rule")
    assert any(said in note for note in notes)


def test_a_pair_that_logs_is_told_that_everything_is_recorded() -> None:
    _specs, _triggers, notes, _faults = guards("", [("a", STOP + START.strip() + " log")])
    assert notes[-1] == "a:2:1: log is left out: every closing and opening is recorded"


def test_a_restart_has_its_limits_and_strict_has_none() -> None:
    text = 'if "z" { swapused >= 256M } run "service z stop; sleep 600; service z start"'
    (spec,), triggers, notes, _faults = guards("", [("a", text)])
    assert spec.gates[0].terms == Restart("z", wait=600 * SECOND)
    assert spec.close == parse("swapused >= 256M")
    assert triggers == ()
    assert "looked at again after 10m, at most 2 times a day, then given up loudly" in notes[0]
    assert "the pause of 600s between stop and start is left out" in notes[0]
    specs, (trigger,), _notes, _faults = guards("", [("a", text)], "strict")
    assert specs == ()
    assert trigger.gate is not None
    assert trigger.gate.terms == Run("service z stop; sleep 600; service z start")


# -- why a pair is better one guard -----------------------------------------------------------------


def played(text: str, reading: Reading) -> list[bool]:
    """Whether the service is up, by the second: abuse for ten minutes, then fifty of calm."""
    specs, triggers, _notes, _faults = guards("", [("sf.conf", text)], reading)
    policy = Policy(guards=specs, triggers=triggers)
    judge, host = Guards(policy, Evidence(policy)), Host(stopping=120)  # as it is when all hangs
    scripts = {one.gate.name: one.gate.terms for one in triggers if one.gate is not None}
    stopped, found = False, []
    for second in range(3600):
        host.second(second, 30 if second < 600 else 0, throttled=False, stopped=stopped)
        now = BEGIN + second * SECOND
        for move in judge.step(now, samples(host.load.read(), now), ()):
            if move.verb == "fire":
                run = scripts[move.gate]
                assert isinstance(run, Run)
                stopped = run.script.endswith("stop")
            elif move.verb in ("close", "open"):
                stopped = move.verb == "close"
        found.append(host.up)
    return found


@pytest.mark.parametrize("text", [STOP + START, START + STOP])
def test_strict_keeps_that_the_service_stays_stopped_for_good_and_warns(text: str) -> None:
    up = played(text, "strict")
    assert up[0]
    assert not any(up[1200:])
    notes = guards("", [("sf.conf", text)], "strict")[2]
    (warning,) = [note for note in notes if "stay stopped for good" in note]
    assert "which runs once, may never start it" in warning
    assert "la5 >= 6 and la1 <= 2 can hold together" in warning


@pytest.mark.parametrize("text", [STOP + START, START + STOP])
def test_the_guard_of_the_same_pair_opens_again(text: str) -> None:
    up = played(text, "lenient")
    assert not all(up)
    assert all(up[1200:])


@pytest.mark.parametrize(
    ("stop", "start", "said"),
    [
        ("run once", "run", "does not stop it any more"),
        ("run once", "run once", "depends on which of the two was true first"),
        ("run", "run", "stopped and started at every look"),
    ],
)
def test_other_pairs_whose_conditions_meet_are_warned_of_too(
    stop: str, start: str, said: str
) -> None:
    text = STOP.replace("run", stop) + START.replace("run once", start)
    notes = guards("", [("a", text)], "strict")[2]
    assert [said in note for note in notes] == [True]


def test_a_pair_that_never_meets_is_not_warned_of() -> None:
    text = STOP.replace(" or la5 >= 6", "") + START
    assert guards("", [("a", text)], "strict")[2] == ()
    assert len(guards("", [("a", text)])[2]) == 1
