"""Messages of nfnetlink, as far as listening needs them: attributes, questions, refusals.

Touches the socket it is given. Whatever is no attribute ends the run that it stands in.
Limits: nothing here raises for what the kernel (or a test) sends, however odd it is.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress

NETFILTER = 12
SOL_NETLINK, ADD_MEMBERSHIP = 270, 1
REQUEST, ACK, DUMP = 0x1, 0x4, 0x300
ERROR = 2

_SO_RCVBUFFORCE, _SO_MEMINFO, _DROPS = 33, 55, 8
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")


def attribute(kind: int, payload: bytes) -> bytes:
    """One attribute, padded to four bytes."""
    return _ATTRIBUTE.pack(len(payload) + 4, kind) + payload + b"\0" * (-len(payload) % 4)


def attributes(data: bytes, start: int = 0) -> Iterator[tuple[int, bytes]]:
    """The attributes in a run of bytes: type without its flags, and payload."""
    end = len(data)
    while start + 4 <= end:
        length, kind = _ATTRIBUTE.unpack_from(data, start)
        if length < 4 or start + length > end:
            return
        yield kind & 0x3FFF, data[start + 4 : start + length]
        start += (length + 3) & ~3


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The messages of one datagram: type, and what stands behind the header."""
    start = 0
    while start + 16 <= len(data):
        length, kind, _flags, _sequence, _port = _HEADER.unpack_from(data, start)
        if length < 16 or start + length > len(data):
            return
        yield kind, data[start + 16 : start + length]
        start += (length + 3) & ~3


def packed(kind: int, flags: int, payload: bytes) -> bytes:
    """One message with its header."""
    return _HEADER.pack(16 + len(payload), kind, flags, 1, 0) + payload


def listener(buffer: int) -> socket.socket:
    """A socket to netfilter that never waits, with room for so many bytes. Raises OSError."""
    made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETFILTER)
    try:
        made.setblocking(False)
        made.bind((0, 0))
    except OSError:
        made.close()
        raise
    for option in (socket.SO_RCVBUF, _SO_RCVBUFFORCE):
        with suppress(OSError):  # the force is refused inside a user namespace
            made.setsockopt(socket.SOL_SOCKET, option, buffer)
    return made


def ask(connection: socket.socket, message: bytes) -> None:
    """Send a message that is to be acknowledged. Raises OSError where the kernel refuses."""
    connection.send(message)
    while True:  # the answer is there already, maybe behind what was listened for
        for kind, payload in messages(connection.recv(1 << 16)):
            if kind == ERROR:
                code = -int.from_bytes(payload[:4], sys.byteorder, signed=True)
                if code:
                    raise OSError(code, os.strerror(code))
                return


def lost(connection: socket.socket) -> int:
    """How many datagrams the socket's buffer had no room for, in all."""
    told = connection.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 4 * (_DROPS + 1))
    numbers = struct.unpack(f"={len(told) // 4}I", told)
    return numbers[_DROPS] if len(numbers) > _DROPS else 0
