"""The catalogue of readings: one name for each number, arguments canonical, hints for the rest."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.model import SECOND
from tidegate.policy.arguments import EXAMPLES, FORMS, filters
from tidegate.policy.limits import EXPECTED
from tidegate.policy.readings import (
    ALIASES,
    CATALOGUE,
    OWN_NAME,
    canonical,
    in_words,
    parse_reading,
    reading_of,
    split,
)


def example(name: str) -> str:
    form = CATALOGUE[name].argument.strip("[]")
    return f"{name}({EXAMPLES[form]})" if form else name


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_reading_has_a_name_a_unit_and_words(name: str) -> None:
    known = CATALOGUE[name]
    assert OWN_NAME.fullmatch(name)
    assert known.unit in EXPECTED
    assert ("{}" in known.words) == bool(known.argument)
    assert not known.argument or known.argument.strip("[]") in FORMS
    assert parse_reading(example(name)) == example(name)
    assert in_words(example(name))
    assert "{" not in in_words(example(name))
    assert reading_of(example(name)).name == name


def test_the_list_is_whole() -> None:
    psi = [f"psi.{what}.{who}{span}" for what in ("cpu", "memory", "io") for who in ("some", "full") for span in ("", "60", "300")]  # fmt: skip
    named = [
        "la1",
        "la5",
        "la15",
        "la1.core",
        "la5.core",
        "la15.core",
        "memfree",
        "memused",
        "memavailable",
        "swapfree",
        "swapused",
        "disk.free",
        "disk.available",
        "disk.used",
        "inodes.free",
        "inodes.used",
        "disk.full-in",
        "inodes.full-in",
        "queue",
        "queue.clear-in",
        "processes",
        "unit.cpu",
        "unit.memory",
        "unit.processes",
        "connections",
        "conntrack",
        "listen.overflows",
        "interface.in",
        "interface.out",
        "interface.packets-in",
        "interface.packets-out",
        "interface.drops-in",
        "interface.drops-out",
        "rtt",
        "loss",
        "up",
        "latency",
    ]
    assert sorted(CATALOGUE) == sorted(psi + named)


def test_what_walks_asks_or_waits_is_taken_less_often() -> None:
    costly = {name for name, known in CATALOGUE.items() if known.cost == "costly"}
    assert costly == {
        "queue", "queue.clear-in", "processes", "unit.cpu", "unit.memory", "unit.processes",
        "connections", "rtt", "loss", "up", "latency",
    }  # fmt: skip
    assert {known.interval for known in CATALOGUE.values()} == {SECOND, 10 * SECOND}


def test_aliases_lead_to_readings_and_hide_none() -> None:
    assert set(ALIASES.values()) <= set(CATALOGUE)
    assert not set(ALIASES) & set(CATALOGUE)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("load1", "la1"),
        ("LoadAvg15", "la15"),
        ("FreeMem", "memfree"),
        ("usedmemory", "memused"),
        ("freeswap", "swapfree"),
        ("nproc", "processes"),
        ("nproc()", "processes"),
        ("spaceavailable(/home)", "disk.available(/home)"),
        ("disk.free(/var/spool/)", "disk.free(/var/spool)"),
        ("disk.free(//var/./a/../spool)", "disk.free(/var/spool)"),
        ('disk.free("/srv/my data")', 'disk.free("/srv/my data")'),
        (r'disk.free("/a\"b\\c")', r'disk.free("/a\"b\\c")'),
        ("queue(Exim4)", "queue(exim)"),
        ("processes(state=D, user=a)", ""),
        ("processes(state=defunct, user='www-data')", "processes(user=www-data,state=zombie)"),
        ("processes(user=b|a|b)", "processes(user=a|b)"),
        ("unit.cpu(apache2)", "unit.cpu(apache2.service)"),
        ("unit.cpu(/run/apache2//a.pid)", "unit.cpu(/run/apache2/a.pid)"),
        ("unit.cpu(system.slice/a.service)", "unit.cpu(system.slice/a.service)"),
        ("unit.cpu(../x)", ""),
        ("connections(0443)", "connections(443)"),
        ("connections(0)", ""),
        ("rtt(A.Example.ORG)", "rtt(a.example.org)"),
        ("rtt([2001:DB8:0::1])", "rtt(2001:db8::1)"),
        ("rtt(a b)", ""),
        ("rtt(-rf)", ""),
        ("interface.in(../../etc)", ""),
        ("up(SMTP://A.example:25)", "up(smtp://a.example:25)"),
        ("up(smtp://a)", "up(smtp://a)"),
        ("up(tcp://a)", ""),
        ("up(tcp://a:0)", ""),
        ("up(tcp://a:99999)", ""),
        ("up(http://user:secret@a/)", ""),
        ("up(smtp://a/x)", ""),
        ("up(https://a/x?y=(z))", 'up("https://a/x?y=(z)")'),
        ("up(https://a/x#w)", ""),
        ("up(https://a/x\r\ny)", ""),
        ("latency(file:///etc/passwd)", ""),
        ("lag", "lag"),
        ("lag(3)", ""),
    ],
)
def test_one_name_for_each_number(text: str, name: str) -> None:
    try:
        assert parse_reading(text, {"lag"}) == name
    except ValueError as error:
        assert not name, error
    else:
        assert parse_reading(name, {"lag"}) == name


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("laa1", "there is no reading 'laa1'; did you mean 'la1'?"),
        ("memoryfree2", "did you mean 'memfree'?"),
        ("zzz", "a table [reading.zzz] would make one"),
        ("queue", "queue needs to know of what; such as queue(exim)"),
        ("queue()", "queue needs to know of what"),
        ("queue(sendmail)", "queue expects exim or postfix; found 'sendmail'"),
        ("processes(www-data)", "expects user=NAME, state=STATE or both"),
        ("processes(state=odd)", "a state of running, sleeping, stopped, uninterruptible, zombie"),
        ("up(x)", "expects an address such as smtp://192.0.2.25:25"),
        ("la1 la2", "a reading such as la1"),
        ("", "a reading such as la1"),
    ],
)
def test_what_to_write_instead(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        parse_reading(text)


def test_filters_of_processes() -> None:
    assert filters("user=a|b,state=zombie") == (("a", "b"), ("zombie",))
    assert filters("state=zombie") == ((), ("zombie",))
    assert filters("") == ((), ())


def test_some_processes_are_no_share_of_all() -> None:
    assert reading_of("processes").whole
    assert not reading_of("processes(user=root)").whole


@given(st.text(max_size=30), st.sampled_from([name for name, known in CATALOGUE.items() if known.argument]))  # fmt: skip
def test_any_argument_is_canonical_or_a_fault_of_one_line(text: str, name: str) -> None:
    try:
        found = canonical(name, text)
    except ValueError as error:
        assert "\n" not in str(error)
    else:
        assert parse_reading(found) == found
        assert canonical(*([one or None for one in split(found)])) == found
