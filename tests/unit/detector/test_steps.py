"""The long way of reading a line, and when patterns for the short way are made."""

from __future__ import annotations

from datetime import UTC

import pytest
from tests.unit.detector.making import ARRIVAL, DOOR, GATE, block, journal, moment, packs

from tidegate.detector.engine import Engine
from tidegate.detector.line import SHAPES
from tidegate.detector.matcher import Literals, matchers_of
from tidegate.detector.steps import OFTEN, Steps, tally
from tidegate.detector.timestamps import Stamps
from tidegate.model import SECOND, Batch, Subject, Success

BSD = "Aug 21 14:03:22 mx doord[12]: "


def steps() -> tuple[Steps, Literals]:
    literals = Literals(matchers_of(packs(DOOR, GATE), None))
    stamps = Stamps(UTC)
    stamps.arrive(ARRIVAL)
    return Steps(literals, stamps), literals


def read(each: Steps, literals: Literals, line: str, text: bytes, *, fields: bool = False) -> Batch:
    batch = Batch("test", 1)
    key = literals.texts.index(text)
    stop = len(line.encode())
    each.read(batch, block(line + "\n", offset=1000), (0, stop, stop), key, fields=fields)
    return batch


def test_one_line() -> None:
    each, literals = steps()
    batch = read(each, literals, BSD + "wrong key for bob from 192.0.2.7 (try 3)", b"wrong key")
    (event,) = batch.events
    assert (event.kind.name, event.subject, event.count) == ("door.wrong_key", "192.0.2.7", 3)
    assert event.time == moment("2026-08-21T14:03:22Z")
    assert (event.session, event.offset, event.length, dict(event.fields)) == ("12", 1000, 70, {})
    assert each.running is None


def test_fields() -> None:
    each, literals = steps()
    line = BSD + "wrong key for b\x00\xe4 from ::ffff:192.0.2.7"
    batch = read(each, literals, line, b"wrong key", fields=True)
    (event,) = batch.events
    assert event.fields == {"user": "b\x00\xe4", "addr": "::ffff:192.0.2.7"}
    assert event.subject == "192.0.2.7"


NEVER_BARE = DOOR.replace('name = "door"', 'name = "door"\nbare = false')
BARE = "wrong key for bob from 192.0.2.7"


@pytest.mark.parametrize("count", [1, 10 * OFTEN])
@pytest.mark.parametrize(
    ("header", "asked"),
    [
        ("", False),
        ("Aug 21 14:03:22 ", False),
        ("2026-08-21T14:03:22Z ", False),
        ("2026-08-21 14:03:22 ", False),
        (BSD, True),
        ("Aug 21 14:03:22 mx doord: ", True),
        ("doord[12]: ", True),
        ("<38>1 2026-08-21T14:03:22Z mx doord 12 - - ", True),
        ("<38>1 2026-08-21T14:03:22Z mx - 12 - - ", False),
    ],
)
def test_a_pack_whose_lines_always_name_their_program(header: str, asked: bool, count: int) -> None:
    engine = Engine(packs(NEVER_BARE, GATE), zone=UTC)
    batch = engine.detect(block(f"{header}{BARE}\n" * count))
    kinds = {event.kind.name for event in batch.events}
    wanted = {"door.wrong_key"} if asked else {"gate.rattled"}
    assert (kinds, len(batch.events)) == (wanted, count)
    entry = b'{"MESSAGE":"%s","__REALTIME_TIMESTAMP":"1787400000000000"}\n' % BARE.encode()
    assert "door.wrong_key" not in {one.kind.name for one in engine.detect(journal(entry)).events}


def test_the_first_detector_of_each_pack_wins() -> None:
    each, literals = steps()
    line = "wrong key for bob from 192.0.2.7"
    names = [event.kind.name for event in read(each, literals, line, b"wrong key").events]
    assert names == ["door.wrong_key", "gate.rattled"]
    tagged = read(each, literals, BSD + line, b"wrong key").events
    assert [event.kind.name for event in tagged] == ["door.wrong_key"]


def test_text_that_is_no_address_is_refused_and_the_next_asked() -> None:
    each, literals = steps()
    line = BSD + "wrong key for bob from 999.0.2.7"
    assert read(each, literals, line, b"wrong key").events == []
    named = BSD + "wrong key for bob from mx.example.org"
    (event,) = read(each, literals, named, b"wrong key").events
    assert (event.kind.name, event.subject) == ("door.any_key", "mx.example.org")


def test_sessions() -> None:
    each, literals = steps()
    for line, session in {
        BSD + "visit a1: knock at 192.0.2.7": "a1",
        BSD + "knock at 192.0.2.7": "12",
        "knock at 192.0.2.7": "",
    }.items():
        assert read(each, literals, line, b"knock at").events[0].session == session


