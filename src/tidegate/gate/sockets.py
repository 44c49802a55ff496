"""TCP sockets of the banned are destroyed, and established peers are listed, by sock_diag.

Touches the kernel's TCP sockets in this network namespace (sock_diag(7), linux/inet_diag.h);
destroying needs CAP_NET_ADMIN and CONFIG_INET_DIAG_DESTROY. Limits: best effort, TCP only.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from tidegate.errors import GateError
from tidegate.gate.book import Scope
from tidegate.gate.netlink import SOCK_DIAG, Netlink
from tidegate.model import Subject
from tidegate.subject import Network, of_address

_BY_FAMILY, _DESTROY = 20, 21
_REQUEST = struct.Struct("=BBBBI")
_MAPPED = b"\0" * 10 + b"\xff\xff"
_LOOPBACK6 = b"\0" * 15 + b"\1"

_ESTABLISHED = 1 << 1
# SYN_SENT, SYN_RECV, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT, LAST_ACK, CLOSING (net/tcp_states.h):
# whatever still moves data or holds an application; TIME_WAIT and LISTEN are left alone.
_LIVE = _ESTABLISHED | sum(1 << state for state in (2, 3, 4, 5, 8, 9, 11))


class Connection(NamedTuple):
    """One TCP socket: packed peer address (IPv4-mapped ones as IPv4), local port, and the
    family and identity by which the kernel knows it."""

    peer: bytes
    local_port: int
    family: int
    identity: bytes


def established() -> list[tuple[str, int]]:
    """The peer address and the local port of every established TCP connection, loopback excepted.

    Needs no privilege. Raises GateError where the kernel does not tell.
    """
    netlink = Netlink(SOCK_DIAG)
    try:
        return [
            (_text(found.peer), found.local_port) for found in _connections(netlink, _ESTABLISHED)
        ]
    finally:
        netlink.close()


def subjects(peers: Iterable[tuple[str, int]]) -> set[Subject]:
    """The subjects behind the peers that `established` names."""
    return {found for peer, _port in peers if (found := of_address(peer)) is not None}


def destroy(banned: Mapping[Scope, Collection[bytes]], spared: Sequence[Network]) -> int:
    """Abort the TCP connections with the banned whose local port is in the ban's scope.

    `banned` names elements of sets, as a set or a dict, so that each look-up is one hash.
    Connections with anybody in `spared` stay, as their packets are accepted. Returns how many
    were aborted; 0 where the kernel can't: the drop rule holds either way, the socket then
    lingers until the application's own timeout.
    """
    tests = [(scope, _Mask(scope), keys) for scope, keys in banned.items()]
    aborted = 0
    try:
        netlink = Netlink(SOCK_DIAG)
    except GateError:
        return 0
    try:
        for found in list(_connections(netlink, _LIVE)):
            if any(
                mask.of(found.peer) in keys and (not scope.ports or found.local_port in scope.ports)
                for scope, mask, keys in tests
            ) and not any(_inside(found.peer, network) for network in spared):
                aborted += _abort(netlink, found)
    except GateError:
        pass  # the kernel has no sock_diag for TCP, or lacks the right: best effort
    finally:
        netlink.close()
    return aborted


class _Mask:
    """Cuts a packed address to a scope's prefix; b"" where it is of the other family."""

    def __init__(self, scope: Scope) -> None:
        self._length = 4 if scope.family == 4 else 16
        self._mask = int.from_bytes(scope.sentinel)
        self._whole = scope.length == self._length * 8

    def of(self, peer: bytes) -> bytes:
        """The element that this address would be."""
        if len(peer) != self._length:
            return b""
        if self._whole:
            return peer
        return (int.from_bytes(peer) & self._mask).to_bytes(self._length)


def _inside(peer: bytes, network: Network) -> bool:
    return len(peer) == len(network.bits) and network.first <= int.from_bytes(peer) <= network.last


def _connections(netlink: Netlink, states: int) -> Iterator[Connection]:
    """Every TCP socket in these states, loopback excepted; one dump for each family."""
    for family in (socket.AF_INET, socket.AF_INET6):
        question = _REQUEST.pack(family, socket.IPPROTO_TCP, 0, 0, states) + b"\0" * 48
        try:
            answers = netlink.ask(_BY_FAMILY, question, dump=True)
        except FileNotFoundError:
            continue
        for answer in answers:
            # struct inet_diag_msg: four bytes, then inet_diag_sockid: ports, addresses,
            # interface, cookie.
            identity = answer[4:52]
            peer = identity[20:24] if answer[0] == socket.AF_INET else identity[20:36]
            if peer.startswith(_MAPPED) and len(peer) == 16:
                peer = peer[12:]
            if (peer[0] == 127 and len(peer) == 4) or peer == _LOOPBACK6:
                continue
            yield Connection(peer, int.from_bytes(identity[:2]), answer[0], identity)


def _abort(netlink: Netlink, found: Connection) -> int:
    request = _REQUEST.pack(found.family, socket.IPPROTO_TCP, 0, 0, 0) + found.identity
    try:
        netlink.ask(_DESTROY, request)
    except FileNotFoundError:
        return 0  # it ended meanwhile
    return 1


def _text(peer: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET if len(peer) == 4 else socket.AF_INET6, peer)
