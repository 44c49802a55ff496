"""What the caps of what leaves add to the path of a forwarded packet, with 10,000 sources.

Touches three network namespaces of its own, removed afterwards. The same packets go through a
router that only forwards, one that tracks connections besides, and one with the caps; in turns, so
that whatever else the machine does strikes all three. Limits: root and nftables; veth pairs, IPv4.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from ipaddress import IPv4Address
from typing import NamedTuple

from tests.kernel.namespaces import Namespace

from bench import flood
from bench.path import Bench
from bench.report import Figure
from tidegate.gate.outward.nftables import NftablesOutward
from tidegate.model import SECOND, Subject
from tidegate.policy.outward import OutwardSpec, Rate

MOST_PERCENT = 5.0
SOURCES = 10_000
TARGET = "203.0.113.2"
_FIRST = int(IPv4Address("198.18.0.1"))
PORTS = (5000, 80)
_TRACKING = (
    "add table inet base; "
    "add chain inet base f { type filter hook forward priority 0; policy accept; }; "
    "add rule inet base f ct state established accept"
)
SPEC = OutwardSpec(networks=(Subject("198.18.0.0/15"),), udp=Rate(10_000, SECOND, 10_000))


class Road:
    """sources (198.18.0.0/15) ── router ── target; whatever arrives at either end is dropped."""

    def __init__(self) -> None:
        self.spaces: list[Namespace] = []
        try:
            self.sources, self.router, self.target = (
                self._space(role) for role in ("sources", "router", "target")
            )
            self._wire()
            with self.sources.inside():
                self.there = flood.raw()
            with self.target.inside():
                self.back = flood.raw()
            with self.router.inside():
                self.gate = NftablesOutward()
            self.gate.govern(SPEC, [])
        except BaseException:
            self.close()
            raise

    def _space(self, role: str) -> Namespace:
        made = Namespace(role)
        self.spaces.append(made)
        return made

    def _wire(self) -> None:
        for end, address, device in (
            (self.sources, "192.0.2.2", "lan0"), (self.target, TARGET, "wan0")
        ):  # fmt: skip
            network = address.rpartition(".")[0]
            end.ip("link", "add", "up0", "type", "veth", "peer", "name", device,
                   "netns", self.router.name)  # fmt: skip
            end.ip("link", "set", "up0", "up")
            self.router.ip("link", "set", device, "up")
            end.ip("address", "add", f"{address}/24", "dev", "up0")
            self.router.ip("address", "add", f"{network}.1/24", "dev", device)
            end.ip("route", "add", "default", "via", f"{network}.1")
            end.nft("add table netdev x; add chain netdev x i "
                    "{ type filter hook ingress device up0 priority 0; policy accept; }; "
                    "add rule netdev x i ip protocol { tcp, udp } drop")  # fmt: skip
        self.router.ip("route", "add", "198.18.0.0/15", "via", "192.0.2.2")
        self.router.run("sysctl", "-qw", "net.ipv4.ip_forward=1")

    def put_in(self) -> None:
        """A router that knows connections, and caps what leaves: afresh."""
        self.router.nft("flush ruleset")
        self.router.nft(_TRACKING)
        self.gate.open_all()
        with self.router.inside():
            self.gate.confine([], time.time_ns() // 1000)

    def plain(self) -> None:
        """A router that only forwards."""
        self.router.nft("flush ruleset")
        self.gate.open_all()

    def awake(self, capped: bool) -> None:
        """The caps are in force, or they sleep: they keep what they know, and see no packet."""
        flags = "" if capped else "flags dormant;"
        self.router.nft(f"add table inet tidegate_outward {{ {flags} }}")

    def close(self) -> None:
        """Remove it all."""
        for name in ("there", "back", "gate"):
            if (one := getattr(self, name, None)) is not None:
                one.close()
        for space in self.spaces:
            space.close()


Flow = tuple[list[flood.Train], flood.Train]
"""What opens the connections, in order; and the packets that are timed."""


def _sources() -> list[str]:
    return [str(IPv4Address(_FIRST + number)) for number in range(SOURCES)]


def datagrams(road: Road) -> Flow:
    """UDP that is answered; four there and two back make it a stream to conntrack."""
    there = flood.Train(road.there, [flood.udp(one, TARGET, 5000, 53) for one in _sources()])
    back = flood.Train(road.back, [flood.udp(TARGET, one, 53, 5000) for one in _sources()])
    return [there, back, there, back, there], there


def _opening(road: Road) -> list[flood.Train]:
    """TCP connections, opened properly."""
    us = _sources()
    syn = [flood.tcp(one, TARGET, PORTS, flood.SYN, (1, 0)) for one in us]
    both = [flood.tcp(TARGET, one, PORTS[::-1], flood.SYN | flood.ACK, (1, 2)) for one in us]
    ack = [flood.tcp(one, TARGET, PORTS, flood.ACK, (2, 2)) for one in us]
    return [
        flood.Train(road.there, syn), flood.Train(road.back, both), flood.Train(road.there, ack)
    ]  # fmt: skip


def bulk(road: Road) -> Flow:
    """TCP with much data."""
    data = [flood.tcp(one, TARGET, PORTS, flood.ACK, (2, 2), 1000) for one in _sources()]
    return _opening(road), flood.Train(road.there, data)


def requests(road: Road) -> Flow:
    """TCP with little data, pushed: what is looked into for IRC."""
    flags = flood.ACK | flood.PUSH
    data = [flood.tcp(one, TARGET, PORTS, flags, (2, 2), 100) for one in _sources()]
    return _opening(road), flood.Train(road.there, data)


def answers(road: Road) -> Flow:
    """The other direction."""
    data = [flood.tcp(TARGET, one, PORTS[::-1], flood.ACK, (2, 2), 1000) for one in _sources()]
    return _opening(road), flood.Train(road.back, data)


def unanswered(road: Road) -> Flow:
    """UDP that nobody answers: each packet is looked at as one that begins something."""
    return [], flood.Train(road.there, [flood.udp(one, TARGET, 6000, 9) for one in _sources()])


FLOWS: dict[str, Callable[[Road], Flow]] = {
    "TCP, much data": bulk,
    "TCP, short requests": requests,
    "TCP, answers": answers,
    "UDP, answered": datagrams,
    "UDP, never answered": unanswered,
}


_SHOWN = ("TCP, short requests", "UDP, never answered")
"""The first is looked into for IRC, which is no cap; each packet of the other is one that begins
something, so every cap is asked."""


class Costs(NamedTuple):
    """CPU microseconds of a packet in one round."""

    plain: float
    tracking: float
    capped: float


def measured(road: Road, flow: Flow, rounds: int) -> list[Costs]:
    """Each round has the same packets once past the caps, twice through them, once past them."""
    opening, timed = flow
    road.plain()
    plain = [_cost(timed) for _round in range(rounds)]
    road.put_in()
    for train in opening:
        train.send()
    found: list[Costs] = []
    for number in range(rounds):
        past: list[float] = []
        through: list[float] = []
        for capped in (False, True, True, False):
            road.awake(capped)
            (through if capped else past).append(_cost(timed))
        found.append(Costs(plain[number], sum(past) / 2, sum(through) / 2))
    return found


def _cost(train: flood.Train) -> float:
    with flood.undisturbed():
        train.send()
        return train.cost(2)


def outward(bench: Bench) -> list[Figure]:
    """What the caps add to a forwarded packet."""
    figures: list[Figure] = []
    rounds = 10 + 10 * bench.sizes.runs
    road = Road()
    try:
        for name, make in FLOWS.items():
            bench.say(f"outward: {name}, {SOURCES:,} sources, {rounds} rounds")
            found = measured(road, make(road), rounds)
            plain, tracking, capped = (statistics.median(each) for each in zip(*found, strict=True))
            bound = None if name in _SHOWN else MOST_PERCENT
            note = f"{tracking:.2f} to {capped:.2f} us a packet; {plain:.2f} without conntrack"
            figures += [
                Figure(
                    "outward",
                    f"{name}: caps add",
                    statistics.median(one.capped / one.tracking * 100 - 100 for one in found),
                    "%",
                    bound,
                    note,
                ),
                Figure(
                    "outward", f"{name}: with conntrack itself", capped / plain * 100 - 100, "%"
                ),
            ]
    finally:
        road.close()
    return figures
