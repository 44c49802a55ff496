"""Which way a packet goes, seen from this host: in, out, or only by (somebody else sees to it).

Touches /proc/net and rtnetlink(7) of this network namespace, only to read; needs no privilege.
Limits: what is forwarded is counted where it comes in, before addresses are translated; on a host
that forwards, packets of its own under forged addresses can't be told from forwarded ones.
"""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from tidegate.errors import SourceError
from tidegate.nfnetlink import DUMP, REQUEST, attributes, messages, packed
from tidegate.source.traffic.ring import BROADCAST, MULTICAST, OTHERHOST, OUTGOING

Way = Literal["in", "out"]
_GET_LINK, _NEW_LINK, _DONE = 18, 16, 3
_NAME, _LINK, _MASTER, _INFO, _ELSEWHERE, _INFO_KIND = 3, 5, 10, 18, 37, 1
_UPPER = frozenset({"bridge", "bond", "team", "vlan", "macvlan", "ipvlan", "vrf"})
_FIB = re.compile(r"\|-- (\S+)\n\s+/32 host LOCAL")


class Passing(NamedTuple):
    """How a packet passes. `here`: one of its ends is this host; `forged`: it says it were somebody
    else's, and yet began here."""

    way: Way
    here: bool
    forged: bool = False


class Interface(NamedTuple):
    """As the kernel knows it; `link` and `master` are numbers of others, or 0."""

    number: int
    name: str
    kind: str
    link: int
    master: int


@dataclass(frozen=True)
class Vantage:
    """This host's addresses and interfaces, at one time. `outside`: where the default route goes;
    `covered`: interfaces whose packets are seen on another one, below, already."""

    own: frozenset[bytes]
    names: dict[int, str]
    outside: frozenset[int] = frozenset()
    covered: frozenset[int] = frozenset()
    bridged: frozenset[int] = frozenset()
    forwards: bool = False

    def of(self, source: bytes, destination: bytes, interface: int, kind: int) -> Passing | None:
        """How a packet passes; None: it counts elsewhere, or is none of this host's."""
        if interface in self.covered:
            return None
        if kind == OUTGOING:
            if source in self.own or not any(source):  # who has no address yet says so with zeros
                return Passing("out", here=True)
            if self.forwards or interface in self.bridged or destination in self.own:
                return None
            return Passing("out", here=True, forged=True)
        if source in self.own:
            return None  # our own, by way of a switch or a bridge
        if destination in self.own or kind in (BROADCAST, MULTICAST):
            return Passing("in", here=True)
        if kind == OTHERHOST and interface not in self.bridged:
            return None
        return Passing("in" if interface in self.outside else "out", here=False)


def look(proc: str = "/proc") -> Vantage:
    """This host as it is now. Raises SourceError where the kernel tells nothing of interfaces."""
    found = list(_interfaces())
    numbers = {one.name: one.number for one in found}
    upper = {one.number for one in found if one.kind in _UPPER and (one.link or _below(one, found))}
    gates = {numbers[name] for name in _defaults(proc) if name in numbers}
    outside = {low for number in gates for low in _lowest(number, found)}
    bridges = {one.number for one in found if one.kind == "bridge"}
    return Vantage(
        own=frozenset(_own(proc)),
        names={one.number: one.name for one in found},
        outside=frozenset(outside),
        covered=frozenset(upper),
        bridged=frozenset(one.number for one in found if one.master in bridges),
        forwards=any(_one(f"{proc}/sys/net/{name}") for name in (
            "ipv4/ip_forward", "ipv6/conf/all/forwarding"
        )),
    )  # fmt: skip


def _below(one: Interface, found: list[Interface]) -> list[Interface]:
    return [other for other in found if other.number == one.link or other.master == one.number]


def _lowest(number: int, found: list[Interface]) -> Iterator[int]:
    """The interfaces that a packet through this one is seen on first. Of a bridge's those that are
    real: behind the others are guests."""
    (one,) = (one for one in found if one.number == number)
    below = _below(one, found) if one.kind in _UPPER else []
    if not below:
        yield number
        return
    real = [other for other in below if other.kind in ("", "bond", "team", "vlan")]
    for other in real or below:
        if other.number != number:
            yield from _lowest(other.number, found)


def _interfaces() -> Iterator[Interface]:
    """Every one of this network namespace; a link into another namespace is none."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0) as route:
        route.settimeout(2)
        try:
            route.send(packed(_GET_LINK, REQUEST | DUMP, struct.pack("=Bxxxiii", 0, 0, 0, 0)))
            while True:
                for kind, payload in messages(route.recv(1 << 18)):
                    if kind == _NEW_LINK:
                        yield _interface(payload)
                    if kind == _DONE:
                        return
        except OSError as error:
            raise SourceError(f"the kernel does not tell its interfaces: {error}") from error


def _interface(payload: bytes) -> Interface:
    (number,) = struct.unpack_from("=i", payload, 4)
    found = dict(attributes(payload, 16))
    kind = dict(attributes(found.get(_INFO, b""))).get(_INFO_KIND, b"")
    link = 0 if _ELSEWHERE in found else _number(found.get(_LINK))
    return Interface(
        number,
        found.get(_NAME, b"").rstrip(b"\0").decode("utf-8", "replace"),
        kind.rstrip(b"\0").decode("ascii", "replace"),
        0 if link == number else link,
        _number(found.get(_MASTER)),
    )


def _number(data: bytes | None) -> int:
    return int(struct.unpack("=I", data)[0]) if data and len(data) == 4 else 0


def _own(proc: str) -> Iterator[bytes]:
    for address in _FIB.findall(_text(f"{proc}/net/fib_trie")):
        yield socket.inet_pton(socket.AF_INET, address)
    for line in _text(f"{proc}/net/if_inet6").splitlines():
        yield bytes.fromhex(line.partition(" ")[0])


def _defaults(proc: str) -> Iterator[str]:
    """The names of the interfaces that the default routes lead through."""
    for line in _text(f"{proc}/net/route").splitlines()[1:]:
        words = line.split()
        if len(words) > 7 and words[1] == words[7] == "00000000":
            yield words[0]
    for line in _text(f"{proc}/net/ipv6_route").splitlines():
        words = line.split()
        if len(words) > 9 and words[0] == "0" * 32 and words[1] == "00":
            yield words[9]  # "lo" for the one that refuses: outside is nothing then


def _one(path: str) -> bool:
    return _text(path).strip() not in ("", "0")


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
