"""Events of connection tracking: begun, answered, ended, as the kernel tells them.

Touches one netlink socket of the network namespace it was made in (linux/netfilter/
nfnetlink_conntrack.h), and /proc/sys/net/netfilter to see why nothing comes. Needs CAP_NET_ADMIN.
Limits: what its buffer can't hold is lost, and counted; a filter keeps it from coming to that.
"""

from __future__ import annotations

import ctypes
import errno
import socket
import struct
from collections.abc import Callable

from tidegate.errors import SourceError
from tidegate.nfnetlink import (
    ADD_MEMBERSHIP,
    ERROR,
    REQUEST,
    SOL_NETLINK,
    listener,
    lost,
    messages,
    packed,
)

AT_ONCE = 4096
_GROUPS = (1, 2, 3)  # NFNLGRP_CONNTRACK_NEW, _UPDATE, _DESTROY
_STATISTICS = 1 << 8 | 5  # IPCTNL_MSG_CT_GET_STATS: one number, and only where there is conntrack
_ATTACH_FILTER = 26
_BUFFER = 8 << 20
_LONGEST = 4096
_SWITCH = "/proc/sys/net/netfilter/nf_conntrack_events"


class Conntrack:
    """The socket. Raises SourceError where connections are not tracked, or not told of."""

    def __init__(self) -> None:
        self._room = bytearray(_LONGEST)
        try:
            self._socket = listener(_BUFFER)
        except OSError as error:
            raise SourceError(f"the kernel offers no netlink socket: {error}") from error
        try:
            self._prove()
            self.attach(struct.pack("=HBBI", 0x06, 0, 0, 0))  # nothing yet
            for group in _GROUPS:
                self._socket.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, group)
        except OSError as error:
            self._socket.close()
            raise SourceError(_refused(error)) from error

    def fileno(self) -> int:
        """Readable when something happened."""
        return self._socket.fileno()

    def close(self) -> None:
        """Listen no more."""
        self._socket.close()

    @property
    def lost(self) -> int:
        """How many events the buffer had no room for."""
        return lost(self._socket)

    def attach(self, program: bytes) -> None:
        """From now on have only those events told that the program says. Raises OSError."""
        code = ctypes.create_string_buffer(program, len(program))
        pointer = struct.pack("@HP", len(program) // 8, ctypes.addressof(code))
        self._socket.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, pointer)

    def drain(self, hear: Callable[[bytes], None], most: int = AT_ONCE) -> tuple[int, bool]:
        """Hand over what has come, without waiting: how many, and whether some were lost."""
        receive, room, overrun = self._socket.recv_into, self._room, False
        for count in range(most):
            try:
                length = receive(room)
            except BlockingIOError:
                return count, overrun
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise SourceError(f"connections can't be listened to: {error}") from error
                overrun = True
                continue
            hear(bytes(room[:length]))
        return most, overrun

    def _prove(self) -> None:
        """That there is conntrack at all: else nothing would ever come, without a word."""
        self._socket.send(packed(_STATISTICS, REQUEST, struct.pack("=BBH", 0, 0, 0)))
        for kind, payload in messages(self._socket.recv(1 << 16)):
            if kind == ERROR:
                code = -struct.unpack_from("=i", payload)[0] if len(payload) >= 4 else 0
                if code:
                    raise OSError(code, "")


def silent() -> str:
    """Why no events will come though the socket is there; "" where they should."""
    try:
        with open(_SWITCH, encoding="ascii") as file:
            value = file.read().strip()
    except FileNotFoundError:
        return (
            "connections are not tracked here (nf_conntrack is not loaded): who is scanned is not"
            " seen, the caps hold; run: modprobe nf_conntrack"
        )
    except OSError as error:
        return f"{_SWITCH}: {error.strerror}"
    if value == "0":
        return (
            "the kernel tells of no connections: who is scanned is not seen, the caps hold;"
            " run: sysctl -w net.netfilter.nf_conntrack_events=1"
        )
    return ""


def _refused(error: OSError) -> str:
    if error.errno == errno.EPERM:
        return "connections can't be listened to: CAP_NET_ADMIN is missing"
    if error.errno in (errno.EINVAL, errno.EOPNOTSUPP, errno.EPROTONOSUPPORT):
        return (
            "this kernel does not tell of connections (nf_conntrack_netlink): who is scanned is"
            " not seen, the caps hold"
        )
    return f"connections can't be listened to: {error.strerror or error}"
