"""Databases and caches that listen on more than loopback: who could reach them if no firewall is.

Touches /proc/net of the own network namespace, and /proc/*/fd to tell whose socket it is. Limits:
whether a firewall or a router keeps others out is not looked at, nor what listens in containers;
without root only the port tells what it is.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

from tidegate.posture.sockets import Address, inodes, parse, rows

PORTS: Mapping[int, str] = {
    3306: "mysql", 33060: "mysql", 5432: "postgres", 6432: "postgres", 6379: "redis",
    26379: "redis", 27017: "mongodb", 27018: "mongodb", 27019: "mongodb", 11211: "memcached",
    9200: "elasticsearch", 9300: "elasticsearch",
}  # fmt: skip
PROGRAMS: Mapping[str, str] = {
    "mysqld": "mysql", "mariadbd": "mysql", "postgres": "postgres", "redis-server": "redis",
    "valkey-server": "redis", "mongod": "mongodb", "mongos": "mongodb", "memcached": "memcached",
}  # fmt: skip
_LISTEN, _UDP_OPEN = "0A", "07"
_FILES = (("tcp", "tcp"), ("tcp6", "tcp"), ("udp", "udp"), ("udp6", "udp"))
Reach = Literal["world", "network"]


class Open(NamedTuple):
    """A listening socket that is not loopback's. `reach`: `world` where its address is every
    address or a public one, `network` where it is a private one. `pid` 0: not known whose."""

    service: str
    protocol: str
    address: str
    port: int
    reach: Reach
    pid: int = 0
    program: str = ""


class Socket(NamedTuple):
    """A socket that takes what comes."""

    protocol: str
    address: Address
    port: int
    inode: int


def exposed(proc: Path) -> list[Open]:
    """Every database that listens on more than loopback, by its port or by its program."""
    owners = _owners(proc)
    found = set()
    for one in listening(proc):
        pid, program = owners.get(one.inode, (0, ""))
        service = PROGRAMS.get(program) or PORTS.get(one.port, "")
        if one.protocol == "udp" and service != "memcached":
            continue
        if not service or one.address.is_loopback:
            continue
        public = one.address.is_unspecified or one.address.is_global
        found.add(
            Open(
                service, one.protocol, str(one.address), one.port,
                "world" if public else "network", pid, program,
            )
        )  # fmt: skip
    return sorted(found)


def listening(proc: Path) -> Iterator[Socket]:
    """Every TCP socket that listens, and every UDP socket that is not connected."""
    for name, protocol in _FILES:
        for fields in rows(proc / "net" / name):
            if len(fields) < 10 or fields[3] != (_LISTEN if protocol == "tcp" else _UDP_OPEN):
                continue
            address, _, port = fields[1].partition(":")
            yield Socket(protocol, parse(address), int(port, 16), int(fields[9]))


def _owners(proc: Path) -> dict[int, tuple[int, str]]:
    """Whose each socket is, by inode: a process and the name of its executable."""
    found: dict[int, tuple[int, str]] = {}
    for pid in sorted(int(one) for one in os.listdir(proc) if one.isdigit()):
        with suppress(OSError):
            folder = proc / str(pid)
            if own := inodes(folder):
                program = os.path.basename(os.readlink(folder / "exe")).removesuffix(" (deleted)")
                for inode in own:
                    found.setdefault(inode, (pid, program))
    return found
