"""Listens for flow datagrams of routers on one UDP port: only of those that policy names.

Touches one socket. UDP senders can be forged, so a filter in front of the port is still wise: who
gets past it can invent flows, and templates. Limits: `MOST` datagrams a call; what the kernel had
to drop because we came too late is counted.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Sequence
from typing import NamedTuple

from tidegate import subject as subjects
from tidegate.errors import SourceError
from tidegate.model import Subject
from tidegate.prefixes import PrefixSet
from tidegate.source.flow.decoder import Decoded, Decoder, Malformed
from tidegate.traffic import Flow

MOST = 512
_LARGEST = 65_535
_BUFFER = 8 << 20
_SO_RXQ_OVFL = 40
_DROPPED = struct.Struct("=I")


class Taken(NamedTuple):
    """What came since: flows, and for each exporter one packet of how many it looks at."""

    flows: tuple[Flow, ...] = ()
    sampled: tuple[tuple[str, int], ...] = ()


class Listener:
    """The port, and everything about what came on it. Raises SourceError where it can't be had."""

    def __init__(self, host: str, port: int, exporters: Sequence[Subject]) -> None:
        self.where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self.more = False
        self.datagrams = self.flows = self.malformed = self.foreign = self.waiting = self.lost = 0
        self.last_malformed = self.last_foreign = ""
        self._exporters = PrefixSet(exporters)
        self._decoder = Decoder()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        try:
            self._socket.setblocking(False)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RXQ_OVFL, 1)
            self._socket.bind((host, port))
        except OSError as error:
            self._socket.close()
            raise SourceError(
                f"{self.where}/udp can't be listened on: {error.strerror or error}"
                f" (`ss -lunp 'sport = :{port}'` shows who has it)"
            ) from error

    def fileno(self) -> int:
        """For select."""
        return self._socket.fileno()

    @property
    def port(self) -> int:
        """The port that was had, where 0 was asked for."""
        return int(self._socket.getsockname()[1])

    @property
    def templates(self) -> int:
        """How many are remembered, of all exporters."""
        return self._decoder.templates

    def take(self) -> Taken:
        """What is there. What is malformed, or of a stranger, is counted and passed over."""
        flows: list[Flow] = []
        sampled: dict[str, int] = {}
        self.more = True
        for _ in range(MOST):
            try:
                data, extra, _flags, sender = self._socket.recvmsg(_LARGEST, 64)
            except (BlockingIOError, InterruptedError):
                self.more = False
                break
            except OSError:  # an ICMP error that came back to this port
                continue
            self._count_lost(extra)
            exporter = self._exporter(sender[0])
            decoded = self._decoded(data, exporter) if exporter else None
            if decoded is not None:
                flows += decoded.flows
                sampled[exporter] = decoded.every
        self.flows += len(flows)
        return Taken(tuple(flows), tuple(sampled.items()))

    def _exporter(self, address: str) -> str:
        """The sender in its canonical spelling, if it is one of ours; "" otherwise."""
        found = ipaddress.ip_address(address.partition("%")[0])
        mapped = getattr(found, "ipv4_mapped", None)
        name = str(mapped or found)
        own = subjects.network(Subject(name))
        if own is not None and self._exporters.holds(own):
            return name
        self.foreign += 1
        self.last_foreign = name
        return ""

    def _decoded(self, data: bytes, exporter: str) -> Decoded | None:
        self.datagrams += 1
        try:
            decoded = self._decoder.decode(data, exporter)
        except Malformed as fault:
            self.malformed += 1
            self.last_malformed = f"{exporter}: {fault}"
            return None
        self.waiting += decoded.waiting
        return decoded

    def _count_lost(self, extra: Sequence[tuple[int, int, bytes]]) -> None:
        for level, kind, value in extra:
            if (level, kind) == (socket.SOL_SOCKET, _SO_RXQ_OVFL) and len(value) >= 4:
                (self.lost,) = _DROPPED.unpack_from(value)

    def close(self) -> None:
        """Give the port back."""
        self._socket.close()
