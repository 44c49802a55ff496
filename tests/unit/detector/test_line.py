"""Headers in every known form: what is cut off, what is understood, and that no two forms overlap."""

from __future__ import annotations

import re
from datetime import UTC

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.detector.line import SHAPES, read_header
from tidegate.detector.timestamps import Stamps

MESSAGE = "Invalid user x from 192.0.2.7"
Row = tuple[str, str, str | None, str | None, str | None]

FORMS: list[Row] = [
    # header, form, stamp, program, process id
    ("", "none", None, None, None),
    ("2026-08-21 14:03:22 ", "iso-blank", "2026-08-21 14:03:22", None, None),
    ("2026-08-21 14:03:22.123 ", "iso-blank", "2026-08-21 14:03:22.123", None, None),
    ("2026-08-21 14:03:22 +0200 ", "iso-blank", "2026-08-21 14:03:22 +0200", None, None),
    ("2026-08-21 14:03:22.5 -03:30 ", "iso-blank", "2026-08-21 14:03:22.5 -03:30", None, None),
    ("2026-08-21 14:03:22Z ", "iso-blank", "2026-08-21 14:03:22Z", None, None),
    ("2026-08-21 14:03:22 mx sshd[12]: ", "iso-blank tag", "2026-08-21 14:03:22", "sshd", "12"),
    (
        "2026-08-21 14:03:22.777660-0700  mac sshd[12]: ",
        "iso-blank tag",
        "2026-08-21 14:03:22.777660-0700",
        "sshd",
        "12",
    ),
    ("2026-08-21 14:03:22 sshd[12] ", "iso-blank tag", "2026-08-21 14:03:22", "sshd", "12"),
    ("Aug 21 14:03:22 mx sshd[12]: ", "bsd tag", "Aug 21 14:03:22", "sshd", "12"),
    ("Aug  1 14:03:22 mx sshd[12]: ", "bsd tag", "Aug  1 14:03:22", "sshd", "12"),
    ("Aug 1 14:03:22 mx sshd[12]:  ", "bsd tag", "Aug 1 14:03:22", "sshd", "12"),
    ("<38>Aug 21 14:03:22 mx sshd[12]: ", "bsd tag", "Aug 21 14:03:22", "sshd", "12"),
    ("Aug 21 14:03:22 <10.5> mx sshd[12]: ", "bsd tag", "Aug 21 14:03:22", "sshd", "12"),
    ("Aug 21 14:03:22 mx auth.info sshd[12]: ", "bsd tag", "Aug 21 14:03:22", "sshd", "12"),
    ("Aug 21 14:03:22 mx sshd: ", "bsd tag", "Aug 21 14:03:22", "sshd", None),
    ("Aug 21 14:03:22 sshd[12]: ", "bsd tag", "Aug 21 14:03:22", "sshd", "12"),
    ("Aug 21 14:03:22 [sshd]: ", "bsd tag", "Aug 21 14:03:22", "sshd", None),
    ("Aug 21 14:03:22 2001:db8::1 sshd[12]: ", "bsd tag", "Aug 21 14:03:22", "sshd", "12"),
    ("Aug 21 2026 14:03:22 mx sshd[12]: ", "bsd tag", "Aug 21 2026 14:03:22", "sshd", "12"),
    (
        "Aug 21 14:03:22 mx postfix/submission/smtpd[12]: ",
        "bsd tag",
        "Aug 21 14:03:22",
        "postfix/submission/smtpd",
        "12",
    ),
    (
        "Aug 21 14:03:22 mx sshd[12]: [ID 800047 auth.info] ",
        "bsd tag",
        "Aug 21 14:03:22",
        "sshd",
        "12",
    ),
    ("Aug 21 14:03:22 mx kernel: [  970.699397] ", "bsd tag", "Aug 21 14:03:22", "kernel", None),
    (
        "Aug 21 14:03:22 mx exim[12]: 2026-08-21 14:03:21 ",
        "bsd tag",
        "Aug 21 14:03:22",
        "exim",
        "12",
    ),
    ("Aug 21 14:03:22 ", "bsd", "Aug 21 14:03:22", None, None),
    ("2026-08-21T14:03:22.123456+02:00 mx sshd[12]: ", "iso-t tag", "=0", "sshd", "12"),
    ("2026-08-21T14:03:22Z mx sshd: ", "iso-t tag", "=0", "sshd", None),
    ("2026-08-21T14:03:22,5 mx sshd[12] ", "iso-t tag", "=0", "sshd", "12"),
    ("2026-08-21T14:03:22.12345 auth.info: sshd[12]:  ", "iso-t tag", "=0", "sshd", "12"),
    (
        "2026-08-21T14:03:22.12345 auth.info: Aug 21 14:03:22 sshd[12]: ",
        "iso-t tag",
        "=0",
        "sshd",
        "12",
    ),
    ("2026-08-21T14:03:22.12345 auth.info: ", "iso-t", "=0", None, None),
    ("2026-08-21T14:03:22 ", "iso-t", "=0", None, None),
    ("@4000000064e3706a1dcd6500 mx sshd[12]: ", "tai64n tag", "=0", "sshd", "12"),
    ("@4000000064e3706a1dcd6500 ", "tai64n", "=0", None, None),
    ("1692626602 ", "epoch", "=0", None, None),
    ("[1692626602.123] ", "epoch", "=0", None, None),
    ("1692626602 mx sshd[12]: ", "epoch tag", "=0", "sshd", "12"),
    ("1692626602 sshd[12]: ", "epoch tag", "=0", "sshd", "12"),
    ("<38>1 2026-08-21T14:03:22Z mx sshd 12 - - ", "rfc5424 tag", "=1", "sshd", "12"),
    (
        '<38>1 2026-08-21T14:03:22.003Z mx sshd 12 ID7 [a@1 b="c]\\"d"][e] \xef\xbb\xbf',
        "rfc5424 tag",
        "=1",
        "sshd",
        "12",
    ),
    ("<38>1 2026-08-21T14:03:22Z mx - - - - ", "rfc5424", "=1", None, None),
    ("<38>1 - mx sshd - - - ", "rfc5424 tag", None, "sshd", None),
    ("mx sshd[12]: ", "tag", None, "sshd", "12"),
    ("sshd[12]: ", "tag", None, "sshd", "12"),
    ("mx exim[12]: 2026-08-21 14:03:21 ", "tag", "2026-08-21 14:03:21", "exim", "12"),
]


