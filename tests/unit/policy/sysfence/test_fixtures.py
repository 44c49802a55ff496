"""The texts that people copy from the web, byte for byte: what strict and lenient make of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidegate.policy.guards import GuardSpec, Restart, Run, Service, Trigger
from tidegate.policy.sysfence import Outcome, Reading, understand
from tidegate.policy.sysfence.written import policy_text

FIXTURES = Path(__file__).parent / "fixtures"
# What sysfence says of each (None: it takes it), and what the lenient reading refuses.
VERDICTS = {
    "author.conf": ("3:1: expected and, or or }", None),
    "broken-example.conf": ("1:4: expected the name of the rule in quotes", None),
    "corrected-example.conf": (None, None),
    "man-syntax.conf": ("1:4: expected the name of the rule in quotes", "2:1: expected a reading"),
    "man-mysql-queries.conf": ("1:4: expected the name of the rule in quotes", None),
    "man-mysql-restart.conf": ("2:5: the quote that opens here is never closed", "2:5: expected a command"),
    "man-zope-restart.conf": ("1:4: expected the name of the rule in quotes", None),
    "man-alert.conf": ("1:4: expected the name of the rule in quotes", "3:1: neither and nor or"),
    "man-named.conf": (None, None),
}  # fmt: skip


def read(name: str, reading: Reading = "lenient") -> Outcome:
    return understand("", [(name, (FIXTURES / name).read_text("utf-8"))], reading)


@pytest.mark.parametrize("name", VERDICTS)
def test_the_verdict_on_each_text(name: str) -> None:
    strict, lenient = VERDICTS[name]
    for reading, fault in (("strict", strict), ("lenient", lenient)):
        outcome = read(name, reading)  # type: ignore[arg-type]
        assert bool(outcome.found) == (fault is None), reading
        assert [said.startswith(f"{name}:{fault}") for said in outcome.faults] == [True] * (
            fault is not None
        ), outcome.faults


def test_every_text_has_its_verdict() -> None:
    assert {path.name for path in FIXTURES.iterdir()} == set(VERDICTS)


def test_the_authors_three_rules_become_one_guard_and_a_warning() -> None:
    outcome = read("author.conf")
    assert policy_text(outcome.found) == (
        '# author.conf:1:1: "ApacheStop"\n'
        '# author.conf:5:1: "ApacheStart"\n'
        "[guard.apache2]\n"
        'close = { when = "la1 >= 10 or la5 >= 6" }\n'
        'open = { when = "la1 <= 2" }\n'
        'service = "apache2"\n'
        "\n"
        '# author.conf:8:1: "warning"\n'
        "[guard.warning]\n"
        'run = { when = "la1 >= 8", script = "echo \\"Load High: BACKUP\\" | mail", once = true }\n'
    )
    assert outcome.notes == (
        "author.conf:3:1: } is missing, for the { at 1:19: read as } run",
        "author.conf:6:5: a blank is missing: read as <= 2",
        'author.conf:1:1: "ApacheStop" stops apache2 and "ApacheStart" starts it: one guard,'
        " apache2, closed when la1 >= 10 or la5 >= 6, open again when la1 <= 2",
        "author.conf:5:1: close and open can hold together (la5 >= 6 while la1 <= 2): close wins"
        " then, and it opens as soon as close has ended",
    )


def test_the_rule_that_lost_its_and_is_refused_with_both_ways_to_write_it() -> None:
    assert read("man-alert.conf").faults == (
        "man-alert.conf:3:1: neither and nor or before swapfree: write { la15 > 4.0 and swapfree"
        " < 64M and memfree < 128M } if all of it must hold, { la15 > 4.0 or swapfree < 64M or"
        " memfree < 128M } if one is enough",
    )


def test_the_command_that_lost_its_end_is_never_run_without_it() -> None:
    outcome = read("man-mysql-restart.conf")
    assert outcome.found == ()
    assert "never closed, so the end is lost" in outcome.faults[0]


def test_restarting_zope_is_bounded() -> None:
    (found,) = read("man-zope-restart.conf").found
    assert isinstance(found.spec, GuardSpec)
    assert found.spec.stated_close == "swapused >= 256M"
    assert found.spec.gates[0].terms == Restart("zope")


def test_a_rule_that_only_logs_and_one_that_runs_once() -> None:
    (logs,) = read("man-named.conf", "strict").found
    assert isinstance(logs.spec, Trigger)
    assert (logs.spec.name, logs.spec.gate, logs.spec.log) == ("high-load", None, True)
    (runs,) = read("corrected-example.conf", "strict").found
    assert isinstance(runs.spec, Trigger)
    assert runs.spec.run_once
    assert runs.spec.gate is not None
    assert runs.spec.gate.terms == Run('echo "SHOW FULL PROCESSLIST" | mysql | mail')


def test_the_guards_gate_is_the_service() -> None:
    found = read("author.conf").found[0]
    assert isinstance(found.spec, GuardSpec)
    assert [gate.terms for gate in found.spec.gates] == [Service("apache2")]
