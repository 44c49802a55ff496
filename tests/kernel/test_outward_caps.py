"""The outward caps with real packets: what gets out, who is held up, and who never is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from tests.kernel.conftest import now
from tests.kernel.outwardworld import (
    LAN,
    LAN6,
    Make,
    Outside,
    alive,
    alive6,
    cut,
    gates,
    outside,
    silent,
    silent6,
)

from tidegate.model import SECOND, Confined, Subject
from tidegate.policy.outward import Filter, OutwardSpec, Rate
from tidegate.source.traffic.nflog import Nflog

pytestmark = pytest.mark.kernel


@pytest.fixture
def net() -> Iterator[Outside]:
    with outside() as made:
        yield made


@pytest.fixture
def make(net: Outside) -> Iterator[Make]:
    with gates(net) as made:
        yield made


ONE, ONE6, OTHER = f"{LAN}2", f"{LAN6}2::2", f"{LAN}3"
FAST = Rate(100_000, SECOND, 100_000)
"""Rates that are never reached, where destinations alone are looked at."""
ROUTER = OutwardSpec(
    networks=(Subject("192.0.2.0/24"), Subject("2001:db8:1::/48")),
    syn=FAST, udp=FAST, smtp=FAST, remember=5 * SECOND,
)  # fmt: skip
LATE = """
import socket, sys
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
one.bind(("203.0.113.2", 4000))
print("ready", flush=True)
data, peer = one.recvfrom(100)
sys.stdin.readline()
one.sendto(data, peer)
print("said", flush=True)
"""
"""Answers when it is told to."""

PING = """
import socket, struct, sys, time
answered = 0
for target in sys.argv[1:]:
    six = ":" in target
    one = socket.socket(
        socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM,
        socket.IPPROTO_ICMPV6 if six else socket.IPPROTO_ICMP,
    )
    one.settimeout(0.5 if target.startswith(("198.18", "2001")) else 0.01)
    try:
        one.sendto(struct.pack(">BBHHH", 128 if six else 8, 0, 0, 0, 1), (target, 0))
        one.recv(100)
        answered += 1
    except OSError:
        pass
print(answered)
"""

SPEAK = """
import socket, sys
one = socket.create_connection((sys.argv[1], 443), 5, (sys.argv[3], 0))
try:
    one.sendall(sys.argv[2].encode())
except OSError:
    pass
