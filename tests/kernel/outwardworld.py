"""A network for the outward tests: sources behind a router, and a world that answers or is silent.

Touches the kernel through `namespaces`, and runs programs of its own under other users there.
Limits: of what is silent the world counts who came through; what answers echoes UDP, accepts TCP.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

from tests.kernel.conftest import now
from tests.kernel.namespaces import Namespace

from tidegate.gate.outward.nftables import NftablesOutward
from tidegate.model import Subject
from tidegate.policy.outward import OutwardSpec

Make = Callable[..., NftablesOutward]

LAN, LAN6 = "192.0.2.", "2001:db8:1:"
"""Sources: 192.0.2.2 to .9 behind `lan0` of the router, and 2001:db8:1:N::2 of a /64 each."""
SILENT, SILENT6 = "198.51.100.", "2001:db8:5:1::"
"""Nobody answers there, but whoever is asked is counted."""
ALIVE, ALIVE6 = "198.18.", "2001:db8:6:1::"
"""Everybody answers there, UDP and TCP, on ports 53, 25, 80 and 443."""

PORTS = (25, 53, 80, 443)

_ANSWERS = """
import select, socket, struct, sys
ports = [int(port) for port in sys.argv[1:]]
poll, held = select.epoll(), {}
for port in ports:
    server = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    server.bind(("::", port)); server.listen(4096)
    for family, any_, level, option in (
        (socket.AF_INET, "0.0.0.0", socket.IPPROTO_IP, 8),
        (socket.AF_INET6, "::", socket.IPPROTO_IPV6, 49),
    ):
        udp = socket.socket(family, socket.SOCK_DGRAM)
        if family == socket.AF_INET6:
            udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        udp.setsockopt(level, option, 1); udp.bind((any_, port)); held[udp.fileno()] = udp
        poll.register(udp, select.EPOLLIN)
    held[server.fileno()] = server
    poll.register(server, select.EPOLLIN)
print("ready", flush=True)
while True:
    for descriptor, _events in poll.poll():
        one = held[descriptor]
        if one.type == socket.SOCK_STREAM:
            one.accept()[0].close()
            continue
        data, about, _flags, peer = one.recvmsg(2048, 512)
        for level, kind, value in about:
            if one.family == socket.AF_INET:
                value = value[:4] + value[8:12] + bytes(4)
                value = bytes(4) + value[4:8] + bytes(4)
                kind = 8
            else:
                value, kind = value[:16] + bytes(4), 50
            one.sendmsg([data], [(level, kind, value)], 0, peer)
"""

_TALK = """
import json, select, socket, sys, time
protocol, source, port, pause, wait = sys.argv[1], sys.argv[2], *map(float, sys.argv[3:6])
found, held = [], {}
for target in sys.argv[6:]:
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    if protocol == "tcp":
        one = socket.socket(family, socket.SOCK_STREAM)
        one.setblocking(False)
        if source: one.bind((source, 0))
        try: one.connect_ex((target, int(port)))
        except OSError: pass
        held[target] = one
    else:
        one = held.get(family)
        if one is None:
            one = held[family] = socket.socket(family, socket.SOCK_DGRAM)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            one.setblocking(False)
            if source: one.bind((source, 0))
        try: one.sendto(b"x" * 20, (target, int(port)))
        except OSError: pass
    if pause: time.sleep(pause)
end = time.monotonic() + wait
if protocol == "tcp":
    while held and time.monotonic() < end:
        _r, writable, _x = select.select([], list(held.values()), [], 0.05)
        for target, one in list(held.items()):
            if one in writable:
                if one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0: found.append(target)
                one.close(); del held[target]
else:
    wanted = len(set(sys.argv[6:]))
    while len(set(found)) < wanted and time.monotonic() < end:
        readable, _w, _x = select.select(list(held.values()), [], [], 0.05)
        for one in readable:
            try: found.append(one.recvfrom(2048)[1][0])
            except OSError: pass
