"""Knocks as bytes: what the kernel tells, and anything else; the socket is tested in tests/kernel."""

from __future__ import annotations

import errno
import os
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.gate.knocks import _refused, knock_of, knocks_in
from tidegate.gate.port import Knock
from tidegate.model import Subject
from tidegate.nfnetlink import attribute
from tidegate.subject import network

TCP = struct.pack(">HHIIBBHHH", 40000, 2525, 1, 0, 0x50, 2, 1000, 0, 0)
ONE = Knock(Subject("192.0.2.7"), 2525)
SIX = Knock(Subject("2001:db8:1:2::/64"), 2525)


def ip4(
    source: str = "192.0.2.7", options: bytes = b"", protocol: int = 6, place: int = 0
) -> bytes:
    length = 20 + len(options)
    head = struct.pack(">BBHHHBBH", 0x40 | length // 4, 0, length + 20, 1, place, 64, protocol, 0)
    return head + socket.inet_aton(source) + socket.inet_aton("192.0.2.1") + options + TCP


def ip6(source: str = "2001:db8:1:2::7", following: int = 6, between: bytes = b"") -> bytes:
    head = struct.pack(">IHBB", 6 << 28, len(between) + 20, following, 64)
    ends = [socket.inet_pton(socket.AF_INET6, one) for one in (source, "2001:db8::1")]
    return head + b"".join(ends) + between + TCP


def message(packet: bytes, kind: int = 0x400) -> bytes:
    """As the kernel puts it: headers, the hook, the packet, and what else it tells."""
    parts = attribute(1, b"\x08\0\0\0") + attribute(10, b"\0") + attribute(9, packet)
    payload = struct.pack(">BBH", 2, 0, 2003) + parts
    return struct.pack("=IHHII", 16 + len(payload), kind, 0, 0, 0) + payload


def test_a_knock_over_ipv4() -> None:
    assert knock_of(ip4()) == ONE
    assert knock_of(ip4(options=b"\x01" * 40)[:80]) == ONE
    assert knock_of(ip4()[:24]) == ONE
    assert knock_of(ip4()[:23]) is None, "the port is cut off"
    assert knock_of(ip4(protocol=17)) is None
    assert knock_of(ip4(place=0x2000)) == ONE, "the first fragment"
    assert knock_of(ip4(place=0x2003)) is None, "a later one, which has no port"
    assert knock_of(b"\x44" + ip4()[1:]) is None, "a header shorter than a header"


def test_a_knock_over_ipv6_is_of_its_64() -> None:
    assert knock_of(ip6()) == SIX
    assert knock_of(ip6()[:43]) is None
    assert knock_of(ip6()[:39]) is None
    assert knock_of(ip6(following=17)) is None
    assert knock_of(ip6("64:ff9b::192.0.2.7")) == Knock(Subject("64:ff9b::c000:207"), 2525)


@pytest.mark.parametrize(
    ("following", "between"),
    [
        (0, b"\x06\x01" + bytes(14)),
        (43, b"\x3c\x00" + bytes(6) + b"\x06\x00" + bytes(6)),
        (44, b"\x06\x00\x00\x01" + bytes(4)),
        (51, b"\x06\x04" + bytes(22)),
    ],
)
def test_extensions_of_ipv6_are_passed_over(following: int, between: bytes) -> None:
    packet = ip6(following=following, between=between)
    assert knock_of(packet) == SIX
    assert knock_of(packet[: 40 + len(between) - 1]) is None
    assert knock_of(packet[: 40 + len(between) + 3]) is None


def test_what_has_no_port_or_no_known_next_header_is_no_knock() -> None:
    assert knock_of(ip6(following=44, between=b"\x06\x00\x00\x08" + bytes(4))) is None
    assert knock_of(ip6(following=59)) is None
    assert knock_of(ip4()[:22] + b"\0\0" + ip4()[24:]) is None, "port 0 is nobody's"
    assert knock_of(b"") is None


def test_only_packets_are_knocks() -> None:
    done = struct.pack("=IHHII", 20, 3, 0, 0, 0) + bytes(4)
    both = message(ip4()) + b"\0" * (-len(message(ip4())) % 4) + message(ip6()) + done
    assert list(knocks_in(both)) == [ONE, SIX]
    assert list(knocks_in(message(ip4(), kind=0x401))) == []
    assert list(knocks_in(message(b""))) == []


@given(st.binary(max_size=200))
def test_any_bytes_are_knocks_or_none(data: bytes) -> None:
    for found in (knock_of(data), *knocks_in(data), *knocks_in(message(data))):
        if found is not None:
            assert network(found.subject) is not None
            assert 0 < found.port < 65536


@given(
    st.sampled_from([ip4(), ip6(), ip6(following=0, between=b"\x06\x01" + bytes(14))]), st.data()
)
def test_any_disturbance_of_a_knock_is_borne(packet: bytes, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(packet) - 1))
    cut = data.draw(st.integers(0, len(packet)))
    disturbed = (packet[:place] + data.draw(st.binary(max_size=4)) + packet[place + 1 :])[:cut]
    found = knock_of(disturbed)
    assert found is None or network(found.subject) is not None


def test_why_it_can_t_be_had_is_said_plainly() -> None:
    def said(code: int) -> str:
        return _refused(2003, OSError(code, os.strerror(code)))

    assert "another program" in said(errno.EPERM)
    assert "CONFIG_NETFILTER_NETLINK_LOG" in said(errno.EINVAL)
    assert "Cannot allocate" in said(errno.ENOMEM)
