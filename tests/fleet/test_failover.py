"""A primary dies in the middle of a burst, and its successor knows less than it did."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from tests.fleet.servers import server
from tests.fleet.test_connection import free_port

from tidegate.errors import FleetError
from tidegate.fleet.counting import functions
from tidegate.fleet.counting.functions import Form, Hit, Terms
from tidegate.fleet.counting.outbox import Outbox
from tidegate.fleet.engine.connection import Connection
from tidegate.model import HOUR, Micros, Subject

THEM = Subject("192.0.2.7")
HOSTS = ("web1", "web2", "web3")
MANY = Terms(Form.WINDOW, b"never so", 1000, HOUR)
FEW = Terms(Form.WINDOW, b"hundreds", 101, HOUR)


class Host:
    """One host: it writes lines, counts them, and is told of crossings."""

    def __init__(self, name: str) -> None:
        self.name, self.box = name, Outbox(name, 0, 1)
        self.lines: list[Hit] = []
        self.crossings: set[Micros] = set()

    def write(self, lines: int) -> None:
        for _ in range(lines):
            place = functions.place_of(self.name, len(self.lines))
            self.lines.append(Hit(time.time_ns() // 1_000_000 * 1000, place))
            for terms in (MANY, FEW):
                self.box.add(terms, THEM, self.lines[-1])

    def exchange(self, connection: Connection) -> None:
        now = time.time_ns() // 1000
        command = self.box.command(now)
        if command is not None:
            answer = functions.read_answer(connection.call([command], 20)[0])
            self.box.answered(answer, now)
            self.crossings |= {one.last for one in answer.crossings if one.mark == FEW.mark}


def test_nothing_is_lost_and_nothing_counted_twice(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    hosts = [Host(name) for name in HOSTS]
    with (
        server(tmp_path / "a", "--port", str(port), "--bind", "127.0.0.1", "--repl-diskless-sync-delay", "0") as primary,
        server(tmp_path / "b", "--replicaof", "127.0.0.1", str(port)) as replica,
    ):  # fmt: skip
        connection, other = primary.connect(), replica.connect()
        connection.call([functions.load_command()], 20)
        for _ in range(10):
            for host in hosts:
                host.write(2)
                host.exchange(connection)
        until_same(connection, other)
        # The replica is told to lead, and the hosts do not know it yet.
        assert other.call([("REPLICAOF", "NO", "ONE")], 20) == [b"OK"]
        for _ in range(3):
            for host in hosts:
                host.write(2)
                host.exchange(connection)
        for host in hosts:
            host.write(2)
            command = host.box.command(time.time_ns() // 1000)
            assert command is not None
            connection.send([command])  # and never hears of it
        primary.kill()
        with pytest.raises(FleetError):
            while True:
                connection.receive()
        assert not any(host.crossings for host in hosts)
        for host in hosts:
            host.write(10)
        while not all(host.box.idle for host in hosts):
            for host in hosts:
                host.exchange(other)
        (stored,) = other.call([("GET", functions.sum_key(MANY, THEM, 0))], 20)
        assert isinstance(stored, bytes)
        entries = sorted(stored[at : at + 16] for at in range(6, len(stored), 16))
        assert entries == sorted(
            (line.time // 1000).to_bytes(6) + functions.tag(host.name) + line.place
            for host in hosts
            for line in host.lines
        )
        # 114 lines in all: the limit of 101 was crossed on the successor alone, and once.
        assert len(set.union(*(host.crossings for host in hosts))) == 1


def until_same(primary: Connection, replica: Connection) -> None:
    """Wait until a replica has what its primary has."""
    asked = [("GET", functions.record_key(host, 0)) for host in HOSTS]
    asked.append(("GET", functions.sum_key(MANY, THEM, 0)))
    known = primary.call(asked, 20)
    deadline = time.monotonic() + 120
    while replica.call(asked, 20) != known:
        assert time.monotonic() < deadline, "the replica does not follow"
        time.sleep(0.05)
