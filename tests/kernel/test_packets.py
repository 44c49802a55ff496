"""Real packets through real namespaces: what is closed is closed, and nothing else is."""

from __future__ import annotations

import select
import socket
import subprocess
import sys
import threading
import time

import pytest
from tests.kernel.conftest import allow, ban, now, unban
from tests.kernel.namespaces import (
    ALIVE,
    ATTACKERS,
    ATTACKERS6,
    DEAD,
    HOST,
    HOST6,
    INNER,
    INNER6,
    World,
)

from tidegate.gate.nftables import NftablesGate, delete_table
from tidegate.gate.port import Request
from tidegate.model import Ban, Subject
from tidegate.subject import network

pytestmark = pytest.mark.kernel

ONE, TWO, THREE, FAR = ATTACKERS


def apply(world: World, gate: NftablesGate, *requests: Request) -> None:
    with world.host.inside():
        assert gate.apply(requests, now()) == []


def test_ipv4(world: World, gate: NftablesGate) -> None:
    world_servers = world.host.listen(25), world.host.listen(80)
    assert world.attacker.reaches(HOST, 25, ONE)
    apply(world, gate, ban(ONE))
    assert world.attacker.cut_off(HOST, 25, ONE)
    assert world.attacker.cut_off(HOST, 80, ONE)
    assert world.attacker.reaches(HOST, 25, TWO)
    apply(world, gate, unban(ONE))
    assert world.attacker.reaches(HOST, 25, ONE)
    for server in world_servers:
        server.close()


def test_ipv4_network(world: World, gate: NftablesGate) -> None:
    with world.host.listen(25):
        apply(world, gate, ban("192.0.2.0/24"))
        assert world.attacker.cut_off(HOST, 25, ONE)
        assert world.attacker.cut_off(HOST, 25, TWO)
        assert world.attacker.reaches(HOST, 25, FAR)


def test_ipv6_64(world: World, gate: NftablesGate) -> None:
    with world.host.listen(25):
        apply(world, gate, ban("2001:db8:1::/64"))
        assert world.attacker.cut_off(HOST6, 25, ATTACKERS6[0])
        assert world.attacker.cut_off(HOST6, 25, ATTACKERS6[1])
        assert world.attacker.reaches(HOST6, 25, ATTACKERS6[2])
        apply(world, gate, unban("2001:db8:1::/64"), ban("2001:db8:1::8"))
        assert world.attacker.reaches(HOST6, 25, ATTACKERS6[0])
        assert world.attacker.cut_off(HOST6, 25, ATTACKERS6[1])


def test_neighbour_discovery_goes_on(world: World, gate: NftablesGate) -> None:
    """The host still learns where a banned neighbour is, as it must to reach those behind it."""
    apply(world, gate, ban("2001:db8:1::/64"))
    world.host.ip("-6", "neigh", "flush", "dev", "to-attacker")
    assert world.host.cut_off(ATTACKERS6[0], 25, HOST6)  # the answer to this is dropped
    found = world.host.run("ip", "-6", "neigh", "show", ATTACKERS6[0])
    assert "lladdr" in found


def test_port_scope(world: World, gate: NftablesGate) -> None:
    with world.host.listen(25), world.host.listen(80), world.host.listen(465):
        apply(world, gate, ban(ONE, 25), ban(TWO, 25, 465), ban("2001:db8:2::/64", 25))
        assert world.attacker.cut_off(HOST, 25, ONE)
        assert world.attacker.reaches(HOST, 80, ONE)
        assert world.attacker.reaches(HOST, 465, ONE)
        assert world.attacker.cut_off(HOST, 465, TWO)
        assert world.attacker.cut_off(HOST6, 25, ATTACKERS6[2])
        assert world.attacker.reaches(HOST6, 80, ATTACKERS6[2])


def test_unban_of_every_scope(world: World, gate: NftablesGate) -> None:
    with world.host.listen(25), world.host.listen(80):
        apply(world, gate, ban(ONE, 25), ban(ONE, 80), ban(TWO, 25))
        apply(world, gate, unban(ONE))
        assert world.attacker.reaches(HOST, 25, ONE)
        assert world.attacker.reaches(HOST, 80, ONE)
        assert world.attacker.cut_off(HOST, 25, TWO)


def test_udp(world: World, gate: NftablesGate) -> None:
    with world.host.listen(53, kind=socket.SOCK_DGRAM) as server:
        apply(world, gate, ban(ONE, 53))
        world.attacker.send(HOST, 53, ONE, b"from the banned")
        world.attacker.send(HOST, 53, TWO, b"from another")
        assert server.recv(100) == b"from another"
        apply(world, gate, unban(ONE, (53,)))
        world.attacker.send(HOST, 53, ONE, b"from the pardoned")
        assert server.recv(100) == b"from the pardoned"


