"""An engine that lies: it stands before a real one, and hands on what a test makes of each reply.

Touches a Unix socket in a folder given, and a thread; `close` ends both. Limits: RESP2, replies in
the order of the commands, as all of ours are.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hiredis

from tidegate.errors import FleetError
from tidegate.fleet.engine.connection import Address, Login, connect

Twist = Callable[[list[bytes], Any], Any]
"""What to say instead of a reply to a command; `DROP`: say nothing ever, and hang up."""
DROP = object()


class Error(Exception):
    """What the engine refuses."""


def encoded(reply: Any) -> bytes:
    """A reply as it goes over the wire."""
    if reply is None:
        return b"*-1\r\n"
    if isinstance(reply, bytes):
        return b"$%d\r\n%b\r\n" % (len(reply), reply)
    if isinstance(reply, int):
        return b":%d\r\n" % reply
    if isinstance(reply, Exception):
        return b"-%b\r\n" % str(reply).encode()
    return b"*%d\r\n" % len(reply) + b"".join(map(encoded, reply))


class Liar:
    """Listens at `address` for hosts. `twist` may be changed at any time; at first it is honest."""

    def __init__(self, folder: Path, engine: Path) -> None:
        self.address = Address(path=str(folder / "liar"))
        self.twist: Twist = honest
        self.again: Callable[[list[bytes]], float | None] = lambda _command: None
        """After how many seconds a command comes to the engine once more, by another way."""
        self.heard: deque[tuple[list[bytes], Any]] = deque(maxlen=10_000)
        self.hung_up = self.repeated = 0
        self.later: list[tuple[float, list[bytes]]] = []
        self._engine = str(engine)
        self._stop, self._told = os.pipe()
        self._listen = socket.socket(socket.AF_UNIX)
        self._listen.bind(self.address.path)
        self._listen.listen(64)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        """Nobody listens any more."""
        os.close(self._told)
        self._thread.join(20)
        self._listen.close()
        os.close(self._stop)

    def _run(self) -> None:
        talks: dict[int, _Talk] = {}
        while True:
            ready, _, _ = select.select([self._stop, self._listen.fileno(), *talks], [], [], 0.05)
            self._come_late()
            if self._stop in ready:
                break
            for number in ready:
                if number == self._listen.fileno():
                    talk = _Talk(self, self._listen.accept()[0], self._engine)
                    talks |= dict.fromkeys(talk.ends, talk)
                elif number in talks and not talks[number].move(number):
                    talk = talks[number]
                    talks = {at: one for at, one in talks.items() if one is not talk}
                    talk.close()
        for talk in set(talks.values()):
            talk.close()

    def _come_late(self) -> None:
        now = time.monotonic()
        for due in [one for one in self.later if one[0] <= now]:
            self.later.remove(due)
            self.repeated += 1
            with (
                contextlib.suppress(FleetError),
                contextlib.closing(connect(Address(path=self._engine), Login(), 5)) as other,
            ):
                other.call([due[1]], 5)


def honest(_command: list[bytes], reply: Any) -> Any:
    """Hand it on."""
    return reply


class _Talk:
    """One host's connection, and the one behind it."""

    def __init__(self, liar: Liar, host: socket.socket, engine: str) -> None:
        self.liar, self.host = liar, host
        self.engine = socket.socket(socket.AF_UNIX)
        self.engine.connect(engine)
        self._questions, self._replies = hiredis.Reader(), hiredis.Reader(replyError=Error)
        self._asked: deque[list[bytes]] = deque()

    @property
    def ends(self) -> tuple[int, int]:
        return self.host.fileno(), self.engine.fileno()

    def move(self, number: int) -> bool:
        """Hand on what has come; whether the talk goes on."""
        with contextlib.suppress(OSError):
            return self._asks() if number == self.host.fileno() else self._answers()
        return False

    def _asks(self) -> bool:
        data = self.host.recv(1 << 20)
        self._questions.feed(data)
        while (command := self._questions.gets()) is not False:
            self._asked.append(command)
            after = self.liar.again(command)
            if after is not None:
                self.liar.later.append((time.monotonic() + after, command))
        self.engine.sendall(data)
        return bool(data)

    def _answers(self) -> bool:
        data = self.engine.recv(1 << 20)
        self._replies.feed(data)
        while (reply := self._replies.gets()) is not False:
            command = self._asked.popleft()
            self.liar.heard.append((command, reply))
            said = self.liar.twist(command, reply)
            if said is DROP:
                self.liar.hung_up += 1
                return False
            self.host.sendall(said if isinstance(said, bytearray) else encoded(said))
        return bool(data)

    def close(self) -> None:
        self.host.close()
        self.engine.close()


@contextlib.contextmanager
def liar(folder: Path, engine: Path) -> Iterator[Liar]:
    """One for as long as it is needed."""
    made = Liar(folder, engine)
    try:
        yield made
    finally:
        made.close()
