"""The outward caps with real packets: what gets out, who is held up, and who never is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

import pytest
from tests.kernel.conftest import now
from tests.kernel.outwardworld import (
    LAN,
    LAN6,
    Outside,
    alive,
    alive6,
    outside,
    silent,
    silent6,
)

from tidegate.gate.outward.nftables import NftablesOutward
from tidegate.model import SECOND, Confined, Subject
from tidegate.policy.outward import OutwardSpec, Rate

pytestmark = pytest.mark.kernel

ONE, ONE6, OTHER = f"{LAN}2", f"{LAN6}2::2", f"{LAN}3"
FAST = Rate(100_000, SECOND, 100_000)
"""Rates that are never reached, where destinations alone are looked at."""
ROUTER = OutwardSpec(
    networks=(Subject("192.0.2.0/24"), Subject("2001:db8:1::/48")),
    syn=FAST, udp=FAST, smtp=FAST, remember=5 * SECOND,
)  # fmt: skip
HOST = OutwardSpec(uids=True, syn=FAST, udp=FAST, smtp=FAST, remember=5 * SECOND)

Make = Callable[..., NftablesOutward]


@pytest.fixture
def net() -> Iterator[Outside]:
    with outside() as made:
        yield made


@pytest.fixture
def make(net: Outside) -> Iterator[Make]:
    """A gate in the router, in force."""
    with ExitStack() as stack:

        def made(spec: OutwardSpec, spared: Sequence[str] = ()) -> NftablesOutward:
            with net.router.inside():
                gate = NftablesOutward()
                stack.callback(gate.close)
                gate.govern(spec, [Subject(one) for one in spared])
                assert gate.confine([], now()) == []
            return gate

        yield made


def cut(gate: NftablesOutward) -> dict[tuple[str, str], int]:
    return {(one.subject, one.what): one.packets for one in gate.state(now()).capped}


@pytest.mark.parametrize("protocol", ["udp", "tcp"])
def test_a_scanner_gets_ten_destinations_out(net: Outside, make: Make, protocol: str) -> None:
    gate = make(ROUTER)
    net.talk(net.sources, protocol, 1434, silent(200), source=ONE)
    assert len(net.asked(ONE)) == 10
    found = cut(gate)
    assert found[ONE, "destinations"] >= 190
    # Another source is none the worse for it.
    net.talk(net.sources, protocol, 1434, silent(8), source=OTHER)
    assert len(net.asked(OTHER)) == 8
    assert (OTHER, "destinations") not in cut(gate)


def test_a_network_of_ipv6_is_one_source(net: Outside, make: Make) -> None:
    gate = make(ROUTER)
    net.talk(net.sources, "udp", 1434, silent6(100), source=ONE6)
    assert len(net.asked(ONE6)) == 10
    assert cut(gate)["2001:db8:1:2::/64", "destinations"] == 90


@pytest.mark.parametrize("protocol", ["udp", "tcp"])
def test_who_is_answered_is_never_held_up(net: Outside, make: Make, protocol: str) -> None:
    gate = make(ROUTER)
    for targets, source in ((alive(300), ONE), (alive6(100), ONE6)):
        found = net.talk(net.sources, protocol, 53, targets, source=source, pause=0.002, wait=3)
        assert len(found) == len(targets)
    assert not cut(gate)


@pytest.mark.parametrize("protocol", ["udp", "tcp"])
def test_each_user_of_the_host_has_slots_of_its_own(
    net: Outside, make: Make, protocol: str
) -> None:
    gate = make(HOST)
    net.talk(net.router, protocol, 1434, [*silent(100), *silent6(100)], uid=33)
    assert len(net.asked("203.0.113.1")) + len(net.asked("2001:db8:9::1")) == 10
    assert cut(gate)["uid:33", "destinations"] >= 190
    for targets in (alive(200), alive6(100)):
        found = net.talk(net.router, protocol, 53, targets, uid=34, pause=0.002, wait=3)
        assert len(found) == len(targets)
    assert [who for who, _what in cut(gate)] == ["uid:33"]


def test_root_and_the_busy_are_left_alone(net: Outside, make: Make) -> None:
    gate = make(OutwardSpec(uids=True, busy=(Subject("uid:33"),)))
    net.talk(net.router, "udp", 1434, silent(50))
    net.talk(net.router, "udp", 1434, silent(50, 51), uid=33)
    assert len(net.asked("203.0.113.1")) == 100
    assert not cut(gate)
    assert gate.confine([Confined(Subject("uid:33"), now() + SECOND, 0)], now())
