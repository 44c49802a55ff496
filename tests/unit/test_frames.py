"""Frames over a stream: whole, in pieces, too large, and what is none."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.frames import MAX_FRAME, Channel, Closed, Frame, Malformed, decode, encode


@pytest.fixture
def ends() -> Iterator[tuple[Channel, socket.socket]]:
    here, there = socket.socketpair()
    channel = Channel(here)
    yield channel, there
    channel.close()
    there.close()


def test_there_and_back(ends: tuple[Channel, socket.socket]) -> None:
    channel, there = ends
    other = Channel(there)
    frame = {"type": "apply", "requests": [["ban", "192.0.2.7", [25], 5]] * 3, "text": "ü\0\n"}
    channel.send(frame, 1)
    channel.send({"type": "ping"}, 1)
    assert other.wait(1) == frame
    assert other.wait(1) == {"type": "ping"}
    assert other.next() is None
    channel.close()
    with pytest.raises(Closed):
        other.wait(1)


def test_byte_by_byte(ends: tuple[Channel, socket.socket]) -> None:
    channel, there = ends
    for byte in encode({"type": "ping"}):
        assert channel.next() is None
        there.send(bytes([byte]))
        channel.fill()
    assert channel.next() == {"type": "ping"}


def test_large_frames_wait_for_the_reader(ends: tuple[Channel, socket.socket]) -> None:
    channel, _there = ends
    with pytest.raises(TimeoutError):
        channel.send({"type": "x" * (MAX_FRAME - 20)}, 0.05)
    with pytest.raises(ValueError, match="a frame of"):
        channel.send({"type": "x" * MAX_FRAME}, 0.05)


def drained(channel: Channel, other: Channel) -> list[Frame]:
    """All that one end has sent or still has to, taken in by the other."""
    heard = []
    for _turn in range(1000):
        channel.flush()
        other.fill()
        while (frame := other.next()) is not None:
            heard.append(frame)
    return heard


def test_an_offer_never_waits_and_is_whole_or_left_out(
    ends: tuple[Channel, socket.socket],
) -> None:
    """Larger than the buffer: its rest goes out later, before anything else that is said."""
    channel, there = ends
    there.settimeout(5)
    frames = [{"type": "knocks", "number": number, "fill": "x" * 100_000} for number in range(9)]
    taken = [frame for frame in frames if channel.offer(frame)]
    assert 0 < len(taken) < len(frames)
    other = Channel(there)
    assert drained(channel, other) == taken
    assert channel.flush()
    large = {"type": "knocks", "fill": "x" * 1_000_000}
    assert channel.offer(large)
    assert not channel.offer(large), "the rest of the first is still here"
    with pytest.raises(TimeoutError):
        channel.send({"type": "done"}, 0.01)
    assert drained(channel, other) == [large, {"type": "done"}]
    there.close()
    with pytest.raises(Closed):
        channel.offer(large)


def test_silence(ends: tuple[Channel, socket.socket]) -> None:
    channel, there = ends
    channel.fill()
    there.send(b"\0\0\0\x10half")
    with pytest.raises(TimeoutError):
        channel.wait(0.01)


def test_too_long_a_frame_ends_it(ends: tuple[Channel, socket.socket]) -> None:
    channel, there = ends
    there.send((MAX_FRAME + 1).to_bytes(4))
    channel.fill()
    with pytest.raises(Malformed) as caught:
        channel.next()
    assert caught.value.fatal


def test_the_frame_behind_a_malformed_one_is_read(ends: tuple[Channel, socket.socket]) -> None:
    channel, there = ends
    there.send(b"\0\0\0\x04!bad" + encode({"type": "ping"}))
    channel.fill()
    with pytest.raises(Malformed):
        channel.next()
    assert channel.next() == {"type": "ping"}


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"1", b"{}", b'{"type":1}', b"\xff", b"[" * 100_000, b"9" * 5000]
)
def test_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        decode(body)


@given(st.binary())
def test_any_bytes_are_a_frame_or_malformed(body: bytes) -> None:
    with suppress(Malformed):
        assert "type" in decode(body)
