"""Connections, connection tracking, listen queues, and what passes the interfaces.

Touches the kernel by sock_diag(7), a dump of the established TCP sockets of this network namespace,
and /proc/net and /proc/sys/net. Limits: connections to oneself count as well, once by each end
without a port, once where a port is named; counters are rates, unknown at the first look.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import struct
import sys
from collections import Counter
from collections.abc import Iterator

from tidegate.errors import SourceError
from tidegate.source.readings.taking import Held, Places, Rate, Shared, Taken, Taker

COLUMNS = {
    "in": 0,
    "packets-in": 1,
    "drops-in": 3,
    "out": 8,
    "packets-out": 9,
    "drops-out": 11,
}
_SOCK_DIAG, _BY_FAMILY, _ESTABLISHED = 4, 20, 1 << 1
_REQUEST, _DUMP = 0x1, 0x300
_ERROR, _DONE = 2, 3
_START = struct.Struct("=IH")
_HEADER = struct.Struct("=IHHII")
_QUESTION = struct.Struct("=BBBBI")
_DEVICE = re.compile(rb"^\s*([^\s:]\S*?):\s*(\d.*)$", re.M)

Ports = Counter[tuple[int, int]]
"""Connections by the two bytes of their local port."""


class Network:
    """Everything of this network namespace; each file and the dump are read once a look."""

    def __init__(self, places: Places) -> None:
        self._connections = Shared(_established)
        netstat = Held(f"{places.proc}/net/netstat")
        self._overflows = Shared(lambda: _extended(netstat.read(), b"ListenOverflows"))
        devices = Held(f"{places.proc}/net/dev", pieces=True)
        self._devices = Shared(lambda: dict(_DEVICE.findall(devices.read())))
        self._tracked = f"{places.proc}/sys/net/netfilter/nf_conntrack_"
        self._count = Held(self._tracked + "count")
        self._most = Held(self._tracked + "max")

    def taker(self, family: str, argument: str) -> Taker | None:
        """The taker of one of these; None where there is none. Raises SourceError for an argument
        that is none."""
        if family == "connections":
            return self._connected(argument)
        if family == "conntrack":
            return Taker(self._tracking)
        if family == "listen.overflows":
            rate = Rate()
            return Taker(lambda look: rate.taken(self._overflows.at(look)))
        head, _, part = family.partition(".")
        if head == "interface" and part in COLUMNS:
            return self._passing(argument, COLUMNS[part])
        return None

    def _connected(self, argument: str) -> Taker:
        if not argument:
            return Taker(
                lambda look: Taken(sum(self._connections.at(look).values())), worker="connections"
            )
        if not argument.isdigit() or not 0 < int(argument) < 65536:
            raise SourceError(f"connections({argument}): expected a port from 1 to 65535")
        port = divmod(int(argument), 256)
        return Taker(lambda look: Taken(self._connections.at(look)[port]), worker="connections")

    def _tracking(self, _look: int) -> Taken:
        try:
            return Taken(float(self._count.read()), float(self._most.read()))
        except FileNotFoundError as error:
            raise SourceError("this host does not track connections (no nf_conntrack)") from error

    def _passing(self, device: str, column: int) -> Taker:
        rate = Rate()
        name = os.fsencode(device)

        def take(look: int) -> Taken:
            counters = self._devices.at(look).get(name)
            if counters is None:
                raise SourceError(f'there is no interface "{device}"')
            return rate.taken(int(counters.split()[column]))

        return Taker(take)


def _extended(data: bytes, name: bytes) -> int:
    """A counter of /proc/net/netstat: a line of names, then a line of numbers."""
    lines = data.split(b"\n")
    for names, numbers in zip(lines[::2], lines[1::2], strict=False):
        words = names.split()
        if name in words:
            return int(numbers.split()[words.index(name)])
    raise SourceError(f"this kernel does not count {name.decode()}")


def _established() -> Ports:
    """How many TCP connections stand, by local port; IPv4 and IPv6."""
    found: Ports = Counter()
    for data in _datagrams(_ESTABLISHED):
        start = 0
        while start < len(data):
            # All sockets of a dump are said in messages of one length, mostly: many at once.
            length = int.from_bytes(data[start : start + 4], sys.byteorder)
            end = start + _run(data, start, length) * length
            high, low = data[start + 20 : end : length], data[start + 21 : end : length]
            found.update(zip(high, low, strict=True))
            start = (end + 3) & ~3
    return found


def dump(states: int) -> Iterator[bytes]:
    """One message for each TCP socket in one of these states (bits by number, tcp_states.h): a
    header of 16 bytes, then struct inet_diag_msg. Raises SourceError, OSError."""
    for data in _datagrams(states):
        start = 0
        while start < len(data):
            length = int.from_bytes(data[start : start + 4], sys.byteorder)
            yield data[start : start + length]
            start += (length + 3) & ~3


def _datagrams(states: int) -> Iterator[bytes]:
    """The dump of IPv4, then of IPv6: runs of whole messages, each about one socket."""
    with socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _SOCK_DIAG
    ) as diag:
        diag.settimeout(4)
        for number, family in enumerate((socket.AF_INET, socket.AF_INET6), 1):
            question = _QUESTION.pack(family, socket.IPPROTO_TCP, 0, 0, states) + b"\0" * 48
            head = _HEADER.pack(16 + len(question), _BY_FAMILY, _REQUEST | _DUMP, number, 0)
            diag.send(head + question)
            last = False
            while not last:
                data = diag.recv(1 << 18)
                end, last = _checked(data)
                if end:
                    yield data[:end]


def _checked(data: bytes) -> tuple[int, bool]:
    """How many bytes of a datagram are about sockets, and whether it is the last."""
    start = 0
    while start + 16 <= len(data):
        length, kind = _START.unpack_from(data, start)
        if kind == _DONE:
            return start, True
        if kind == _ERROR:
            code = -int.from_bytes(data[start + 16 : start + 20], sys.byteorder, signed=True)
            if code == errno.ENOENT:
                return start, True  # the kernel has none of this family
            raise OSError(code, f"sock_diag: {os.strerror(code)}")
        if length < 72 or start + length > len(data):
            raise SourceError("the kernel's list of connections can't be read")
        run = _run(data, start, length)
        start += run * length if length % 4 == 0 else (length + 3) & ~3
    return start, False


def _run(data: bytes, start: int, length: int) -> int:
    """How many messages from `start` on have this length and kind, without a break."""
    run = (len(data) - start) // length
    end = start + run * length
    head = data[start : start + 6]
    if length % 4 == 0 and all(
        data[start + place : end : length] == head[place : place + 1] * run for place in range(6)
    ):
        return run
    return 1
