"""HAProxy's Runtime API as a switch: drains a server or lowers its weight, and puts it back.

Touches one server's state in a running HAProxy, by its socket (a path, or host:port).
Only what we set is undone: what somebody changed meanwhile is let be, and said. A reload of HAProxy
forgets all of it; then it is closed again. Limits: nobody opens it if we die and never come back.
"""

# HAProxy 2.6, management guide 9.3: `show servers state`, `set server`, `show info`.

from __future__ import annotations

import re
import socket
import time
from typing import NamedTuple

from tidegate.errors import GateError
from tidegate.gate.switches.kinds import Standing, Tools, brief
from tidegate.gate.switches.record import Before, Record
from tidegate.policy.guards import Haproxy

WITHIN = 5.0
LARGEST = 4 << 20
MAINTENANCE, DRAIN = 0x01 | 0x02 | 0x04 | 0x20 | 0x40, 0x08
"""Bits of srv_admin_state (SRV_ADMF_*): every kind of maintenance; drained by a command."""
_NAME = re.compile(r"[A-Za-z0-9_.:-]{1,128}", re.ASCII)


class Server(NamedTuple):
    """How a server stands: bits, weight as set and as configured, and the process that says so."""

    admin: int
    weight: int
    configured: int
    process: int


class Haproxies:
    """One server in one backend of an HAProxy."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    def look(self, terms: Haproxy) -> Before:
        """How the server stands. `away`: it is in maintenance or drained already."""
        found = look(terms)
        if found.admin & (MAINTENANCE | DRAIN):
            word = "drained" if found.admin & DRAIN else "in maintenance"
            return {"away": f"{_name(terms)} is {word} already"}
        if terms.weight and found.weight <= _share(found, terms):
            return {"away": f"{_name(terms)} has a weight of only {found.weight} already"}
        return {"weight": found.weight, "process": found.process}

    def close(self, terms: Haproxy, before: Before) -> str:
        """Drain it, or lower its weight; sessions that stand go on."""
        if terms.weight <= 0:
            _command(terms, f"set server {_name(terms)} state drain")
            if not look(terms).admin & DRAIN:
                raise GateError(f"{_name(terms)}: HAProxy took `drain`, and did not do it")
            return "drained: no new sessions, those that stand go on"
        _command(terms, f"set server {_name(terms)} weight {terms.weight}%")
        found = look(terms)
        before["lowered"] = found.weight
        return f"weight {found.weight} instead of {before['weight']}"

    def open(self, terms: Haproxy, before: Before) -> str:
        """Put back what was before, if it is ours that stands there now."""
        found = look(terms)
        if terms.weight <= 0:
            if found.admin & DRAIN:
                _command(terms, f"set server {_name(terms)} state ready")
                found = look(terms)
                if found.admin & DRAIN:
                    raise GateError(f"{_name(terms)}: HAProxy took `ready`, and did not do it")
            return "ready"
        if found.weight == _lowered(terms, before, found) != before["weight"]:
            _command(terms, f"set server {_name(terms)} weight {before['weight']}")
        return f"weight {before['weight']}"

    def state(self, terms: Haproxy, record: Record) -> tuple[Standing, str]:
        """Ours; or forgotten by an HAProxy that began anew; or changed by somebody."""
        found, before = look(terms), record.before
        if terms.weight <= 0:
            stands = bool(found.admin & DRAIN)
        else:
            stands = (
                found.weight == _lowered(terms, before, found) and not found.admin & MAINTENANCE
            )
        if stands:
            return "closed", ""
        if found.process != before.get("process"):
            before["process"] = found.process
            return "open", "HAProxy has begun anew, and forgot it"
        if record.stage == "closing" and found.weight == before.get("weight"):
            return "open", ""
        if found.admin & MAINTENANCE:
            return "taken", f"somebody has put {_name(terms)} into maintenance"
        return "taken", f"somebody has changed {_name(terms)} at HAProxy"


def look(terms: Haproxy) -> Server:
    """How the server stands now. GateError where HAProxy does not answer, or does not know it."""
    for name in (terms.backend, terms.server):
        if not _NAME.fullmatch(name):
            raise GateError(f"{name!r} is no name of a backend or server")
    said = _command(terms, f"show servers state {terms.backend};show info")
    process, table = 0, []
    for line in said.splitlines():
        if line.startswith("Pid: "):
            process = int(line[5:])
        table.append(line.split())
    header = next((row[1:] for row in table if row[:2] == ["#", "be_id"]), None)
    if header is None:
        first = brief(said.partition("\n")[0])
        raise GateError(f"HAProxy at {terms.socket} says: {first}")
    for row in table:
        named = dict(zip(header, row, strict=False))
        if named.get("be_name") == terms.backend and named.get("srv_name") == terms.server:
            numbers = (named["srv_admin_state"], named["srv_uweight"], named["srv_iweight"])
            admin, weight, configured = map(int, numbers)
            return Server(admin, weight, configured, process)
    raise GateError(f"HAProxy at {terms.socket} has no server {_name(terms)}")


def _share(found: Server, terms: Haproxy) -> int:
    return found.configured * terms.weight // 100


def _lowered(terms: Haproxy, before: Before, found: Server) -> int:
    return int(before.get("lowered", _share(found, terms)))


def _name(terms: Haproxy) -> str:
    return f"{terms.backend}/{terms.server}"


def _command(terms: Haproxy, line: str) -> str:
    """What HAProxy answers; GateError where it does not, or where the answer is a refusal."""
    try:
        said = _ask(terms.socket, line)
    except OSError as error:
        why = error.strerror or str(error) or "no answer"
        raise GateError(
            f"HAProxy does not answer at {terms.socket} ({why}); its configuration needs"
            f" `stats socket {terms.socket} level admin`"
        ) from error
    if line.startswith("set ") and said:
        raise GateError(f"HAProxy at {terms.socket} refused `{line}`: {brief(said)}")
    return said


def _ask(place: str, line: str) -> str:
    deadline = time.monotonic() + WITHIN
    with _connect(place) as asking:
        asking.sendall(line.encode() + b"\n")
        data = b""
        while len(data) < LARGEST:
            asking.settimeout(max(0.001, deadline - time.monotonic()))
            chunk = asking.recv(1 << 16)
            if not chunk:
                break
            data += chunk
    return data.decode("utf-8", "replace").strip()


def _connect(place: str) -> socket.socket:
    host, _, port = place.rpartition(":")
    if not place.startswith("/") and host and port.isdigit():
        return socket.create_connection((host.strip("[]"), int(port)), WITHIN)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.settimeout(WITHIN)
    try:
        made.connect(place)
    except OSError:
        made.close()
        raise
    return made
