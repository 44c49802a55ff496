"""Conditions on our readings, and rules that can't be had here."""

from __future__ import annotations

import pwd

import pytest

from tidegate.policy.expressions import text_of
from tidegate.policy.guards import Trigger
from tidegate.policy.sysfence import Reading, guards, understand
from tidegate.policy.sysfence.reader import known_here


def trigger(condition: str, rest: str = "log", reading: Reading = "strict") -> Trigger:
    text = f'if "x" {{ {condition} }} {rest}'
    (found,) = understand("", [("f", text)], reading, lambda _user: True).found
    assert isinstance(found.spec, Trigger)
    return found.spec


@pytest.mark.parametrize(
    ("sysfence", "ours"),
    [
        ("la1 > 8.00", "la1 > 8"),
        ("loadavg15 => 0x1p1", "la15 >= 2"),
        ("la1 > inf", "la1 < 0"),
        ("la1 < inf", "la1 >= 0"),
        ("la1 != nan", "la1 >= 0"),
        ("la1 == nan", "la1 < 0"),
        ("la1 > -inf", "la1 >= 0"),
        ("la1 > 1e-30", "la1 > 0.000000001"),
        ("la1 > -1e-30", "la1 > -0.000000001"),
        ("freemem < 64M", "memfree < 64M"),
        ("usedmemory > 3", "memused > 3"),
        ("freeswap <> 1k", "swapfree != 1k"),
        ('freespace "/var//spool/" < 1G', "disk.free(/var/spool) < 1G"),
        ("availspace '/a b' < 1G", 'disk.available("/a b") < 1G'),
        ('usedspace "/" > 10G', "disk.used(/) > 10G"),
        ("nproc > 500", "processes > 500"),
        ('nproc "www-data" , 33 > 5', "processes(user=33|www-data) > 5"),
        ("nproc defunct | io > 5", "processes(state=uninterruptible|zombie) > 5"),
        ("nproc 33 traced > 5", "processes(user=33,state=stopped) > 5"),
        ("la1 > 1 and la1 > 2 and la1 > 3", "la1 > 1 and la1 > 2 and la1 > 3"),
        ("la1 > 1 and la5 > 2 or la15 > 3", "la1 > 1 and (la5 > 2 or la15 > 3)"),
        ("la1 > 1 or { la5 > 2 or la15 > 3 }", "la1 > 1 or la5 > 2 or la15 > 3"),
    ],
)
def test_each_sensor_is_a_reading(sysfence: str, ours: str) -> None:
    assert text_of(trigger(sysfence).when) == ours


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ('spacefree "var" < 1G', "1:10: disk.free expects an absolute path"),
        ('nproc "a,state=zombie" > 5', "1:10: expected the name of a user"),
        ('nproc "" > 5', "1:10: expected the name of a user"),
        ('nproc "a b" > 5', "1:10: processes expects"),
    ],
)
def test_what_no_reading_can_be_is_refused(condition: str, said: str) -> None:
    for reading in ("strict", "lenient"):
        text = f'if "x" {{ {condition} }} log'
        found, _notes, faults = understand("", [("f", text)], reading, lambda _user: True)  # type: ignore[arg-type]
        assert found == ()
        assert faults[0].startswith(f"f:{said}")


@pytest.mark.parametrize(
    ("rest", "reading", "seconds"),
    [
        ("log", "strict", 10),
        ("log step 60", "strict", 60),
        ("log step -1", "strict", 4_294_967_295),
        ("log step 4294967306", "strict", 10),
        ("log step -1", "lenient", 10),
        ("log step 0", "lenient", 10),
    ],
)
def test_how_often_it_is_looked_at(rest: str, reading: Reading, seconds: int) -> None:
    assert trigger("la1 > 5", rest, reading).every == seconds * 1_000_000


@pytest.mark.parametrize(
    ("rest", "flags"),
    [
        ("run 'a'", (True, False, False, False)),
        ("run once 'a'", (True, True, False, False)),
        ("run 'a' log once", (True, False, True, True)),
        ("log once run 'a'", (True, False, True, True)),
        ("log run once 'a'", (True, True, True, False)),
        ("log", (False, False, True, False)),
    ],
)
def test_once_is_kept_for_each_by_itself(rest: str, flags: tuple[bool, ...]) -> None:
    found = trigger("la1 > 5", rest)
    assert (found.gate is not None, found.run_once, found.log, found.log_once) == flags
    assert found.stated == f'if "x" {{ la1 > 5 }} {rest}'


def test_one_fault_refuses_everything_when_strict_and_one_rule_when_lenient() -> None:
    good, bad = 'if "a" { la1 > 5 } log\n', 'if "b" { la1 > 5 la5 > 2 } log\n'
    for files in ([("f", good + bad)], [("f", good), ("g", bad)]):
        strict, lenient = guards("", files, "strict"), guards("", files)
        assert (strict[:2], len(strict[3])) == (((), ()), 1)
        assert ([one.name for one in lenient[1]], len(lenient[3])) == (["a"], 1)


def test_names_are_of_this_guard_and_each_is_given_once() -> None:
    text = 'if "Hohe Last!" { la1 > 5 } log\nif "hohe last" { la1 > 5 } log\nif "\u00fc" { la1 > 1 } log'
    names = [one.name for one in guards("old", [("f", text)])[1]]
    assert names == ["old.hohe-last", "old.hohe-last-2", "old.rule"]


def test_users_are_those_of_this_host() -> None:
    assert known_here(pwd.getpwuid(0).pw_name)
    assert not known_here("nobody-is-called-so")
    assert not known_here("a\0b")
