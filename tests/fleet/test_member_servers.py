"""Whole members where sentinels promote, where a cluster has the slots, and where copies are read."""

from __future__ import annotations

import contextlib
import time

import pytest
from tests.fleet import servers
from tests.fleet.engines import engines, free_port
from tests.fleet.nodes import BAD, Node, enrol, now, prepare, run, settle
from tests.fleet.servers import server

from tidegate.errors import FleetError
from tidegate.fleet.counting import functions
from tidegate.fleet.decisions.stream import HELD
from tidegate.fleet.engine.connection import Address, Login, connect
from tidegate.fleet.engine.engine import Engine
from tidegate.fleet.engine.topology import Route
from tidegate.model import MINUTE, Subject

pytestmark = pytest.mark.skipif(servers.MISSING, reason="no redis-server is installed")


def until(reached, what):
    deadline = time.monotonic() + 120
    while not reached():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


@contextlib.contextmanager
def joined(names, enrolled, **more):
    enrol(enrolled, *names)
    nodes = [Node(name, None, **more) for name in names]
    try:
        run(nodes, lambda: all(node.health.state == "joined" for node in nodes), "joined", 60)
        yield nodes
    finally:
        for node in nodes:
            node.rounds.close()


def test_decisions_are_read_from_a_copy_and_without_one_where_it_is_led(tmp_path):
    with engines(tmp_path) as make:
        leading = make()
        copy = make(leading)
        prepare(leading)
        route = Route("single", (Address(host="127.0.0.1", port=leading.port),))
        until(lambda: b"state=online" in leading("INFO", "replication"), "no copy")
        with joined(("web1", "web2"), leading, route=route, copies=True) as (one, other):
            nodes = (one, other)
            run(nodes, lambda: all(n.rounds.copies.connection for n in nodes), "no copy is read")
            settle(nodes)
            ports = {node.rounds.copies.connection.where.port for node in nodes}
            assert ports == {copy.port}
            before = copy("INFO", "commandstats").count(b"cmdstat_")
            assert before
            one.hits(2)
            other.hits(2)
            run(nodes, lambda: all(node.convictions for node in nodes), "convicted")
            copy.kill()
            one.decide(subject=Subject("203.0.113.9"))
            run(nodes, lambda: other.closings, "heard from whoever leads")
            assert one.health.state == "joined"


def test_sentinels_promote_a_copy_and_what_is_in_force_stays_so(tmp_path):
    first, second, watch = free_port(), free_port(), free_port()
    for name in "abc":
        (tmp_path / name).mkdir()
    config = tmp_path / "c" / "sentinel.conf"
    config.write_text(
        f"port {watch}\nbind 127.0.0.1\nsentinel monitor tide 127.0.0.1 {first} 1\n"
        "sentinel down-after-milliseconds tide 500\nsentinel failover-timeout tide 5000\n"
    )
    local = ("--bind", "127.0.0.1", "--port")
    seed = Address(host="127.0.0.1", port=watch)

    def knows(replicas):
        with contextlib.suppress(FleetError):
            (reply,) = connect(seed, Login(), 20).call([("SENTINEL", "REPLICAS", "tide")], 20)
            return isinstance(reply, list) and len(reply) >= replicas
        return False

    with (
        server(tmp_path / "a", *local, str(first), "--repl-diskless-sync-delay", "0") as one,
        server(tmp_path / "b", *local, str(second), "--replicaof", "127.0.0.1", str(first)) as two,
        server(config.parent, str(config), "--sentinel", plain=True),
    ):  # fmt: skip
        until(lambda: knows(1), "the sentinel has not found the copy")
        prepare(one)
        route = Route("sentinel", (seed,), "tide")
        with joined(("web1", "web2", "mx1"), one, route=route) as nodes:
            nodes[0].hits(2)
            nodes[1].hits(2)
            run(nodes, lambda: all(node.convictions for node in nodes), "convicted")
            # The copy hears nothing of what is said now, and is promoted all the same.
            link = two.connect()
            until(lambda: link.call([("HLEN", HELD)], 20)[0] >= 3, "the copy does not follow")
            link.call([("REPLICAOF", "127.0.0.1", "1")], 20)
            for node in nodes:
                node.settle()
            nodes[2].decide(subject=Subject("203.0.113.9"))
            nodes[0].hits(2, Subject("203.0.113.10"))
            run(nodes, lambda: nodes[0].closings, "said")
            settle(nodes)
            one.kill()
            link.call([("REPLICAOF", "NO", "ONE")], 20)
            nodes[1].hits(1, Subject("203.0.113.10"))
            run(nodes, lambda: any(n.health.state == "away" for n in nodes), "away", 60)
            run(nodes, lambda: all(n.health.state == "joined" for n in nodes), "back", 120)
            nodes[2].hits(1, Subject("203.0.113.10"))
            run(nodes, lambda: all(len(n.convictions) > 1 for n in nodes), "counted on", 60)
            enrol(two, "web1", "web2", "mx1", "late")
            late = Node("late", None, route=route)
            wanted = {BAD, Subject("203.0.113.9")}
            run(
                (*nodes, late), lambda: {one.subject for one in late.closings} >= wanted,
                "nothing in force is lost", 60,
            )  # fmt: skip
            assert all(one.until <= now() + 31 * MINUTE for one in late.closings)
            late.rounds.close()


