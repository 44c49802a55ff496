"""Streams: the same lines and offsets, however the bytes arrive."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.source import stream
from tidegate.source.port import MAX_BLOCK
from tidegate.source.stream import LineCutter, Ring


@given(st.lists(st.binary(max_size=30)), st.booleans())
def test_every_byte_once_at_its_offset(chunks: list[bytes], close: bool) -> None:
    whole = b"".join(chunks)
    cutter = LineCutter()
    pieces = [piece for chunk in chunks for piece in cutter.feed(chunk)]
    if close:
        pieces += cutter.finish()
    for piece in pieces:
        assert piece.data.endswith(b"\n")
        assert (whole + b"\n").startswith(piece.data, piece.offset)
    text = whole.lstrip(b"\0")
    end = len(text) if close else text.rfind(b"\n") + 1
    given_back = b"".join(piece.data for piece in pieces)
    assert given_back == text[:end] + (b"\n" if close and text[-1:] not in (b"", b"\n") else b"")


@pytest.mark.parametrize("size", [1000, 65536, MAX_BLOCK])
@pytest.mark.parametrize("extra", [-2, -1, 0, 1, 70_000, 3 * MAX_BLOCK])
def test_long_lines_are_cut_and_offsets_stay_right(size: int, extra: int) -> None:
    long = b"a" * (MAX_BLOCK + extra)
    data = b"first\n" + long + b"\nlast\n"
    cutter = LineCutter()
    pieces = [
        piece for start in range(0, len(data), size) for piece in cutter.feed(data[start:][:size])
    ]
    lines = {}
    for offset, text in pieces:
        place = offset
        for line in text.split(b"\n")[:-1]:
            lines[place] = line
            place += len(line) + 1
    assert lines == {0: b"first", 6: long[: MAX_BLOCK - 1], 6 + len(long) + 1: b"last"}
    assert cutter.cut_lines == (extra >= 0)


def test_leading_nuls_are_passed_over() -> None:
    cutter = LineCutter()
    assert cutter.feed(b"\0" * 10) == []
    assert cutter.feed(b"\0\0one\n") == [(12, b"one\n")]
    assert cutter.feed(b"\0two\n") == [(16, b"\0two\n")]


def test_the_ring_forgets_the_oldest() -> None:
    ring = Ring(20)
    ring.add(0, b"one\ntwo\n")
    ring.add(8, b"three\n")
    assert ring.line(0) == b"one"
    assert ring.line(4) == b"two"
    assert ring.line(5) is None
    assert ring.line(8) == b"three"
    assert ring.line(14) is None
    ring.add(14, b"four\nfive\n")
    assert ring.line(0) is None
    assert ring.line(19) == b"five"
    ring.add(100, b"x" * 50 + b"\n")
    assert ring.line(100) == b"x" * 50
    assert ring.line(60) is None
    assert ring.line(14) is None


def test_the_ring_of_the_real_size_holds_what_it_says() -> None:
    assert stream.MAX_RING == 16 << 20
