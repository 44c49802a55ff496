from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.source.traffic.packets import head_of
from tidegate.source.traffic.passing import MOST, _begins, paced
from tidegate.source.traffic.ring import MOST_THIN

FOUR = bytes([192, 0, 2, 1]) + bytes([198, 51, 100, 7])
SIX = bytes.fromhex("20010db8") + bytes(27) + b"\1"


def ip4(protocol: int, payload: bytes, options: bytes = b"") -> bytes:
    words = 5 + len(options) // 4
    length = words * 4 + len(payload)
    head = struct.pack(">BBHHHBBH", 0x40 | words, 0, length, 1, 0, 64, protocol, 0)
    return head + FOUR + options + payload


def ip6(protocol: int, payload: bytes) -> bytes:
    return struct.pack(">IHBB", 6 << 28, len(payload), protocol, 64) + SIX + payload


def tcp(flags: int) -> bytes:
    return struct.pack(">HHIIBBHHH", 40000, 80, 1, 0, 80, flags, 1024, 0, 0)


@pytest.mark.parametrize(
    ("packet", "expected"),
    [
        (ip4(6, tcp(0x02)), True),  # SYN
        (ip4(6, tcp(0xC2)), True),  # SYN with ECN
        (ip4(6, tcp(0x12)), False),  # SYN/ACK
        (ip4(6, tcp(0x10)), False),
        (ip4(6, tcp(0x04)), False),  # RST
        (ip4(6, tcp(0x02), options=bytes(8)), True),
        (ip4(6, tcp(0x02)[:10]), False),
        (ip4(17, bytes(8)), True),
        (ip4(1, b"\x08" + bytes(7)), True),  # echo request
        (ip4(1, b"\x03" + bytes(7)), False),  # unreachable
        (ip4(47, bytes(8)), True),
        (ip6(6, tcp(0x02)), True),
        (ip6(6, tcp(0x12)), False),
        (ip6(58, b"\x80" + bytes(7)), True),
        (ip6(58, b"\x87" + bytes(7)), False),  # neighbour solicitation
    ],
)
def test_whether_a_packet_may_be_the_first_of_something(packet: bytes, expected: bool) -> None:
    head = head_of(packet)
    assert head is not None
    assert _begins(packet, head) is expected


@pytest.mark.parametrize(
    ("weight", "rate", "expected"),
    [
        (1, 0, 1),
        (1, MOST, 1),
        (1, MOST + 1, 2),
        (1, MOST * 24, 32),
        (32, MOST * 24, 32),  # what was estimated from one in 32 is no reason for fewer
        (32, MOST * 9, 32),
        (32, MOST * 8, 8),
        (32, 10, 1),
        (2, 10, 2),
        (1, 1e15, MOST_THIN),
    ],
)
def test_as_few_packets_as_there_must_be(weight: int, rate: float, expected: int) -> None:
    assert paced(weight, rate) == expected


@given(st.sampled_from([ip4(6, tcp(2)), ip6(6, tcp(2)), ip4(1, bytes(8))]), st.data())
def test_no_packet_is_too_odd(packet: bytes, data: st.DataObject) -> None:
    odd = bytearray(packet[: data.draw(st.integers(0, len(packet)))])
    for at in data.draw(st.lists(st.integers(0, max(0, len(odd) - 1)), max_size=4)):
        if odd:
            odd[at] = data.draw(st.integers(0, 255))
    head = head_of(bytes(odd))
    if head is not None:
        assert _begins(bytes(odd), head) in (True, False)
