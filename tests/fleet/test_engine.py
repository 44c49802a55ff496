"""Whoever leads: sentinels that promote a replica, and a cluster whose slots move."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.fleet.servers import Server, server
from tests.fleet.test_connection import free_port

from tidegate.errors import FleetError
from tidegate.fleet.counting import functions
from tidegate.fleet.counting.functions import Answer, Command, Form, Hit, Sum, Terms
from tidegate.fleet.engine import topology
from tidegate.fleet.engine.connection import Address, Login, Refused, connect
from tidegate.fleet.engine.engine import Engine
from tidegate.fleet.engine.topology import Route
from tidegate.model import MINUTE, Subject

TERMS = Terms(Form.WINDOW, b"just two", 2, MINUTE)


def until(reached: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 120
    while not reached():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def folder(tmp_path: Path, name: str) -> Path:
    made = tmp_path / name
    made.mkdir()
    return made


def command(counter: int, subject: str, shards: int) -> tuple[str, Command]:
    """What to ask, and the key that says whom."""
    found, now = Subject(subject), time.time_ns() // 1000
    shard = functions.shard_of(found, shards)
    one = Sum(TERMS, found, (Hit(now, functions.place_of("log", counter)),))
    asked = functions.count_command("web1", shard, (1, counter), 0, now, [one])
    return functions.record_key("web1", shard), asked


def count(engine: Engine, counter: int, subject: str = "192.0.2.7", shards: int = 1) -> Answer:
    key, asked = command(counter, subject, shards)
    return functions.read_answer(engine.call(key, [asked])[0])


def test_sentinels_say_who_leads_and_who_leads_next(tmp_path: Path) -> None:
    first, second, watch = free_port(), free_port(), free_port()
    config = folder(tmp_path, "c") / "sentinel.conf"
    config.write_text(
        f"port {watch}\nbind 127.0.0.1\nsentinel monitor tide 127.0.0.1 {first} 1\n"
        "sentinel down-after-milliseconds tide 500\nsentinel failover-timeout tide 5000\n"
    )
    local = ("--bind", "127.0.0.1", "--port")
    with (
        server(folder(tmp_path, "a"), *local, str(first), "--repl-diskless-sync-delay", "0") as one,
        server(folder(tmp_path, "b"), *local, str(second), "--replicaof", "127.0.0.1", str(first)) as two,
        server(config.parent, str(config), "--sentinel", plain=True),
    ):  # fmt: skip
        seeds = (Address(path="/nowhere"), Address(host="127.0.0.1", port=watch))
        until(lambda: knows(seeds[1]), "no sentinel")
        engine = Engine(Route("sentinel", seeds, "tide"), Login(), 20)
        assert engine.primary("a") == Address(host="127.0.0.1", port=first)
        engine.call("a", [functions.load_command()])
        assert not count(engine, 1).crossings
        replica = two.connect()
        record = ("GET", functions.record_key("web1", 0))
        until(lambda: replica.call([record], 20) != [None], "the replica does not follow")
        (refused,) = replica.call([command(2, "192.0.2.7", 1)[1]], 20)
        assert topology.elsewhere(refused), refused
        until(lambda: knows(seeds[1], replicas=1), "the sentinel has not found the replica")
        one.kill()
        answers = []

        def answered() -> bool:
            with contextlib.suppress(FleetError):
                answers.append(count(engine, 2))
            return bool(answers)

        until(answered, "nobody was promoted")
        assert len(answers[0].crossings) == 1  # the first hit is known to the successor
        assert engine.primary("a") == Address(host="127.0.0.1", port=second)
        with pytest.raises(FleetError, match="nowhere"):
            Engine(Route("sentinel", seeds, "other"), Login(), 20).connection("a")
        engine.close()


def knows(sentinel: Address, replicas: int = 0) -> bool:
    """Whether a sentinel answers, and knows of so many replicas that could lead."""
    with contextlib.suppress(FleetError):
        (reply,) = connect(sentinel, Login(), 20).call([("SENTINEL", "REPLICAS", "tide")], 20)
        return isinstance(reply, list) and len(reply) >= replicas
    return False


def test_a_cluster_is_asked_where_the_slot_is(tmp_path: Path) -> None:
    ports = [free_port(), free_port()]
    with contextlib.ExitStack() as stack:
        nodes: list[Server] = [
            stack.enter_context(
                server(
                    folder(tmp_path, str(port)), "--bind", "127.0.0.1", "--port", str(port),
                    "--cluster-enabled", "yes", "--cluster-port", str(free_port()),
                )
            )
            for port in ports
        ]  # fmt: skip
        links = [node.connect() for node in nodes]
        links[0].call([("CLUSTER", "ADDSLOTSRANGE", 0, 8191)], 20)
        links[1].call([("CLUSTER", "ADDSLOTSRANGE", 8192, 16383)], 20)
        (told,) = links[1].call([("CONFIG", "GET", "cluster-port")], 20)
        assert isinstance(told, list)
        links[0].call([("CLUSTER", "MEET", "127.0.0.1", ports[1], int(told[1]))], 20)
        until(
            lambda: all(
                b"cluster_state:ok" in link.call([("CLUSTER", "INFO")], 20)[0]  # type: ignore[operator]
                for link in links
            ),
            "the cluster is not whole",
        )
        for link in links:
            link.call([functions.load_command()], 20)
        seeds = tuple(Address(host="127.0.0.1", port=port) for port in ports)
        engine = Engine(Route("cluster", seeds), Login(), 20)
        asked = set()
        for last in range(12):
            assert not count(engine, 1, f"192.0.2.{last}", functions.SHARDS).crossings
            key, _command = command(1, f"192.0.2.{last}", functions.SHARDS)
            asked.add(engine.primary(key))
        assert asked == set(seeds)
        # A slot moves, and we are told by whoever led it.
        key, _command = command(1, "192.0.2.7", functions.SHARDS)
        old = seeds.index(engine.primary(key))
        empty = next(
            f"{{tg:{n}}}p" for n in range(300, 999) if engine.primary(f"{{tg:{n}}}p") == seeds[old]
        )
        (name,) = links[1 - old].call([("CLUSTER", "MYID")], 20)
        for link in (links[1 - old], links[old]):
            moved = ("CLUSTER", "SETSLOT", topology.slot(empty), "NODE", name)
            assert link.call([moved], 20) == [b"OK"]  # type: ignore[list-item]
        assert engine.primary(empty) == seeds[old]
        assert engine.call(empty, [("ZCARD", empty)]) == [0]
        assert engine.primary(empty) == seeds[1 - old]
        engine.close()


def test_an_engine_that_comes_back_is_found_again(tmp_path: Path) -> None:
    with server(tmp_path) as one:
        engine = Engine(Route("single", (one.address,)), Login(), 20)
        assert engine.call("a", [("SET", "a", 1)]) == [b"OK"]
        one.kill()
        with pytest.raises(FleetError):
            engine.call("a", [("GET", "a")])
        with pytest.raises(FleetError, match="cannot be reached"):
            engine.call("a", [("GET", "a")])
        one.start()
        assert engine.call("a", [("GET", "a"), ("NOSUCH",)])[0] is None
        (refused,) = engine.call("a", [("NOSUCH",)])
        assert isinstance(refused, Refused)
        engine.close()