def test_forwarded_traffic(world: World, gate: NftablesGate) -> None:
    with world.inner.listen(25), world.inner.listen(80):
        assert world.attacker.reaches(INNER, 25, ONE)
        apply(world, gate, ban(ONE, 25), ban("2001:db8:3::/64"))
        assert world.attacker.cut_off(INNER, 25, ONE)
        assert world.attacker.reaches(INNER, 80, ONE)
        assert world.attacker.cut_off(INNER6, 25, ATTACKERS6[3])
        assert world.attacker.reaches(INNER6, 25, ATTACKERS6[2])


@pytest.mark.parametrize(
    ("family", "host", "source", "subject"),
    [
        (socket.AF_INET, HOST, ONE, ONE),
        (socket.AF_INET6, HOST, ONE, ONE),  # an IPv4-mapped peer of an IPv6 socket
        (socket.AF_INET6, HOST6, ATTACKERS6[0], "2001:db8:1::/64"),
    ],
)
def test_established_connection(
    world: World, gate: NftablesGate, family: int, host: str, source: str, subject: str
) -> None:
    with world.host.listen(25, family) as server, world.host.listen(80, family) as web:
        client = world.attacker.connect(host, 25, source, ALIVE)
        other = world.attacker.connect(host, 80, source, ALIVE)
        assert client is not None and other is not None
        accepted, _peer = server.accept()
        kept, _peer = web.accept()
        with client, other, accepted, kept:
            client.sendall(b"before")
            assert accepted.recv(100) == b"before"
            apply(world, gate, ban(subject, 25))
            # The server's socket is destroyed, so the application learns of it at once.
            assert select.select([accepted], [], [], ALIVE)[0]
            with pytest.raises(ConnectionAbortedError):
                accepted.recv(100)
            with pytest.raises(ConnectionResetError):
                client.recv(100)
            # Port 80 is none of this ban's business.
            other.sendall(b"still here")
            assert kept.recv(100) == b"still here"


def test_established_connection_stops_though_its_socket_stays(world: World) -> None:
    """The rule alone, without destroying sockets: not one byte more gets through."""
    gate = NftablesGate(sever=None)
    with world.host.listen(25) as server:
        client = world.attacker.connect(HOST, 25, ONE, ALIVE)
        assert client is not None
        accepted, _peer = server.accept()
        with client, accepted:
            client.sendall(b"before")
            assert accepted.recv(100) == b"before"
            apply(world, gate, ban(ONE, 25))
            client.sendall(b"after")
            accepted.settimeout(DEAD)
            with pytest.raises(TimeoutError):
                accepted.recv(100)
            apply(world, gate, unban(ONE))
            accepted.settimeout(ALIVE)
            assert accepted.recv(100) == b"after"  # sent again by the client's kernel
    gate.close()


def test_allowlist_stands_before_the_drop(world: World) -> None:
    spared = [network(Subject(TWO)), network(Subject("2001:db8:1::8"))]
    gate = NftablesGate([found for found in spared if found is not None])
    with world.host.listen(25) as server:
        client = world.attacker.connect(HOST, 25, TWO, ALIVE)
        assert client is not None
        accepted, _peer = server.accept()
        with world.host.inside():
            gate.apply([ban("192.0.2.0/24"), ban("2001:db8:1::/64")], now())
        assert world.attacker.cut_off(HOST, 25, ONE)
        assert world.attacker.reaches(HOST, 25, TWO)
        assert world.attacker.cut_off(HOST6, 25, ATTACKERS6[0])
        assert world.attacker.reaches(HOST6, 25, ATTACKERS6[1])
        client.sendall(b"never cut")  # nor was the allowed one's connection
        assert accepted.recv(100) == b"never cut"
        client.close()
        accepted.close()
    gate.close()


def test_timed_allow(world: World, gate: NftablesGate) -> None:
    with world.host.listen(25):
        apply(world, gate, ban("192.0.2.0/24"), allow(TWO), allow("2001:db8:1::/64"))
        apply(world, gate, ban("2001:db8:1::/64", 25))
        assert world.attacker.cut_off(HOST, 25, ONE)
        assert world.attacker.reaches(HOST, 25, TWO)
        assert world.attacker.reaches(HOST6, 25, ATTACKERS6[0])
        apply(world, gate, Request("disallow", Subject(TWO), None, 0), allow(THREE, seconds=1))
        assert world.attacker.cut_off(HOST, 25, TWO)
        time.sleep(1.1)
        assert world.attacker.cut_off(HOST, 25, THREE)


