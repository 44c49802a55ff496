"""Engines that replicate each other, and that tests ask things in one line.

Touches processes that `servers` starts. Limits: replicas need a port of loopback each.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.fleet import servers

from tidegate.fleet.engine.connection import Connection


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Engine(servers.Server):
    """A server; `engine("HLEN", key)` asks it."""

    port = 0

    def speak(self, protocol: int) -> Connection:
        made = self.connect()
        if protocol == 3:
            made.call([("HELLO", "3")], 10)
        return made

    def __call__(self, *command: bytes | str | int) -> object:
        with contextlib.closing(self.connect()) as one:
            return one.call([command], 10)[0]


def until(reached: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


@contextlib.contextmanager
def engines(folder: Path) -> Iterator[Callable[..., Engine]]:
    """A maker of engines, all of which are gone afterwards; `of`: it replicates that one."""
    made: list[Engine] = []

    def make(of: Engine | None = None) -> Engine:
        engine = Engine.__new__(Engine)
        made.append(engine)
        engine.port = free_port()
        options = ["--port", str(engine.port), "--bind", "127.0.0.1"]
        options += ["--repl-diskless-sync-delay", "0"]
        if of is not None:
            options += ["--replicaof", f"127.0.0.1 {of.port}"]
        place = folder / str(len(made))
        place.mkdir()
        engine.__init__(place, *options)  # type: ignore[misc]
        return engine

    try:
        yield make
    finally:
        for engine in made:
            if hasattr(engine, "process"):
                engine.kill()
