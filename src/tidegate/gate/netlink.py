"""AF_NETLINK with nothing but the stdlib: questions, dumps, and nfnetlink transactions.

Touches one netlink socket of the network namespace it was made in (netlink(7),
linux/netfilter/nfnetlink.h). Every answer is there when `send` returns, so nothing here waits.
Limits: one thread; an answer of the kernel that can't be read is an error, never a guess.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tidegate.errors import GateError
from tidegate.nfnetlink import attributes

SOCK_DIAG = 4
NESTED = 0x8000
F_REQUEST, F_ACK, F_EXCL, F_CREATE, F_DUMP = 0x1, 0x4, 0x200, 0x400, 0x300

_SOL_NETLINK, _CAP_ACK, _EXT_ACK = 270, 10, 11
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
_BUFFER = 1 << 25
_DUMP_INTERRUPTED, _CAPPED, _TLVS = 0x10, 0x100, 0x200
_ERROR, _DONE = 2, 3
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_NFTABLES = 10

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")


class Answer(NamedTuple):
    """One message of the kernel."""

    kind: int
    flags: int
    sequence: int
    payload: bytes


class Message(NamedTuple):
    """One message of a transaction: `payload` starts with its family header."""

    kind: int
    flags: int
    payload: bytes


class Failure(NamedTuple):
    """A message of a transaction that was refused: its number, the errno, and where it is faulty.

    `offset` counts from the start of the payload; None where the kernel did not point at anything.
    """

    message: int
    errno: int
    offset: int | None


def head(kind: int, length: int) -> bytes:
    """The head of an attribute whose payload has `length` bytes."""
    return _ATTRIBUTE.pack(length + 4, kind)


def answers(data: bytes) -> Iterator[Answer]:
    """The messages of one datagram."""
    start = 0
    while start + 16 <= len(data):
        length, kind, flags, sequence, _port = _HEADER.unpack_from(data, start)
        if length < 16:
            return
        yield Answer(kind, flags, sequence, data[start + 16 : start + length])
        start += (length + 3) & ~3


def refused(code: int) -> GateError:
    """The error for a refusal as a whole, saying what is missing."""
    if code == errno.EPERM:
        return GateError(
            "no permission to change the packet filter: the process needs CAP_NET_ADMIN"
        )
    if code == errno.EMSGSIZE:
        return GateError("too much for one transaction: the netlink socket's buffer is too small")
    return GateError(f"the packet filter refused: {os.strerror(code)}")


class Netlink:
    """A socket to one part of the kernel. Raises GateError where it can't be had."""

    def __init__(self, protocol: int) -> None:
        self._sequence = 0
        try:
            self._socket = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol
            )
            self._socket.bind((0, 0))
        except OSError as error:
            raise GateError(f"the kernel offers no netlink socket: {error}") from error
        self._socket.settimeout(10)
        for option in (_CAP_ACK, _EXT_ACK):
            self._socket.setsockopt(_SOL_NETLINK, option, 1)
        for force, plain in (
            (_SO_SNDBUFFORCE, socket.SO_SNDBUF),
            (_SO_RCVBUFFORCE, socket.SO_RCVBUF),
        ):
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, force, _BUFFER)
            except OSError:
                # Inside a user namespace the force is refused; what we get then is enough for
                # some thousand elements at a time, and the kernel's EMSGSIZE says when it is not.
                self._socket.setsockopt(socket.SOL_SOCKET, plain, _BUFFER)

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()

    def ask(self, kind: int, payload: bytes, *, dump: bool = False) -> list[bytes]:
        """The payloads of every answer to one question. FileNotFoundError: there is no such thing.

        A dump that was cut across by a change is asked for again.
        """
        for _attempt in range(5):
            answers = self._answers(kind, payload, dump)
            if answers is not None:
                return answers
        raise GateError("the kernel's tables change faster than they can be listed")

    def _answers(self, kind: int, payload: bytes, dump: bool) -> list[bytes] | None:
        self._send(self._pack(kind, F_REQUEST | (F_DUMP if dump else F_ACK), payload))
        found: list[bytes] = []
        broken = False
        while True:
            for answer in self._receive():
                if answer.sequence != self._sequence:
                    continue  # left over from a transaction that failed half way
                broken |= bool(answer.flags & _DUMP_INTERRUPTED)
                if answer.kind not in (_ERROR, _DONE):
                    found.append(answer.payload)
                    continue
                code = -int.from_bytes(answer.payload[:4], sys.byteorder, signed=True)
                if code == errno.ENOENT:
                    raise FileNotFoundError(code, os.strerror(code))
                if code > 0:
                    raise refused(code)
                return None if broken else found

    def transact(self, messages: Sequence[Message]) -> list[Failure]:
        """Send messages as one nf_tables transaction: [] when it is done.

        With any failure nothing at all is done, and every message that fails is returned. Raises
        GateError where the transaction was refused as a whole.
        """
        subsystem = struct.pack("=BBH", socket.AF_UNSPEC, 0, socket.htons(_NFTABLES))
        packed = [self._pack(_BATCH_BEGIN, F_REQUEST, subsystem)]
        first = self._sequence
        for number, (kind, flags, payload) in enumerate(messages, 1):
            # Only the last one asks for an answer when all is well: it comes after every error.
            last = F_ACK if number == len(messages) else 0
            packed.append(self._pack(kind, F_REQUEST | flags | last, payload))
        packed.append(self._pack(_BATCH_END, F_REQUEST, subsystem))
        self._send(b"".join(packed))
        failures: list[Failure] = []
        while True:
            for answer in self._receive():
                number = answer.sequence - first
                if answer.kind != _ERROR or not 0 <= number <= len(messages):
                    continue
                code, offset = _failure(answer)
                if code and number == 0:
                    raise refused(code)
                if code:
                    failures.append(Failure(number - 1, code, offset))
                if number == len(messages):
                    return failures

    def _pack(self, kind: int, flags: int, payload: bytes) -> bytes:
        self._sequence = (self._sequence + 1) & 0x3FFFFFFF
        return _HEADER.pack(16 + len(payload), kind, flags, self._sequence, 0) + payload

    def _send(self, data: bytes) -> None:
        try:
            self._socket.send(data)
        except OSError as error:
            raise refused(error.errno or errno.EIO) from error

    def _receive(self) -> Iterator[Answer]:
        """The messages of one datagram."""
        try:
            data = self._socket.recv(1 << 18)
        except OSError as error:
            raise refused(error.errno or errno.ETIMEDOUT) from error
        return answers(data)


def _failure(answer: Answer) -> tuple[int, int | None]:
    """Errno (0: an acknowledgement), and the offset of the bad attribute in our payload."""
    payload = answer.payload
    code = -int.from_bytes(payload[:4], sys.byteorder, signed=True)
    if not answer.flags & _TLVS:
        return code, None
    # With NETLINK_CAP_ACK only the header of our message stands before the attributes.
    capped = answer.flags & _CAPPED
    start = 20 if capped else 4 + int.from_bytes(payload[4:8], sys.byteorder)
    for kind, value in attributes(payload, start):
        if kind == 2:  # NLMSGERR_ATTR_OFFS
            return code, int.from_bytes(value, sys.byteorder) - 16
    return code, None
