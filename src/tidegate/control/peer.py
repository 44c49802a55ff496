"""Who is at the other end of a Unix socket, and what they may do.

Touches the socket's peer credentials (SO_PEERCRED, unix(7)) and the user database.
Limits: groups are those of the user database now, not those the peer's session began with.
"""

from __future__ import annotations

import grp
import os
import pwd
import socket
import struct
from typing import NamedTuple

_CREDENTIALS = struct.Struct("iII")


class Peer(NamedTuple):
    """A process at the other end: its ids, and its user's name and groups by name."""

    pid: int
    uid: int
    gid: int
    name: str
    groups: frozenset[str]

    @property
    def label(self) -> str:
        """For the record of who did it: `anna (uid 1000)`."""
        return f"{self.name} (uid {self.uid})"


class Access(NamedTuple):
    """Who may read (GET) and who may act (POST), beside root who may both."""

    read_uids: frozenset[int] = frozenset()
    read_groups: frozenset[str] = frozenset({"adm"})
    act_uids: frozenset[int] = frozenset()
    act_groups: frozenset[str] = frozenset({"tidegate-admin"})

    def refusal(self, method: str, peer: Peer) -> str:
        """Why this peer may not do it, and which group it would take; "" if it may."""
        acting = method == "POST"
        uids = self.act_uids if acting else self.read_uids
        groups = self.act_groups if acting else self.read_groups
        if peer.uid == 0 or peer.uid in uids or groups & peer.groups:
            return ""
        needed = " or ".join(sorted(groups))
        what = "acting" if acting else "reading"
        return f"{what} needs root or group {needed}; you are {peer.label}"


def credentials(connection: socket.socket) -> tuple[int, int, int]:
    """The peer's process, user and group id as the kernel recorded them at connect. Never waits."""
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, gid = _CREDENTIALS.unpack(data)
    return pid, uid, gid


def describe(pid: int, uid: int, gid: int) -> Peer:
    """The peer with its names. Asks the user database, which may wait for the network."""
    try:
        name = pwd.getpwuid(uid).pw_name
        numbers = os.getgrouplist(name, gid)
    except KeyError:
        name, numbers = str(uid), [gid]
    return Peer(pid, uid, gid, name, frozenset(filter(None, map(_group_name, numbers))))


def _group_name(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return ""
