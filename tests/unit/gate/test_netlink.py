"""Attributes and answers as bytes; the kernel's part is tested in tests/kernel."""

from __future__ import annotations

import errno
import struct

from hypothesis import given
from hypothesis import strategies as st

from tidegate.gate.netlink import Answer, _failure, refused
from tidegate.nfnetlink import attribute, attributes


@given(st.lists(st.tuples(st.integers(0, 0x3FFF), st.binary(max_size=50))))
def test_attributes_there_and_back(pairs: list[tuple[int, bytes]]) -> None:
    data = b"".join(attribute(kind, payload) for kind, payload in pairs)
    assert len(data) % 4 == 0
    assert list(attributes(data)) == pairs


@given(st.binary(max_size=60))
def test_any_bytes_end(data: bytes) -> None:
    assert len(list(attributes(data))) <= len(data) // 4 + 1


def test_flags_of_a_type_are_left_out() -> None:
    assert list(attributes(attribute(0x8003, b"abcd"))) == [(3, b"abcd")]


def test_what_the_kernel_points_at() -> None:
    header = b"\0" * 16
    code = struct.pack("=i", -errno.EEXIST)
    offset = attribute(2, struct.pack("=I", 100))
    note = attribute(1, b"text\0")
    capped = Answer(2, 0x300, 1, code + header + note + offset)
    assert _failure(capped) == (errno.EEXIST, 84)
    echoed = struct.pack("=I", 24) + header[4:] + b"\0" * 8
    assert _failure(Answer(2, 0x200, 1, code + echoed + offset)) == (errno.EEXIST, 84)
    assert _failure(Answer(2, 0x300, 1, code + header + note)) == (errno.EEXIST, None)
    assert _failure(Answer(2, 0x100, 1, code + header)) == (errno.EEXIST, None)
    assert _failure(Answer(2, 0x100, 1, b"\0\0\0\0" + header)) == (0, None)


def test_refusals_say_what_is_missing() -> None:
    assert "CAP_NET_ADMIN" in str(refused(errno.EPERM))
    assert "buffer" in str(refused(errno.EMSGSIZE))
    assert "File exists" in str(refused(errno.EEXIST))