print(json.dumps(sorted(set(found))))
"""


class Outside:
    """sources ── router ── world. `close` ends what was started and removes all of it."""

    def __init__(self) -> None:
        self.members: list[Namespace] = []
        self._programs: list[subprocess.Popen[str]] = []
        try:
            self.sources, self.router, self.world = (
                self._member(role) for role in ("sources", "router", "world")
            )
            self._wire()
            self._count()
            server = self.start(self.world, _ANSWERS, *map(str, PORTS))
            assert server.stdout is not None
            assert server.stdout.readline() == "ready\n"
        except BaseException:
            self.close()
            raise

    def _member(self, role: str) -> Namespace:
        made = Namespace(role)
        self.members.append(made)
        made.run("sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0")
        return made

    def _wire(self) -> None:
        sources, router, world = self.sources, self.router, self.world
        sources.ip(
            "link", "add", "up0", "type", "veth", "peer", "name", "lan0", "netns", router.name
        )
        router.ip("link", "add", "wan0", "type", "veth", "peer", "name", "up0", "netns", world.name)
        for member, device in (
            (sources, "up0"), (router, "lan0"), (router, "wan0"), (world, "up0")
        ):  # fmt: skip
            member.ip("link", "set", device, "up")
        for last in range(2, 10):
            sources.ip("address", "add", f"{LAN}{last}/24", "dev", "up0")
            sources.ip("address", "add", f"{LAN6}{last}::2/48", "dev", "up0", "nodad")
        router.ip("address", "add", f"{LAN}1/24", "dev", "lan0")
        router.ip("address", "add", f"{LAN6}:1/48", "dev", "lan0", "nodad")
        router.ip("address", "add", "203.0.113.1/24", "dev", "wan0")
        router.ip("address", "add", "2001:db8:9::1/64", "dev", "wan0", "nodad")
        world.ip("address", "add", "203.0.113.2/24", "dev", "up0")
        world.ip("address", "add", "2001:db8:9::2/64", "dev", "up0", "nodad")
        sources.ip("route", "add", "default", "via", f"{LAN}1")
        sources.ip("-6", "route", "add", "default", "via", f"{LAN6}:1")
        router.ip("route", "add", "default", "via", "203.0.113.2")
        router.ip("-6", "route", "add", "default", "via", "2001:db8:9::2")
        world.ip("route", "add", "default", "via", "203.0.113.1")
        world.ip("-6", "route", "add", "default", "via", "2001:db8:9::1")
        router.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        world.ip("route", "add", "local", "198.18.0.0/16", "dev", "lo")
        world.ip("route", "add", "local", "2001:db8:6::/48", "dev", "lo")
        world.run("sysctl", "-qw", "net.ipv6.ip_nonlocal_bind=1")

    def _count(self) -> None:
        for line in (
            "add table inet see",
            "add set inet see asked4 { type ipv4_addr . ipv4_addr; flags dynamic; size 65535; }",
            "add set inet see asked6 { type ipv6_addr . ipv6_addr; flags dynamic; size 65535; }",
            "add chain inet see in { type filter hook prerouting priority raw; }",
            "add rule inet see in ip daddr 198.51.100.0/24 "
            "update @asked4 { ip saddr . ip daddr counter } drop",
            "add rule inet see in ip6 daddr 2001:db8:5::/48 "
            "update @asked6 { ip6 saddr . ip6 daddr counter } drop",
        ):
            self.world.nft(line)

    def asked(self, source: str) -> dict[str, int]:
        """Which silent ones this source reached since the start, and with how many packets."""
        name = "asked6" if ":" in source else "asked4"
        found: dict[str, int] = {}
        for part in self.world.nft(f"list set inet see {name}")["nftables"]:
            for each in part.get("set", {}).get("elem", []):
                who, whom = each["elem"]["val"]["concat"]
                if who == source:
                    found[whom] = each["elem"]["counter"]["packets"]
        return found

    def start(self, where: Namespace, code: str, *words: str, uid: int = 0) -> Any:
        """A Python program in that namespace, under that user."""
        with where.inside():
            program = subprocess.Popen(
                ["/usr/bin/python3", "-c", code, *words],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                user=uid, group=uid, extra_groups=[], cwd="/",
            )  # fmt: skip
        self._programs.append(program)
        return program

    def talk(
        self,
        where: Namespace,
        protocol: str,
        port: int,
        targets: Iterable[str],
        *,
        source: str = "",
        uid: int = 0,
        pause: float = 0,
        wait: float = 0.5,
    ) -> list[str]:
        """Say something to each of them, as fast as may be; who answered."""
        program = self.start(
            where, _TALK, protocol, source, str(port), str(pause), str(wait), *targets, uid=uid
        )
        out, _ = program.communicate(timeout=60)
        found: list[str] = json.loads(out)
        return found

    def close(self) -> None:
        for program in self._programs:
            if program.poll() is None:
                program.kill()
            program.wait()
            for pipe in (program.stdin, program.stdout):
                if pipe and not pipe.closed:
                    pipe.close()
        for member in self.members:
            member.close()


def silent(count: int, first: int = 1) -> list[str]:
    return [f"{SILENT}{number}" for number in range(first, first + count)]


def silent6(count: int) -> list[str]:
    return [f"{SILENT6}{number:x}" for number in range(1, count + 1)]


def alive(count: int, third: int = 0) -> list[str]:
    return [f"{ALIVE}{third + number // 250}.{number % 250 + 1}" for number in range(count)]


def alive6(count: int) -> list[str]:
    return [f"{ALIVE6}{number:x}" for number in range(1, count + 1)]


@contextlib.contextmanager
def outside() -> Iterator[Outside]:
    """Removed also when the test is told to end."""
    made = Outside()
    former = None
    if threading.current_thread() is threading.main_thread():
        former = signal.getsignal(signal.SIGTERM)
        signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    try:
        yield made
    finally:
        if former is not None:
            signal.signal(signal.SIGTERM, former)
        made.close()


@contextlib.contextmanager
def gates(net: Outside) -> Iterator[Make]:
    """Makes gates in the router, in force."""
    with ExitStack() as stack:

        def made(spec: OutwardSpec, spared: Sequence[str] = ()) -> NftablesOutward:
            with net.router.inside():
                gate = NftablesOutward()
                stack.callback(gate.close)
                gate.govern(spec, [Subject(one) for one in spared])
                assert gate.confine([], now()) == []
            return gate

        yield made


def cut(gate: NftablesOutward) -> dict[tuple[str, str], int]:
    """How many packets each cap kept back, by source."""
    return {(one.subject, one.what): one.packets for one in gate.state(now()).capped}
