"""Who is cut off, watched and let back, with real packets; and a table that outlives its owner."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

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
)

from tidegate.errors import GateError
from tidegate.gate.nftables import NftablesGate, delete_table
from tidegate.gate.outward.nftables import NftablesOutward
from tidegate.model import HOUR, SECOND, Ban, Confined, Subject
from tidegate.policy.outward import Filter, OutwardSpec, Rate

pytestmark = pytest.mark.kernel

SOURCE = Path(__file__).resolve().parents[2] / "src"
ONE, ONE6, OTHER = f"{LAN}2", f"{LAN6}2::2", f"{LAN}3"
SPEC = OutwardSpec(
    uids=True, networks=(Subject("192.0.2.0/25"), Subject("2001:db8:1::/48")),
    customers=(Subject("192.0.2.128/25"),), interfaces=("lan0",),
    busy=(Subject(f"{LAN}9"), Subject("uid:40")), filters=(Filter("worm", "udp", 1434, 404),),
)  # fmt: skip
USER, NET6 = Subject("uid:33"), Subject("2001:db8:1:2::/64")

SERVE = """
import socket
server = socket.create_server(("::", 8080), family=socket.AF_INET6, dualstack_ipv6=True)
print("ready", flush=True)
while True:
    one = server.accept()[0]
    one.recv(100)
    one.sendall(b"x" * 100000)
    one.close()
"""

FETCH = """
import socket, sys
one = socket.create_connection((sys.argv[1], 8080), 5)
one.settimeout(5)
one.sendall(b"GET")
size = 0
while data := one.recv(65536):
    size += len(data)
print(size)
"""

HOLD = """
import socket, sys
one = socket.create_connection((sys.argv[1], 9000), 5, (sys.argv[2], 0) if sys.argv[2] else None)
print("ready", flush=True)
for line in sys.stdin:
    one.sendall(b"x")
    print("sent", flush=True)
"""

TAKE = """
import socket
server = socket.create_server(("0.0.0.0", 9000))
print("ready", flush=True)
one = server.accept()[0]
while one.recv(100):
    print("got", flush=True)
