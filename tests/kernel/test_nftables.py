"""The table as the kernel keeps it: drift and its repair, refusals, full sets, both views alike."""

from __future__ import annotations

import errno
import ipaddress
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.kernel.conftest import allow, ban, now, unban
from tests.kernel.namespaces import ATTACKERS, HOST, Namespace, World

from tidegate.errors import GateError
from tidegate.gate import table
from tidegate.gate.book import Scope
from tidegate.gate.netfilter import Change, Fault, Netfilter
from tidegate.gate.nftables import NftablesGate
from tidegate.gate.port import Closed, Refusal
from tidegate.model import Ban, Subject
from tidegate.subject import Network

pytestmark = pytest.mark.kernel

Gates = Callable[..., NftablesGate]


def listed(space: Namespace, set_name: str) -> dict[str, int | None]:
    """The elements of a set as `nft -j list` shows them: address → milliseconds left."""
    for part in space.nft(f"list set inet tidegate {set_name}")["nftables"]:
        if "set" in part:
            return dict(map(element, part["set"].get("elem", [])))
    raise AssertionError(f"nft lists no set {set_name}")


def element(item: Any) -> tuple[str, int | None]:
    if isinstance(item, str):
        return item, None
    return item["elem"]["val"], item["elem"]["expires"]


def subjects(gate: NftablesGate) -> set[str]:
    return {found.subject for found in gate.observe(now())}


def test_both_views_are_the_same(alone: Namespace, make_gate: Gates, netfilter: Netfilter) -> None:
    gate = make_gate()
    gate.apply(
        [ban("192.0.2.7", seconds=500), ban("2001:db8::/64", 25, 465), allow("192.0.2.9")]
        + [ban(f"198.51.100.{i}", seconds=i) for i in range(100, 200)],
        now(),
    )
    for name, count in (("ban4_32", 101), ("ban6_64_25_465", 1), ("allow4_32", 1)):
        by_nft, by_netlink = listed(alone, name), netfilter.elements(name)
        assert len(by_netlink) == count + 1  # and the sentinel
        assert {str(ipaddress.ip_address(key)) for key, _left in by_netlink} == set(by_nft)
        for key, left in by_netlink:
            seconds = by_nft[str(ipaddress.ip_address(key))]
            assert (left is None) == (seconds is None)
            if left is not None and seconds is not None:
                assert abs(left / 1000 - seconds) <= 2
    assert set(netfilter.sets()) >= {"ban4_32", "ban6_64_25_465", "allow4", "allow6", "allow4_32"}


def test_the_page_shows_what_stands_in_the_kernel(alone: Namespace, make_gate: Gates) -> None:
    page = (Path(__file__).parents[2] / "docs" / "nftables.md").read_text("utf-8")
    shown = page.split("```")[1].splitlines()
    make_gate(
        [Network(4, 24, bytes([198, 51, 100, 0])), Network(6, 32, b"\x20\1\x0d\xb8" + bytes(12))]
    ).apply([ban("192.0.2.7"), ban("2001:db8::/64", 25, 465), allow("192.0.2.9")], now())
    listing = re.sub(r" packets \d+ bytes \d+", "", alone.run("nft", "-s", "list", "ruleset"))
    real = {line.strip() for line in listing.splitlines()}
    rules = [line.strip() for line in shown if line.strip() and "set " not in line]
    assert len(rules) > 15
    assert [rule for rule in rules if rule not in real] == []
    for line in shown:
        if line.strip().startswith("set "):
            name, inner = line.split("{")[0].strip(), line.split("{")[1].split("}")[0]
            assert f"{name} {{" in real
            assert {part.strip() for part in inner.split(";")} - {"…"} <= real


def test_generation_moves_with_commits_only(
    alone: Namespace, make_gate: Gates, netfilter: Netfilter
) -> None:
    gate = make_gate()
    gate.apply([ban("192.0.2.7")], now())
    before = netfilter.generation()
    assert f"generation {before}" not in alone.run("nft", "list", "ruleset")
    gate.observe(now())
    assert netfilter.generation() == before
    gate.apply([ban("192.0.2.8")], now())
    assert netfilter.generation() == before + 1
    assert not gate.drifted()


