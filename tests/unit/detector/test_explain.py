"""What is said of a line agrees with what the engine makes of it."""

from __future__ import annotations

from datetime import UTC

import pytest
from tests.unit.detector.making import ARRIVAL, DOOR, GATE, packs

from tidegate.detector.definition import Pack
from tidegate.detector.engine import Engine
from tidegate.detector.explain import Explainer, Explanation
from tidegate.detector.pack import load_packs
from tidegate.model import Block


def explainer(*texts: str, anyway: tuple[str, ...] = ()) -> Explainer:
    return Explainer(Engine(packs(*texts), zone=UTC).literals, anyway=anyway)


def told(line: str | bytes, *texts: str, anyway: tuple[str, ...] = ()) -> Explanation:
    data = (line.encode() if isinstance(line, str) else line) + b"\n"
    found = explainer(*(texts or (DOOR, GATE)), anyway=anyway).line(
        Block("door", data, 0, ARRIVAL, 0), 0, len(data) - 1
    )
    assert found is not None
    return found


def outcomes(found: Explanation) -> list[tuple[str, str]]:
    return [(one.detector, one.outcome) for one in found.tried]


@pytest.mark.parametrize(
    ("head", "form", "stamp", "host", "program", "pid"),
    [
        ("", "none", "", "", "", ""),
        ("<38>Aug 21 14:03:22 mx doord[712]: ", "bsd tag", "Aug 21 14:03:22", "mx", "doord", "712"),
        ("Aug 21 14:03:22 doord doord: ", "bsd tag", "Aug 21 14:03:22", "doord", "doord", ""),
        ("Aug 21 14:03:22 mx auth.info doord: ", "bsd tag", "Aug 21 14:03:22", "mx", "doord", ""),
        ("Aug 21 14:03:22 mx doord[7]: [ID 800047 auth.info] ", "bsd tag", "Aug 21 14:03:22", "mx",
         "doord", "7"),
        ("2026-08-21T14:03:22+02:00 mx doord[712]: ", "iso-t tag", "2026-08-21T14:03:22+02:00",
         "mx", "doord", "712"),
        ("<38>1 2026-08-21T14:03:22Z mx doord 712 - - ", "rfc5424 tag", "2026-08-21T14:03:22Z",
         "mx", "doord", "712"),
        ("<38>1 2026-08-21T14:03:22Z - doord - - - ", "rfc5424 tag", "2026-08-21T14:03:22Z", "",
         "doord", ""),
        ("mx doord[712]: ", "tag", "", "mx", "doord", "712"),
        ("doord[712]: ", "tag", "", "", "doord", "712"),
        ("2026-08-21 14:03:22 ", "iso-blank", "2026-08-21 14:03:22", "", "", ""),
    ],
)  # fmt: skip
def test_the_header(head: str, form: str, stamp: str, host: str, program: str, pid: str) -> None:
    found = told(f"{head}opened for 192.0.2.8")
    assert (found.form, found.stamp, found.host, found.program, found.pid) == (
        form, stamp, host, program, pid)  # fmt: skip
    assert found.message == len(head)
    assert outcomes(found) == [("door.opened", "matched")]


def test_the_first_that_matches_has_the_line_and_other_packs_are_asked_too() -> None:
    found = told("wrong key for bob from 192.0.2.7")
    assert found.literals == ("wrong key",)
    assert outcomes(found) == [
        ("door.wrong-key", "matched"),
        ("door.any-key", "already taken"),
        ("gate.rattled", "matched"),
    ]
    taken = {one.name: (one.start, one.stop, one.value) for one in found.tried[0].taken}
    assert taken == {"user": (14, 17, "bob"), "addr": (23, 32, "192.0.2.7")}


def test_where_a_pattern_stopped_is_a_place_in_the_line() -> None:
    line = "Aug 21 14:03:22 mx doord[712]: wrong key for bob form 192.0.2.7"
    first = told(line).tried[0]
    assert (first.outcome, first.expected) == ("no match", '"rom " (of " from ")')
    assert line[first.at :] == "orm 192.0.2.7"


