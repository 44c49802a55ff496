"""Network namespaces for the kernel tests: an attacker, a mail host with the gate, one behind it.

Touches the kernel: namespaces named with our pid, removed by `World.close`, also half-built ones.
Limits: `inside` moves the calling thread only, and sockets stay in the namespace they were made in.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import itertools
import json
import os
import socket
import subprocess
from collections.abc import Iterator
from typing import Any

_LIBC = ctypes.CDLL(None, use_errno=True)
_NUMBERS = itertools.count(1)
_CLONE_NEWNET = 0x40000000

DEAD = 0.4
ALIVE = 5.0


def run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


class Namespace:
    """One network namespace with its loopback up."""

    def __init__(self, role: str) -> None:
        self.name = f"tg{os.getpid()}-{next(_NUMBERS)}-{role}"
        run("ip", "netns", "add", self.name)
        self.ip("link", "set", "lo", "up")

    def ip(self, *words: str) -> None:
        run("ip", "-n", self.name, *words)

    def run(self, *words: str) -> str:
        return run("ip", "netns", "exec", self.name, *words)

    def nft(self, text: str) -> Any:
        out = self.run("nft", *(["-j"] if text.startswith("list") else []), text)
        return json.loads(out) if out else None

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """The calling thread, and what it starts, is in this namespace."""
        with open("/proc/thread-self/ns/net") as old, open(f"/run/netns/{self.name}") as new:
            _setns(new.fileno())
            try:
                yield
            finally:
                _setns(old.fileno())

    def listen(
        self, port: int, family: int = socket.AF_INET6, kind: int = socket.SOCK_STREAM
    ) -> socket.socket:
        """A server on every address (IPv4 too). Nobody needs to accept: the kernel shakes hands."""
        with self.inside():
            server = socket.socket(family, kind)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        server.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", port))
        if kind == socket.SOCK_STREAM:
            server.listen(64)
        server.settimeout(ALIVE)
        return server

    def connect(self, address: str, port: int, source: str, timeout: float) -> socket.socket | None:
        """A TCP connection from that source address; None if there was no answer in time."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with self.inside():
            client = socket.socket(family, socket.SOCK_STREAM)
        client.settimeout(timeout)
        try:
            client.bind((source, 0))
            client.connect((address, port))
        except TimeoutError:
            client.close()
            return None
        except BaseException:
            client.close()
            raise
        return client

    def reaches(self, address: str, port: int, source: str) -> bool:
        client = self.connect(address, port, source, ALIVE)
        if client is not None:
            client.close()
        return client is not None

    def cut_off(self, address: str, port: int, source: str) -> bool:
        client = self.connect(address, port, source, DEAD)
        if client is not None:
            client.close()
        return client is None

    def send(self, address: str, port: int, source: str, data: bytes) -> None:
        """One UDP datagram."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with self.inside(), socket.socket(family, socket.SOCK_DGRAM) as client:
            client.bind((source, 0))
            client.sendto(data, (address, port))

    def close(self) -> None:
        subprocess.run(["ip", "netns", "del", self.name], capture_output=True, check=False)


def _setns(descriptor: int) -> None:
    if _LIBC.setns(descriptor, _CLONE_NEWNET):
        code = ctypes.get_errno() or errno.EINVAL
        raise OSError(code, os.strerror(code))


ATTACKERS = ("192.0.2.7", "192.0.2.8", "192.0.2.9", "203.0.113.5")
ATTACKERS6 = ("2001:db8:1::7", "2001:db8:1::8", "2001:db8:2::7", "2001:db8:3::7")
HOST, HOST6 = "192.0.2.1", "2001:db8:1::1"
INNER, INNER6 = "198.51.100.2", "2001:db8:9::2"


class World:
    """attacker (ATTACKERS) ── host (HOST; it forwards) ── inner (INNER); IPv6 likewise."""

    def __init__(self) -> None:
        self.members: list[Namespace] = []
        try:
            self.attacker, self.host, self.inner = map(self._member, ("attacker", "host", "inner"))
            self._join(self.attacker, self.host)
            self._join(self.host, self.inner)
            for address in ATTACKERS:
                self._address(self.attacker, f"{address}/24", "to-host")
            for address in ATTACKERS6:
                self._address(self.attacker, f"{address}/64", "to-host")
            self._address(self.host, f"{HOST}/24", "to-attacker")
            self._address(self.host, f"{HOST6}/64", "to-attacker")
            self._address(self.host, "198.51.100.1/24", "to-inner")
            self._address(self.host, "2001:db8:9::1/64", "to-inner")
            self._address(self.inner, f"{INNER}/24", "to-host")
            self._address(self.inner, f"{INNER6}/64", "to-host")
            self._route()
        except BaseException:
            self.close()
            raise

    def _member(self, role: str) -> Namespace:
        member = Namespace(role)
        self.members.append(member)
        return member

    @staticmethod
    def _join(left: Namespace, right: Namespace) -> None:
        left_role, right_role = left.name.split("-")[2], right.name.split("-")[2]
        left.ip(
            *("link", "add", f"to-{right_role}", "type", "veth"),
            *("peer", "name", f"to-{left_role}", "netns", right.name),
        )
        left.ip("link", "set", f"to-{right_role}", "up")
        right.ip("link", "set", f"to-{left_role}", "up")

    @staticmethod
    def _address(member: Namespace, address: str, device: str) -> None:
        nodad = ["nodad"] if ":" in address else []
        member.ip("address", "add", address, "dev", device, *nodad)

    def _route(self) -> None:
        self.host.ip("route", "add", "203.0.113.0/24", "dev", "to-attacker")
        for network in ("2001:db8:2::/64", "2001:db8:3::/64"):
            self.host.ip("route", "add", network, "dev", "to-attacker")
        self.attacker.ip("route", "add", "198.51.100.0/24", "via", HOST)
        self.attacker.ip("route", "add", "2001:db8:9::/64", "via", HOST6)
        self.inner.ip("route", "add", "default", "via", "198.51.100.1")
        self.inner.ip("-6", "route", "add", "default", "via", "2001:db8:9::1")
        self.host.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")

    def close(self) -> None:
        for member in self.members:
            member.close()
