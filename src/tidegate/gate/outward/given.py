"""The sets of the outward table whose elements policy gives: who is left alone, who is a source.

Touches nothing: text only. Every address is written from packed bits, because nft would ask DNS
about anything else. Limits: none of these has an end.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable, Sequence

from tidegate.gate.outward.lanes import INTERFACE, Kind, Lane, nets_of, ranges, users
from tidegate.model import Subject
from tidegate.policy.outward import OutwardSpec
from tidegate.subject import Network

FREE = {4: "free4", 6: "free6"}
"""Who is never capped nor cut off: spared and busy addresses."""
FREE_USERS = "free_uid"

TYPE = {4: "ipv4_addr", 6: "ipv6_addr"}

# An interval set needs a sentinel with an address behind it; so does one that would be empty.
SENTINEL = {4: b"\xff\xff\xff\xfe", 6: b"\xff" * 15 + b"\xfe"}


def fixed(
    spec: OutwardSpec, found: Sequence[Lane], spared: Sequence[Subject]
) -> dict[str, tuple[str, list[str]]]:
    """These sets by name: how each is declared, and its elements."""
    stated: dict[str, tuple[str, list[str]]] = {}
    free = [*spared, *spec.busy]
    if any(lane.local for lane in found):
        # Root's own traffic passes: packages, time, names, and the way back in depend on it.
        numbers = sorted({0, 0xFFFFFFFF, *users(free)})
        stated[FREE_USERS] = ("type uid;", list(map(str, numbers)))
    if any(not lane.local for lane in found):
        for family, name in FREE.items():
            stated[name] = (f"type {TYPE[family]}; flags interval;", _spans(ranges(free), family))
    for kind in dict.fromkeys(lane.kind for lane in found if not lane.local):
        stated[nets_of(kind)] = _named(kind, spec)
    return stated


def _named(kind: Kind, spec: OutwardSpec) -> tuple[str, list[str]]:
    """What policy names of a kind."""
    if kind == INTERFACE:
        return "type ifname;", [f'"{name}"' for name in ("/", *spec.interfaces)]
    family = int(kind.name[1])
    if kind.name.startswith("a"):
        return f"type {kind.type}; flags interval;", _spans(ranges(spec.networks), family)
    length = int(kind.name[3:])
    members = [
        one.bits for one in ranges(spec.customers) if (one.family, one.length) == (family, length)
    ]
    return f"type {kind.type};", [_text(bits) for bits in dict.fromkeys((*members, kind.sentinel))]


def _text(bits: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET if len(bits) == 4 else socket.AF_INET6, bits)


def _spans(networks: Iterable[Network], family: int) -> list[str]:
    """The networks of one family, and the sentinel, without overlaps (nft refuses those)."""
    members = [(one.bits, one.length) for one in networks if one.family == family]
    width = 32 if family == 4 else 128
    members.append((SENTINEL[family], width))
    if family == 4:
        return list(map(str, ipaddress.collapse_addresses(map(ipaddress.IPv4Network, members))))
    return list(map(str, ipaddress.collapse_addresses(map(ipaddress.IPv6Network, members))))
