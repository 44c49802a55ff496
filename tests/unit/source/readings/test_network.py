"""Connections, listen queues and interfaces of this very network namespace."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tidegate.errors import SourceError
from tidegate.source.readings import network
from tidegate.source.readings.network import Network
from tidegate.source.readings.taking import NO_RATE, Places


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def listener(stack: ExitStack, family: int = socket.AF_INET, backlog: int = 100) -> socket.socket:
    found = stack.enter_context(socket.socket(family))
    found.bind(("127.0.0.1" if family == socket.AF_INET else "::", 0))
    found.listen(backlog)
    return found


def until(good: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not good():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def count(port: int | str = "") -> float:
    taken = Network(Places()).taker("connections", str(port)).attempt(1)
    assert taken.why == ""
    return taken.value


@pytest.mark.parametrize("connections", [0, 1, 57])
def test_established_connections_are_counted_by_our_port(stack, connections):
    server = listener(stack)
    port = server.getsockname()[1]
    for _ in range(connections):
        stack.enter_context(socket.create_connection(("127.0.0.1", port)))
    assert count(port) == connections  # by the clients' end it is another port
    assert count() >= 2 * connections


def test_ipv6_and_clients_of_ipv4_on_it_count_as_well(stack):
    if not socket.has_dualstack_ipv6() or not os.path.exists("/proc/net/if_inet6"):
        pytest.skip("no IPv6")
    server = stack.enter_context(
        socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    )
    port = server.getsockname()[1]
    for place in ("127.0.0.1", "::1"):
        stack.enter_context(socket.create_connection((place, port)))
    assert count(port) == 2


def test_one_that_only_listens_or_waits_for_its_end_does_not_count(stack):
    server = listener(stack)
    port = server.getsockname()[1]
    client = socket.create_connection(("127.0.0.1", port))
    accepted, _ = server.accept()
    assert count(port) == 1
    accepted.close()  # first, so that its end waits
    client.close()
    until(lambda: count(port) == 0)


def test_the_dump_is_read_once_a_look(monkeypatch):
    dumps: list[int] = []
    real = network._datagrams
    monkeypatch.setattr(network, "_datagrams", lambda states: dumps.append(states) or real(states))
    readings = Network(Places())
    for port in ("80", "443", ""):
        readings.taker("connections", port).attempt(1)
    assert dumps == [2]


def test_messages_of_odd_lengths_are_read_one_by_one():
    def message(length: int, port: int) -> bytes:
        body = length.to_bytes(4, "little") + (20).to_bytes(2, "little") + bytes(14)
        return (body + port.to_bytes(2) + bytes(length))[:length] + b"\0" * (-length % 4)

    data = message(88, 80) + message(88, 443) + message(96, 80) + message(89, 80)
    assert network._checked(data) == (len(data), False)
    done = (20).to_bytes(4, "little") + (3).to_bytes(2, "little") + bytes(14)
    assert network._checked(data + done) == (len(data), True)
    with pytest.raises(SourceError, match="can't be read"):
        network._checked(data[:-4])


@pytest.mark.parametrize("port", ["0", "65536", "http", "-1"])
def test_what_is_no_port_is_refused(port):
    with pytest.raises(SourceError, match="expected a port"):
        Network(Places()).taker("connections", port)


def test_connections_that_a_listener_has_no_room_for_are_a_rate(stack):
    taker = Network(Places()).taker("listen.overflows", "")
    assert taker.attempt(1) == (None, None, NO_RATE)
    server = listener(stack, backlog=0)
    for _ in range(8):
        client = stack.enter_context(socket.socket())
        client.setblocking(False)
        client.connect_ex(server.getsockname())
    time.sleep(0.1)
    assert taker.attempt(2).value > 0
    assert taker.attempt(3).value is not None


def test_what_passes_an_interface_is_a_rate(stack):
    readings = Network(Places())
    names = ("in", "out", "packets-in", "packets-out", "drops-in", "drops-out")
    takers = {name: readings.taker(f"interface.{name}", "lo") for name in names}
    assert {taker.attempt(1).why for taker in takers.values()} == {NO_RATE}
    receiver = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    receiver.bind(("127.0.0.1", 0))
    sender = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    began = time.monotonic()
    for _ in range(100):
        sender.sendto(b"x" * 1000, receiver.getsockname())
    time.sleep(0.2)
    found = {name: taker.attempt(2).value for name, taker in takers.items()}
    seconds = time.monotonic() - began
    assert found["in"] * seconds >= 90_000
    assert found["out"] * seconds >= 90_000
    assert found["packets-in"] * seconds >= 90
    assert found["drops-in"] >= 0


def test_an_interface_that_is_not_there_is_unknown():
    taken = Network(Places()).taker("interface.in", "eth99").attempt(1)
    assert taken == (None, None, 'there is no interface "eth99"')


def test_connection_tracking_beside_its_most_or_unknown(tmp_path):
    net = tmp_path / "sys/net/netfilter"
    taker = Network(Places(str(tmp_path), "")).taker("conntrack", "")
    assert taker.attempt(1).why == "this host does not track connections (no nf_conntrack)"
    net.mkdir(parents=True)
    (net / "nf_conntrack_count").write_text("90\n")
    (net / "nf_conntrack_max").write_text("100\n")
    assert taker.attempt(2) == (90, 100, "")


def test_a_counter_that_the_kernel_does_not_have_is_unknown(tmp_path):
    (tmp_path / "net").mkdir()
    (tmp_path / "net/netstat").write_text("TcpExt: A B\nTcpExt: 1 2\nIpExt: C\nIpExt: 3\n")
    taken = Network(Places(str(tmp_path), "")).taker("listen.overflows", "").attempt(1)
    assert taken.why == "this kernel does not count ListenOverflows"
