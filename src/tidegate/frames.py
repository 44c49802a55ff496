"""Length-prefixed JSON frames on a Unix stream socket: how our processes talk to each other.

Touches only the socket it is given. Every frame is one object with `type`. Limits: a frame has at
most 4 MiB; what the frames mean is said where each conversation is (`gate.protocol` and so on).
"""

from __future__ import annotations

import json
import select
import socket
import struct
import time
from typing import Any

MAX_FRAME = 4 << 20

_LENGTH = struct.Struct(">I")
_CHUNK = 1 << 18

Frame = dict[str, Any]


class Closed(Exception):  # noqa: N818 - the ordinary end of a conversation
    """The other side has gone."""


class Malformed(ValueError):  # noqa: N818 - said of a frame, not of us
    """Bytes that are no frame; `fatal` where the start of the next one can't be known."""

    def __init__(self, reason: str, *, fatal: bool = False) -> None:
        super().__init__(reason)
        self.fatal = fatal


def encode(frame: Frame) -> bytes:
    """A frame as it goes over the wire. ValueError where it is too large."""
    body = json.dumps(frame, separators=(",", ":")).encode("ascii")
    if len(body) > MAX_FRAME:
        raise ValueError(f"a frame of {len(body)} bytes")
    return _LENGTH.pack(len(body)) + body


def decode(body: bytes) -> Frame:
    """The frame in a body. Malformed where it is not an object of JSON with a `type`."""
    try:
        frame = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Malformed("not JSON") from error
    if not isinstance(frame, dict) or not isinstance(frame.get("type"), str):
        raise Malformed("not an object with a type")
    return frame


class Channel:
    """One end of the conversation: frames in and out. Raises Closed, Malformed, TimeoutError."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._socket.setblocking(False)
        self._buffer = bytearray()
        self._rest = memoryview(b"")  # of an offer that was sent in part

    def fileno(self) -> int:
        """Readable when the other side said something."""
        return self._socket.fileno()

    def close(self) -> None:
        """End the conversation."""
        self._socket.close()

    def fill(self) -> None:
        """Take in what has arrived, without waiting; call it when readable."""
        try:
            data = self._socket.recv(_CHUNK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            raise Closed from error
        if not data:
            raise Closed
        self._buffer += data

    def next(self) -> Frame | None:
        """The next whole frame that was taken in; None where there is none yet."""
        if len(self._buffer) < 4:
            return None
        (length,) = _LENGTH.unpack_from(self._buffer)
        if length > MAX_FRAME:
            raise Malformed(f"a frame of {length} bytes, at most {MAX_FRAME}", fatal=True)
        if len(self._buffer) < 4 + length:
            return None
        body = bytes(self._buffer[4 : 4 + length])
        del self._buffer[: 4 + length]
        return decode(body)

    def wait(self, timeout: float) -> Frame:
        """The next frame, waiting at most `timeout` seconds for it."""
        deadline = time.monotonic() + timeout
        while True:
            frame = self.next()
            if frame is not None:
                return frame
            self._until(select.POLLIN, deadline)
            self.fill()

    def send(self, frame: Frame, timeout: float) -> None:
        """Send a whole frame, waiting at most `timeout` seconds for the other side to take it."""
        deadline = time.monotonic() + timeout
        self._rest = memoryview(bytes(self._rest) + encode(frame))
        while not self.flush():
            self._until(select.POLLOUT, deadline)

    def offer(self, frame: Frame) -> bool:
        """Send a frame if there is plenty of room, without waiting; False where it was left out.

        "Plenty" is what the kernel calls writable, three quarters of a Unix socket's buffer: so
        what has to be said always finds room behind what is offered.
        """
        if not self.flush() or not self._ready(select.POLLOUT, 0):
            return False
        self._rest = memoryview(encode(frame))
        self.flush()
        return True

    def flush(self) -> bool:
        """Send what is left of the last frame, without waiting; whether all of it is sent."""
        while self._rest:
            try:
                self._rest = self._rest[self._socket.send(self._rest, socket.MSG_NOSIGNAL) :]
            except (BlockingIOError, InterruptedError):
                return False
            except OSError as error:
                raise Closed from error
        return True

    def _until(self, event: int, deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0 or not self._ready(event, left):
            raise TimeoutError("the other side is silent")

    def _ready(self, event: int, seconds: float) -> bool:
        poll = select.poll()
        poll.register(self._socket, event)
        return bool(poll.poll(seconds * 1000))