def test_successes_are_tallied_and_events_only_with_fields() -> None:
    each, literals = steps()
    line = BSD + "opened for 192.0.2.8"
    at = moment("2026-08-21T14:03:22Z")
    plain = read(each, literals, line, b"opened for")
    assert plain.events == []
    assert plain.successes == {"192.0.2.8": Success(1, 1000, at, at)}
    full = read(each, literals, line, b"opened for", fields=True)
    assert [event.kind.name for event in full.events] == ["door.opened"]
    assert full.successes == plain.successes


def test_tallies() -> None:
    successes: dict[Subject, Success] = {}
    who = Subject("192.0.2.8")
    for count, offset, time in ((1, 10, 50), (2, 20, 40), (1, 30, 60)):
        tally(successes, who, Success(count, offset, time, time))
    assert successes == {who: Success(4, 10, 40, 60)}


def test_lines_without_time_and_lines_ahead() -> None:
    each, literals = steps()
    for line, clamped in {
        "knock at 192.0.2.7": 0,
        "Jan 32 14:03:22 mx doord[1]: knock at 192.0.2.7": 0,
        "2026-08-22T12:01:00Z mx doord[1]: knock at 192.0.2.7": 0,
        "2026-08-22T12:01:01Z mx doord[1]: knock at 192.0.2.7": 1,
    }.items():
        batch = read(each, literals, line, b"knock at")
        ahead = 60 * SECOND if "12:01:00" in line else 0
        assert batch.events[0].time == ARRIVAL + ahead
        assert batch.clamped == clamped


def test_repeated_lines_count_by_both() -> None:
    each, literals = steps()
    line = BSD + "message repeated 5 times: [ wrong key for bob from 192.0.2.7 (try 3)]"
    (event,) = read(each, literals, line, b"wrong key").events
    assert event.count == 15


def test_a_journal_entry_of_another_program() -> None:
    each, literals = steps()
    for program, found in ((b"doord", 1), (b"otherd", 0)):
        data = b"SYSLOG_IDENTIFIER=%s\nMESSAGE=knock at 192.0.2.7\n\n" % program
        start = data.index(b"MESSAGE")
        batch = Batch("test", 1)
        key = literals.texts.index(b"knock at")
        each.read(batch, journal(data), (start, len(data) - 2, len(data) - 2), key, fields=False)
        assert len(batch.events) == found


def test_frequent_forms_get_patterns_of_their_own() -> None:
    each, literals = steps()
    key = literals.texts.index(b"knock at")
    for _ in range(OFTEN - 1):
        read(each, literals, BSD + "knock at 192.0.2.7", b"knock at")
    assert each.ready == {}
    read(each, literals, BSD + "knock at 192.0.2.7", b"knock at")
    assert [one.kind.name for one in each.ready[key]] == ["door.knock"]
    for _ in range(OFTEN):
        read(each, literals, "2026-08-21 14:03:22 knock at 192.0.2.7", b"knock at")
    patterns = [one.match.__self__.pattern for one in each.ready[key]]  # type: ignore[attr-defined]
    assert [SHAPES[1].swift.encode()[:20] in pattern[:30] for pattern in patterns] == [True]


@pytest.mark.parametrize("line", ["knock at 192.0.2.7", "mx doord[1]: knock at 192.0.2.7"])
def test_forms_without_a_short_way_never_get_any(line: str) -> None:
    each, literals = steps()
    for _ in range(2 * OFTEN):
        read(each, literals, line, b"knock at")
    assert each.ready == {}


def test_a_detector_left_out_is_never_asked_again() -> None:
    each, literals = steps()
    for _ in range(OFTEN):
        read(each, literals, BSD + "knock at 192.0.2.7", b"knock at")
    each.leave_out("door.knock")
    assert each.ready == {}
    assert read(each, literals, BSD + "knock at 192.0.2.7", b"knock at").events == []
    assert read(each, literals, BSD + "wrong key for x from 192.0.2.7", b"wrong key").events


WEB = r"""
name = "web"
programs = ["webd"]
[[detector]]
name = "odd"
kind = "odd"
literals = ["GET /odd"]
pattern = '''<addr> - - \[(?P<time>[^]\n]{20,40})\] "GET /odd"'''
match = [{ line = '192.0.2.7 - - [21/Aug/2026:14:03:22 +0200] "GET /odd"', subject = "192.0.2.7" }]
"""


@pytest.mark.parametrize(
    ("header", "means"),
    [
        ("", "2026-08-21T12:03:22Z"),  # nothing else tells
        ("Aug 20 10:00:00 mx webd[1]: ", "2026-08-20T10:00:00Z"),  # the header does
        ("mx webd[1]: ", "2026-08-21T12:03:22Z"),
    ],
)
def test_the_time_inside_a_message_counts_where_the_header_has_none(
    header: str, means: str
) -> None:
    engine = Engine(packs(WEB), zone=UTC)
    line = header + '192.0.2.7 - - [21/Aug/2026:14:03:22 +0200] "GET /odd"\n'
    batch = engine.detect(block(line))
    assert [event.time for event in batch.events] == [moment(means)]