def test_a_timed_allow_keeps_its_connections(world: World, gate: NftablesGate) -> None:
    with world.host.listen(25) as server:
        client = world.attacker.connect(HOST, 25, TWO, ALIVE)
        assert client is not None
        accepted, _peer = server.accept()
        with client, accepted:
            apply(world, gate, allow(TWO), ban("192.0.2.0/24"))
            client.sendall(b"never cut")
            assert accepted.recv(100) == b"never cut"


def test_loopback_is_never_closed(world: World, gate: NftablesGate) -> None:
    with world.host.listen(25):
        apply(world, gate, ban("127.0.0.0/8"), ban(HOST), ban("::1"))
        assert world.host.reaches("127.0.0.1", 25, "127.0.0.1")
        assert world.host.reaches(HOST, 25, HOST)
        assert world.host.reaches("::1", 25, "::1")


_OWNER = """
import sys, time
from tidegate.gate.nftables import NftablesGate
from tidegate.gate.port import Request
until = int(sys.argv[1])
NftablesGate().apply([Request("ban", "192.0.2.7", (25,), until)], time.time_ns() // 1000)
print("closed", flush=True)
time.sleep(600)
"""


def test_a_ban_ends_by_itself_though_its_owner_was_killed(world: World) -> None:
    until = now() + 3_000_000
    with world.host.listen(25), world.host.inside():
        owner = subprocess.Popen(
            [sys.executable, "-c", _OWNER, str(until)], stdout=subprocess.PIPE, text=True
        )
    try:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "closed\n"
    finally:
        owner.kill()
        owner.wait()
        owner.stdout.close() if owner.stdout else None
    with world.host.listen(25):
        assert world.attacker.cut_off(HOST, 25, ONE)
        assert now() < until, "the machine is too slow for this test"
        time.sleep(max(0, until - now()) / 1_000_000 + 1)
        assert world.attacker.reaches(HOST, 25, ONE)


def test_extend_and_shorten(world: World, gate: NftablesGate) -> None:
    with world.host.listen(25):
        apply(world, gate, ban(ONE, seconds=1), ban(TWO, seconds=600))
        apply(world, gate, ban(ONE, seconds=600), ban(TWO, seconds=1))
        time.sleep(1.1)
        assert world.attacker.cut_off(HOST, 25, ONE)
        assert world.attacker.reaches(HOST, 25, TWO)
        apply(world, gate, Request("ban", Subject(ONE), (), now() - 1))  # already over: opens
        assert world.attacker.reaches(HOST, 25, ONE)


def test_open_all_deletes_the_table(world: World, gate: NftablesGate) -> None:
    with world.host.listen(25):
        apply(world, gate, ban(ONE))
        with world.host.inside():
            gate.open_all()
            assert gate.drifted()
        assert world.attacker.reaches(HOST, 25, ONE)
        apply(world, gate, ban(ONE))
        assert world.attacker.cut_off(HOST, 25, ONE)
        with world.host.inside():
            assert delete_table()
            assert not delete_table()
        assert world.attacker.reaches(HOST, 25, ONE)
        assert gate.drifted()


def test_replace_leaks_nothing_under_traffic(world: World, gate: NftablesGate) -> None:
    """100,000 bans put in anew three times while a banned sender floods: nothing gets through."""
    bans = [
        Ban(Subject(f"10.{i >> 16}.{i >> 8 & 255}.{i & 255}"), (), now() + 600_000_000)
        for i in range(100_000)
    ]
    bans.append(Ban(Subject(ONE), (), now() + 600_000_000))
    with world.host.listen(53, kind=socket.SOCK_DGRAM) as server:
        apply(world, gate, ban(ONE))
        with world.attacker.inside():
            client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        client.bind((ONE, 0))
        over = threading.Event()
        sent = 0

        def flood() -> None:
            nonlocal sent
            while not over.is_set():
                client.sendto(b"leak", (HOST, 53))
                sent += 1
                time.sleep(0.0002)

        sender = threading.Thread(target=flood)
        sender.start()
        try:
            for _turn in range(3):
                with world.host.inside():
                    assert gate.replace(bans, [], now()) == []
        finally:
            over.set()
            sender.join()
            client.close()
        world.attacker.send(HOST, 53, TWO, b"last")
        assert server.recv(100) == b"last"
        assert sent > 100
        with world.host.inside():
            assert len(gate.observe(now())) == 100_001