def test_observe_tells_subjects_scopes_and_ends(alone: Namespace, make_gate: Gates) -> None:
    gate = make_gate()
    requests = [ban("192.0.2.7", 25), ban("2001:db8::/64"), ban("10.0.0.0/8"), allow("192.0.2.9")]
    gate.apply(requests, now())
    observed = {(c.subject, c.ports, c.allow): c.until for c in gate.observe(now())}
    for request in requests:
        until = observed.pop((request.subject, request.ports or (), request.verb == "allow"))
        assert abs(until - request.until) < 1_000_000
    assert observed == {}


def test_flush_of_the_ruleset_is_noticed_and_repaired(world: World, gate: NftablesGate) -> None:
    bans = [Ban(Subject(ATTACKERS[0]), (), now() + 600_000_000)]
    with world.host.inside(), world.host.listen(25):
        gate.replace(bans, [], now())
        assert not gate.drifted()
        world.host.nft("flush ruleset")
        assert world.attacker.reaches(HOST, 25, ATTACKERS[0])
        assert gate.drifted()
        assert gate.replace(bans, [], now()) == []
        assert not gate.drifted()
        assert world.attacker.cut_off(HOST, 25, ATTACKERS[0])


@pytest.mark.parametrize(
    "command",
    [
        "flush ruleset",
        "delete table inet tidegate",
        "flush set inet tidegate ban4_32",
        "flush set inet tidegate allow4",
        "flush chain inet tidegate banned",
        "insert rule inet tidegate gate accept",
        "add table inet tidegate { flags dormant; }",
    ],
)
def test_drift(alone: Namespace, make_gate: Gates, command: str) -> None:
    gate = make_gate([Network(4, 24, bytes([198, 51, 100, 0]))])
    gate.apply([ban("192.0.2.7"), ban("2001:db8::/64", 25)], now())
    assert not gate.drifted()
    alone.nft(command)
    assert gate.drifted()
    assert gate.drifted(), "until somebody repairs it"
    gate.replace([Ban(Subject("192.0.2.7"), (), now() + 9_000_000)], [], now())
    assert not gate.drifted()
    assert subjects(gate) == {"192.0.2.7"}


def test_a_rule_replaced_by_another_is_drift(alone: Namespace, make_gate: Gates) -> None:
    gate = make_gate()
    gate.apply([ban("192.0.2.7")], now())
    chain = alone.nft("list chain inet tidegate banned")["nftables"]
    [handle] = [part["rule"]["handle"] for part in chain if "rule" in part]
    alone.nft(f"replace rule inet tidegate banned handle {handle} ip saddr @ban4_32 counter accept")
    assert gate.drifted()


def test_counted_packets_are_no_drift(world: World, gate: NftablesGate) -> None:
    with world.host.inside(), world.host.listen(25):
        gate.apply([ban(ATTACKERS[0])], now())
        assert world.attacker.cut_off(HOST, 25, ATTACKERS[0])
        world.host.nft("add table inet other")
        assert "packets 0" not in world.host.run(
            "nft", "list", "chain", "inet", "tidegate", "banned"
        )
        assert not gate.drifted()


def test_what_others_do_elsewhere_is_no_drift(alone: Namespace, make_gate: Gates) -> None:
    gate = make_gate()
    gate.apply([ban("192.0.2.7")], now())
    alone.nft("add table inet other")
    alone.nft("add chain inet other banned")
    assert not gate.drifted()
    gate.apply([ban("192.0.2.8"), ban("192.0.2.8", 25)], now())
    assert not gate.drifted()
    assert len(gate.observe(now())) == 3


@pytest.mark.parametrize("ports", [(), (25,)])
def test_a_ban_after_a_flush_puts_everything_back(
    alone: Namespace, make_gate: Gates, ports: tuple[int, ...]
) -> None:
    """Nobody asked for drift yet: the very next ban finds the table gone, for old sets and new."""
    gate = make_gate()
    gate.apply([ban("192.0.2.7")], now())
    alone.nft("flush ruleset")
    assert gate.apply([ban("192.0.2.8", *ports)], now()) == []
    assert subjects(gate) == {"192.0.2.7", "192.0.2.8"}
    assert not gate.drifted()