def read(line: str) -> tuple[str, str | None, str | None, str | None, str]:
    data = b"before\n" + line.encode("latin-1") + b"\nafter\n"
    header = read_header(data, 7, len(data) - 7)
    name = SHAPES[header.form].name if header.form >= 0 else "none"
    known = [None if value is None else value.decode() for value in header[3:6]]
    return name, *known, data[header.begin : header.stop].decode("latin-1")  # type: ignore[return-value]


@pytest.mark.parametrize(("header", "form", "stamp", "program", "pid"), FORMS)
def test_forms(
    header: str, form: str, stamp: str | None, program: str | None, pid: str | None
) -> None:
    if stamp in ("=0", "=1"):  # the n-th word
        stamp = header.split(" ")[int(stamp[1])]
    assert read(header + MESSAGE) == (form, stamp, program, pid, MESSAGE)


@pytest.mark.parametrize(
    "message",
    [
        "NOQUEUE: reject: RCPT from unknown[192.0.2.7]: 554 5.7.1 no",
        "imap-login: Disconnected (auth failed, 1 attempts): user=<x>",
        "auth-worker(22401): Info: sql(x,192.0.2.7): unknown user",
        "Info: imap-login: Login: user=<x>",
        "pam_unix(sshd:auth): authentication failure; rhost=192.0.2.7",
    ],
)
@pytest.mark.parametrize("stamp", ["Aug 21 14:03:22 ", "2026-08-21 14:03:22 ", ""])
def test_a_message_is_not_taken_for_a_header(stamp: str, message: str) -> None:
    assert read(stamp + message)[4] == message


@pytest.mark.parametrize(
    "message",
    [
        "1tAbCd-000000001x-2Bcd SA: Action: flagged as spam",
        "[1234] no MAIL in SMTP connection from [192.0.2.7]",
        "H=(evil) [192.0.2.7] rejected EHLO",
        "login authenticator failed for (x) [192.0.2.7]: 535",
        "H=(x sshd[1]: Failed password for root from 192.0.2.9) [192.0.2.7]",
    ],
)
def test_what_stands_behind_an_own_stamp_is_message(message: str) -> None:
    assert read(f"2026-08-21 14:03:22 {message}")[4] == message


