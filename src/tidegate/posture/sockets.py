"""The sockets that a process has open: whom it talks to, by its own network namespace's tables.

Touches /proc/PID/fd and /proc/PID/net, only to read. Limits: MOST sockets; TCP and UDP by address,
unix ones by name, others by kind alone.
"""

from __future__ import annotations

import ipaddress
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

MOST = 256
_INTERNET = ("tcp", "tcp6", "udp", "udp6", "raw", "raw6")
_MOST_LINES = 200_000
_STATES = {
    "01": "established", "02": "syn-sent", "03": "syn-received", "04": "fin-wait-1",
    "05": "fin-wait-2", "06": "time-wait", "07": "close", "08": "close-wait", "09": "last-ack",
    "0A": "listening", "0B": "closing",
}  # fmt: skip

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Open(NamedTuple):
    """One socket: `kind` as the kernel's table is called (`tcp6`, `unix`, `packet`), both ends."""

    kind: str
    local: str
    remote: str
    state: str
    inode: int

    def plain(self) -> dict[str, Any]:
        """As JSON takes it."""
        return self._asdict()


def sockets(folder: Path) -> list[Open]:
    """The open sockets of the process whose folder in /proc this is, MOST at the most."""
    wanted = inodes(folder)
    found = []
    for one in _known(folder / "net", wanted):
        found.append(one)
        wanted.discard(one.inode)
        if len(found) >= MOST or not wanted:
            return found
    return found + [Open("other", "", "", "", one) for one in sorted(wanted)][: MOST - len(found)]


def inodes(folder: Path) -> set[int]:
    """The inodes of a process' sockets."""
    found = set()
    with suppress(OSError):
        for name in os.listdir(folder / "fd"):
            with suppress(OSError, ValueError):
                where = os.readlink(folder / "fd" / name)
                if where.startswith("socket:["):
                    found.add(int(where[8:-1]))
    return found


def _known(net: Path, wanted: set[int]) -> Iterator[Open]:
    if not wanted:
        return
    for kind in _INTERNET:
        for fields in rows(net / kind):
            if len(fields) > 9 and int(fields[9]) in wanted:
                state = _STATES.get(fields[3], fields[3])
                yield Open(kind, ends(fields[1]), ends(fields[2]), state, int(fields[9]))
    for fields in rows(net / "unix"):
        if len(fields) > 6 and int(fields[6]) in wanted:
            name = fields[7] if len(fields) > 7 else ""
            yield Open("unix", name, "", fields[5], int(fields[6]))
    for fields in rows(net / "packet"):
        if len(fields) > 8 and int(fields[8]) in wanted:
            yield Open("packet", fields[3], "", "", int(fields[8]))


def rows(path: Path) -> Iterator[list[str]]:
    """The lines of one of the kernel's tables, without its head, in fields."""
    with suppress(OSError), open(path, encoding="utf-8", errors="backslashreplace") as file:
        for number, line in enumerate(file):
            if number > _MOST_LINES:
                return
            if number:
                yield line.split()


def ends(text: str) -> str:
    """An address and a port, as `192.0.2.7:6667` or `[2001:db8::1]:80`."""
    address, _, port = text.partition(":")
    made = parse(address)
    shown = f"[{made}]" if made.version == 6 else str(made)
    return f"{shown}:{int(port, 16)}"


def parse(text: str) -> Address:
    """An address as the kernel prints it: words of four bytes, each in the host's order; IPv4 in
    IPv6 as IPv4."""
    words = [int(text[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(text), 8)]
    made = ipaddress.ip_address(b"".join(words))
    mapped = made.ipv4_mapped if isinstance(made, ipaddress.IPv6Address) else None
    return mapped or made
