"""Where the fleet's engine is: by addresses of the policy at once, by names as soon as may be."""

from __future__ import annotations

import socket
import threading

from tidegate.daemon import engines
from tidegate.daemon.engines import ENGINE, Engines, hosts_of
from tidegate.policy.fleet import FleetSpec


def spec(*addresses: str) -> FleetSpec:
    return FleetSpec(addresses)


def test_addresses_are_known_at_once_and_sockets_are_nowhere():
    found = Engines(spec("redis://192.0.2.9:6379", "rediss://[2001:db8::5]", "unix:/run/r.sock"))
    assert found.protected() == [("192.0.2.9", ENGINE), ("2001:db8::5", ENGINE)]
    assert Engines(None).protected() == []


def test_what_is_no_address_is_left_to_whoever_connects():
    assert hosts_of(spec("redis://[::1", "redis://", "nonsense")) == []


def test_names_are_looked_up_beside_the_work(monkeypatch):
    asked, answer = threading.Event(), threading.Event()

    def look_up(name, _port, **_more):
        asked.set()
        assert answer.wait(20)
        if name == "gone.example":
            raise socket.gaierror(name)
        return [(2, 1, 6, "", ("192.0.2.7", 0)), (10, 1, 6, "", ("2001:db8::7", 0, 0, 0))] * 2

    monkeypatch.setattr(engines.socket, "getaddrinfo", look_up)
    found = Engines(spec("redis://gone.example", "redis://db1.example:1", "redis://192.0.2.9"))
    assert asked.wait(20)
    assert found.protected() == [("192.0.2.9", ENGINE)]
    answer.set()
    for thread in threading.enumerate():
        if thread.name == "engines":
            thread.join(20)
    assert [one for one, _why in found.protected()] == ["192.0.2.9", "192.0.2.7", "2001:db8::7"]