"""


@pytest.fixture
def net() -> Iterator[Outside]:
    with outside() as made:
        yield made


@pytest.fixture
def make(net: Outside) -> Iterator[Make]:
    with gates(net) as made:
        yield made


def until(seconds: float) -> int:
    return now() + int(seconds * SECOND)


def reached(net: Outside, source: str = "", uid: int = 0) -> int:
    """How many of one that answers by TCP, one by UDP, in both families."""
    where = net.sources if source else net.router
    targets = (alive(1), alive6(1)) if not source else (alive6(1) if ":" in source else alive(1),)
    return sum(
        len(net.talk(where, protocol, 53, each, source=source, uid=uid, wait=0.4))
        for protocol in ("tcp", "udp")
        for each in targets
    )


def test_who_is_cut_off_and_who_is_not(net: Outside, make: Make) -> None:
    gate = make(SPEC)
    assert (reached(net, ONE), reached(net, ONE6), reached(net, uid=33)) == (2, 2, 4)
    confined = [Confined(one, until(60), 0) for one in (Subject(ONE), NET6, USER)]
    with net.router.inside():
        assert gate.confine(confined, now()) == []
    assert (reached(net, ONE), reached(net, ONE6), reached(net, uid=33)) == (0, 0, 0)
    assert (reached(net, OTHER), reached(net, uid=34), reached(net)) == (2, 4, 4)
    found = {one.subject: one.until for one in gate.state(now()).confined}
    assert found.keys() == {one.subject for one in confined}
    assert all(0 < end - now() <= 60 * SECOND for end in found.values())
    assert {who for who, what in cut(gate) if what == "quarantine"} == set(found)
    with net.router.inside():
        assert gate.confine(confined[1:], now()) == []
    assert (reached(net, ONE), reached(net, ONE6), reached(net, uid=33)) == (2, 0, 0)


def test_a_server_that_is_cut_off_still_answers(net: Outside, make: Make) -> None:
    gate = make(SPEC)
    for where, uid in ((net.router, 33), (net.sources, 0)):
        assert net.start(where, SERVE, uid=uid).stdout.readline() == "ready\n"
    with net.router.inside():
        subjects = (USER, Subject(ONE), NET6, Subject("interface:lan0"))
        assert gate.confine([Confined(one, until(60), 0) for one in subjects], now()) == []
    assert (reached(net, ONE), reached(net, ONE6), reached(net, uid=33)) == (0, 0, 0)
    for target in ("203.0.113.1", "2001:db8:9::1", ONE, ONE6):
        out = net.start(net.world, FETCH, target).communicate(timeout=30)[0]
        assert out == "100000\n"
    loop = net.start(net.router, FETCH, "127.0.0.1", uid=33).communicate(timeout=30)[0]
    assert loop == "100000\n"


@pytest.mark.parametrize("uid", [0, 33])
def test_what_they_had_open_is_cut_as_well(net: Outside, make: Make, uid: int) -> None:
    gate = make(SPEC)
    take = net.start(net.world, TAKE)
    assert take.stdout.readline() == "ready\n"
    hold = net.start(
        net.router if uid else net.sources, HOLD, "203.0.113.2", "" if uid else ONE, uid=uid
    )
    assert hold.stdout.readline() == "ready\n"
    hold.stdin.write("\n")
    hold.stdin.flush()
    assert take.stdout.readline() == "got\n"
    with net.router.inside():
        gate.confine([Confined(USER if uid else Subject(ONE), until(2), 0)], now())
    hold.stdin.write("\n")
    hold.stdin.flush()
    assert hold.stdout.readline() == hold.stdout.readline() == "sent\n"
    assert not select.select([take.stdout], [], [], 1)[0]
    assert take.stdout.readline() == "got\n"  # once it is over, by TCP's own repeating


def test_the_spared_pass_whatever_is_cut_off(net: Outside, make: Make) -> None:
    gate = make(SPEC, [f"{LAN}7"])
    with net.router.inside():
        subjects = map(Subject, ("uid:0", "uid:40", f"{LAN}9", f"{LAN}7", "203.0.113.9", "uid:033",
                                 "interface:wan0", "192.0.2.0/24", "2001:db8:1::/48"))  # fmt: skip
        refused = gate.confine([Confined(one, until(60), 0) for one in subjects], now())
        assert [one.index for one in refused] == list(range(9))
        # A spared address inside what is cut off as a whole.
        assert not gate.confine([Confined(Subject("interface:lan0"), until(60), 0)], now())
    assert (reached(net, ONE), reached(net, f"{LAN}9"), reached(net, f"{LAN}7")) == (0, 2, 2)


def test_on_probation_the_caps_are_tighter(net: Outside, make: Make) -> None:
    spec = OutwardSpec(
        uids=True, networks=(Subject("192.0.2.0/24"),), udp=Rate(1, SECOND, 50),
        syn=Rate(100, SECOND, 1000),
    )  # fmt: skip
    gate = make(spec)
    with net.router.inside():
        watched = [Confined(Subject(ONE), until(1), until(60)), Confined(USER, 0, until(60))]
        assert gate.confine(watched, now()) == []
    assert reached(net, ONE) == 0
    time.sleep(1.2)
    assert reached(net, ONE) == 2
    net.talk(net.sources, "tcp", 1434, silent(60), source=ONE)
    net.talk(net.router, "tcp", 1434, silent(60), uid=33)
    net.talk(net.sources, "tcp", 1434, silent(60), source=OTHER)
    assert [len(net.asked(one)) for one in (ONE, "203.0.113.1", OTHER)] == [3, 3, 10]
    net.talk(net.router, "udp", 53, alive(1) * 100, uid=33)
    assert cut(gate)["uid:33", "udp"] >= 90 - 5
    [one, user] = sorted(gate.state(now()).confined)
    assert (one.until, user.until) == (0, 0)
    assert one.watched > now() and user.watched > now()


OWNER = """
import sys, time
from tidegate.gate.outward.nftables import NftablesOutward
from tidegate.model import SECOND, Confined
from tidegate.policy.outward import OutwardSpec
gate = NftablesOutward()
gate.govern(OutwardSpec(uids=True, networks=("192.0.2.0/24",)), [])
now = time.time_ns() // 1000
gate.confine([Confined("192.0.2.3", now + 4 * SECOND, now + 900 * SECOND)], now)
print("ready", flush=True)
time.sleep(600)
"""


def test_it_all_works_and_ends_with_the_owner_killed(net: Outside) -> None:
    with net.router.inside():
        owner = subprocess.Popen(
            [sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
        )  # fmt: skip
    assert owner.stdout is not None
    with owner, owner.stdout:
        assert owner.stdout.readline() == "ready\n"
        began = time.monotonic()
        owner.send_signal(signal.SIGKILL)
        owner.wait(10)
    assert reached(net, OTHER) == 0
    net.talk(net.sources, "udp", 1434, silent(200), source=ONE)
    net.talk(net.router, "udp", 1434, silent(200), uid=33)
    assert len(net.asked(ONE)) == len(net.asked("203.0.113.1")) == 10
    time.sleep(max(0, began + 4.2 - time.monotonic()))
    assert reached(net, OTHER) == 2
    net.talk(net.sources, "udp", 1434, silent(200), source=OTHER)
    assert len(net.asked(OTHER)) == 3, "still on probation"


def test_a_new_owner_keeps_what_the_kernel_remembers(net: Outside, make: Make) -> None:
    """Neither slots nor destinations that answered are forgotten at a restart, nor by a reload
    that changes numbers alone."""
    make(SPEC)
    net.talk(net.sources, "udp", 53, alive(20), source=ONE, pause=0.002)
    net.talk(net.sources, "udp", 1434, silent(50), source=ONE)
    for spec in (SPEC, replace(SPEC, syn=Rate(7, SECOND, 9))):
        again = make(spec)
        net.talk(net.sources, "udp", 1434, silent(50, 60), source=ONE)
        assert len(net.asked(ONE)) == 10
        # Its slots are taken, but with those it is not new.
        assert len(net.talk(net.sources, "udp", 53, alive(20), source=ONE, pause=0.002)) == 20
    assert cut(again)[ONE, "destinations"] == 40 + 50 + 50


def test_another_policy_leaves_nothing_of_the_former(net: Outside, make: Make) -> None:
    gate = make(SPEC)
    with net.router.inside():
        gate.govern(OutwardSpec(uids=True, irc=False), [])
        assert gate.confine([Confined(USER, until(60), 0)], now()) == []
        listed = net.router.run("nft", "list", "table", "inet", "tidegate_outward")
        assert "lan0" not in listed and "worm" not in listed
        gate.govern(None, [])
        assert gate.confine([Confined(USER, until(60), 0)], now()) == []
    assert "tidegate_outward" not in net.router.run("nft", "list", "tables")
    assert "no [outward]" in gate.state(now()).why
    assert not gate.drifted()


@pytest.mark.parametrize(
    "command",
    [
        "flush ruleset",
        "delete table inet tidegate_outward",
        "flush set inet tidegate_outward cut_uid",
        "flush set inet tidegate_outward free4",
        "flush chain inet tidegate_outward ask_uid4",
        "add rule inet tidegate_outward leaving accept",
        "add table inet tidegate_outward { flags dormant; }",
    ],
)
def test_what_somebody_changes_is_put_back(net: Outside, make: Make, command: str) -> None:
    gate = make(SPEC)
    confined = [Confined(USER, until(60), 0)]
    with net.router.inside():
        gate.confine(confined, now())
        assert not gate.drifted()
        net.router.run("nft", command)
        deadline = time.monotonic() + 30
        while not gate.drifted() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert gate.drifted()
        assert gate.confine(confined, now()) == []
        assert not gate.drifted()
    assert reached(net, uid=33) == 0
    net.talk(net.router, "udp", 1434, silent(50), uid=34)
    assert len(net.asked("203.0.113.1")) == 10


def test_our_own_bans_are_no_drift(net: Outside, make: Make) -> None:
    with net.router.inside():
        gate, bans = make(SPEC), NftablesGate()
        try:
            bans.replace([Ban(Subject("198.18.9.9"), (), until(60))], [], now())
            gate.confine([Confined(USER, until(60), 0)], now())
            assert not bans.drifted()
            bans.replace([], [], now())
            time.sleep(5.1)
            assert not gate.drifted()
        finally:
            bans.close()


def test_off_deletes_both_tables(net: Outside, make: Make) -> None:
    gate = make(SPEC)
    with net.router.inside():
        bans = NftablesGate()
        try:
            bans.replace([], [], now())
            gate.confine([Confined(USER, until(60), 0)], now())
            assert reached(net, uid=33) == 0
            assert delete_table()
            assert "tidegate" not in net.router.run("nft", "list", "tables")
            assert not delete_table()
        finally:
            bans.close()
    assert reached(net, uid=33) == 4


@pytest.mark.parametrize(
    ("word", "named"),
    [("ct direction", "connection tracking"), ("jhash", "hashes"), ("log prefix", "NFLOG")],
)
def test_a_kernel_that_lacks_something(net: Outside, word: str, named: str) -> None:
    """One line that says what, nothing half applied, and not asked for again every second."""
    asked = []

    def refuse(text: str) -> None:
        asked.append(text)
        line = next(number for number, each in enumerate(text.splitlines(), 1) if word in each)
        raise GateError(
            f"nft refused the layout: /dev/stdin:{line}:1-9: Error: Could not process rule: "
            "No such file or directory"
        )

    with net.router.inside():
        gate = NftablesOutward(put_in=refuse)
        try:
            gate.govern(SPEC, [])
            for _turn in range(3):
                with pytest.raises(
                    GateError, match=f"nothing is capped: the kernel lacks .*{named}"
                ):
                    gate.confine([], now())
            assert len(asked) == 2  # over what stands, then whole
            why = gate.state(now()).why
            assert named in why and "\n" not in why
            assert not gate.drifted()
            assert "tidegate_outward" not in net.router.run("nft", "list", "tables")
        finally:
            gate.close()


def test_an_end_too_far_ahead_is_refused(net: Outside, make: Make) -> None:
    gate = make(SPEC)
    with net.router.inside():
        [refused] = gate.confine([Confined(USER, now() + 366 * 24 * HOUR * 2, 0)], now())
    assert "later than is permitted" in refused.reason