"""

HOST = OutwardSpec(uids=True, syn=FAST, udp=FAST, smtp=FAST, remember=5 * SECOND)


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


@pytest.mark.parametrize("destinations", [1, 2, 64])
def test_any_number_of_slots(net: Outside, make: Make, destinations: int) -> None:
    make(replace(ROUTER, uids=True, destinations=destinations))
    net.talk(net.sources, "udp", 1434, silent(200), source=ONE)
    net.talk(net.router, "udp", 1434, silent(200), uid=33)
    assert len(net.asked(ONE)) == len(net.asked("203.0.113.1")) == destinations
    for port in (53, 80):
        net.talk(net.sources, "udp", port, alive(30), source=OTHER, pause=0.005)
    assert len(net.talk(net.sources, "tcp", 80, alive(30), source=OTHER, pause=0.005)) == 30


def test_root_and_the_busy_are_left_alone(net: Outside, make: Make) -> None:
    gate = make(OutwardSpec(uids=True, busy=(Subject("uid:33"),)))
    net.talk(net.router, "udp", 1434, silent(50))
    net.talk(net.router, "udp", 1434, silent(50, 51), uid=33)
    assert len(net.asked("203.0.113.1")) == 100
    assert not cut(gate)
    assert gate.confine([Confined(Subject("uid:33"), now() + SECOND, 0)], now())


def test_a_destination_that_answers_gives_its_slot_back(net: Outside, make: Make) -> None:
    """Ten that are silent take every slot; one that answers late frees one for the next."""
    gate = make(ROUTER)
    late = net.start(net.world, LATE)
    assert late.stdout.readline() == "ready\n"
    net.talk(net.sources, "udp", 4000, ["203.0.113.2"], source=ONE, wait=0)
    net.talk(net.sources, "udp", 1434, silent(30), source=ONE)
    assert len(net.asked(ONE)) == 9
    net.world.nft("add table inet done")  # whatever: the world goes on
    late.stdin.write("now\n")
    late.stdin.flush()
    assert late.stdout.readline() == "said\n"
    net.talk(net.sources, "udp", 1434, silent(30, 40), source=ONE)
    assert len(net.asked(ONE)) == 10
    assert cut(gate)[ONE, "destinations"] == 21 + 29


def test_slots_are_free_again_after_a_while(net: Outside, make: Make) -> None:
    make(ROUTER)
    net.talk(net.sources, "udp", 1434, silent(30), source=ONE)
    assert len(net.asked(ONE)) == 10
    time.sleep(ROUTER.remember / SECOND + 0.5)
    net.talk(net.sources, "udp", 1434, silent(30, 40), source=ONE)
    assert len(net.asked(ONE)) == 20


def test_a_refusal_is_no_answer(net: Outside, make: Make) -> None:
    """A reset, or "port unreachable", shows a host but no service: scanners get many of these."""
    gate = make(ROUTER)
    for protocol, targets in (("tcp", alive(30)), ("udp", alive(30, 4))):
        net.talk(net.sources, protocol, 4999, targets, source=ONE)
    assert cut(gate)[ONE, "destinations"] >= 20 + 30


@pytest.mark.parametrize("uid", [None, 33])
def test_a_ping_that_is_answered_frees_its_slot(net: Outside, make: Make, uid: int | None) -> None:
    gate = make(HOST if uid else ROUTER)
    where = net.router if uid else net.sources
    where.run("sysctl", "-qw", "net.ipv4.ping_group_range=0 65535")
    for targets in (alive(40), alive6(40)):
        out = net.start(where, PING, *targets, uid=uid or 0).communicate(timeout=60)[0]
        assert out.strip() == "40"
    assert not cut(gate)
    net.start(where, PING, *silent(40), uid=uid or 0).communicate(timeout=60)
    asked = net.asked("203.0.113.1" if uid else f"{LAN}2")
    assert len(asked) == 10


def test_a_source_is_its_customer_first_and_its_interface_last(net: Outside, make: Make) -> None:
    gate = make(
        OutwardSpec(
            customers=(Subject("192.0.2.4/30"),), networks=(Subject("192.0.2.8/30"),),
            interfaces=("lan0",), syn=FAST, udp=FAST, smtp=FAST,
        )
    )  # fmt: skip
    found = net.talk(net.sources, "tcp", 443, alive6(60), source=ONE6, pause=0.002, wait=3)
    assert len(found) == 60
    for last in (4, 5, 8, 9, 2, 3):
        net.talk(net.sources, "udp", 1434, silent(25, 25 * last), source=f"{LAN}{last}")
    assert len(net.asked(f"{LAN}4")) + len(net.asked(f"{LAN}5")) == 10
    assert len(net.asked(f"{LAN}8")) == len(net.asked(f"{LAN}9")) == 10
    assert len(net.asked(f"{LAN}2")) + len(net.asked(f"{LAN}3")) == 10
    assert set(cut(gate)) == {
        ("192.0.2.4/30", "destinations"), (f"{LAN}8", "destinations"),
        (f"{LAN}9", "destinations"), ("interface:lan0", "destinations"),
    }  # fmt: skip


def test_rates_are_kept_for_each_source(net: Outside, make: Make) -> None:
    gate = make(
        OutwardSpec(
            uids=True, networks=(Subject("192.0.2.0/24"),), remember=60 * SECOND,
            syn=Rate(1, SECOND, 20), udp=Rate(1, SECOND, 30), smtp=Rate(1, 60 * SECOND, 5),
        )
    )  # fmt: skip
    one = silent(1)
    net.talk(net.sources, "udp", 1434, one * 200, source=ONE)
    assert 30 <= sum(net.asked(ONE).values()) <= 40
    assert cut(gate)[ONE, "udp"] >= 160
    found = net.talk(net.sources, "tcp", 25, alive(20), source=OTHER, pause=0.01, wait=0.5)
    assert 5 <= len(found) <= 6
    found = net.talk(net.sources, "tcp", 80, alive(40, 4), source=OTHER, pause=0.002, wait=0.5)
    assert 14 <= len(found) <= 25
    assert {what for who, what in cut(gate) if who == OTHER} == {"smtp", "syn"}
    net.talk(net.router, "udp", 1434, one * 200, uid=33)
    assert cut(gate)["uid:33", "udp"] >= 160


def test_what_is_only_observed_gets_out_and_is_counted(net: Outside, make: Make) -> None:
    gate = make(
        OutwardSpec(
            mode="observe", uids=True, networks=(Subject("192.0.2.0/24"),),
            udp=Rate(1, SECOND, 30),
            filters=(Filter("worm", "udp", 1434, 48),),
        )
    )  # fmt: skip
    net.talk(net.sources, "udp", 1434, silent(100), source=ONE)
    assert len(net.asked(ONE)) == 100
    found = cut(gate)
    assert found[ONE, "destinations"] == 90
    assert found[ONE, "udp"] >= 60
    [worm] = gate.state(now()).filtered
    assert (worm.name, worm.packets, worm.bytes) == ("worm", 100, 4800)
    with net.router.inside():
        assert not gate.confine([Confined(Subject(ONE), now() + 60 * SECOND, 0)], now())
    assert net.talk(net.sources, "tcp", 80, alive(1), source=ONE) == alive(1)
    assert cut(gate)[ONE, "quarantine"] >= 1


def test_filters_drop_in_both_directions(net: Outside, make: Make) -> None:
    gate = make(OutwardSpec(filters=(Filter("worm", "udp", 53, 48), Filter("any", "tcp", 25))))
    for where, source in ((net.sources, ONE), (net.router, "")):
        assert not net.talk(where, "udp", 53, alive(2), source=source, wait=0.4)
        assert not net.talk(where, "tcp", 25, alive(2), source=source, wait=0.4)
        assert len(net.talk(where, "tcp", 80, alive(2), source=source)) == 2
    assert net.talk(net.router, "udp", 53, ["127.0.0.1"]) == []  # nobody listens; but see below
    found = {one.name: one.packets for one in gate.state(now()).filtered}
    assert found["worm"] == 4
    assert found["any"] >= 4
    net.talk(net.world, "udp", 53, [f"{LAN}2"])  # inwards
    assert gate.state(now()).filtered[0].packets == 5


def test_who_is_cut_is_told_with_the_cap_that_did_it(net: Outside, make: Make) -> None:
    make(
        OutwardSpec(
            uids=True, networks=(Subject("192.0.2.0/24"),), syn=FAST, udp=FAST,
            filters=(Filter("worm", "udp", 53, 48),),
        )
    )  # fmt: skip
    with net.router.inside():
        log = Nflog()
    try:
        net.talk(net.sources, "udp", 1434, silent(300), source=ONE)
        net.talk(net.router, "tcp", 1434, silent(300), uid=33)
        net.talk(net.router, "udp", 53, alive(1), uid=33)
        net.start(net.sources, SPEAK, *alive(1), "NICK bot-1\r\n", OTHER).wait(20)
        net.start(net.router, SPEAK, *alive(1), "JOIN #x\r\n", "", uid=34).wait(20)
        time.sleep(0.3)
        told = log.read()
    finally:
        log.close()
    found = {(one.prefix, one.hook, one.uid) for one in told}
    assert found == {
        ("tg:destinations", 2, None), ("tg:destinations", 3, 33), ("tg:filter worm", 3, 33),
        ("tg:irc", 2, None), ("tg:irc", 3, 34),
    }  # fmt: skip
    scans = [one for one in told if one.prefix == "tg:destinations" and one.hook == 2]
    assert 10 <= len(scans) <= 20  # a burst, then five a second, of 290
    assert scans[0].packet[12:16] == bytes([192, 0, 2, 2])
