"""What the service keeper hears from the watcher, whom it believes nothing, and what it tells it.

Touches the socket between them, and looks whether the off-file exists. Gates are those of the
root-owned policy, and none is closed for longer than LEASE ahead. Limits: one watcher; everything
that it can fill is bounded.
"""

from __future__ import annotations

import logging
import os
import queue
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tidegate.errors import GateError, TidegateError
from tidegate.frames import Channel, Closed, Frame, Malformed
from tidegate.gate.switches.gates import Gates, World
from tidegate.gate.switches.kinds import Tools
from tidegate.gate.switches.port import LEASE
from tidegate.gate.switches.protocol import MOST_DETAIL, MOST_GATES, VERSION
from tidegate.gate.switches.record import Records
from tidegate.model import SECOND, GateReport, Micros
from tidegate.policy.models import Policy

log = logging.getLogger("tidegate")

OFF_FILE = Path("/etc/tidegate/off")
_PATIENCE = 10.0
_TRIES = 3
_SLACK: Micros = 5 * SECOND
MOST_TROUBLES = 30
"""Lines about refused requests that are told in a minute."""


def clock() -> Micros:
    """Now, by the system's clock."""
    return time.time_ns() // 1000


class Keeper:
    """Answers one watcher. Call `receive` when `fileno` is readable, `tick` each second, and
    `tell` when `woken` is readable. `begin` once the records are ours alone."""

    def __init__(
        self,
        connection: socket.socket,
        load_policy: Callable[[], Policy],
        records: Records,
        tools: Tools,
        *,
        now: Callable[[], Micros] = clock,
        off_file: Path = OFF_FILE,
        plan: Callable[[], None] = lambda: None,
    ) -> None:
        self._channel = Channel(connection)
        self._load_policy = load_policy
        self._now = now
        self._off_file = off_file
        self._off = self._off_told = False
        world = World(records, tools, self._report, now, plan)
        self._gates = Gates(world, load_policy())
        self._said: queue.SimpleQueue[Frame] = queue.SimpleQueue()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._early: dict[tuple[str, str], Frame] = {}  # said before we could begin, the newest
        self._in_a_row = 0
        self._troubles = 0
        self._minute = time.monotonic()
        self._begun = self._hailed = False

    def fileno(self) -> int:
        """Readable when the watcher said something."""
        return self._channel.fileno()

    def woken(self) -> int:
        """Readable when there is something to tell."""
        return self._wake_read

    def begin(self) -> None:
        """Take over what is recorded, and begin to work."""
        self._begun = True
        self._off = self._is_off()
        self._gates.begin(self._off)
        early, self._early = self._early, {}
        for frame in early.values():
            self._hear(frame)

    def close(self, within: float = 2.0) -> None:
        """End the conversation; what is closed stays until its end."""
        self._gates.end(within)
        self._channel.close()

    @property
    def closed(self) -> int:
        """How many gates there are to be undone."""
        return self._gates.closed

    def receive(self) -> bool:
        """Take in and do; False when the watcher has gone, or talks nonsense."""
        try:
            self._channel.fill()
            while True:
                try:
                    frame = self._channel.next()
                    if frame is None:
                        return True
                    self._hear(frame)
                    self._in_a_row = 0
                except Malformed as error:
                    self._in_a_row += 1
                    self.trouble(f"malformed: {error}")
                    if error.fatal or self._in_a_row >= _TRIES:
                        return False
        except Closed:
            return False

    def tell(self) -> bool:
        """Pass on what the gates report; False when the watcher has gone or takes nothing."""
        with suppress(BlockingIOError):
            os.read(self._wake_read, 4096)
        try:
            while self._hailed:
                self._channel.send(self._said.get_nowait(), _PATIENCE)
        except queue.Empty:
            return True
        except (Closed, TimeoutError):
            return False
        return True

    def tick(self) -> None:
        """Look at the off-file."""
        off = self._is_off()
        if off != self._off:
            self._off, self._off_told = off, False
            self._gates.off(off)

    def trouble(self, line: str) -> None:
        """Tell the watcher's people, and the log, but not without bounds."""
        if time.monotonic() - self._minute > 60:
            self._minute, self._troubles = time.monotonic(), 0
        self._troubles += 1
        if self._troubles <= MOST_TROUBLES:
            if not self._hailed:  # else the watcher says it
                log.warning("service keeper: %s", line)
            self._put({"type": "trouble", "line": line[:MOST_DETAIL]})

    def _put(self, frame: Frame) -> None:
        self._said.put(frame)
        with suppress(BlockingIOError):
            os.write(self._wake_write, b"!")

    def _report(self, report: GateReport) -> None:
        made = report._replace(detail=report.detail[:MOST_DETAIL])
        self._put({"type": "reports", "reports": [made]})

    def _is_off(self) -> bool:
        return os.path.lexists(self._off_file)

    # -- what the watcher says ---------------------------------------------------------------

    def _hear(self, frame: Frame) -> None:
        act = _ACTS.get(frame["type"])
        if act is None:
            raise Malformed("no such type")
        if not self._hailed and frame["type"] != "hello":
            raise Malformed("hello comes first")  # else what is reported would pile up here
        try:
            if not self._begun and frame["type"] != "hello":
                gate = self._fired(frame) if frame["type"] == "fire" else ""
                self._early.pop((frame["type"], gate), None)
                self._early[frame["type"], gate] = frame
                return
            act(self, frame)
        except TidegateError as error:
            self.trouble(str(error))

    def _hello(self, frame: Frame) -> None:
        if frame.get("version") != VERSION:
            raise Malformed(f"version {VERSION} is spoken here")
        self._hailed = True
        self.tell()

    def _want(self, frame: Frame) -> None:
        closed = frame.get("closed")
        if not isinstance(closed, dict) or len(closed) > MOST_GATES:
            raise Malformed("closed must be a table of gates")
        if self._off and closed:
            if not self._off_told:  # it is asked again every few seconds
                self._off_told = True
                self.trouble(f"switched off: {self._off_file} exists; nothing is closed")
            return
        latest = self._now() + LEASE + _SLACK
        for gate, until in closed.items():
            if gate not in self._gates.specs and not self._gates.halts(gate):
                self.trouble(f"{gate!r:.100} is no gate of the policy that is closed here")
            elif until.__class__ is not int:
                self.trouble(f"{gate}: an end is a whole number")
            elif until > latest:
                self.trouble(f"{gate}: it ends later than is permitted")
        taken = {
            gate: until
            for gate, until in closed.items()
            if until.__class__ is int and until <= latest
        }
        self._gates.want(taken)

    def _fire(self, frame: Frame) -> None:
        gate = self._fired(frame)
        if self._off:
            self.trouble(f"switched off: {self._off_file} exists; {gate} is not fired")
        elif why := self._gates.fire(gate):
            self.trouble(why)

    def _fired(self, frame: Frame) -> str:
        gate = frame.get("gate")
        if not isinstance(gate, str) or gate not in self._gates.specs:
            raise GateError(f"{gate!r:.100} is no gate of the policy that is fired here")
        return gate

    def _open_all(self, _frame: Frame) -> None:
        self._gates.want({})

    def _reload(self, _frame: Frame) -> None:
        self._gates.change(self._load_policy())


_ACTS: dict[str, Callable[[Keeper, Frame], Any]] = {
    "hello": Keeper._hello,
    "want": Keeper._want,
    "fire": Keeper._fire,
    "reload": Keeper._reload,
    "open-all": Keeper._open_all,
}