def test_a_new_owner_keeps_what_the_old_one_closed(alone: Namespace, make_gate: Gates) -> None:
    first = make_gate()
    first.apply([ban("192.0.2.7", 25), ban("2001:db8::/64"), allow("192.0.2.9")], now())
    was = first.observe(now())
    second = make_gate([Network(4, 24, bytes([198, 51, 100, 0]))])
    assert second.drifted()
    assert second.apply([ban("192.0.2.8")], now()) == []
    left = {found[:2] + found[3:] for found in second.observe(now())}
    assert left == {found[:2] + found[3:] for found in was} | {("192.0.2.8", (), False)}


def test_a_full_set_lets_the_least_time_left_go(alone: Namespace, make_gate: Gates) -> None:
    gate = make_gate(capacity=3)
    gate.apply([ban(f"192.0.2.{i}", seconds=100 * i) for i in (3, 1, 2)], now())
    assert gate.apply([ban("192.0.2.9", seconds=900)], now()) == []
    assert subjects(gate) == {"192.0.2.2", "192.0.2.3", "192.0.2.9"}
    assert gate.evicted == 1
    refusals = gate.apply([ban("192.0.2.8", seconds=800), ban("192.0.2.7", seconds=1)], now())
    assert [refusal.index for refusal in refusals] == [1]
    assert "full" in refusals[0].reason
    assert subjects(gate) == {"192.0.2.3", "192.0.2.8", "192.0.2.9"}
    assert gate.evicted == 2


def test_what_is_over_makes_room(alone: Namespace, make_gate: Gates) -> None:
    gate = make_gate(capacity=2)
    gate.apply([ban("192.0.2.1", seconds=0.2), ban("192.0.2.2")], now())
    time.sleep(0.3)
    assert gate.apply([ban("192.0.2.3", seconds=5)], now()) == []
    assert subjects(gate) == {"192.0.2.2", "192.0.2.3"}
    assert gate.evicted == 0


def test_what_is_over_is_forgotten_within_a_minute(alone: Namespace, make_gate: Gates) -> None:
    gate, moment = make_gate(), now()
    gate.apply([ban("192.0.2.1", seconds=30), ban("192.0.2.2")], moment)
    gate.apply([ban("192.0.2.3")], moment + 61_000_000)
    [held] = gate._book.sets.values()
    assert len(held) == 2
    # To the kernel the first is not over yet; asked for again, it is renewed all the same.
    assert gate.apply([ban("192.0.2.1", seconds=900)], moment + 61_000_000) == []
    assert (listed(alone, "ban4_32")["192.0.2.1"] or 0) > 700


def test_one_bad_element_leaves_the_rest(alone: Namespace, make_gate: Gates) -> None:
    gate = make_gate()
    bad = ("example.org", "192.0.2.07", "192.0.2.7/24", "0.0.0.0/0", "::ffff:192.0.2.7", "uid:0")
    requests = [ban("192.0.2.1"), *map(ban, bad), ban("192.0.2.2", 70000), ban("192.0.2.3")]
    refusals = gate.apply(requests, now())
    assert [refusal.index for refusal in refusals] == [1, 2, 3, 4, 5, 6, 7]
    assert subjects(gate) == {"192.0.2.1", "192.0.2.3"}


def test_the_kernels_refusal_of_some_leaves_the_rest(alone: Namespace, make_gate: Gates) -> None:
    """A stranger filled one set to the brim: its newcomers are refused, by name, others done."""
    gate = make_gate(capacity=4)
    gate.apply([ban("192.0.2.1"), ban("2001:db8::/64")], now())
    # 4, and 1,024 that the kernel is told of beyond; ours and the sentinel are in already.
    strangers = ", ".join(f"10.0.{i >> 8}.{i & 255} timeout 1h" for i in range(1025))
    alone.nft(f"add element inet tidegate ban4_32 {{ {strangers} }}")
    requests = [ban("192.0.2.2"), ban("2001:db8:1::/64"), ban("192.0.2.3"), ban("192.0.2.4")]
    refusals = gate.apply(requests, now())
    assert refusals == [Refusal(2, "the kernel's set is full"), Refusal(3, refusals[1].reason)]
    ours = {found for found in subjects(gate) if not found.startswith("10.")}
    assert ours == {"192.0.2.1", "192.0.2.2", "2001:db8::/64", "2001:db8:1::/64"}


