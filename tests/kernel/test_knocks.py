"""Knocks with real packets: who is closed for and tries again is noticed, once, and still dropped."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.kernel.conftest import ban, now
from tests.kernel.daemon import Daemon, until, virus
from tests.kernel.namespaces import ALIVE, ATTACKERS, ATTACKERS6, HOST, HOST6, World

from tidegate.errors import GateError
from tidegate.gate import table
from tidegate.gate.knocks import Knocks
from tidegate.gate.netfilter import Change, Netfilter
from tidegate.gate.nftables import NftablesGate, delete_table
from tidegate.gate.port import Knock, Request
from tidegate.model import Ban, Subject

pytestmark = pytest.mark.kernel

ONE, TWO, THREE, _FAR = ATTACKERS
SIX, SIX_NEXT, SIX_OTHER, _FAR6 = ATTACKERS6


@pytest.fixture
def reader(world: World, gate: NftablesGate) -> Iterator[Knocks]:
    """Who listens in the mail host."""
    with world.host.inside():
        made = Knocks()
    yield made
    made.close()


def apply(world: World, gate: NftablesGate, *requests: Request) -> None:
    with world.host.inside():
        assert gate.apply(requests, now()) == []


def attempt(world: World, source: str, port: int, host: str = HOST, times: int = 1) -> None:
    """So many connections are begun; nobody waits for what becomes of them."""
    for _turn in range(times):
        family = socket.AF_INET6 if ":" in source else socket.AF_INET
        with world.attacker.inside(), socket.socket(family, socket.SOCK_STREAM) as client:
            client.setblocking(False)
            client.bind((source, 0))
            client.connect_ex((host, port))


def heard(world: World, reader: Knocks) -> list[Knock]:
    """All knocks so far: those before the one of somebody who has not knocked yet."""
    attempt(world, THREE, 9)
    found: list[Knock] = []
    while Knock(Subject(THREE), 9) not in found:
        assert select.select([reader], [], [], ALIVE)[0]
        found += reader.read()
    # So that the next question can be asked within the minute as well.
    world.host.nft(f"delete element inet tidegate knocked4 {{ {THREE} }}")
    return found[:-1]


def test_two_hundred_attempts_are_one_knock(
    world: World, gate: NftablesGate, reader: Knocks
) -> None:
    apply(world, gate, ban(ONE, 25, 465), ban(THREE, 9))
    with world.host.listen(25), world.host.listen(80):
        attempt(world, ONE, 25, times=200)
        assert heard(world, reader) == [Knock(Subject(ONE), 25)]
        attempt(world, ONE, 465, times=5)
        assert heard(world, reader) == [], "not again within the minute"
        assert world.attacker.cut_off(HOST, 25, ONE)
        assert world.attacker.reaches(HOST, 80, ONE), "that port is not closed"
    assert reader.lost == 0
    assert "packets 0" not in world.host.run("nft", "list", "chain", "inet", "tidegate", "banned")


def test_a_minute_later_it_is_one_more(world: World, gate: NftablesGate, reader: Knocks) -> None:
    apply(world, gate, ban(ONE), ban(THREE, 9))
    attempt(world, ONE, 25)
    assert heard(world, reader) == [Knock(Subject(ONE), 25)]
    with world.host.inside():
        netfilter = Netfilter("tidegate")
    [(key, left)] = netfilter.elements("knocked4")
    netfilter.close()
    assert key == socket.inet_aton(ONE)
    assert left is not None and 50_000 < left <= 60_000
    world.host.nft("flush set inet tidegate knocked4")
    attempt(world, ONE, 25, times=3)
    assert heard(world, reader) == [Knock(Subject(ONE), 25)]


def test_ipv6_knocks_as_its_64(world: World, gate: NftablesGate, reader: Knocks) -> None:
    apply(world, gate, ban("2001:db8:1::/64"), ban(THREE, 9))
    with world.host.listen(25):
        for source in (SIX, SIX_NEXT, SIX):
            attempt(world, source, 25, HOST6)
        attempt(world, SIX_OTHER, 25, HOST6)
        assert heard(world, reader) == [Knock(Subject("2001:db8:1::/64"), 25)]
        assert world.attacker.cut_off(HOST6, 25, SIX_NEXT)


def test_datagrams_and_the_free_do_not_knock(
    world: World, gate: NftablesGate, reader: Knocks
) -> None:
    apply(world, gate, ban(ONE), ban(THREE, 9))
    with world.host.listen(25):
        world.attacker.send(HOST, 25, ONE, b"datagram")
        assert world.attacker.reaches(HOST, 25, TWO)
        assert heard(world, reader) == []


def test_established_connections_do_not_knock(world: World) -> None:
    with ExitStack() as stack:
        gate = NftablesGate(sever=None)
        stack.callback(gate.close)
        server = stack.enter_context(world.host.listen(25))
        with world.host.inside():
            gate.replace([], [], now())
            reader = Knocks()
        stack.callback(reader.close)
        client = world.attacker.connect(HOST, 25, ONE, ALIVE)
        assert client is not None
        stack.enter_context(client)
        accepted, _peer = server.accept()
        stack.enter_context(accepted)
        apply(world, gate, ban(ONE), ban(THREE, 9))
        client.sendall(b"dropped")
        assert heard(world, reader) == []
        client.close()
        assert heard(world, reader) == [], "nor does the end of one"
        assert "packets 0" not in world.host.run(
            "nft", "list", "chain", "inet", "tidegate", "banned"
        )


def test_knocks_are_no_drift(world: World, gate: NftablesGate, reader: Knocks) -> None:
    bans = [Ban(Subject(one), (), now() + 600_000_000) for one in (ONE, THREE)]
    with world.host.inside():
        gate.replace(bans, [], now())
    attempt(world, ONE, 25)
    assert heard(world, reader) == [Knock(Subject(ONE), 25)]
    world.host.nft("add table inet other")  # so that it looks at all
    with world.host.inside():
        assert not gate.drifted()
        gate.replace(bans, [], now())
        assert not gate.drifted()
        assert {found.subject for found in gate.observe(now())} == {ONE, THREE}
        attempt(world, ONE, 25)
        assert heard(world, reader) == [], "a restore in between begins no new minute"
        world.host.nft("flush chain inet tidegate dropped")
        assert gate.drifted(), "whoever takes the drop out is noticed"


def test_after_off_and_on_everything_is_as_before(
    world: World, gate: NftablesGate, reader: Knocks
) -> None:
    bans = [Ban(Subject(one), (), now() + 600_000_000) for one in (ONE, THREE)]
    with world.host.listen(25), world.host.inside():
        gate.replace(bans, [], now())
        attempt(world, ONE, 25)
        assert heard(world, reader) == [Knock(Subject(ONE), 25)]
        assert delete_table()
        assert "tidegate" not in world.host.run("nft", "list", "ruleset")
        assert world.attacker.reaches(HOST, 25, ONE)
        assert gate.drifted()
        gate.replace(bans, [], now())
        attempt(world, ONE, 25)
        assert heard(world, reader) == [Knock(Subject(ONE), 25)]
        assert world.attacker.cut_off(HOST, 25, ONE)


def test_a_full_set_still_drops(world: World, gate: NftablesGate, reader: Knocks) -> None:
    apply(world, gate, ban(ONE), ban("2001:db8:1::/64"))
    with world.host.inside():
        netfilter = Netfilter("tidegate")
    many = [(0x0A000000 + number).to_bytes(4) for number in range(65535)]
    many6 = [b"\xfd" + bytes(4) + number.to_bytes(3) + bytes(8) for number in range(65535)]
    changes = [
        Change("put", "knocked4", many, [600_000] * 65535),
        Change("put", "knocked6", many6, [600_000] * 65535),
    ]
    assert netfilter.transact(changes) == []
    netfilter.close()
    with world.host.listen(25):
        assert world.attacker.cut_off(HOST, 25, ONE)
        assert world.attacker.cut_off(HOST6, 25, SIX)
    world.host.nft("flush set inet tidegate knocked4")
    apply(world, gate, ban(THREE, 9))
    assert heard(world, reader) == []


def test_a_group_that_another_program_has(world: World, gate: NftablesGate, reader: Knocks) -> None:
    apply(world, gate, ban(ONE))
    with world.host.inside(), pytest.raises(GateError, match="another program has it"):
        Knocks()
    reader.close()
    with world.host.inside():
        again = Knocks()
    attempt(world, ONE, 25)
    assert select.select([again], [], [], ALIVE)[0]
    assert again.read() == [Knock(Subject(ONE), 25)]
    again.close()


def test_more_than_the_buffer_holds_is_counted(
    world: World, gate: NftablesGate, reader: Knocks
) -> None:
    """The rule is asked for another group that tells every packet, without the minute."""
    apply(world, gate, ban(ONE))
    world.host.nft("insert rule inet tidegate dropped tcp dport 25 log group 2003 snaplen 80")
    with world.attacker.inside(), ExitStack() as stack:
        for _turn in range(4):
            client = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_RAW, 255))
            packet = bytes([0x45]) + bytes(8) + b"\x06" + bytes(2)
            packet += socket.inet_aton(ONE) + socket.inet_aton(HOST) + b"\0\1\0\x19" + bytes(16)
            for _again in range(2000):
                client.sendto(packet, (HOST, 0))
    found: list[Knock] = []
    until("the loss", lambda: found.extend(reader.read()) or reader.lost)
    assert set(found) == {Knock(Subject(ONE), 25)}
    while fresh := reader.read():
        found += fresh
    assert len(found) + reader.lost >= 8000


def test_a_kernel_that_can_t_tell_closes_all_the_same(
    world: World, gate: NftablesGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = table.run_nft

    def lacking(text: str) -> None:
        if "log group" in text:
            raise GateError("nft refused the layout: Could not process rule: No such file")
        run(text)

    bans = [Ban(Subject(ONE), (), now() + 600_000_000)]
    monkeypatch.setattr(table, "run_nft", lacking)
    with world.host.listen(25), world.host.inside():
        world.host.nft("flush ruleset")
        for _turn in range(2):
            assert gate.replace(bans, [], now()) == []
            assert "No such file" in gate.deaf
            assert not gate.drifted()
            assert world.attacker.cut_off(HOST, 25, ONE)
        assert gate.apply([ban(TWO, 25)], now()) == []
        assert world.attacker.cut_off(HOST, 25, TWO)
        monkeypatch.undo()
        gate.replace(bans, [], now())
        assert gate.deaf == ""
        reader = Knocks()
        attempt(world, ONE, 25)
        assert select.select([reader], [], [], ALIVE)[0]
        reader.close()


# -- the whole daemon ----------------------------------------------------------------------------

SCORE = """
[rule.virus-senders]
on = { "exim.malware" = 5 }
score-at-least = 4
decay = "1/3s"
knock = 2
ban = { ports = [25] }
"""


@pytest.fixture
def daemon(world: World, public_folder: Path) -> Iterator[Callable[[], Daemon]]:
    """A daemon in the mail host."""
    with ExitStack() as stack:

        def make() -> Daemon:
            made = Daemon(public_folder, world.host, SCORE)
            stack.callback(made.close)
            return made

        yield make


def bans_of(daemon: Daemon) -> list[str]:
    return [str(row["until"]) for row in daemon.history()]


def test_a_try_of_the_banned_keeps_it_closed_for_longer(
    world: World, daemon: Callable[[], Daemon]
) -> None:
    here = daemon().start()
    with world.host.listen(25):
        here.append(virus(ONE))
        until("the ban", here.closed)
        before = here.closed()[ONE, (25,)] + time.monotonic()
        attempt(world, ONE, 25, times=20)
        until("the second decision", lambda: len(here.history()) == 2)
        after = here.closed()[ONE, (25,)] + time.monotonic()
        assert before + 2 < after <= before + 15
        first, second = here.history()
        assert second["reason"].startswith("it still tries (port 25); ")
        *lines, knock = (one["line"] for one in second["evidence"])
        assert lines == [one["line"] for one in first["evidence"]]
        assert knock == f"a new TCP connection from {ONE} to port 25, dropped"
        assert first["until"] < second["until"]
        assert here.ask("/status")["gate"]["knocks"] == 1
        assert "it still tries (port 25)" in here.verb("why", ONE).stdout
        # Tried again and again, it stays closed no longer than the ban's own length beyond it.
        for count in range(2, 8):
            world.host.nft("flush set inet tidegate knocked4")
            attempt(world, ONE, 25)
            until("it", lambda count=count: here.ask("/status")["gate"]["knocks"] == count)
        assert here.closed()[ONE, (25,)] <= 2 * 15
        assert len(here.history()) < 8
        assert world.attacker.cut_off(HOST, 25, ONE)
        assert here.ask("/status")["gate"]["repaired"] == 0
        # Quiet, it opens.
        until("the end", lambda: not here.closed())
        assert world.attacker.reaches(HOST, 25, ONE)
        until("the list", lambda: here.rows("/list") == [])  # nft says whole seconds
        assert "well again" not in here.said()


def test_where_another_program_has_the_group_bans_still_work(
    world: World, daemon: Callable[[], Daemon]
) -> None:
    with world.host.inside():
        other = Knocks()
    try:
        here = daemon().start()
        with world.host.listen(25):
            here.append(virus(ONE))
            until("the ban", here.closed)
            assert world.attacker.cut_off(HOST, 25, ONE)
        until("it is said", lambda: "another program has it" in here.said())
        assert here.verb("status").returncode == 0
        assert here.said().count("another program has it") == 1
        assert other.read() == [Knock(Subject(ONE), 25)]
        assert here.verb("off", "--config", str(here.policy)).returncode == 0
    finally:
        other.close()
