"""What people read of a guard's moves."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tidegate.daemon.notice_text import closed_text, open_text, said
from tidegate.model import MINUTE, SECOND, Micros, Move
from tidegate.policy.guards import (
    Agent,
    Command,
    Freeze,
    GateSpec,
    GuardSpec,
    Haproxy,
    Keepalived,
    Properties,
    Refuse,
    Restart,
    Run,
    Service,
    Step,
    Terms,
    Throttle,
)

NOW: Micros = 1_800_000_000 * SECOND
STOP = GateSpec("apache.stop", Service("apache2.service"))
APACHE = GuardSpec(
    "apache",
    steps=(Step(STOP),),
    least_closed=2 * MINUTE,
    stated_close="la1 >= 10 or la5 >= 6",
    stated_open="la1 <= 2",
    stated_warn="la1 >= 8",
)
CLOSE = Move(NOW, "apache", "apache.stop", "close", "la1 11.2 (limit 10), la5 4.1 (limit 6)")


@pytest.fixture(autouse=True)
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_a_closing() -> None:
    told = said(CLOSE, APACHE)
    assert told.subject == (
        "apache.stop closes: apache2.service is stopped (la1 11.2 (limit 10), la5 4.1 (limit 6))"
    )
    assert (
        told.text
        == """\
apache.stop closes: apache2.service is stopped.

When: 2027-01-15T08:00:00+00:00
Why: la1 11.2 (limit 10), la5 4.1 (limit 6)
Rule: guard apache closes when la1 >= 10 or la5 >= 6

It opens by itself as soon as la1 <= 2, 2m from now at the earliest;
and within 5m should tidegate itself be gone.

Open it now:  tidegate open apache.stop
See more:     tidegate why apache.stop"""
    )
    assert (told.about, told.clear) == ("apache.stop", False)


def test_a_closing_without_a_condition_for_opening() -> None:
    told = said(CLOSE, replace(APACHE, stated_open=""))
    assert "opens by itself once what closed it has been over for 1m, 2m from now" in told.text


def test_an_opening_is_an_all_clear() -> None:
    told = said(CLOSE._replace(verb="open", reason="la1 1.9 (limit 2)"), APACHE)
    assert told.clear
    assert told.subject == (
        "apache.stop opens: apache2.service is started again, if it was stopped by this guard"
        " (la1 1.9 (limit 2))"
    )
    assert "tidegate open" not in told.text
    assert "It opens by itself" not in told.text


def test_a_warning_and_its_end() -> None:
    move = Move(NOW, "apache", "", "warn", "la1 8.3 (limit 8)")
    told = said(move, APACHE)
    assert (told.subject, told.about, told.clear) == (
        "warning of apache: la1 8.3 (limit 8)",
        "apache",
        False,
    )
    assert told.text.startswith("apache warns; nothing was closed for that.\n")
    assert "Rule: guard apache warns when la1 >= 8" in told.text
    assert "tidegate why apache" in told.text
    ended = said(move._replace(verb="clear", reason="la1 0.3 (limit 8)"), APACHE)
    assert (ended.subject, ended.about, ended.clear) == (
        "apache: all clear (la1 0.3 (limit 8))",
        "apache",
        True,
    )


def test_what_went_wrong_with_a_gate() -> None:
    told = said(
        CLOSE._replace(verb="warn", reason="apache.stop could not be closed: no unit"), APACHE
    )
    assert told.subject == "warning: apache.stop could not be closed: no unit"
    assert told.text.startswith("apache.stop needs a look.")


def test_a_person_closes_and_holds() -> None:
    move = CLOSE._replace(reason="", by="alice", note="maintenance", until=NOW + 10 * MINUTE)
    told = said(move, APACHE)
    assert told.subject == "apache.stop closes: apache2.service is stopped"
    assert "Who: alice (maintenance)" in told.text
    assert "It opens by itself at 2027-01-15T08:10:00+00:00;" in told.text
    assert "tidegate resume apache.stop" in told.text
    forever = said(move._replace(until=0), APACHE)
    assert "It stays closed until somebody opens it" in forever.text
    held = said(move._replace(verb="hold"), APACHE)
    assert held.subject == "apache.stop is held: its guard closes it no more"
    assert "tidegate resume apache.stop" in held.text
    assert "its guard's again" in said(move._replace(verb="resume"), APACHE).subject


def test_a_restart_and_giving_up() -> None:
    guard = replace(APACHE, steps=(Step(GateSpec("zope", Restart("zope"))),))
    move = Move(NOW, "zope", "zope", "fire", "swapused 300.0 MiB (limit 256.0 MiB)")
    told = said(move, guard)
    assert told.subject == "zope: zope is restarted (swapused 300.0 MiB (limit 256.0 MiB))"
    assert "tidegate hold zope" in told.text
    told = said(move._replace(verb="give-up", reason="restarting did not help"), guard)
    assert told.subject == "zope is given up, and needs you (restarting did not help)"


def test_observed_only() -> None:
    told = said(CLOSE, APACHE, observed=True)
    assert told.subject.startswith("(observed only) ")
    assert "Nothing was done: it is only observed (mode observe)." in told.text
    assert "tidegate open" not in told.text


def test_a_guard_that_is_gone() -> None:
    told = said(CLOSE)
    assert told.subject.startswith("apache.stop closes (")
    assert "as soon as its guard says so" in told.text


def test_what_the_host_looked_like() -> None:
    told = said(CLOSE, APACHE, "load 11.2\n" + "x" * 100_000)
    assert "What the host looked like:\n\nload 11.2\n" in told.text
    assert len(told.text) < 10_000


@pytest.mark.parametrize(
    ("terms", "closed", "opened"),
    [
        (Throttle((80, 443), 20, MINUTE), "ports 80,443 are throttled to 20 new connections in 1m for each client", "ports 80,443 are throttled no longer"),
        (Refuse((25,)), "port 25 is refusing new connections", "port 25 is taking connections again"),
        (Haproxy("/s", "imap", "node1"), "HAProxy's imap/node1 is drained", "HAProxy's imap/node1 is in full service again"),
        (Haproxy("/s", "imap", "node1", 25), "HAProxy's imap/node1 has 25 % of its weight", "HAProxy's imap/node1 is in full service again"),
        (Agent("127.0.0.1:7777"), "this host is drained (HAProxy asks 127.0.0.1:7777)", "this host is in full service again (HAProxy asks 127.0.0.1:7777)"),
        (Keepalived("/run/load"), "keepalived's /run/load is set to -100", "keepalived's /run/load is back at 0"),
        (Properties("a.service", (("CPUWeight", "20"), ("MemoryHigh", "512M"))), "a.service runs with CPUWeight=20, MemoryHigh=512M", "a.service has its own limits back"),
        (Freeze("a.service"), "a.service is frozen", "a.service runs on"),
        (Command(("/sbin/drain",), ("/sbin/undrain",)), "/sbin/drain has been run", "/sbin/undrain has been run"),
        (Command(("/sbin/drain",), ()), "/sbin/drain has been run", "the command is over"),
        (Run("echo"), "its command is run", "it is over"),
    ],
)  # fmt: skip
def test_gates_in_words(terms: Terms, closed: str, opened: str) -> None:
    assert (closed_text(terms), open_text(terms)) == (closed, opened)
