"""The head of an IP packet: from whom to whom, by which protocol and ports, how long.

Touches nothing (RFC 791, RFC 8200). Limits: IPv6 extensions that may stand before the protocol are
passed over; of later fragments, and of what is cut short, the ports are 0.
"""

from __future__ import annotations

import socket
from typing import NamedTuple

PORTED = frozenset({6, 17, 33, 132, 136})
"""Protocols whose header begins with two ports: TCP, UDP, DCCP, SCTP, UDP-Lite."""
NAMES = {1: "icmp", 6: "tcp", 17: "udp", 33: "dccp", 58: "icmpv6", 132: "sctp", 136: "udplite"}

_EXTENSIONS = frozenset({0, 43, 60})
_FRAGMENT, _AUTHENTICATION = 44, 51


class Head(NamedTuple):
    """What stands at the beginning of a packet; addresses packed, 4 or 16 bytes."""

    source: bytes
    destination: bytes
    protocol: int
    source_port: int
    port: int
    length: int


def head_of(packet: bytes) -> Head | None:
    """The head of a packet; None where it is no IP."""
    version = packet[0] >> 4 if packet else 0
    if version == 4 and len(packet) >= 20:
        return _head4(packet)
    if version == 6 and len(packet) >= 40:
        return _head6(packet)
    return None


def _head4(packet: bytes) -> Head:
    at = max(20, (packet[0] & 15) * 4)
    whole = not int.from_bytes(packet[6:8]) & 0x1FFF
    ports = _ports(packet, at if whole else 0, packet[9])
    return Head(packet[12:16], packet[16:20], packet[9], *ports, int.from_bytes(packet[2:4]))


def _head6(packet: bytes) -> Head:
    following, at = packet[6], 40
    while at + 8 <= len(packet):
        if following in _EXTENSIONS:
            step = (packet[at + 1] + 1) * 8
        elif following == _AUTHENTICATION:
            step = (packet[at + 1] + 2) * 4
        elif following == _FRAGMENT:
            if int.from_bytes(packet[at + 2 : at + 4]) & 0xFFF8:
                following, at = packet[at], 0
                break
            step = 8
        else:
            break
        following, at = packet[at], at + step
    length = int.from_bytes(packet[4:6]) + 40
    ports = _ports(packet, at, following)
    return Head(packet[8:24], packet[24:40], following, *ports, length)


def _ports(packet: bytes, at: int, protocol: int) -> tuple[int, int]:
    if not at or protocol not in PORTED or at + 4 > len(packet):
        return 0, 0
    return int.from_bytes(packet[at : at + 2]), int.from_bytes(packet[at + 2 : at + 4])


def address_text(address: bytes) -> str:
    """An address (4 or 16 bytes) as text."""
    return socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)


def destination_text(address: bytes, protocol: int, port: int) -> str:
    """As people write it: `198.51.100.4:1434/udp`, `[2001:db8::1]:25/tcp`, `198.51.100.4/icmp`."""
    text = address_text(address)
    name = NAMES.get(protocol, str(protocol))
    if not port:
        return f"{text}/{name}"
    return f"{text}:{port}/{name}" if len(address) == 4 else f"[{text}]:{port}/{name}"
