"""Round-trip time and loss in a namespace: by datagram socket, raw socket, program, and not at all."""

from __future__ import annotations

import shutil
import socket
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.kernel.namespaces import HOST, HOST6, Namespace, World

from tidegate.errors import SourceError
from tidegate.source.readings import ping
from tidegate.source.readings.ping import loss, rtt

pytestmark = pytest.mark.kernel

LONG = 5.0


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close()


def allow(namespace: Namespace) -> None:
    namespace.run("sysctl", "-qw", "net.ipv4.ping_group_range=0 2147483647")


@pytest.fixture
def no_raw(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a process without CAP_NET_RAW: the kernel refuses raw sockets."""
    real = socket.socket

    def refusing(family: int = -1, kind: int = -1, *more: Any, **options: Any) -> socket.socket:
        if kind == socket.SOCK_RAW:
            raise PermissionError(1, "Operation not permitted")
        return real(family, kind, *more, **options)

    monkeypatch.setattr(ping.socket, "socket", refusing)


@pytest.fixture
def no_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ping.shutil, "which", lambda *_words, **_more: None)


@pytest.mark.parametrize("host", [HOST, HOST6])
def test_by_datagram_sockets(world: World, no_raw: None, no_program: None, host: str) -> None:
    allow(world.attacker)
    with world.attacker.inside():
        assert 0 < rtt(host, LONG) < LONG
        assert loss(host, 5, LONG) == 0.0


@pytest.mark.parametrize("host", [HOST, HOST6])
def test_by_raw_sockets(world: World, no_program: None, host: str) -> None:
    world.attacker.run("sysctl", "-qw", "net.ipv4.ping_group_range=1 0")
    with world.attacker.inside():
        assert 0 < rtt(host, LONG) < LONG
        assert loss(host, 5, LONG) == 0.0


@pytest.mark.skipif(shutil.which("ping") is None, reason="no ping")
@pytest.mark.parametrize("host", [HOST, HOST6])
def test_by_the_program(world: World, no_raw: None, host: str) -> None:
    world.attacker.run("sysctl", "-qw", "net.ipv4.ping_group_range=1 0")
    with world.attacker.inside():
        assert 0 < rtt(host, LONG) < LONG
        assert loss(host, 5, LONG) == 0.0
        assert loss("192.0.2.99", 2, 1.0) == 100.0


def test_without_any_way_it_says_what_to_set(world: World, no_raw: None, no_program: None) -> None:
    world.attacker.run("sysctl", "-qw", "net.ipv4.ping_group_range=1 0")
    with world.attacker.inside(), pytest.raises(SourceError, match="ping_group_range='0 2147"):
        rtt(HOST, LONG)


def test_a_process_that_may_gain_nothing_is_told_what_to_set(world: World) -> None:
    script = (
        "from tidegate.source.readings.ping import rtt\n"
        f"try: print('took', rtt('{HOST}', 5))\n"
        "except Exception as error: print(error)"
    )
    words = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"]
    words += ["--bounding-set=-all", sys.executable, "-c", script]
    world.attacker.run("sysctl", "-qw", "net.ipv4.ping_group_range=1 0")
    assert "ping_group_range='0 2147" in world.attacker.run(*words)
    allow(world.attacker)
    assert "took" in world.attacker.run(*words)


def test_lost_echoes_are_counted(world: World) -> None:
    allow(world.attacker)
    # Of every four echoes the host hears three.
    world.host.nft("add table inet lossy")
    world.host.nft("add chain inet lossy input { type filter hook input priority 0; }")
    world.host.nft("add rule inet lossy input icmp type echo-request numgen inc mod 4 0 drop")
    with world.attacker.inside():
        assert loss(HOST, 8, LONG) == 25.0
        assert rtt(HOST, LONG) > 0  # the first is lost, the second is not


@pytest.mark.parametrize("raw", [False, True])
def test_nobody_answers(world: World, raw: bool) -> None:
    if not raw:
        allow(world.attacker)
    with world.attacker.inside():
        assert loss("192.0.2.99", 2, 0.5) == 100.0
        with pytest.raises(SourceError, match="does not answer"):
            rtt("192.0.2.99", 0.5)


def test_without_a_route_nothing_was_tried(world: World) -> None:
    allow(world.attacker)
    with world.attacker.inside(), pytest.raises(SourceError, match="unreachable"):
        loss("10.9.9.9", 2, LONG)


def test_answers_of_others_do_not_count(world: World) -> None:
    world.attacker.run("sysctl", "-qw", "net.ipv4.ping_group_range=1 0")
    with (
        world.attacker.inside(),
        socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as channel,
    ):
        channel.connect((HOST, 0))
        channel.setblocking(False)
        address = ping.Address(socket.AF_INET, (HOST, 0), HOST)
        ping._send(channel, address, 0, b"mine----")
        ping._send(channel, address, 1, b"theirs--")
        found: list[int] = []
        for _time in range(100):
            found += ping._answers(channel, address, b"mine----")
            if found:
                break
            time.sleep(0.02)
        assert found == [0]
