"""Ten thousand sources at once: each has its caps, and what is told of them fits a frame."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.kernel.conftest import now
from tests.kernel.outwardworld import Make, Outside, cut, gates, outside

from tidegate.frames import encode
from tidegate.gate.outward.port import MOST, MOST_TOLD
from tidegate.model import SECOND, Confined, Subject
from tidegate.policy.outward import OutwardSpec

pytestmark = pytest.mark.kernel

MANY = """
import ipaddress, socket, sys
first, many, each = int(ipaddress.ip_address(sys.argv[1])), int(sys.argv[2]), int(sys.argv[3])
for number in range(many):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.setsockopt(socket.IPPROTO_IP, 15, 1)  # IP_FREEBIND
        one.bind((str(ipaddress.ip_address(first + number)), 0))
        for last in range(1, each + 1):
            one.sendto(b"x" * 20, (f"198.51.100.{last}", 1434))
"""


HELD = "list set inet tidegate_outward held_a4"


@pytest.fixture
def net() -> Iterator[Outside]:
    with outside() as made:
        yield made


@pytest.fixture
def make(net: Outside) -> Iterator[Make]:
    with gates(net) as made:
        yield made


def test_each_of_ten_thousand_has_its_own(net: Outside, make: Make) -> None:
    net.sources.ip("route", "add", "local", "10.0.0.0/8", "dev", "lo")
    net.router.ip("route", "add", "10.0.0.0/8", "via", "192.0.2.2")
    net.world.nft("insert rule inet see in ip saddr 10.0.0.0/8 ip daddr 198.51.100.0/24 counter")
    gate = make(OutwardSpec(networks=(Subject("10.0.0.0/8"),), remember=120 * SECOND))
    net.start(net.sources, MANY, "10.1.0.1", "10000", "12").wait(120)
    first = net.world.nft("list chain inet see in")["nftables"][2]["rule"]["expr"]
    [came] = [part["counter"]["packets"] for part in first if "counter" in part]
    # While a set of the kernel's grows, for some milliseconds, it takes nobody in.
    assert 99_000 <= came <= 100_100
    assert MOST_TOLD < MOST <= len(net.router.nft(HELD)["nftables"][1]["set"]["elem"])
    state = gate.state(now())
    assert len(state.capped) == MOST_TOLD
    assert {(one.what, one.packets) for one in state.capped} == {("destinations", 2)}
    assert len(encode({"type": "done", "outward": state})) < 1 << 20
    # And as many as may be are cut off at once.
    wanted = [
        Confined(Subject(f"10.{number >> 8 & 255}.{number & 255}.1"), now() + 60 * SECOND, 0)
        for number in range(MOST + 1)
    ]
    with net.router.inside():
        [refused] = gate.confine(wanted, now())
        assert refused.index == MOST
        assert gate.confine(wanted[:MOST], now()) == []
    found = gate.state(now()).confined
    assert len(found) == MOST
    assert len(cut(gate)) == MOST_TOLD