def test_other_programs_are_not_asked() -> None:
    found = told("Aug 21 14:03:22 mx gated: wrong key for bob from 192.0.2.7")
    assert outcomes(found) == [
        ("door.wrong-key", "other program"),
        ("door.any-key", "other program"),
        ("gate.rattled", "matched"),
    ]


def test_what_is_no_address_is_refused_and_shown() -> None:
    line = "wrong key for bob from 999.0.2.7"
    found = told(line, DOOR).tried[0]
    assert (found.outcome, found.expected, line[found.at :]) == (
        "no address", "an address", "999.0.2.7")  # fmt: skip


def test_without_a_literal_the_program_s_are_named_and_named_detectors_tried() -> None:
    found = told("Aug 21 14:03:22 mx doord[1]: rong key for bob", anyway=("door",))
    assert found.literals == ()
    assert found.of_program == ("wrong key", "odd key", "opened for", "knock at", "jammed")
    assert outcomes(found) == [("door.wrong-key", "no literal")]
    assert outcomes(told("opened of 192.0.2.8", anyway=("door.opened",))) == [
        ("door.opened", "no literal")
    ]


@pytest.mark.parametrize(
    ("line", "source"),
    [
        ("Aug 21 14:03:22 mx doord[1]: opened for 192.0.2.8", "header"),
        ("opened for 192.0.2.8", "arrival"),
    ],
)
def test_it_says_where_the_time_is_from(line: str, source: str) -> None:
    assert told(line).tried[0].time_from == source


def test_a_repeated_message_is_taken_apart() -> None:
    line = "Aug 21 14:03:22 mx doord[1]: message repeated 3 times: [ opened for 192.0.2.8]"
    found = told(line)
    assert (found.repeated, found.tried[0].outcome) == (3, "matched")


def test_an_entry_of_the_journal() -> None:
    entry = (
        b"__REALTIME_TIMESTAMP=1787400000000000\nSYSLOG_IDENTIFIER=doord\n_PID=7\n"
        b"MESSAGE=opened for 192.0.2.8\n\n"
    )
    block = Block("door", entry, 0, ARRIVAL, 0, "journal")
    at = entry.index(b"MESSAGE")
    found = explainer(DOOR).line(block, at, entry.index(b"\n", at))
    assert found is not None
    assert (found.form, found.program, found.pid) == ("journal", "doord", "7")
    assert (found.tried[0].outcome, found.tried[0].time_from) == ("matched", "journal")
    assert explainer(DOOR).line(block, 0, entry.index(b"\n")) is None


def test_bytes_that_are_no_text_stay_whole() -> None:
    found = told(b"wrong key for b\xffb from 192.0.2.7", DOOR)
    assert found.tried[0].taken[0].value == "b\udcffb"


@pytest.fixture(scope="module")
def shipped() -> tuple[Pack, ...]:
    return load_packs()


def test_it_agrees_with_the_engine_about_every_example(shipped: tuple[Pack, ...]) -> None:
    """What it calls matched is what the engine takes, for all example lines of the packs."""
    engine = Engine(shipped, zone=UTC)
    explain = Explainer(engine.literals)
    apart = {one.name for pack in shipped for one in pack.detectors if one.session}
    lines = {
        line
        for pack in shipped
        for one in pack.detectors
        for line in (*(example.line for example in one.match[:1]), *one.reject[:1])
        if "\n" not in line
    }
    for line in sorted(lines)[::3]:
        data = line.encode() + b"\n"
        block = Block("x", data, 0, ARRIVAL, 0)
        found = explain.line(block, 0, len(data) - 1)
        assert found is not None
        said = [one.detector for one in found.tried if one.outcome == "matched"]
        seen = [event.kind.detector for event in engine.detect(block, fields=True).events]
        assert set(said) - apart == set(seen) - apart, line
        assert all(one.at <= len(data) - 1 for one in found.tried)