@contextlib.contextmanager
def cluster(folder, number):
    """So many primaries that share the slots."""
    ports = [free_port() for _ in range(number)]
    with contextlib.ExitStack() as stack:
        made = []
        for port in ports:
            (folder / str(port)).mkdir()
            made.append(
                stack.enter_context(
                    server(
                        folder / str(port), "--bind", "127.0.0.1", "--port", str(port),
                        "--cluster-enabled", "yes", "--cluster-port", str(free_port()),
                        "--cluster-require-full-coverage", "no",
                    )
                )
            )  # fmt: skip
        links = [one.connect() for one in made]
        edges = [16384 * place // number for place in range(number + 1)]
        for link, low, high in zip(links, edges, edges[1:], strict=False):
            link.call([("CLUSTER", "ADDSLOTSRANGE", low, high - 1)], 20)
        for link, port in zip(links[1:], ports[1:], strict=True):
            (told,) = link.call([("CONFIG", "GET", "cluster-port")], 20)
            links[0].call([("CLUSTER", "MEET", "127.0.0.1", port, int(told[1]))], 20)
        whole = f"cluster_known_nodes:{number}".encode()
        for link in links:
            until(lambda link=link: _info(link, b"cluster_state:ok", whole), "no whole cluster")
            link.call([functions.load_command()], 20)
        yield made, tuple(Address(host="127.0.0.1", port=port) for port in ports)


def _info(link, *parts):
    (told,) = link.call([("CLUSTER", "INFO")], 20)
    return all(part in told for part in parts)


def test_a_cluster_counts_where_the_slots_are(tmp_path):
    with cluster(tmp_path, 3) as (made, seeds):
        route = Route("cluster", seeds)
        desk = Engine(route, Login(), 20)
        until(lambda: desk.call("a", [("GET", "a")]) == [None], "no slots")
        with joined(("web1", "web2"), desk, route=route, shards=functions.SHARDS) as nodes:
            bad = [Subject(f"203.0.113.{number}") for number in range(20)]
            for one in bad:
                for node in nodes:
                    node.hits(2, one)
            run(nodes, lambda: all(len(n.convictions) >= 20 for n in nodes), "convicted", 60)
            for node in nodes:
                assert sorted(one.subject for one in node.convictions) == sorted(bad)
                assert all(one.count == 4 for one in node.convictions)
                node.settle()
            settle(nodes)
            # One that leads is gone: the others count on.
            leading = desk.primary("{tg:decisions}:stream")
            gone = next(n for n, seed in enumerate(seeds) if seed != leading)
            made[gone].kill()
            worse = [Subject(f"198.51.100.{number}") for number in range(20)]
            for one in worse:
                for node in nodes:
                    node.hits(2, one)
            run(nodes, lambda: all(len(n.convictions) > 25 for n in nodes), "counted on", 60)
        desk.close()


def test_decisions_of_a_cluster_are_read_from_a_copy_too(tmp_path):
    with cluster(tmp_path, 1) as ((leading,), seeds), contextlib.ExitStack() as stack:
        port = free_port()
        (tmp_path / "copy").mkdir()
        copy = stack.enter_context(
            server(
                tmp_path / "copy", "--bind", "127.0.0.1", "--port", str(port),
                "--cluster-enabled", "yes", "--cluster-port", str(free_port()),
            )
        )  # fmt: skip
        link, other = copy.connect(), leading.connect()
        (told,) = other.call([("CONFIG", "GET", "cluster-port")], 20)
        link.call([("CLUSTER", "MEET", "127.0.0.1", seeds[0].port, int(told[1]))], 20)
        (name,) = other.call([("CLUSTER", "MYID")], 20)
        until(lambda: link.call([("CLUSTER", "REPLICATE", name)], 20) == [b"OK"], "no copy")
        until(
            lambda: b"state=online" in other.call([("INFO", "replication")], 20)[0], "not in step"
        )
        route = Route("cluster", seeds)
        desk = Engine(route, Login(), 20)
        more = {"route": route, "copies": True, "shards": functions.SHARDS}
        with joined(("web1", "web2"), desk, **more) as nodes:
            run(nodes, lambda: all(n.rounds.copies.connection for n in nodes), "no copy is read")
            settle(nodes)
            assert {n.rounds.copies.connection.where.port for n in nodes} == {port}
            for node in nodes:
                node.hits(2)
            run(nodes, lambda: all(node.convictions for node in nodes), "convicted")
            assert {n.rounds.copies.connection.where.port for n in nodes} == {port}
        desk.close()
