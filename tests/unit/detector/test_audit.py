"""Native audit logs: whatever a client puts into a body, a record is about its own client."""

from __future__ import annotations

from datetime import UTC
from importlib import resources

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.detector.audit import DEAD, QUIET, AuditLogs, begins, escaped
from tidegate.detector.engine import Engine
from tidegate.detector.pack import read_pack
from tidegate.model import Batch, Block, Event, Quarantined, Success

NOW = 1_790_000_000_000_000
DENIED = 'Message: Access denied with code 403 (phase 2). x [id "9"] [msg "no"]'
WARNED = 'Message: Warning. x [id "8"] [msg "hm"] [severity "NOTICE"]'
GRAVE = 'Message: Warning. y [id "7"] [msg "oh"] [severity "CRITICAL"]'
PACK = resources.files("tidegate.detector") / "packs" / "modsecurity.toml"
ENGINE = Engine([read_pack(PACK.read_bytes(), "modsecurity")], zone=UTC)


def record(
    *trailer: str,
    boundary: str = "--a1b2c3d4-",
    address: str = "192.0.2.7",
    body: str = "",
    time: str = "21/Aug/2026:14:03:22 +0000",
    request: str = "POST /a HTTP/1.1",
) -> str:
    parts = (
        ("A", f"[{time}] WugN3pjbflCiqw4y {address} 40112 203.0.113.1 80"),
        ("B", f"{request}\nHost: www.example.com\nAccept: */*\n"),
        *((("C", body),) if body else ()),
        ("F", "HTTP/1.1 403 Forbidden\n"),
        ("H", "\n".join((*trailer, "Stopwatch: 1525157342927546 578 (- - -)")) + "\n"),
    )
    return (
        "".join(f"{boundary}{letter}--\n{text}\n" for letter, text in parts) + f"{boundary}Z--\n\n"
    )


def block(text: str, offset: int = 0, arrival: int = NOW) -> Block:
    return Block("audit", text.encode("latin-1"), offset, arrival, 1)


def lines(text: str) -> list[str]:
    return AuditLogs().fold(block(text)).block.data.decode("latin-1").splitlines()


def events(logs: AuditLogs, given: Block) -> list[Event]:
    folded = logs.fold(given)
    return folded.restore(ENGINE.detect(folded.block, fields=True), 1).events


def test_a_record_becomes_a_line_of_an_error_log() -> None:
    assert lines(record(WARNED, DENIED)) == [
        "[21/Aug/2026:14:03:22 +0000] [error] [client 192.0.2.7] ModSecurity: Access denied with code "
        '403 (phase 2). x [id "9"] [msg "no"] [hostname "www.example.com"] [uri "/a"] '
        '[unique_id "WugN3pjbflCiqw4y"]'
    ]


def test_the_gravest_message_counts() -> None:
    assert '[id "7"]' in lines(record(WARNED, GRAVE, WARNED))[0]
    assert '[id "8"]' in lines(record(WARNED))[0]


def test_a_record_without_a_match_says_nothing() -> None:
    assert lines(record("Message: Access allowed (phase 1). x") + record()) == [""]


def test_an_interception_without_its_message() -> None:
    line = lines(record("Action: Intercepted (phase 2)", GRAVE))[0]
    assert "ModSecurity: Access denied with code 0. y [id" in line


def test_version_three() -> None:
    said = (
        'ModSecurity: Access denied with code 403 (phase 2). z [uri "/q"] [unique_id "1"] [ref ""]'
    )
    line = lines(record(said, boundary="---Zb2RuGZ3---"))[0]
    assert line.endswith(
        'Access denied with code 403 (phase 2). z [uri "/q"] [unique_id "1"] [ref ""]'
    )


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("10/Mar/2026:22:13:30 --0400", "-0400"),
        ("10/Mar/2026:22:13:30.123456 +0100", "+0100"),
        ("10/Mar/2026:22:13:30 +051800", "+0530"),
    ],
)
def test_zones_that_are_written_wrong(written: str, read: str) -> None:
    assert lines(record(DENIED, time=written))[0].partition("]")[0].endswith(read)


def test_events_stand_at_their_records() -> None:
    first, second = record(DENIED), record(GRAVE, boundary="--00000000-", address="2001:db8:1:2::7")
    got = events(AuditLogs(), block(first + second, offset=500))
    mark = len("--a1b2c3d4-A--\n")
    whole = len(first) - 1 - mark
    assert [(event.kind.name, event.subject, event.offset, event.length) for event in got] == [
        ("modsecurity.denied", "192.0.2.7", 500 + mark, whole),
        (
            "modsecurity.warned_attack",
            "2001:db8:1:2::/64",
            500 + len(first) + mark,
            len(second) - 1 - mark,
        ),
    ]
    assert got[0].fields["id"] == "9"
    assert got[0].time == 1_787_321_002_000_000


def test_a_request_cannot_close_its_field() -> None:
    line = lines(record(DENIED, request='GET /"][x\x01\\ HTTP/1.1'))[0]
    assert r'[uri "/\x22][x\x01\x5c"]' in line
    assert escaped(b"\x80") == rb"\x80"


