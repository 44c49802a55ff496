"""What this host looks like: own addresses, gateways, resolvers, established connections.

Touches /proc and /etc/resolv.conf, only to read. Costs about a millisecond.
Limits: IPv4 and IPv6 TCP; a file that is missing or odd is skipped, since protection must not
depend on it alone.
"""

from __future__ import annotations

import os
import pwd
import re
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

from tidegate import subject as subjects
from tidegate.model import Subject

_FIB = re.compile(r"\|-- (\S+)\n\s+/32 host LOCAL")
_RESOLVER = re.compile(r"^\s*nameserver\s+(\S+)", re.MULTILINE)
_ESTABLISHED = "01"
_GATEWAY = 2  # RTF_GATEWAY in the flags column


def protected(root: str = "") -> tuple[tuple[Subject, str], ...]:
    """Each single address that must never be closed for, with the reason. `root`: a folder in
    place of `/`."""
    found = dict.fromkeys(_own(root), "own address")
    found |= dict.fromkeys(_gateways(root), "gateway")
    found |= dict.fromkeys(_resolvers(root), "resolver")
    return tuple((Subject(address), reason) for address, reason in found.items())


def own(root: str = "") -> Iterator[str]:
    """Every address of this host, as text."""
    return _own(root)


@cache
def ourselves() -> tuple[tuple[Subject, str], ...]:
    """The users we run as, who must not be cut off: notices and probes have to get out. Looked up
    once, at the start: a directory server that does not answer later holds up nothing."""
    found = {os.geteuid()} - {0}
    for name in ("tidegate", "tidegate-watch"):
        with suppress(KeyError):
            found.add(pwd.getpwnam(name).pw_uid)
    return tuple((Subject(f"uid:{uid}"), "Tidegate's own user") for uid in sorted(found))


def sessions() -> frozenset[Subject]:
    """The subjects behind every established TCP connection, in this network namespace."""
    found = set()
    for name in ("tcp", "tcp6"):
        for line in _lines(f"/proc/net/{name}"):
            columns = line.split()
            if len(columns) > 3 and columns[3] == _ESTABLISHED:
                subject = subjects.of_address(_unhex(columns[2].partition(":")[0]))
                if subject is not None:
                    found.add(subject)
    return frozenset(found)


def _own(root: str) -> Iterator[str]:
    yield from _FIB.findall(_text(f"{root}/proc/net/fib_trie"))
    for line in _lines(f"{root}/proc/net/if_inet6"):
        packed = line.partition(" ")[0]
        if len(packed) == 32:
            yield socket.inet_ntop(socket.AF_INET6, bytes.fromhex(packed))


def _gateways(root: str) -> Iterator[str]:
    for line in _lines(f"{root}/proc/net/route")[1:]:
        columns = line.split()
        if len(columns) > 3 and int(columns[3], 16) & _GATEWAY:
            yield _unhex(columns[2])
    for line in _lines(f"{root}/proc/net/ipv6_route"):
        columns = line.split()
        if len(columns) > 8 and int(columns[8], 16) & _GATEWAY:
            yield socket.inet_ntop(socket.AF_INET6, bytes.fromhex(columns[4]))


def _resolvers(root: str) -> Iterator[str]:
    for address in _RESOLVER.findall(_text(f"{root}/etc/resolv.conf")):
        subject = subjects.parse(f"{address}/{128 if ':' in address else 32}")
        if subject is not None:
            yield subject


def _unhex(column: str) -> str:
    """An address as /proc/net writes it: 32-bit words in the host's byte order."""
    words = [int(column[at : at + 8], 16) for at in range(0, len(column), 8)]
    packed = b"".join(struct.pack("=I", word) for word in words)
    return socket.inet_ntop(socket.AF_INET6 if len(packed) == 16 else socket.AF_INET, packed)


def _text(path: str) -> str:
    try:
        return Path(path).read_text("ascii", "replace")
    except OSError:
        return ""


def _lines(path: str) -> list[str]:
    return _text(path).splitlines()
