"""DNS answers taken apart: those of RFC 1035, and those that mean harm."""

from __future__ import annotations

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.errors import OperatorError, SourceError
from tidegate.source.readings.exchangers import Exchanger, domain_name, is_host, parse

QUESTION = b"\x07example\x03org\0" + struct.pack(">HH", 15, 1)


def answer(*records: bytes) -> bytes:
    return struct.pack(">6H", 7, 0x8180, 1, len(records), 0, 0) + QUESTION + b"".join(records)


def record(data: bytes, kind: int = 15) -> bytes:
    return b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 60, len(data)) + data


def mx(preference: int, host: bytes) -> bytes:
    return record(struct.pack(">H", preference) + host)


def test_hosts_by_preference() -> None:
    found = parse(answer(mx(20, b"\x02MB\xc0\x0c"), mx(10, b"\x02ma\x03net\0"), record(b"x", 5)))
    assert found == [Exchanger(10, "ma.net"), Exchanger(20, "mb.example.org")]


def test_the_null_mx() -> None:
    assert parse(answer(mx(0, b"\0"))) == [Exchanger(0, "")]


def test_other_records_are_none() -> None:
    assert parse(answer(record(b"\x02cn\0", 5))) == []


@pytest.mark.parametrize(
    "host",
    [b"\xc0\x2b", b"\x01a\xc0\x2b", b"\xc0\xff", b"\x3fshort", b"\xc0"],
)
def test_circles_and_torn_names(host: bytes) -> None:
    with pytest.raises(SourceError, match=r"circle|breaks off"):
        parse(answer(mx(10, host)))


def test_hostile_labels_are_printable() -> None:
    (found,) = parse(answer(mx(10, b"\x04\x1b\xff; \0")))
    assert not is_host(found.host)


@given(st.binary(max_size=200))
def test_any_bytes_end(data: bytes) -> None:
    for packet in (data, answer(data), answer(mx(1, data))):
        with suppress(SourceError):
            parse(packet)


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("mx.example.org", True),
        ("192.0.2.1", False),
        ("", False),
        ("a b", False),
        ("-x.org", False),
    ],
)
def test_names_of_hosts(name: str, good: bool) -> None:
    assert is_host(name) == good


def test_domains() -> None:
    assert domain_name("Bücher.example.") == "xn--bcher-kva.example"
    for wrong in ("", "a b", "x..y", "postmaster@example.org", "a" * 64 + ".org"):
        with pytest.raises(OperatorError, match="expected a domain"):
            domain_name(wrong)
