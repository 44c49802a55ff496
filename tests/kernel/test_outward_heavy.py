"""Ordinary heavy users, with real traffic through the caps as shipped: nobody's packet is kept back."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.kernel.conftest import now
from tests.kernel.outwardworld import LAN, Make, Outside, alive, cut, gates, outside, silent

from tidegate.model import SECOND, Confined, Subject
from tidegate.policy.outward import OutwardSpec

pytestmark = pytest.mark.kernel

MAIL, RESOLVER, CRAWLER, PROXY, MONITOR = range(40, 45)
SPEC = OutwardSpec(
    uids=True, networks=(Subject("192.0.2.0/24"),), busy=(Subject("uid:40"), Subject(f"{LAN}4"))
)


@pytest.fixture
def net() -> Iterator[Outside]:
    with outside() as made:
        yield made


@pytest.fixture
def make(net: Outside) -> Iterator[Make]:
    with gates(net) as made:
        yield made


def test_a_host_full_of_heavy_users_and_a_worm_among_them(net: Outside, make: Make) -> None:
    """A mail server (named busy, as 20 connections a minute are few for one), and a resolver, a
    crawler, a proxy and a monitor as they are; on the host, and behind the router."""
    gate = make(SPEC)
    every = {  # protocol, port, who is asked
        MAIL: ("tcp", 25, alive(250)),
        RESOLVER: ("udp", 53, [*alive(120), *silent(3)]),
        CRAWLER: ("tcp", 80, alive(150, 1)),
        PROXY: ("tcp", 443, [*alive(120, 3), *silent(3, 10)]),
        MONITOR: ("tcp", 80, [*alive(30, 5), *silent(2, 20), *alive(30, 5), *silent(2, 20)]),
    }

    def use(uid: int, *, local: bool) -> int:
        protocol, port, targets = every[uid]
        where, source = (net.router, "") if local else (net.sources, f"{LAN}{uid - 36}")
        found = net.talk(
            where, protocol, port, targets, uid=uid if local else 0, source=source,
            pause=0.03, wait=3,
        )  # fmt: skip
        return len(set(targets)) - len(found)

    with ThreadPoolExecutor(11) as pool:
        local = [pool.submit(use, uid, local=True) for uid in every]
        passing = [pool.submit(use, uid, local=False) for uid in every]
        worm = pool.submit(
            net.talk, net.router, "udp", 1434, silent(200, 30), uid=99, pause=0.001, wait=0.1
        )
        worm.result()
        with net.router.inside():
            gate.confine([Confined(Subject("uid:99"), now() + 60 * SECOND, 0)], now())
        missed = [[each.result() for each in some] for some in (local, passing)]
    assert missed == [[0, 3, 0, 3, 2]] * 2, "all but the silent"
    assert {who for who, _what in cut(gate)} == {"uid:99"}
    told = {one.subject for one in gate.state(now()).confined}
    assert told == {"uid:99"}


def test_more_than_ten_at_once_are_late_not_lost(net: Outside, make: Make) -> None:
    """Forty connections within a millisecond: what finds no slot is sent again by TCP."""
    gate = make(SPEC)
    found = net.talk(net.sources, "tcp", 443, alive(40), source=f"{LAN}2", wait=10)
    assert len(found) == 40
    assert cut(gate).get((f"{LAN}2", "destinations"), 0) <= 30 * 4
