"""A keeper and a watcher's gate, joined by a socket pair, both in this process.

Touches a temporary off-file and a thread that serves the keeper; both are gone after each test.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from tidegate.errors import TidegateError
from tidegate.gate.charter import Charter
from tidegate.gate.keeper import Keeper
from tidegate.gate.memory import MemoryGate
from tidegate.gate.remote import RemoteGate
from tidegate.model import SECOND, Micros, Subject
from tidegate.subject import Network, network

START: Micros = 1_061_000_000 * SECOND


def net(text: str) -> Network:
    found = network(Subject(text))
    assert found is not None
    return found


CHARTER = Charter(
    allow=(net("192.0.2.0/28"), net("2001:db8:a::/48")),
    protected=(net("198.51.100.1"), net("2001:db8:f::1")),
)


class Setting:
    """A keeper over a memory gate, its charter, clock and off-file."""

    def __init__(self, folder: Path) -> None:
        self.now = START
        self.charter = CHARTER
        self.fault: TidegateError | None = None
        self.off_file = folder / "off"
        self.gate = MemoryGate()
        self.here, self.there = socket.socketpair()
        self.keeper = Keeper(
            self.there, self.gate, self.load, now=lambda: self.now, off_file=self.off_file
        )

    def load(self) -> Charter:
        if self.fault is not None:
            raise self.fault
        return self.charter

    def change(self, **fields: object) -> None:
        self.charter = replace(self.charter, **fields)  # type: ignore[arg-type]

    def closed(self) -> set[str]:
        return {found.subject for found in self.gate.observe(self.now) if not found.allow}


@pytest.fixture
def setting(tmp_path: Path) -> Iterator[Setting]:
    made = Setting(tmp_path)
    yield made
    made.keeper.close()
    made.here.close()


@pytest.fixture
def remote(setting: Setting) -> Iterator[RemoteGate]:
    """The watcher's side; the keeper answers from a thread until the test is over."""

    def answer() -> None:
        while setting.keeper.receive():
            pass

    with ExitStack() as stack:
        setting.there.setblocking(True)  # a thread that waits, instead of a loop that polls
        thread = threading.Thread(target=answer)
        thread.start()
        stack.callback(thread.join)
        gate = RemoteGate(setting.here, patience=10)
        stack.callback(gate.close)
        yield gate
