"""Events that name nobody, completed by other lines of their connection; never by another's."""

from __future__ import annotations

import pytest

from tidegate.detector import sessions
from tidegate.detector.sessions import Sessions
from tidegate.model import MINUTE, Batch, Block, Event, Kind, Subject

JOINS = Kind("x.locked", "abuse", 1, "x.locked", "x")
OPENS = Kind("x.connected", "notice", 0, "x.connected", "x")
ENDS = Kind("x.left", "notice", 0, "x.left", "x")
OTHER = Kind("x.failed", "abuse", 1, "x.failed", "x")
ROLES = {id(JOINS): "joins", id(OPENS): "opens", id(ENDS): "ends"}
HEADER = "Aug 21 14:03:22 {host} sshd[{pid}]: "

Step = tuple[Kind, str, str]


def play(table: Sessions, *steps: Step, host: str = "mx", at: int = 0) -> list[Event]:
    """The events of one block, a line of 64 bytes each, joined; a step is (kind, pid, subject)."""
    batch = Batch("log", 0)
    data = b""
    for kind, pid, subject in steps:
        line = HEADER.format(host=host, pid=pid).encode().ljust(63, b".") + b"\n"
        fields = {"addr": subject} if subject else {"user": "bob"}
        batch.events.append(Event(at, kind, Subject(subject), 1, pid, len(data), 63, fields))
        data += line
    table.join(batch, Block("log", data, 0, at, 0))
    return batch.events


def said(events: list[Event]) -> list[tuple[str, str]]:
    return [(event.kind.name, event.subject) for event in events]


def test_told_before() -> None:
    events = play(Sessions(ROLES), (OPENS, "7", "192.0.2.7"), (JOINS, "7", ""), (JOINS, "7", ""))
    assert said(events) == [("x.connected", "192.0.2.7")] + 2 * [("x.locked", "192.0.2.7")]
    assert events[1].offset == 64
    assert events[1].fields == {"user": "bob", "addr": "192.0.2.7"}


def test_told_afterwards_stands_at_the_line_that_tells() -> None:
    table = Sessions(ROLES)
    assert play(table, (JOINS, "7", ""), (OTHER, "8", "198.51.100.1"))[0].kind is OTHER
    events = play(table, (OTHER, "8", "198.51.100.1"), (ENDS, "7", "192.0.2.7"), at=MINUTE)
    assert said(events)[1:] == [("x.left", "192.0.2.7"), ("x.locked", "192.0.2.7")]
    assert (events[2].offset, events[2].time) == (64, MINUTE)
    assert said(play(table, (ENDS, "7", "192.0.2.7"))) == [("x.left", "192.0.2.7")]


@pytest.mark.parametrize(
    "tells",
    [(OPENS, "8", "192.0.2.7"), (ENDS, "8", "192.0.2.7"), (ENDS, "7", ""), (OPENS, "7", "")],
)
def test_nobody_is_blamed_by_another_connection(tells: Step) -> None:
    names = {event.kind.name for event in play(Sessions(ROLES), tells, (JOINS, "7", ""), tells)}
    assert "x.locked" not in names


def test_the_same_process_id_on_another_host_is_another_connection() -> None:
    table = Sessions(ROLES)
    play(table, (OPENS, "7", "192.0.2.7"), host="mx")
    assert play(table, (JOINS, "7", ""), host="web") == []
    assert len(play(table, (JOINS, "7", ""), host="mx")) == 1


def test_the_same_process_id_later_is_another_connection() -> None:
    table = Sessions(ROLES)
    play(table, (OPENS, "7", "192.0.2.7"))
    assert play(table, (JOINS, "7", ""), at=10 * MINUTE + 1) == []
    assert said(play(table, (ENDS, "7", "192.0.2.8"), at=21 * MINUTE)) == [("x.left", "192.0.2.8")]
    play(table, (OPENS, "7", "192.0.2.9"), at=21 * MINUTE)
    assert play(table, (JOINS, "7", ""), at=21 * MINUTE)[0].subject == "192.0.2.9"


def test_a_line_without_a_session_is_dropped() -> None:
    table = Sessions(ROLES)
    assert play(table, (JOINS, "", "")) == []
    assert said(play(table, (ENDS, "", "192.0.2.7"))) == [("x.left", "192.0.2.7")]


def test_one_session_holds_back_a_few_only() -> None:
    table = Sessions(ROLES)
    play(table, *[(JOINS, "7", "")] * (sessions.WAITING + 5))
    assert len(play(table, (ENDS, "7", "192.0.2.7"))) == 1 + sessions.WAITING


def test_a_flood_of_connections_forgets_the_oldest_and_counts_it() -> None:
    table = Sessions(ROLES, limit=2)
    for pid in ("7", "8", "9"):
        play(table, (OPENS, pid, "192.0.2." + pid))
    assert table.forgotten == 1
    assert play(table, (JOINS, "7", "")) == []
    assert play(table, (JOINS, "9", ""))[0].subject == "192.0.2.9"


@pytest.mark.parametrize(
    ("line", "host"),
    [
        (b"Aug 21 14:03:22 mx sshd[7]: x", b"mx"),
        (b"Aug 21 14:03:22 mx auth.info sshd[7]: x", b"mx"),
        (b"2026-08-21T14:03:22.123+02:00 mx sshd-session[7]: x", b"mx"),
        (b"Aug 21 14:03:22 192.0.2.1 sshd[7]: x", b"192.0.2.1"),
        (b"Aug 21 14:03:22 sshd[7]: x", b""),
        (b"mx sshd[7]: x", b"mx"),
        (b"sshd[7]: x", b""),
        (b"<38>1 2026-08-21T14:03:22Z mx sshd 7 - - x", b"mx"),
        (b"x", b""),
    ],
)
def test_the_host_of_a_line(line: bytes, host: bytes) -> None:
    event = Event(0, JOINS, Subject(""), 1, "7", 100, len(line), {})
    assert sessions._key(event, Block("log", line + b"\n", 100, 0, 0)) == ("log", "x", host, "7")
    journal = Block("log", line + b"\n", 100, 0, 0, "journal")
    assert sessions._key(event, journal) == ("log", "x", b"", "7")


def test_other_events_are_not_touched() -> None:
    events = [Event(0, OTHER, Subject("192.0.2.7"), 1, "7", 0, 3, {})]
    batch = Batch("log", 0, events=list(events))
    Sessions(ROLES).join(batch, Block("log", b"abc\n", 0, 0, 0))
    assert batch.events == events


def test_what_waited_is_not_told_of_the_next_connection() -> None:
    table = Sessions(ROLES)
    events = play(table, (JOINS, "7", ""), (OPENS, "7", "192.0.2.7"), (ENDS, "7", "192.0.2.7"))
    assert said(events) == [("x.connected", "192.0.2.7"), ("x.left", "192.0.2.7")]
