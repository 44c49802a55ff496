"""A control socket with a main loop behind it, and ways to be somebody else."""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tidegate.control.call import Call
from tidegate.control.server import ControlServer


class Loop:
    """A main loop: answers every call by `answer`, in a thread of its own."""

    def __init__(self, server: ControlServer, answer: Callable[[Call], None]) -> None:
        self.server = server
        self.seen: list[Call] = []
        self._answer = answer
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self.server.fileno(), select.POLLIN)
        while not self._stop.is_set():
            if poll.poll(100):
                for call in self.server.take():
                    self.seen.append(call)
                    self._answer(call)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


@pytest.fixture
def serve(public_folder: Path) -> Iterator[Callable[..., Loop]]:
    """`serve(answer, **options)`: a control server at `<public_folder>/socket`, and its loop."""
    loops: list[Loop] = []

    def start(answer: Callable[[Call], None], **options: object) -> Loop:
        server = ControlServer(str(public_folder / "socket"), **{"mode": 0o666} | options)  # type: ignore[arg-type]
        server.start()
        loops.append(Loop(server, answer))
        return loops[-1]

    yield start
    for loop in loops:
        loop.stop()
        loop.server.close()


@contextlib.contextmanager
def acting_as(uid: int, gid: int) -> Iterator[None]:
    """Be this user, without any other group, for a moment. Needs root."""
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(gid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


@pytest.fixture
def as_user() -> Callable[[int, int], contextlib.AbstractContextManager[None]]:
    """`with as_user(uid, gid):` be this user for a moment."""
    return acting_as
