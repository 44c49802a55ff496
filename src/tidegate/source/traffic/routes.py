"""The networks that are reached through each interface, by the routes of this namespace.

Touches /proc/net/route and /proc/net/ipv6_route, only to read.
Limits: the main table; at most `MOST` routes are read, of interfaces that somebody asks for.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from itertools import islice

from tidegate.subject import Network

MOST = 5000
_ORDER = sys.byteorder


def behind(interfaces: Collection[str], proc: str = "/proc") -> dict[str, list[Network]]:
    """By interface; one that no route names is left out."""
    found: dict[str, list[Network]] = {}
    if interfaces:
        for name, network in (*_routes4(f"{proc}/net/route"), *_routes6(f"{proc}/net/ipv6_route")):
            if name in interfaces:
                found.setdefault(name, []).append(network)
    return found


def _routes4(path: str) -> Iterator[tuple[str, Network]]:
    for columns in _rows(path):
        if len(columns) > 7 and columns[0] != "Iface":
            try:
                # Words in the host's order, as are the bytes of an address in memory.
                bits = int(columns[1], 16).to_bytes(4, _ORDER)
                mask = int.from_bytes(int(columns[7], 16).to_bytes(4, _ORDER))
            except (ValueError, OverflowError):
                continue
            yield columns[0], Network(4, mask.bit_count(), bits)


def _routes6(path: str) -> Iterator[tuple[str, Network]]:
    for columns in _rows(path):
        if len(columns) > 9:
            try:
                bits, length = bytes.fromhex(columns[0]), int(columns[1], 16)
            except ValueError:
                continue
            if len(bits) == 16 and length <= 128:
                yield columns[9], Network(6, length, bits)


def _rows(path: str) -> list[list[str]]:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return [line.split() for line in islice(file, MOST)]
    except OSError:
        return []