def test_an_element_that_a_stranger_put_is_taken_over(alone: Namespace, make_gate: Gates) -> None:
    gate = make_gate()
    gate.apply([ban("192.0.2.1")], now())
    alone.nft("add element inet tidegate ban4_32 { 192.0.2.2 timeout 5s, 192.0.2.3 timeout 2h }")
    assert gate.apply([ban("192.0.2.2", seconds=600), ban("192.0.2.3", seconds=60)], now()) == []
    left = listed(alone, "ban4_32")
    assert (left["192.0.2.2"] or 0) > 500
    assert (left["192.0.2.3"] or 0) < 100


def test_faults_name_their_elements(
    alone: Namespace, make_gate: Gates, netfilter: Netfilter
) -> None:
    make_gate().apply([ban("192.0.2.1")], now())
    one, two, known = b"\x0a\0\0\1", b"\x0a\0\0\2", b"\xc0\0\2\1"
    transact = netfilter.transact
    assert transact([Change("create", "ban4_32", [one, known, two], [1, 1, 1])]) == [
        Fault(0, 1, 1, errno.EEXIST, False)
    ]
    assert transact([Change("put", "ban4_32", [one], [9]), Change("delete", "ban4_32", [two])]) == [
        Fault(1, 0, 1, errno.ENOENT, False)
    ]
    assert transact([Change("put", "nowhere", [one, two], [1, 1])]) == [
        Fault(0, 0, 2, errno.ENOENT, True)
    ]
    many = [number.to_bytes(4) for number in range(1, 3000)]
    assert [f.first for f in transact([Change("delete", "ban4_32", many)])] == [0, 1024, 2048]
    assert len(transact([Change("delete", "ban4_32", many)], each=1)) == 2999
    assert not netfilter.holds("ban4_32", one), "nothing of a refused transaction is done"
    assert netfilter.holds("ban4_32", known)
    assert netfilter.elements("nowhere") == []