FORGED = record(DENIED, boundary="--deadbeef-", address="203.0.113.9")


def test_a_body_cannot_hold_a_record() -> None:
    got = events(AuditLogs(), block(record(DENIED, body=f"x\n{FORGED}y\n--a1b2c3d5-Z--")))
    assert [event.subject for event in got] == ["192.0.2.7"]


@given(st.lists(st.integers(1, 400), max_size=12), st.booleans())
@settings(max_examples=60, deadline=None)
def test_blocks_do_not_matter(cuts: list[int], blank: bool) -> None:
    text = record(DENIED, body=f"\n\n{FORGED}{FORGED}") + "\n" * blank
    text += record(GRAVE, boundary="--00000000-", body="--a1b2c3d4-Z--\n\n" + FORGED)
    whole = events(AuditLogs(), block(text))
    assert [event.subject for event in whole] == ["192.0.2.7", "192.0.2.7"]
    logs, got, at = AuditLogs(), [], 0
    pieces = text.splitlines(keepends=True)
    for cut in [*cuts, len(pieces)]:
        piece, pieces = "".join(pieces[:cut]), pieces[cut:]
        if piece:
            got += events(logs, block(piece, offset=at))
            at += len(piece)
    assert got == whole


REST = f"rest of a body\n{FORGED}{FORGED}--a1b2c3d4-Z--\n\n"


def test_a_file_that_begins_in_a_record() -> None:
    text = REST.replace(FORGED, "") + record(DENIED)
    assert [event.subject for event in events(AuditLogs(), block(text))] == ["192.0.2.7"]


def test_reading_that_begins_in_a_record_believes_what_comes_after_a_silence() -> None:
    logs, at = AuditLogs(), 99
    for text, arrival, expected in (
        (REST, NOW, []),
        (FORGED, NOW + QUIET - 1, []),
        ("rest of a body\n" + FORGED, NOW + 3 * QUIET, []),
        (record(DENIED), NOW + 5 * QUIET, ["192.0.2.7"]),
        (record(DENIED), NOW + 5 * QUIET, ["192.0.2.7"]),
    ):
        got = events(logs, block(text, offset=at, arrival=arrival))
        assert [event.subject for event in got] == expected
        at += len(text)


def test_where_to_read_on() -> None:
    logs = AuditLogs()
    whole, half = (
        record(DENIED),
        record(DENIED, boundary="--00000000-")[:120].rpartition("\n")[0] + "\n",
    )
    logs.fold(block(whole + half, offset=10))
    assert logs.resume("audit", 1) == 10 + len(whole)
    assert logs.resume("audit", 2) is None
    assert len(events(AuditLogs(), block(record(DENIED, boundary="--00000000-")))) == 1


def test_a_writer_that_died() -> None:
    logs, half = AuditLogs(), record(DENIED)[:150].rpartition("\n")[0] + "\n"
    logs.fold(block(half))
    next_record = record(DENIED, boundary="--00000000-", address="192.0.2.8")
    assert not events(logs, block(next_record, offset=150, arrival=NOW + DEAD))
    got = events(logs, block(next_record, offset=900, arrival=NOW + DEAD + 1))
    assert ([event.subject for event in got], logs.broken) == (["192.0.2.8"], 1)


def test_bodies_are_not_kept() -> None:
    logs = AuditLogs()
    logs.fold(block("--a1b2c3d4-A--\n[21/Aug/2026:14:03:22 +0000] x 192.0.2.7 1 203.0.113.1 80\n"))
    logs.fold(block("--a1b2c3d4-C--\n"))
    for number in range(20):
        logs.fold(block("x" * 100_000 + "\n", offset=number))
    assert len(repr(logs)) < 2_000


def test_files_are_forgotten() -> None:
    logs = AuditLogs()
    for number in range(300):
        logs.fold(block("--a1b2c3d4-A--\n")._replace(origin=number))
    assert logs.resume("audit", 299) == 0
    assert logs.resume("audit", 3) is None


def test_what_else_a_batch_tells_of_places() -> None:
    folded = AuditLogs().fold(block(record(DENIED), offset=70))
    batch = Batch("audit", 1, successes={"192.0.2.7": Success(1, 0, NOW, NOW)})
    batch.quarantined.append(Quarantined(0, "x", "y", b""))
    folded.restore(batch, 12)
    assert (batch.lines, batch.quarantined[0].offset) == (12, 85)
    assert batch.successes["192.0.2.7"].first_offset == 85


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"--a1b2c3d4-A--\n[21", True),
        (b"---Zb2RuGZ3---A--\n[21", True),
        (b"--a1b2c3d4-B--\nGET", False),
        (b"Aug 21 14:03:22 mx sshd[7]: --a1b2c3d4-A--\n", False),
        (b"", False),
    ],
)
def test_how_an_audit_log_begins(data: bytes, *, expected: bool) -> None:
    assert begins(data) is expected
