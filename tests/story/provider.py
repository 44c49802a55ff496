"""A small provider: customers' hosts on a switch, a router, and all the rest of the internet.

Touches network namespaces and processes of its own, all ended by `close`, also half-built. What
arrives out there is counted by that namespace's kernel, by source and destination.
Limits: root and nftables; every address there is answers for itself in one namespace.
"""

from __future__ import annotations

import re
import socket
import sys
import threading
import time
from collections import Counter
from contextlib import ExitStack, suppress
from typing import Any, NamedTuple

from tests.kernel.namespaces import Namespace
from tests.story.stage import Background

from tidegate.gate.netlink import answers
from tidegate.nfnetlink import NETFILTER, attributes

LAN, INSIDE, OUTSIDE, FAR = "192.0.2.0/24", "192.0.2.1", "198.51.100.1", "198.51.100.2"
UPLINK = "20mbit"
BETWEEN = "198.51.100.0/24"
WORM = [f"192.0.2.{10 + n}" for n in range(7)]
NEIGHBOURS = [f"192.0.2.{100 + n}" for n in range(3)]
SERVERS = [f"203.0.113.{n}" for n in range(1, 9)]
_COUNTED = """
table inet seen {
  set pairs { type ipv4_addr . ipv4_addr; flags dynamic; size 8192; }
  set sources { type ipv4_addr; flags dynamic; counter; size 1024; }
  chain arrive {
    type filter hook prerouting priority raw; policy accept;
    udp dport 1434 add @sources { ip saddr } add @pairs { ip saddr . ip daddr } drop
  }
}
"""
_TABLE, _SET, _ELEMENTS, _KEY, _VALUE = 1, 2, 3, 1, 1
_NEW_ELEMENT = 10 << 8 | 12
_CHANGES = 7  # NFNLGRP_NFTABLES


class Arrived(NamedTuple):
    """What came out there of one source: packets, and how many different destinations."""

    packets: int
    destinations: int


