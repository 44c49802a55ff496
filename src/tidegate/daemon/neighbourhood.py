"""Who is around: own networks, and the addresses that administrators are logged in from.

Touches /proc, /run and /var/run below a root folder, only to read. An administrator is told by the
session we were started in (SSH_CONNECTION, also of the processes above us, as sudo drops it), by
utmp, and by logind. Limits: what these know; behind a jump host that is the jump host.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from tidegate import subject as subjects
from tidegate.model import Subject

_UTMP = struct.Struct("=hxxi32s4s32s256shhiii16s20x")  # utmp(5), the same on all Linux
_USER_PROCESS = 7
_ABOVE = 32
_GLOBAL = 0x00


class Neighbour(NamedTuple):
    """An address or network, and how we know it.

    `sure`: it can be allowed without asking; strangers may share a public network, and somebody who
    is logged in need be no administrator.
    """

    subject: Subject
    why: str
    sure: bool = True


def networks(root: str = "") -> tuple[Neighbour, ...]:
    """The networks that this host has an address in, by interface; loopback and link-local not."""
    found: dict[Subject, Neighbour] = {}
    for line in _text(f"{root}/proc/net/route").splitlines()[1:]:
        columns = line.split()
        if len(columns) > 7 and columns[2] == "00000000" and columns[7] != "00000000":
            address, mask = (struct.pack("=I", int(columns[at], 16)) for at in (1, 7))
            text = f"{socket.inet_ntoa(address)}/{socket.inet_ntoa(mask)}"
            _note(found, text, columns[0])
    for line in _text(f"{root}/proc/net/if_inet6").splitlines():
        columns = line.split()
        if len(columns) > 5 and int(columns[3], 16) == _GLOBAL:
            address6 = socket.inet_ntop(socket.AF_INET6, bytes.fromhex(columns[0]))
            _note(found, f"{address6}/{int(columns[2], 16)}", columns[5])
    return tuple(found.values())


def _note(found: dict[Subject, Neighbour], text: str, interface: str) -> None:
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return
    if network.is_loopback or network.is_link_local or network.prefixlen == 0:
        return
    subject = subjects.parse(str(network))
    if subject is not None:
        why = f"own network, on {interface}"
        found.setdefault(subject, Neighbour(subject, why, network.is_private))


def administrators(
    root: str = "", environ: Mapping[str, str] | None = None, pid: int | None = None
) -> tuple[Neighbour, ...]:
    """Where people are logged in from, the one who asks first. `environ`, `pid`: of the asker."""
    environ = os.environ if environ is None else environ
    people = {"root", *(environ.get(name, "root") for name in ("SUDO_USER", "USER", "LOGNAME"))}
    found: dict[Subject, Neighbour] = {}
    for user, text in (
        *(("", address) for address in _asking(root, environ, pid or os.getpid())),
        *_utmp(root),
        *_logind(root),
    ):
        subject = subjects.of_address(text)
        network = subjects.network(subject) if subject else None
        if subject and network and not _is_local(network):
            who = f"{user} is" if user else "you are"
            sure = not user or user in people
            found.setdefault(subject, Neighbour(subject, f"{who} logged in from here", sure))
    return tuple(found.values())


def _is_local(network: subjects.Network) -> bool:
    first = ipaddress.ip_address(network.bits)
    return first.is_loopback or first.is_link_local or first.is_unspecified


def _asking(root: str, environ: Mapping[str, str], pid: int) -> Iterator[str]:
    if said := _ssh(environ):
        yield said
    for _ in range(_ABOVE):
        status = re.search(r"^PPid:\s*(\d+)", _text(f"{root}/proc/{pid}/status"), re.MULTILINE)
        pid = int(status[1]) if status else 0
        if pid <= 1:
            return
        pairs = (one.partition("=") for one in _text(f"{root}/proc/{pid}/environ").split("\0"))
        if said := _ssh({name: value for name, _, value in pairs}):
            yield said


def _ssh(environ: Mapping[str, str]) -> str:
    for name in ("SSH_CONNECTION", "SSH_CLIENT"):
        if words := environ.get(name, "").split():
            return words[0]
    return ""


def _utmp(root: str) -> Iterator[tuple[str, str]]:
    for place in ("run/utmp", "var/run/utmp"):
        try:
            data = Path(root or "/", place).read_bytes()
        except OSError:
            continue
        whole = len(data) - len(data) % _UTMP.size
        for entry in _UTMP.iter_unpack(data[:whole]):
            user = entry[4].partition(b"\0")[0].decode("ascii", "replace")
            packed = entry[11]
            if entry[0] == _USER_PROCESS and any(packed):
                six = any(packed[4:])
                family, size = (socket.AF_INET6, 16) if six else (socket.AF_INET, 4)
                yield _name(user), socket.inet_ntop(family, packed[:size])
        return


def _logind(root: str) -> Iterator[tuple[str, str]]:
    folder = Path(root or "/", "run/systemd/sessions")
    try:
        entries = sorted(path for path in folder.iterdir() if not path.name.endswith(".ref"))
    except OSError:
        return
    for path in entries:
        pairs = (line.partition("=") for line in _text(str(path)).splitlines())
        session = {name: value for name, _, value in pairs}
        if session.get("REMOTE") == "1" and session.get("REMOTE_HOST"):
            yield _name(session.get("USER", "")), session["REMOTE_HOST"]


def _name(user: str) -> str:
    return user if re.fullmatch(r"[A-Za-z0-9._-]{1,32}", user) else "somebody"


def _text(path: str) -> str:
    try:
        return Path(path).read_text("utf-8", "replace")
    except OSError:
        return ""
