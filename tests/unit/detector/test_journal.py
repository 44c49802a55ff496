"""Journal entries: only their message counts, and time, program and process come from its fields."""

from __future__ import annotations

import pytest

from tidegate.detector.journal import entry_header

ENTRY = (
    b"__CURSOR=s=1\n__REALTIME_TIMESTAMP=%d\nSYSLOG_IDENTIFIER=%s\n_PID=%d\nMESSAGE=%s\n_UID=0\n\n"
)


def read(data: bytes, text: bytes = b"MESSAGE=") -> tuple[object, ...]:
    start = data.index(b"\n" + text) + 1 if not data.startswith(text) else 0
    header = entry_header(data, start, data.index(b"\n", start))
    assert header
    assert (header.form, header.stamp, header.repeated) == (-1, None, 0)
    return header.time, header.program, header.pid, data[header.begin : header.stop]


def test_the_fields_of_the_same_entry() -> None:
    data = b"".join(
        ENTRY % (number, b"p%d" % number, 50 + number, b"m%d" % number) for number in (1, 2, 3)
    )
    for number in (1, 2, 3):
        expected = (number, b"p%d" % number, b"%d" % (50 + number), b"m%d" % number)
        assert read(data, b"MESSAGE=m%d" % number) == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"MESSAGE=x\n\n", (None, None, None, b"x")),
        (b"MESSAGE=x\n", (None, None, None, b"x")),
        (b"__REALTIME_TIMESTAMP=7\nMESSAGE=x\n\n", (7, None, None, b"x")),
        (b"MESSAGE=x\n__REALTIME_TIMESTAMP=7\n", (7, None, None, b"x")),
        (b"SYSLOG_IDENTIFIER=p\nMESSAGE=x\n\n", (None, b"p", None, b"x")),
        (b"_PID=7\nMESSAGE=x\n\n", (None, None, b"7", b"x")),
        (b"SYSLOG_PID=8\nMESSAGE=x\n_PID=7\n\n", (None, None, b"7", b"x")),
        (b"SYSLOG_PID=8\nMESSAGE=x\n\n", (None, None, b"8", b"x")),
        (b"__REALTIME_TIMESTAMP=x7\nMESSAGE=x\n\n", (None, None, None, b"x")),
        (b"__REALTIME_TIMESTAMP=\nMESSAGE=x\n\n", (None, None, None, b"x")),
        (b"__REALTIME_TIMESTAMP=1234567890123456789\nMESSAGE=x\n\n", (None, None, None, b"x")),
        (b"_PID=1\n\n_UID=0\nMESSAGE=x\n\n_PID=2\n\n", (None, None, None, b"x")),
        (b"MESSAGE=2026-08-21 14:03:22 x\n\n", (None, None, None, b"x")),
        (b"MESSAGE=[  12.000001] x\n\n", (None, None, None, b"x")),
        (b"MESSAGE=[1234] x\n\n", (None, None, None, b"[1234] x")),
        (b"MESSAGE=mx sshd[1]: x\n\n", (None, None, None, b"mx sshd[1]: x")),
        (b"MESSAGE=\n\n", (None, None, None, b"")),
    ],
)
def test_entries(data: bytes, expected: tuple[object, ...]) -> None:
    assert read(data) == expected


@pytest.mark.parametrize("line", [b"_CMDLINE=x", b"XMESSAGE=x", b"MESSAGE_ID=x", b"message=x"])
def test_other_fields_are_no_message(line: bytes) -> None:
    data = b"_PID=1\n" + line + b"\n\n"
    assert entry_header(data, 7, 7 + len(line)) is None
