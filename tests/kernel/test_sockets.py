"""Sockets of the banned: found by peer and port, destroyed, and nobody else's."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from tests.kernel.namespaces import ALIVE, ATTACKERS, ATTACKERS6, HOST, HOST6, World

from tidegate.gate import sockets
from tidegate.gate.book import Scope
from tidegate.subject import Network

pytestmark = pytest.mark.kernel

PEERS = [
    (HOST, 25, ATTACKERS[0]),
    (HOST, 80, ATTACKERS[0]),
    (HOST, 25, ATTACKERS[1]),
    (HOST6, 25, ATTACKERS6[0]),
    (HOST6, 80, ATTACKERS6[2]),
]


@pytest.fixture
def connected(world: World) -> Iterator[dict[tuple[str, int], socket.socket]]:
    """The mail host's sockets, by peer and own port; IPv4 peers are IPv4-mapped on port 25."""
    with ExitStack() as stack:
        servers = {
            25: world.host.listen(25),
            80: world.host.listen(80, socket.AF_INET),
        }
        servers6 = {25: servers[25], 80: world.host.listen(8080)}
        for server in (*servers.values(), servers6[80]):
            stack.callback(server.close)
        found = {}
        for host, port, source in PEERS:
            by_port = servers6 if ":" in host else servers
            real = by_port[port].getsockname()[1]
            client = world.attacker.connect(host, real, source, ALIVE)
            assert client is not None
            stack.callback(client.close)
            accepted, _peer = by_port[port].accept()
            stack.callback(accepted.close)
            found[source, real] = accepted
        yield found


def alive(connected: dict[tuple[str, int], socket.socket]) -> set[tuple[str, int]]:
    """TCP_INFO's state is 1 while a connection is established; 7 when it was destroyed."""
    return {
        who
        for who, found in connected.items()
        if found.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) == b"\1"
    }


def pack(text: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)


def test_established_lists_peers_and_own_ports(
    world: World, connected: dict[tuple[str, int], socket.socket]
) -> None:
    with world.host.inside():
        assert set(sockets.established()) == set(connected)
    assert sockets.subjects([("::ffff:192.0.2.7", 25), ("2001:db8:1::7", 25), ("?", 0)]) == {
        "192.0.2.7",
        "2001:db8:1::/64",
    }


def test_only_the_scope_s_ports_and_peers(
    world: World, connected: dict[tuple[str, int], socket.socket]
) -> None:
    everybody = set(connected)
    assert alive(connected) == everybody
    with world.host.inside():
        banned = {
            Scope("ban", 4, 32, (25,)): {pack(ATTACKERS[0])},
            Scope("ban", 6, 64, ()): {pack("2001:db8:1::")},
        }
        assert sockets.destroy(banned, []) == 2
    assert everybody - alive(connected) == {(ATTACKERS[0], 25), (ATTACKERS6[0], 25)}


def test_the_spared_stay(world: World, connected: dict[tuple[str, int], socket.socket]) -> None:
    with world.host.inside():
        banned = {Scope("ban", 4, 24, ()): {pack("192.0.2.0")}}
        assert sockets.destroy(banned, [Network(4, 32, pack(ATTACKERS[0]))]) == 1
    assert set(connected) - alive(connected) == {(ATTACKERS[1], 25)}


def test_nobody_is_cut_by_another_s_ban(
    world: World, connected: dict[tuple[str, int], socket.socket]
) -> None:
    with world.host.inside():
        assert sockets.destroy({Scope("ban", 4, 32, ()): {pack("192.0.2.77")}}, []) == 0
        assert sockets.destroy({}, []) == 0
    assert alive(connected) == set(connected)


def test_loopback_is_left_alone(world: World) -> None:
    with world.host.listen(25) as server:
        client = world.host.connect("127.0.0.1", 25, "127.0.0.1", ALIVE)
        assert client is not None
        accepted, _peer = server.accept()
        with client, accepted, world.host.inside():
            assert sockets.established() == []
            banned = {Scope("ban", 4, 8, ()): {pack("127.0.0.0")}}
            assert sockets.destroy(banned, []) == 0
