"""Heads of packets are read whatever stands in them; addresses and ports as people write them."""

from __future__ import annotations

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.source.traffic.packets import destination_text, head_of

FROM, TO = socket.inet_aton("192.0.2.7"), socket.inet_aton("198.51.100.4")
FROM6 = socket.inet_pton(socket.AF_INET6, "2001:db8::7")
TO6 = socket.inet_pton(socket.AF_INET6, "2001:db8:9::1")
PORTS = struct.pack(">HH", 40000, 1434)


def ip4(protocol: int = 17, rest: bytes = PORTS, options: bytes = b"", fragment: int = 0) -> bytes:
    first = 0x40 | (5 + len(options) // 4)
    head = struct.pack(">BBHHHBBH", first, 0, 404, 0, fragment, 64, protocol, 0)
    return head + FROM + TO + options + rest


def ip6(following: int, rest: bytes) -> bytes:
    return struct.pack(">IHBB", 6 << 28, 364, following, 64) + FROM6 + TO6 + rest


def test_ports_and_length() -> None:
    assert head_of(ip4()) == (FROM, TO, 17, 40000, 1434, 404)
    assert head_of(ip4(options=bytes(8))) == (FROM, TO, 17, 40000, 1434, 404)
    assert head_of(ip6(17, PORTS)) == (FROM6, TO6, 17, 40000, 1434, 404)


def test_without_ports() -> None:
    assert head_of(ip4(1)) == (FROM, TO, 1, 0, 0, 404)
    assert head_of(ip4(fragment=100)) == (FROM, TO, 17, 0, 0, 404)
    assert head_of(ip4(rest=b"\0")) == (FROM, TO, 17, 0, 0, 404)
    assert head_of(ip6(58, bytes(8))) == (FROM6, TO6, 58, 0, 0, 404)


@pytest.mark.parametrize(
    "extension",
    [
        (0, bytes([17, 0]) + bytes(6)), (60, bytes([17, 1]) + bytes(14)),
        (51, bytes([17, 1]) + bytes(10)), (44, bytes([17, 0, 0, 0]) + bytes(4)),
    ],
)  # fmt: skip
def test_behind_extensions(extension: tuple[int, bytes]) -> None:
    following, rest = extension
    assert head_of(ip6(following, rest + PORTS)) == (FROM6, TO6, 17, 40000, 1434, 404)


def test_a_later_fragment_has_no_ports() -> None:
    rest = bytes([17, 0, 1, 0]) + bytes(4)
    assert head_of(ip6(44, rest + PORTS)) == (FROM6, TO6, 17, 0, 0, 404)


@given(st.binary(max_size=120))
def test_any_bytes(data: bytes) -> None:
    found = head_of(data)
    assert found is None or (0 <= found.port < 65536 and len(found.source) in (4, 16))


@given(st.sampled_from([0x45, 0x4F, 0x60]), st.binary(min_size=19, max_size=130))
def test_any_bytes_behind_a_version(first: int, data: bytes) -> None:
    head_of(bytes([first]) + data)


def test_as_people_write_it() -> None:
    assert destination_text(TO, 17, 1434) == "198.51.100.4:1434/udp"
    assert destination_text(TO6, 6, 25) == "[2001:db8:9::1]:25/tcp"
    assert destination_text(TO, 1, 0) == "198.51.100.4/icmp"
    assert destination_text(TO, 47, 0) == "198.51.100.4/47"
