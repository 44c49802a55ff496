"""Which socket sends or takes a flow, with its user: one question to sock_diag a flow, no dump.

Touches the kernel by sock_diag(7) and /proc/net of this network namespace; needs no privilege.
Limits: TCP and UDP; a socket that is closed already is not found, one of another network
namespace (a container's) neither; raw and packet sockets have no ports, and are only listed.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from collections.abc import Iterator
from typing import NamedTuple

from tidegate.errors import SourceError

_SOCK_DIAG, _BY_FAMILY, _REQUEST, _ERROR = 4, 20, 0x1, 2
_HEADER = struct.Struct("=IHHII")
_QUESTION = struct.Struct("=BBBBI")
_PORTS = struct.Struct("!HH")
_ANSWER = struct.Struct("=II")
_USER_AT = 16 + 64
# The interface is not named, nor the cookie: INET_DIAG_NOCOOKIE (linux/inet_diag.h).
_ANY = b"\0" * 4 + b"\xff" * 8
_FAR = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}  # noqa: S104 - nobody, to the kernel
_TABLES = (("raw", 7, 9), ("raw6", 7, 9), ("packet", 7, 8))
"""Files of /proc/net, and which of their columns are the user and the socket's number."""


class Flow(NamedTuple):
    """One end here and one there: a protocol's number (6, 17), addresses as text."""

    protocol: int
    local: str
    local_port: int
    remote: str = ""
    remote_port: int = 0


class Socket(NamedTuple):
    """A socket by its number (that of `socket:[…]` in /proc/PID/fd), and the user who made it.
    A number of 0: nobody holds it any more, as when a program closed it before it had sent all."""

    number: int
    user: int


class Sockets:
    """Asks the kernel. Raises SourceError where it has no sock_diag."""

    def __init__(self) -> None:
        self._sequence = 0
        try:
            self._diag = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _SOCK_DIAG
            )
        except OSError as error:
            raise SourceError(f"the kernel does not tell of sockets: {error}") from error
        self._diag.settimeout(1)

    def close(self) -> None:
        """Give the channel back."""
        self._diag.close()

    def of(self, flow: Flow) -> Socket | None:
        """The socket behind a flow, connected or only bound to its port; None where there is none.

        Where no connection is found, whoever listens on the local port has it.
        """
        family = socket.AF_INET6 if ":" in flow.local else socket.AF_INET
        near = _packed(family, flow.local)
        far = _packed(family, flow.remote or _FAR[family])
        if near is None or far is None:
            return None
        ends = _PORTS.pack(flow.local_port, flow.remote_port) + near + far
        if flow.protocol != socket.IPPROTO_TCP:
            # UDP is looked up as if it came in: "src and dst are swapped for historical reasons"
            # (net/ipv4/udp_diag.c, udp_dump_one).
            ends = _PORTS.pack(flow.remote_port, flow.local_port) + far + near
        return self._asked(family, flow.protocol, ends)

    def _asked(self, family: int, protocol: int, ends: bytes) -> Socket | None:
        self._sequence = (self._sequence + 1) & 0x3FFFFFFF
        question = _QUESTION.pack(family, protocol, 0, 0, 0xFFFFFFFF) + ends + _ANY
        head = _HEADER.pack(16 + len(question), _BY_FAMILY, _REQUEST, self._sequence, 0)
        try:
            self._diag.send(head + question)
            while True:
                answer = self._diag.recv(8192)
                _length, kind, _flags, sequence, _port = _HEADER.unpack_from(answer)
                if sequence == self._sequence:
                    break
        except OSError:
            return None  # no module for that protocol, or the kernel is too busy to say
        if kind == _ERROR:
            code = -int.from_bytes(answer[16:20], sys.byteorder, signed=True)
            if code in (errno.ENOENT, errno.EINVAL, 0):
                return None
            raise SourceError(f"sock_diag: {os.strerror(code)}")
        if len(answer) < _USER_AT + 8:
            return None
        user, number = _ANSWER.unpack_from(answer, _USER_AT)
        return Socket(number, user)


def without_ports(proc: str = "/proc") -> Iterator[Socket]:
    """Every raw and packet socket here: who has one can forge ports and addresses."""
    for name, user, number in _TABLES:
        try:
            with open(f"{proc}/net/{name}", encoding="ascii", errors="replace") as file:
                rows = file.readlines()[1:]
        except OSError:
            continue  # a kernel without that family
        for row in rows:
            words = row.split()
            if len(words) > number:
                yield Socket(int(words[number]), int(words[user]))


def _packed(family: int, address: str) -> bytes | None:
    """Sixteen bytes, as the question has them; None: no address of that family."""
    try:
        return socket.inet_pton(family, address.partition("%")[0]).ljust(16, b"\0")
    except (OSError, ValueError):
        return None
