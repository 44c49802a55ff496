"""`[guard.NAME]` with `run`, and every way to get it wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidegate.errors import PolicyError
from tidegate.model import SECOND
from tidegate.policy.expressions import parse
from tidegate.policy.guards import GateSpec, Run, Trigger
from tidegate.policy.loader import read


def triggers(keys: str, beside: str = "") -> tuple[Trigger, ...]:
    return read([("p", f"[guard.x]\n{beside}\nrun = {{ {keys} }}\n")]).policy.triggers


def test_all_it_can_say() -> None:
    keys = 'when = "la1 >= 8", script = "logger hi", once = true, log = "once", every = "60s"'
    assert triggers(keys, 'mode = "observe"') == (
        Trigger(
            "x", parse("la1 >= 8"), 60 * SECOND, GateSpec("x", Run("logger hi")),
            run_once=True, log=True, log_once=True, stated="la1 >= 8", mode="observe",
        ),
    )  # fmt: skip


def test_what_holds_where_nothing_is_said() -> None:
    (found,) = triggers('when = "la1 >= 8", script = "a"')
    assert (found.every, found.run_once, found.log, found.log_once) == (
        10 * SECOND,
        False,
        False,
        False,
    )
    assert triggers('when = "la1 >= 8", script = "a", log = "always"')[0].log


def test_it_can_be_switched_off() -> None:
    assert triggers('when = "la1 >= 8", script = "a"', "enabled = false") == ()


def test_people_may_be_told_of_what_is_run() -> None:
    text = '[notify.admins]\nmail = "root"\n[guard.x]\nnotify = ["admins"]\n'
    (one,) = read([("p", text + 'run = { when = "la1 >= 8", script = "a" }\n')]).policy.triggers
    assert one.notify == ("admins",)


def test_rules_of_sysfences_files_tell_whom_their_guard_tells(tmp_path: Path) -> None:
    path = tmp_path / "sysfence.conf"
    path.write_text("rule \"high\" { la1 >= 8 } run once 'logger high'\n")
    text = (
        f'[guard.x]\nsysfence = ["{path}"]\nnotify = ["admins"]\n[notify.admins]\nmail = "root"\n'
    )
    (one,) = read([("policy", text)]).policy.triggers
    assert (one.name, one.notify) == ("x.high", ("admins",))


@pytest.mark.parametrize(
    ("keys", "beside", "said"),
    [
        ('script = "a"', "", 'guard.x.run: "when" is missing'),
        ('when = "la1 > 1"', "", 'guard.x.run: "script" is missing'),
        ('when = "la >", script = "a"', "", "guard.x.run.when: "),
        ('when = "la1 > 1", script = ["a"]', "", "guard.x.run.script: expected what /bin/sh"),
        ('when = "la1 > 1", script = "a\\u0000"', "", "guard.x.run.script: expected what /bin/sh"),
        ('when = "la1 > 1", script = "a", log = true', "", "guard.x.run.log: expected one of"),
        ('when = "la1 > 1", script = "a", evry = "1m"', "", 'did you mean "every"?'),
        ('when = "la1 > 1", script = "a"', 'service = "a"', "guard.x.service: run stands alone"),
        ('when = "la1 > 1", script = "a"', 'mode = "odd"', "guard.x.mode: expected"),
        (
            'when = "la1 > 1", script = "a"',
            'notify = ["a"]',
            "guard.x.notify: there is no [notify.a]",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_key(keys: str, beside: str, said: str) -> None:
    with pytest.raises(PolicyError) as caught:
        triggers(keys, beside)
    assert any(said in fault for fault in caught.value.faults), caught.value.faults


def test_run_must_be_a_table() -> None:
    with pytest.raises(PolicyError, match=r"guard\.x\.run: expected a table"):
        read([("p", '[guard.x]\nrun = "a"\n')])