def test_no_permission_is_said_plainly(alone: Namespace) -> None:
    script = (
        "import os, time; os.setuid(65534)\n"
        "from tidegate.errors import GateError\n"
        "from tidegate.gate.nftables import NftablesGate, delete_table\n"
        "for act in (lambda: NftablesGate().replace([], [], 0), delete_table):\n"
        "    try: act()\n"
        "    except GateError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.stdout.count("CAP_NET_ADMIN") == 2, done


def test_without_nft_the_gate_says_what_to_install(
    alone: Namespace, make_gate: Gates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda *_arguments, **_options: None)
    gate = make_gate()
    with pytest.raises(GateError, match="install the package nftables"):
        gate.apply([ban("192.0.2.1")], now())
    assert gate.drifted()
    gate.open_all()  # needs no nft


@pytest.mark.parametrize(
    "strange",
    [
        "add set inet tidegate theirs { type ipv4_addr; }",
        "add set inet tidegate ban4_24 { type ipv4_addr; flags timeout; size 7; }",
        "add set inet tidegate ban4_20_25 { type ipv4_addr; flags timeout; size 163840; }",
        "add chain inet tidegate theirs { type filter hook prerouting priority -400; }",
        "add table inet tidegate { flags dormant; }",
    ],
)
def test_a_strange_table_is_put_in_anew(
    alone: Namespace, make_gate: Gates, netfilter: Netfilter, strange: str
) -> None:
    """What does not fit goes, in nft's one transaction; what we want stands afterwards."""
    make_gate().apply([ban("192.0.2.7")], now())
    alone.nft(strange)
    gate = make_gate()
    bans = [Ban(Subject("192.0.2.8"), (), now() + 9_000_000)]
    bans.append(Ban(Subject("198.51.100.0/24"), (), now() + 9_000_000))
    assert gate.replace(bans, [], now()) == []
    assert not gate.drifted()
    assert subjects(gate) == {"192.0.2.8", "198.51.100.0/24"}
    assert "dormant" not in alone.run("nft", "list", "chain", "inet", "tidegate", "gate")
    assert set(netfilter.chains()) == {"allowed", "banned", "dropped", "gate"}
    names = {name for name in netfilter.sets() if not name.startswith("__")}
    assert names == {"allow4", "allow6", "knocked4", "knocked6", "ban4_32", "ban4_24"}


def test_a_set_refused_in_the_quick_way_comes_by_the_slow(
    alone: Namespace, make_gate: Gates, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = make_gate()
    gate.replace([], [], now())
    monkeypatch.setattr(
        Netfilter, "transact", lambda *_arguments: [Fault(0, 0, 1, errno.ENFILE, False)]
    )
    gate.replace([Ban(Subject("192.0.2.7"), (25,), now() + 9_000_000)], [], now())
    assert subjects(gate) == {"192.0.2.7"}
    assert not gate.drifted()


def test_another_allowlist_is_laid_with_the_next_change(alone: Namespace, make_gate: Gates) -> None:
    gate = make_gate()
    gate.apply([ban("192.0.2.7")], now())
    gate.allow = (Network(4, 24, bytes([198, 51, 100, 0])),)
    assert gate.drifted()
    gate.apply([ban("192.0.2.8")], now())
    assert not gate.drifted()
    assert subjects(gate) == {"192.0.2.7", "192.0.2.8"}
    assert "198.51.100.0/24" in alone.run("nft", "list", "set", "inet", "tidegate", "allow4")


def test_somebody_else_changes_something_all_the_time(
    alone: Namespace, make_gate: Gates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on, since what they change may be theirs; it says drift only if it is ours."""
    generation, turns = Netfilter.generation, [0]

    def busy(self: Netfilter) -> int:
        turns[0] += 1
        alone.nft(f"add table inet other{turns[0]}")
        return generation(self)

    gate = make_gate()
    monkeypatch.setattr(Netfilter, "generation", busy)
    assert gate.replace([Ban(Subject("192.0.2.7"), (), now() + 9_000_000)], [], now()) == []
    assert not gate.drifted()
    assert gate.apply([ban("192.0.2.8", 25)], now()) == []
    monkeypatch.undo()
    assert not gate.drifted()
    assert subjects(gate) == {"192.0.2.7", "192.0.2.8"}


@pytest.mark.parametrize(
    "change", ["flush ruleset", "insert rule inet tidegate gate counter accept"]
)
def test_a_change_in_the_very_moment_of_ours(
    alone: Namespace, make_gate: Gates, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """Between nft's transaction and our look at the layout: it is put in once more."""
    run, times = table.run_nft, [1]

    def disturbed(text: str) -> None:
        run(text)
        if times[0]:
            times[0] -= 1
            alone.nft(change)

    gate = make_gate()
    monkeypatch.setattr(table, "run_nft", disturbed)
    gate.replace([Ban(Subject("192.0.2.7"), (), now() + 9_000_000)], [], now())
    assert subjects(gate) == {"192.0.2.7"}
    times[0] = 1
    assert gate.apply([ban("192.0.2.8", 25)], now()) == []
    assert subjects(gate) == {"192.0.2.7", "192.0.2.8"}
    assert "counter" not in alone.run("nft", "list", "chain", "inet", "tidegate", "gate")


def test_hundred_thousand_put_renewed_and_taken_back(alone: Namespace, make_gate: Gates) -> None:
    gate = make_gate()
    until = now() + 900_000_000
    texts = [f"10.{i >> 16}.{i >> 8 & 255}.{i & 255}" for i in range(100_000)]
    requests = [ban(texts[0])._replace(subject=Subject(text), until=until) for text in texts]
    assert gate.apply(requests, now()) == []
    later = [request._replace(until=until + 900_000_000) for request in requests]
    assert gate.apply(later, now()) == []
    observed = gate.observe(now())
    assert {found.subject for found in observed} == set(texts)
    assert all(abs(found.until - until - 900_000_000) < 5_000_000 for found in observed)
    assert gate.apply([unban(text) for text in texts], now()) == []
    assert gate.observe(now()) == []
    assert not gate.drifted()


def test_a_long_end_is_cut(alone: Namespace, make_gate: Gates) -> None:
    gate = make_gate()
    moment = now()
    gate.apply([ban("192.0.2.1", seconds=10**9)], moment)
    [found] = gate.observe(moment)
    assert isinstance(found, Closed)
    assert found.until - moment <= 366 * 86400 * 1_000_000


def test_scope_names_are_ours(alone: Namespace, make_gate: Gates) -> None:
    """The longest name there can be is one that the kernel takes, and it is read back."""
    ports = tuple(range(65000, 65040))
    gate = make_gate()
    assert gate.apply([ban("2001:db8::1", *ports)], now()) == []
    [found] = gate.observe(now())
    assert found.ports == ports
    assert len(Scope("ban", 6, 128, ports).name) <= 255
