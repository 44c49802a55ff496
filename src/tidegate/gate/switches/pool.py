"""Runs commands by processes made ahead of need: the keeper itself never forks after its start.

Touches a nursery, a child forked here, and one thread that reads its answers. It may be called by
many threads at once. Limits: without the nursery nothing can be run; `broken` says so.
"""

from __future__ import annotations

import itertools
import os
import queue
import select
import signal
import socket
import threading
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress

from setproctitle import setproctitle

from tidegate.errors import GateError
from tidegate.frames import Channel, Closed, Frame, Malformed
from tidegate.gate.switches.kinds import Ran
from tidegate.gate.switches.nursery import GRACE, Nursery

SIZE = 4
_SLACK = 15.0
_SENT_WITHIN = 10.0
_GONE = "the process that starts commands is gone"


class Pool:
    """A `Runner`. Make it before there are threads. `told` gets a line when processes can't be
    made, and when they can again."""

    def __init__(self, told: Callable[[str], None], size: int = SIZE) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.pid = os.fork()
        if self.pid == 0:
            _be_nursery(theirs, size)
        theirs.close()
        self._told = told
        self._channel = Channel(ours)
        self._sending = threading.Lock()
        self._numbers = itertools.count(1)
        self._asked: dict[int, queue.SimpleQueue[Ran]] = {}
        self._ended = False
        self.broken = False
        self._reader = threading.Thread(target=self._read, name="pool", daemon=True)
        self._reader.start()

    def __call__(self, words: Sequence[str], seconds: float, *, ranked: bool = False) -> Ran:
        """Run it to its end."""
        number = next(self._numbers)
        answer: queue.SimpleQueue[Ran] = queue.SimpleQueue()
        self._asked[number] = answer
        frame = {"type": "run", "id": number, "words": list(words), "ranked": ranked}
        try:
            with self._sending:
                self._channel.send({**frame, "seconds": seconds}, _SENT_WITHIN)
            if self.broken:
                raise GateError(_GONE)
            return answer.get(timeout=seconds + GRACE + _SLACK)
        except (Closed, TimeoutError, ValueError) as error:
            raise GateError(f"{' '.join(words)[:200]}: {str(error) or _GONE}") from error
        except queue.Empty:
            raise GateError(f"{' '.join(words)}: nothing was heard of it") from None
        finally:
            self._asked.pop(number, None)

    def close(self) -> None:
        """End the nursery, and what it still runs."""
        self._ended = True
        with suppress(OSError):
            socket.socket(fileno=os.dup(self._channel.fileno())).shutdown(socket.SHUT_RDWR)
        self._reader.join(5)
        self._channel.close()
        with suppress(ChildProcessError):  # it may stay for a while, to drain
            os.waitpid(self.pid, os.WNOHANG)

    def _read(self) -> None:
        poll = select.poll()
        poll.register(self._channel, select.POLLIN)
        try:
            while True:
                poll.poll()
                self._channel.fill()
                while (frame := self._channel.next()) is not None:
                    self._take(frame)
        except (Closed, Malformed):
            self.broken = True
            if not self._ended:
                self._told(_GONE)
            for answer in list(self._asked.values()):
                answer.put(Ran(-1, "", _GONE))

    def _take(self, frame: Frame) -> None:
        if frame["type"] == "note":
            self._told(str(frame["line"]))
        elif (answer := self._asked.get(frame["id"])) is not None:
            answer.put(Ran(int(frame["code"]), str(frame["output"]), str(frame["why"])))


def keep_only(descriptors: Collection[int]) -> None:
    """In a forked child: close everything but these and the three standard ones."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) not in descriptors:
            with suppress(OSError):
                os.close(int(name))


def _be_nursery(connection: socket.socket, size: int) -> None:
    """In the forked child: never returns."""
    try:
        keep_only((connection.fileno(),))
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # it ends with the keeper
        os.setsid()
        setproctitle("tidegate: spare processes")
        Nursery(connection, size).run()
    finally:
        os._exit(0)