class Provider:
    """The machines; `hosts` by address."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.hosts: dict[str, Namespace] = {}
        self._processes: dict[str, Background] = {}
        try:
            self.router = self._space("router")
            self.internet = self._space("internet")
            self._build()
        except BaseException:
            self.close()
            raise

    def _space(self, role: str) -> Namespace:
        made = Namespace(role)
        self._stack.callback(made.close)
        return made

    def _build(self) -> None:
        router, internet = self.router, self.internet
        router.ip(
            "link", "add", "wan0", "type", "veth", "peer", "name", "eth0", "netns", internet.name
        )
        router.ip("link", "add", "lan0", "type", "bridge", "mcast_snooping", "0")
        for name, address in (("wan0", f"{OUTSIDE}/24"), ("lan0", f"{INSIDE}/24")):
            router.ip("address", "add", address, "dev", name)
            router.ip("link", "set", name, "up")
        router.ip("route", "add", "default", "via", FAR)
        shape = ("tbf", "rate", UPLINK, "burst", "32kb", "latency", "50ms")
        with suppress(RuntimeError):  # without it, all but the delays are seen all the same
            router.run("tc", "qdisc", "add", "dev", "wan0", "root", "handle", "1:", *shape)
            # By packets: by bytes there is room for a small one where there is none for a large.
            queue = ("pfifo", "limit", "200")
            router.run("tc", "qdisc", "add", "dev", "wan0", "parent", "1:1", *queue)
        router.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=0")
        internet.ip("address", "add", f"{FAR}/24", "dev", "eth0")
        internet.ip("link", "set", "eth0", "up")
        internet.ip("route", "add", LAN, "via", OUTSIDE)
        # Every address out there is this namespace's own: whoever is asked can answer. Without a
        # rule of one's own the kernel joins the tables, and a `throw` is the end.
        internet.ip("rule", "add", "lookup", "100", "priority", "1000")
        for network in (LAN, BETWEEN):
            internet.ip("route", "add", "throw", network, "table", "local")
        internet.ip("route", "add", "local", "0.0.0.0/0", "dev", "lo", "table", "local")
        internet.run(
            "sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.eth0.rp_filter=0"
        )
        internet.run("nft", _COUNTED)
        for number, address in enumerate((*WORM, *NEIGHBOURS)):
            self._host(number, address)

    def _host(self, number: int, address: str) -> None:
        host = self.hosts[address] = self._space(f"host{number}")
        port = f"port{number}"
        host.ip(
            "link", "add", "eth0", "type", "veth", "peer", "name", port, "netns", self.router.name
        )
        self.router.ip("link", "set", port, "master", "lan0", "up")
        host.ip("address", "add", f"{address}/24", "dev", "eth0")
        host.ip("link", "set", "eth0", "up")
        host.ip("route", "add", "default", "via", INSIDE)

    def start(self, space: Namespace, key: str, *words: str) -> Background:
        """A program of the story in a namespace, asked by lines."""
        made = Background(space.name, sys.executable, "-m", *words)
        self._stack.enter_context(made)
        self._processes[key] = made
        return made

    def people(self) -> None:
        """Those who answer out there, the infected, and their neighbours."""
        self.start(self.internet, "internet", "tests.story.neighbour", "serve")
        assert self._processes["internet"].process.stdout is not None
        self._processes["internet"].process.stdout.readline()
        for number, address in enumerate(WORM):
            self.start(self.hosts[address], address, "tests.story.worm", str(number))
        for address in NEIGHBOURS:
            self.start(self.hosts[address], address, "tests.story.neighbour", "ask", "1", *SERVERS)

    def ask(self, address: str, *words: object) -> dict[str, Any]:
        """One question to the program of a host."""
        return self._processes[address].ask(*words)

    def arrived(self) -> dict[str, Arrived]:
        """What has come out there to port 1434 since last asked, by source; then forgotten."""
        listed = [
            self.internet.nft(f"list set inet seen {name}")["nftables"][1]["set"].get("elem", [])
            for name in ("sources", "pairs")
        ]
        self.internet.run("nft", "flush set inet seen sources; flush set inet seen pairs")
        pairs = Counter(one["concat"][0] for one in map(_plain, listed[1]))
        packets = {one["elem"]["val"]: one["elem"]["counter"]["packets"] for one in listed[0]}
        return {source: Arrived(packets[source], pairs[source]) for source in packets}

    def from_outside(self, address: str) -> dict[int, bool]:
        """Whether datagrams of two lengths, the worm's and another, come in to port 1434."""
        host = self.hosts[address]
        with host.listen(1434, socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.settimeout(2.0)
            found = {}
            for length in (376, 100):
                self.internet.send(address, 1434, FAR, bytes(length))
                try:
                    found[length] = len(server.recv(2048)) == length
                except TimeoutError:
                    found[length] = False
        return found

    def close(self) -> None:
        """Everything ends."""
        self._stack.close()


def _plain(element: Any) -> Any:
    return element["elem"]["val"] if "elem" in element else element


class Watch(threading.Thread):
    """Notes when the kernel of a namespace was told to cut an address off: by its own word, at the
    moment the transaction was done; addresses of IPv4, and users."""

    def __init__(self, space: Namespace, table: str, sets: str) -> None:
        super().__init__(daemon=True)
        self._table, self._sets = table.encode(), re.compile(sets)
        self.told: list[tuple[float, str, str]] = []
        with space.inside():
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETFILTER)
        self._socket.bind((0, 1 << (_CHANGES - 1)))
        self._socket.setsockopt(socket.SOL_SOCKET, 33, 1 << 22)
        self._socket.settimeout(0.5)
        self._ended = threading.Event()
        self.start()

    def run(self) -> None:
        """Until closed."""
        while not self._ended.is_set():
            with suppress(TimeoutError, OSError):
                data = self._socket.recv(1 << 18)
                now = time.monotonic()
                for one in answers(data):
                    if one.kind == _NEW_ELEMENT:
                        self._note(now, dict(attributes(one.payload, 4)))

    def _note(self, now: float, said: dict[int, bytes]) -> None:
        name = said.get(_SET, b"").rstrip(b"\0").decode()
        if said.get(_TABLE, b"").rstrip(b"\0") != self._table or not self._sets.fullmatch(name):
            return
        for _kind, element in attributes(said.get(_ELEMENTS, b"")):
            key = dict(attributes(dict(attributes(element)).get(_KEY, b""))).get(_VALUE, b"")
            if len(key) == 4:
                uid = f"uid:{int.from_bytes(key, sys.byteorder)}"
                self.told.append((now, name, uid if "uid" in name else socket.inet_ntoa(key)))

    def first(self, address: str, since: float) -> float | None:
        """When it was cut off for the first time after that moment; None: not yet."""
        return next((at for at, _set, who in self.told if who == address and at >= since), None)

    def close(self) -> None:
        """Stop."""
        self._ended.set()
        self.join(5)
        self._socket.close()


def as_table(rows: list[tuple[str, dict[str, float]]]) -> str:
    """Neighbours' figures by part of the story."""
    head = f"{'':24} {'asked':>7} {'lost':>5} {'median':>9} {'p99':>9} {'opened':>7} {'failed':>7} {'slowest':>9}"
    told = [
        f"{name:24} {row['asked']:7.0f} {row['lost']:5.0f} {row['median']:6.2f} ms {row['p99']:6.2f} ms"
        f" {row['opened']:7.0f} {row['failed']:7.0f} {row['slowest']:6.1f} ms"
        for name, row in rows
    ]
    return "\n".join([head, *told])


def joined(told: list[dict[str, float]]) -> dict[str, float]:
    """Several neighbours as one: sums, and the worst of the times."""
    worst = ("median", "p99", "slowest")
    return {key: (max if key in worst else sum)(one[key] for one in told) for key in told[0]}
