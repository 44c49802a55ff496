"""A sampler in a thread of its own, and the watcher's end of it.

Touches a Unix socket pair and threads. Limits: the process itself is tried by the daemon's tests.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from tidegate.errors import PolicyError
from tidegate.model import Sample
from tidegate.policy.models import Policy
from tidegate.source.readings.port import Captured
from tidegate.source.readings.remote import RemoteReadings
from tidegate.source.readings.sampler import serve


@dataclass
class Host:
    """The watcher's end, the policy that the sampler reads (none: a faulty one), all that arrived."""

    readings: RemoteReadings
    policy: list[Policy]
    samples: list[Sample] = field(default_factory=list)
    captured: list[Captured] = field(default_factory=list)

    def until(self, good: Callable[[], bool], seconds: float = 20) -> None:
        """Take in what arrives until `good`."""
        poll = select.poll()
        poll.register(self.readings.fileno(), select.POLLIN)
        deadline = time.monotonic() + seconds
        while not good():
            assert time.monotonic() < deadline, self.samples[-20:]
            if poll.poll(100):
                self.samples += self.readings.take()
                self.captured += self.readings.captured()

    def of(self, name: str) -> list[Sample]:
        return [one for one in self.samples if one.reading == name]


@pytest.fixture
def host() -> Iterator[Host]:
    ours, theirs = socket.socketpair()
    policy = [Policy()]

    def load() -> Policy:
        if not policy:
            raise PolicyError(["x.toml: faulty"])
        return policy[0]

    thread = threading.Thread(target=serve, args=(theirs, load))
    thread.start()
    readings = RemoteReadings(ours)
    try:
        yield Host(readings, policy)
    finally:
        readings.close()
        thread.join(20)
        assert not thread.is_alive()
