"""What hosts have seen, gathered through a real engine: whole, bounded, signed, and only on the word
of who may ask."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fleet import servers
from tests.fleet.nodes import Node, ask, certificate, enrol, fleet, now, publish, run, turn
from tests.fleet.test_member_servers import cluster
from tests.unit.fleet.village import DESK, FLEET, Host, verify

from tidegate.chronicle.records import Head, Noted
from tidegate.chronicle.store import STRETCH, Chronicle
from tidegate.chronicle.stretch import Stretch
from tidegate.cli.fleet_acl import _OWN_KEYS
from tidegate.fleet import wire
from tidegate.fleet.counting import functions
from tidegate.fleet.decisions import stream
from tidegate.fleet.engine.connection import MOST, Login
from tidegate.fleet.engine.engine import Engine
from tidegate.fleet.engine.topology import Route
from tidegate.fleet.plan import planning
from tidegate.fleet.plan.gathering import Answer, gather, members
from tidegate.fleet.plan.planning import Ask, Piece, encode_ask, encode_piece, kept
from tidegate.fleet.trust.members import May, Roster
from tidegate.fleet.wire import Kind
from tidegate.model import DAY, MINUTE, SECOND, Batch, Event, Subject
from tidegate.model import Kind as EventKind

pytestmark = pytest.mark.skipif(servers.MISSING, reason="no redis-server is installed")

FAILED = EventKind("sshd.auth_failed", "abuse", 1, "sshd.failed", "sshd")
NOW = now()


def keep(state: Path, name: str, number: int) -> None:
    """So many batches of a thousand events, none of which repeats much."""
    chance = random.Random(name)
    chronicle = Chronicle(state / "events", 64 << 20, lambda at: Head(at, name))
    state.mkdir()
    chronicle.begin(NOW)
    for at in range(number):
        events = [
            Event(NOW + at * SECOND, FAILED, Subject(f"10.{chance.randrange(256)}.{one % 256}.1"),
                  1, chance.randbytes(16).hex(), one, 0, {})
            for one in range(1000)
        ]  # fmt: skip
        chronicle.note(Batch("log", 1, events), lambda _one: 0)
        list(chronicle.changes())
    chronicle.close()


def events(answer: Answer) -> int:
    records = (record for one in answer.stretches for record in Stretch(one))
    return sum(len(one.batch.events) for one in records if isinstance(one, Noted))


@contextlib.contextmanager
def turning(nodes: list[Node]) -> Iterator[None]:
    """They work on by themselves."""
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            turn(nodes)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def sealing(host: Host):
    def seal(kind: Kind, body: bytes, at: int) -> bytes:
        return host.says(kind=kind, body=body, sent=at)

    return seal


def gathered(
    server, hosts, *, asker="web1", most=64 << 20, patience=5.0, since=DAY, route=None, login=None
):
    route = route or Route("single", (server.address,))
    engine = Engine(route, login or Login(), 5.0)
    roster = members(engine, Roster(FLEET, DESK.public, verify))
    ticks: list[tuple[int, int]] = []
    answers = gather(
        engine, roster, sealing(Host(asker)), hosts, now() - since, most, patience, now,
        lambda done, of: ticks.append((done, of)),
    )  # fmt: skip
    found = {one.host: one for one in answers}
    engine.close()
    return found, ticks


def test_all_that_hosts_have_kept_comes_whole(shared_server, tmp_path):
    with fleet(shared_server, "web1", "web2", "mx1") as nodes:
        for node, number in zip(nodes, (3, 40, 0), strict=True):
            keep(tmp_path / node.name, node.name, number)
            node.member.planning.kept = kept(tmp_path / node.name)
        with turning(nodes):
            found, ticks = gathered(shared_server, ["web2", "mx1"])
        assert {name: one.left_out for name, one in found.items()} == {"web2": (), "mx1": ()}
        assert events(found["web2"]) == 40_000
        assert len(found["web2"].stretches) > 2
        assert found["mx1"].stretches == ()
        assert ticks[-1] == (2, 2)
        assert [node.member.planning.answered for node in nodes] == [0, 1, 1]
        assert ask(shared_server, "KEYS", "{tg:plan}*") == []


def test_where_there_is_little_room_the_newest_come(shared_server, tmp_path):
    with fleet(shared_server, "web1", "web2") as nodes:
        keep(tmp_path / "web2", "web2", 60)
        nodes[1].member.planning.kept = kept(tmp_path / "web2")
        with turning(nodes):
            found, _ticks = gathered(shared_server, ["web2"], most=3 * STRETCH)
        (note,) = found["web2"].left_out
        assert "older stretches found no room" in note
        records = [record for one in found["web2"].stretches for record in Stretch(one)]
        times = [one.batch.events[0].time for one in records if isinstance(one, Noted)]
        assert times[-1] == NOW + 59 * SECOND
        assert times == sorted(times)
        assert 0 < sum(map(len, found["web2"].stretches)) <= 3 * STRETCH


def test_a_host_that_is_away_is_left_out_and_said(shared_server, tmp_path):
    with fleet(shared_server, "web1", "web2", "mx1") as nodes:
        with turning(nodes[:2]):
            found, _ticks = gathered(shared_server, ["web2", "mx1"], patience=1.5)
        assert found["web2"].left_out == ()
        assert "sent nothing" in found["mx1"].left_out[0]


def test_nobody_answers_who_may_not_ask_nor_what_was_asked_long_ago(shared_server, tmp_path):
    with fleet(shared_server, "web1", "web2") as nodes:
        publish(shared_server, certificate("low", 77, May.CLAIM | May.DECIDE))
        with turning(nodes):
            time.sleep(1)
            found, _ticks = gathered(shared_server, ["web2"], asker="low", patience=1.5)
        assert found["web2"].stretches == () and found["web2"].left_out
        assert nodes[1].member.trust.refused.counts["low", "not allowed"] == 1
        old = Host("web1").says(
            kind=Kind.PLAN,
            sent=now() - 5 * MINUTE,
            body=encode_ask(Ask(bytes(16), 0, 9, ("web2",))),
        )
        assert isinstance(ask(shared_server, *planning.say(old)), bytes)
        deadline = time.monotonic() + 1
        while time.monotonic() < deadline:
            turn(nodes)
        assert nodes[1].member.planning.answered == 0


def test_the_same_question_is_answered_once(shared_server, tmp_path):
    with fleet(shared_server, "web1", "web2") as nodes:
        asked = Host("web1").says(
            kind=Kind.PLAN, sent=now(), body=encode_ask(Ask(bytes(16), 0, 9, ("web2",)))
        )
        for _ in range(3):
            ask(shared_server, *planning.say(asked))
            deadline = time.monotonic() + 0.7
            while time.monotonic() < deadline:
                turn(nodes)
        assert nodes[1].member.planning.answered == 1


def test_who_takes_nothing_does_not_fill_the_engine(shared_server, tmp_path):
    with fleet(shared_server, "web1", "web2") as nodes:
        nodes[1].member.planning.kept = lambda _since, _most: (0, iter([bytes(400 * 60_000)]))
        asked = Host("web1").says(
            kind=Kind.PLAN, sent=now(), body=encode_ask(Ask(bytes(16), 0, 99 << 20, ("web2",)))
        )
        ask(shared_server, *planning.say(asked))
        deadline = time.monotonic() + 4
        while time.monotonic() < deadline:
            turn(nodes)
        lying = ask(shared_server, "HLEN", planning.box(bytes(16)))
        assert planning.WAITING <= lying <= planning.WAITING + planning.AT_ONCE
        assert 0 < ask(shared_server, "PTTL", planning.box(bytes(16))) <= 300_000


def test_what_others_put_into_the_answers_is_passed_over(shared_server, tmp_path, monkeypatch):
    """A member that lies in another's name, a stranger, rubbish, a flood: the honest one's comes."""
    with fleet(shared_server, "web1", "web2", "bad") as nodes:
        keep(tmp_path / "web2", "web2", 30)
        nodes[1].member.planning.kept = kept(tmp_path / "web2")
        number = bytes(range(16))
        monkeypatch.setattr(
            "tidegate.fleet.plan.gathering.secrets.token_bytes", lambda _size: number
        )
        piece = Piece(number, 0, b"x" * 1000, last=True)
        bad, stranger = Host("bad"), Host("nobody")
        rows = {
            b"a": bad.says(kind=Kind.EVENTS, body=encode_piece(piece), name="web2"),
            b"b": stranger.says(kind=Kind.EVENTS, body=encode_piece(piece)),
            b"c": b"rubbish",
            b"d": bad.says(kind=Kind.EVENTS, body=b"\0" * 7),
            b"e": bad.says(kind=Kind.REPORT, body=encode_piece(piece)),
            b"f": Host("web2").says(
                kind=Kind.EVENTS, body=encode_piece(Piece(bytes(16), 0, b"", last=True))
            ),
        }
        for at in range(80):
            flood = Piece(number, at, bytes(60_000), ends=True)
            rows[b"bad:%d" % at] = bad.says(kind=Kind.EVENTS, body=encode_piece(flood))
        for field, data in rows.items():
            ask(shared_server, "HSET", planning.box(number), field, data)
        with turning(nodes):
            found, _ticks = gathered(shared_server, ["web2", "bad"], most=2 << 20)
        assert events(found["web2"]) == 30_000
        assert found["web2"].left_out == ()
        assert found["bad"].left_out == ("sent more than it was asked for",)
        assert wire.unseal(rows[b"a"], FLEET).message.host == "web2"


def test_large_values_among_what_is_kept_keep_nobody_from_asking(shared_server):
    """Whoever has the engine's password can put it there; no reply may be so large."""
    with fleet(shared_server, "web1", "web2"):
        for field in (b"large", b"larger"):
            ask(shared_server, "HSET", stream.HELD, field, bytes(MOST * 3 // 4))
        engine = Engine(Route("single", (shared_server.address,)), Login(), 5.0)
        found = members(engine, Roster(FLEET, DESK.public, verify))
        assert set(found.members) == {"web1", "web2"}
        ask(shared_server, "HDEL", stream.HELD, b"large", b"larger")
        ask(shared_server, "FUNCTION", "FLUSH")
        found = members(engine, Roster(FLEET, DESK.public, verify))
        assert set(found.members) == {"web1", "web2"}
        engine.close()


@pytest.mark.parametrize("keys", ["~{tg:*", _OWN_KEYS.format("web1")])
def test_these_rights_suffice_to_ask(shared_server, tmp_path, keys):
    least = {*planning.COMMANDS, *stream.COMMANDS}
    with fleet(shared_server, "web1", "web2") as nodes:
        keep(tmp_path / "web2", "web2", 9)
        nodes[1].member.planning.kept = kept(tmp_path / "web2")
        rights = ["resetkeys", *keys.split(), "-@all", *(f"+{word}" for word in least)]
        ask(shared_server, "ACL", "SETUSER", "tide", "on", ">any", *rights)
        try:
            with turning(nodes):
                found, _ticks = gathered(shared_server, ["web2"], login=Login("tide", "any"))
        finally:
            ask(shared_server, "ACL", "DELUSER", "tide")
        assert events(found["web2"]) == 9_000


def test_in_a_cluster(tmp_path):
    with cluster(tmp_path, 3) as (_made, seeds):
        route = Route("cluster", seeds)
        desk = Engine(route, Login(), 20)
        enrol(desk, "web1", "web2")
        nodes = [
            Node(name, None, route=route, shards=functions.SHARDS) for name in ("web1", "web2")
        ]
        try:
            run(nodes, lambda: all(node.health.state == "joined" for node in nodes), "joined", 60)
            keep(tmp_path / "web2", "web2", 30)
            nodes[1].member.planning.kept = kept(tmp_path / "web2")
            with turning(nodes):
                found, _ticks = gathered(None, ["web2"], route=route, patience=20)
        finally:
            for node in nodes:
                node.rounds.close()
            desk.close()
        assert events(found["web2"]) == 30_000
