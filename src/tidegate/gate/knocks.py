"""Knocks: tries of the banned, as the kernel logs them; NFLOG with nothing but the stdlib.

Touches one netlink socket of the network namespace it was made in (linux/netfilter/
nfnetlink_log.h); needs CAP_NET_ADMIN. Never waits; what its buffer can't hold is lost, counted.
Limits: new TCP attempts only, as laid in `layout`; whoever forges a sender knocks in its name.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator

from tidegate.errors import GateError
from tidegate.gate.layout import NFLOG_GROUP, SNAP
from tidegate.gate.port import Knock
from tidegate.nfnetlink import (
    ACK,
    REQUEST,
    ask,
    attribute,
    attributes,
    listener,
    lost,
    messages,
    packed,
)
from tidegate.subject import of_address

_PACKET, _CONFIG = 4 << 8 | 0, 4 << 8 | 1
_PAYLOAD = 9  # NFULA_PAYLOAD

_BUFFER = 1 << 20
_AT_ONCE = 256
"""Datagrams taken in one go, so that a flood does not keep the keeper from its watcher."""

_TCP = 6
# IPv6 extensions that may stand before TCP (RFC 8200 §4): hop by hop, routing, destination
# options; fragments (44) and authentication (51, RFC 4302) count their length in another way.
_EXTENSIONS = frozenset({0, 43, 60})


class Knocks:
    """The socket to which the kernel tells knocks. Raises GateError where it can't be had."""

    def __init__(self, group: int = NFLOG_GROUP) -> None:
        try:
            self._socket = listener(_BUFFER)
        except OSError as error:
            raise GateError(f"the kernel offers no netlink socket: {error}") from error
        try:
            self._ask(group)
        except OSError as error:
            self._socket.close()
            raise GateError(_refused(group, error)) from error

    def fileno(self) -> int:
        """Readable when somebody knocked."""
        return self._socket.fileno()

    def close(self) -> None:
        """Listen no more; what is closed stays closed."""
        self._socket.close()

    @property
    def lost(self) -> int:
        """How many the kernel could not tell, because nobody listened fast enough."""
        return lost(self._socket)

    def read(self) -> list[Knock]:
        """Who knocked since last asked, without waiting; at most some hundred at once."""
        found: list[Knock] = []
        for _turn in range(_AT_ONCE):
            try:
                data, (sender, _groups) = self._socket.recvfrom(1 << 16)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:  # this one only says that some were lost
                    raise GateError(f"knocks can't be heard: {error}") from error
                continue
            if sender == 0:  # the kernel itself
                found += knocks_in(data)
        return found

    def _ask(self, group: int) -> None:
        """Have the group's packets told to us, each at once and no more of it than its head."""
        parts = (
            (1, b"\1"),  # bind
            (2, struct.pack(">IBx", SNAP, 2)),  # copy packets, so many bytes
            (3, struct.pack(">I", 1024)),  # the size of one message
            (4, struct.pack(">I", 1)),  # hundredths of a second; with the next it never comes to it
            (5, struct.pack(">I", 1)),  # tell each packet
        )
        payload = struct.pack(">BBH", 0, 0, group) + b"".join(attribute(*part) for part in parts)
        ask(self._socket, packed(_CONFIG, REQUEST | ACK, payload))


def _refused(group: int, error: OSError) -> str:
    if error.errno == errno.EPERM:
        why = "another program has it, or CAP_NET_ADMIN is missing"
    elif error.errno == errno.EINVAL:
        why = "this kernel has none (CONFIG_NETFILTER_NETLINK_LOG)"
    else:
        why = str(error)
    return f"NFLOG group {group} can't be had: {why}"


def knocks_in(data: bytes) -> Iterator[Knock]:
    """The knocks in one datagram of the kernel; whatever is none is left out."""
    for what, body in messages(data):
        if what == _PACKET:
            for kind, packet in attributes(body, 4):
                if kind == _PAYLOAD and (knock := knock_of(packet)) is not None:
                    yield knock


def knock_of(packet: bytes) -> Knock | None:
    """Sender and TCP port of the beginning of an IP packet (RFC 791, RFC 8200); None if it has
    none that we could read."""
    version = packet[0] >> 4 if packet else 0
    at = _tcp4(packet) if version == 4 else _tcp6(packet) if version == 6 else 0
    if not at or at + 4 > len(packet):
        return None
    source = packet[12:16] if version == 4 else packet[8:24]
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    subject = of_address(socket.inet_ntop(family, source))
    port = int.from_bytes(packet[at + 2 : at + 4])
    return Knock(subject, port) if subject is not None and port else None


def _tcp4(packet: bytes) -> int:
    """Where TCP begins; 0 where it does not, as in a later fragment."""
    length = (packet[0] & 15) * 4
    if len(packet) < 20 or length < 20 or packet[9] != _TCP:
        return 0
    return 0 if int.from_bytes(packet[6:8]) & 0x1FFF else length


def _tcp6(packet: bytes) -> int:
    """Where TCP begins, behind any extensions; 0 where it does not."""
    if len(packet) < 40:
        return 0
    following, at = packet[6], 40
    while following != _TCP:
        if at + 8 > len(packet):
            return 0
        if following in _EXTENSIONS:
            step = (packet[at + 1] + 1) * 8
        elif following == 51:
            step = (packet[at + 1] + 2) * 4
        elif following == 44 and not int.from_bytes(packet[at + 2 : at + 4]) & 0xFFF8:
            step = 8
        else:
            return 0
        following, at = packet[at], at + step
    return at
