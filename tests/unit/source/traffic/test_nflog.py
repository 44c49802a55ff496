"""What the kernel logs is read as it is written, and nothing else that comes breaks it."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from tidegate.nfnetlink import attribute, attributes, messages
from tidegate.source.traffic.nflog import Kept, kept_in

PACKET = 0x400


def logged(*parts: tuple[int, bytes], kind: int = PACKET) -> bytes:
    body = bytes(4) + b"".join(attribute(*part) for part in parts)
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


def number(value: int) -> bytes:
    return struct.pack(">I", value)


def test_one_packet() -> None:
    data = logged(
        (1, struct.pack(">HBB", 0x800, 3, 0)), (10, b"tg:destinations\0"), (9, b"\x45packet"),
        (11, number(33)), (4, number(7)), (12, number(99)), (3, struct.pack(">QQ", 12, 345)),
    )  # fmt: skip
    assert list(kept_in(data)) == [Kept(12_000_345, "tg:destinations", 3, 33, 7, 99, b"\x45packet")]


def test_several_in_a_datagram_and_what_is_missing() -> None:
    data = logged((12, number(1))) + logged(kind=3) + logged((12, number(2)), (10, b"tg:irc\0"))
    assert list(kept_in(data)) == [
        Kept(0, "", 0, None, 0, 1, b""), Kept(0, "tg:irc", 0, None, 0, 2, b""),
    ]  # fmt: skip


def test_parts_of_odd_length_are_left_out() -> None:
    data = logged((11, b"\1"), (4, b""), (12, b"123"), (3, b"4"), (1, b"5"), (10, b"\xff\xfe"))
    assert list(kept_in(data)) == [Kept(0, "\ufffd\ufffd", 0, None, 0, 0, b"")]


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    list(kept_in(data))
    list(attributes(data))
    list(messages(data))


@given(st.lists(st.tuples(st.integers(0, 20), st.binary(max_size=40)), max_size=8), st.data())
def test_any_attributes_cut_anywhere(parts: list[tuple[int, bytes]], data: st.DataObject) -> None:
    whole = logged(*parts)
    assert len(list(kept_in(whole))) == 1
    list(kept_in(whole[: data.draw(st.integers(0, len(whole)))]))


@given(st.binary(max_size=120))
def test_any_bytes_in_the_place_of_attributes(data: bytes) -> None:
    body = bytes(4) + data
    assert len(list(kept_in(struct.pack("=IHHII", 16 + len(body), PACKET, 0, 0, 0) + body))) == 1


def test_attributes_without_length_or_too_long_end_the_packet() -> None:
    for length in (0, 3, 200):
        body = bytes(4) + attribute(10, b"tg:syn\0") + struct.pack("=HH", length, 11) + bytes(4)
        data = struct.pack("=IHHII", 16 + len(body), PACKET, 0, 0, 0) + body
        assert list(kept_in(data)) == [Kept(0, "tg:syn", 0, None, 0, 0, b"")]