def test_the_audit_log_keeps_its_type() -> None:
    line = "type=USER_LOGIN msg=audit(1692626602.123:595): pid=12 uid=0"
    assert read(line) == ("audit", "1692626602.123", None, None, line)
    assert read(f"node=mx.example.org {line}")[:2] == ("audit", "1692626602.123")


@pytest.mark.parametrize("end", ["]", "", "]\r"])
def test_repeated_messages_are_taken_apart(end: str) -> None:
    line = f"Aug 21 14:03:22 mx sshd[12]: message repeated 5 times: [ {MESSAGE}{end}".encode()
    header = read_header(line, 0, len(line))
    assert (header.repeated, line[header.begin : header.stop].decode()) == (5, MESSAGE)


def test_what_only_looks_repeated_is_a_message() -> None:
    message = "message repeated often"
    line = f"Aug 21 14:03:22 mx sshd[12]: {message}".encode()
    header = read_header(line, 0, len(line))
    assert (header.repeated, line[header.begin : header.stop].decode()) == (0, message)


def test_repeated_no_times_counts_once() -> None:
    line = b"message repeated 0 times: [ x]"
    assert read_header(line, 0, len(line)).repeated == 1


EXACT = [(shape.name, re.compile(shape.header())) for shape in SHAPES]
SWIFT = [
    (number, re.compile(shape.header(swift=True)))
    for number, shape in enumerate(SHAPES)
    if shape.swift
]
PIECES = [
    *sorted({word for row in FORMS for word in re.split(r"(?<= )|(?=\[)|(?=:)", row[0])}),
    *("message repeated 2 times: [ ", "- ", "Z ", "+02:00 ", "kernel: ", "-0100 ", "\n", " "),
    *("auth.info ", "a.bc: ", "\x00", "\xff", "7", ": ", "[", "]"),
    "type=A msg=audit(1692626602:1): ",
]
LINES = st.lists(st.sampled_from(PIECES), max_size=8).map("".join) | st.binary(max_size=60).map(
    lambda raw: raw.decode("latin-1")
)


def has_one_form(line: bytes) -> None:
    assert len([name for name, form in EXACT if form.match(line)]) <= 1


@given(LINES, st.sampled_from(["", MESSAGE]))
def test_no_line_has_two_forms(start: str, message: str) -> None:
    has_one_form((start + message).encode("latin-1"))


@pytest.mark.parametrize("header", [row[0] for row in FORMS])
@pytest.mark.parametrize("message", [MESSAGE, "Z x", " x", "-0100 x", "x[1]: y", "x y: z", "[1] x"])
def test_known_lines_have_one_form_and_read_alike(header: str, message: str) -> None:
    line = (header + message).encode("latin-1")
    has_one_form(line)
    reads_alike(line)


@given(LINES, st.sampled_from(["", MESSAGE]))
def test_a_swift_form_reads_what_the_exact_one_reads(start: str, message: str) -> None:
    reads_alike((start + message).encode("latin-1"))


def reads_alike(line: bytes) -> None:
    for number, swift in SWIFT:
        found = swift.match(line)
        exact = EXACT[number][1].match(line)
        if found and not exact:  # then the stamp is impossible, and the line goes the long way
            assert Stamps(UTC)[found["_stamp"]] is None
        elif found and exact:
            assert found.end() == exact.end()
            assert found["_stamp"] == exact["_stamp"]
            for name in ("_program", "_pid"):
                assert found.groupdict().get(name) == exact.groupdict().get(name)


@given(LINES)
def test_any_line_has_a_message_inside_it(start: str) -> None:
    line = (start + "x").encode("latin-1")
    header = read_header(line, 0, len(line))
    assert 0 <= header.begin <= len(line)
    assert header.stop <= len(line)


@pytest.mark.parametrize(
    "unit", ["a", "a:", "1", "a ", " ", "<1.1> ", "a.bc ", "[", "[a", "2026-08-21T"]
)
def test_long_lines_of_anything(unit: str) -> None:
    for start in ("", "Aug 21 14:03:22 ", "2026-08-21 14:03:22 ", "<38>1 - a b c d "):
        line = (start + unit * (32_768 // len(unit))).encode()
        assert read_header(line, 0, len(line)).stop == len(line)
