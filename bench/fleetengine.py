"""Engines for measuring: one server, or a cluster of primaries with a replica each; what they use.

Touches processes it starts, and a folder in /tmp, all gone again. Limits: Debian's redis-server,
without persistence, all on this machine.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from tests.fleet import servers
from tests.fleet.engines import free_port
from tests.fleet.servers import Server, server

from bench import measure
from tidegate.fleet.counting import functions
from tidegate.fleet.engine.connection import Address
from tidegate.fleet.engine.topology import SLOTS, Route

_OPEN = ("--maxclients", "20000")


def missing() -> str:
    """Why nothing can be measured; "" if it can."""
    return "no redis-server: apt install redis-server" if servers.MISSING else ""


class Used(NamedTuple):
    """What servers have used since they began: CPU seconds of each, bytes from and to hosts."""

    cpu: tuple[float, ...]
    taken: int
    given: int

    def since(self, before: Used) -> Used:
        """What was used between."""
        cpu = tuple(one - other for one, other in zip(self.cpu, before.cpu, strict=True))
        return Used(cpu, self.taken - before.taken, self.given - before.given)


class Engines(NamedTuple):
    """Running servers, and how hosts reach them. Primaries first."""

    servers: tuple[Server, ...]
    route: Route

    def used(self) -> Used:
        """CPU and bytes until now. What servers say to each other is not counted."""
        cpu, taken, given = [], 0, 0
        for one in self.servers:
            cpu.append(measure.process_cpu(one.process.pid))
            with contextlib.closing(one.connect()) as asked:
                (reply,) = asked.call([("INFO", "stats")], 10)
            text = reply.decode() if isinstance(reply, bytes) else str(reply)
            figures = {name: int(value) for name, value in re.findall(r"(\w+):(\d+)\r", text)}
            taken += figures["total_net_input_bytes"]
            given += figures["total_net_output_bytes"]
        return Used(tuple(cpu), taken, given)


@contextlib.contextmanager
def engines(primaries: int) -> Iterator[Engines]:
    """One server on a Unix socket; of more primaries a cluster, with a replica for each."""
    with (
        tempfile.TemporaryDirectory(prefix="tidegate-bench-") as folder,
        contextlib.ExitStack() as stack,
    ):
        if primaries == 1:
            one = stack.enter_context(server(Path(folder), *_OPEN))
            _load(one)
            yield Engines((one,), Route("single", (one.address,)))
        else:
            yield _cluster(stack, Path(folder), primaries)


def _load(one: Server) -> None:
    with contextlib.closing(one.connect()) as link:
        (reply,) = link.call([functions.load_command()], 10)
        assert not isinstance(reply, Exception), reply


def _cluster(stack: contextlib.ExitStack, folder: Path, primaries: int) -> Engines:
    ports = [free_port() for _ in range(2 * primaries)]
    buses = [free_port() for _ in ports]
    nodes = []
    for port, bus in zip(ports, buses, strict=True):
        place = folder / str(port)
        place.mkdir()
        options = [
            "--bind", "127.0.0.1", "--port", str(port), "--cluster-enabled", "yes",
            "--cluster-port", str(bus), "--repl-diskless-sync-delay", "0", *_OPEN,
        ]  # fmt: skip
        nodes.append(stack.enter_context(server(place, *options)))
    links = [stack.enter_context(contextlib.closing(node.connect())) for node in nodes]
    names = [link.call([("CLUSTER", "MYID")], 10)[0] for link in links]
    for place in range(primaries):
        first, last = (SLOTS * turn // primaries for turn in (place, place + 1))
        links[place].call([("CLUSTER", "ADDSLOTSRANGE", first, last - 1)], 10)
    for port, bus in zip(ports[1:], buses[1:], strict=True):
        links[0].call([("CLUSTER", "MEET", "127.0.0.1", port, bus)], 10)
    _until(lambda: all(b"known_nodes:%d\r" % len(nodes) in _state(one) for one in links))
    for place in range(primaries):
        asked = ("CLUSTER", "REPLICATE", names[place])  # type: ignore[arg-type]
        _until(
            lambda asked=asked, place=place: links[primaries + place].call([asked], 10) == [b"OK"]
        )
    _until(lambda: all(b"cluster_state:ok" in _state(one) for one in links))
    for node in nodes[:primaries]:
        _load(node)
    _until(lambda: all(_follows(one) for one in links[primaries:]))
    seeds = tuple(Address(host="127.0.0.1", port=port) for port in ports[:primaries])
    return Engines(tuple(nodes), Route("cluster", seeds))


def _state(link: object) -> bytes:
    (reply,) = link.call([("CLUSTER", "INFO")], 10)  # type: ignore[attr-defined]
    return bytes(reply)


def _follows(link: object) -> bool:
    (reply,) = link.call([("INFO", "replication")], 10)  # type: ignore[attr-defined]
    return b"master_link_status:up" in reply


def _until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not reached():
        if time.monotonic() > deadline:
            raise TimeoutError("the servers do not become a cluster")
        time.sleep(0.1)
