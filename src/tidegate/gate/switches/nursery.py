"""A process that keeps spare ones ready, so that a command can be run when no fork succeeds.

Touches its children and the socket to the keeper; reads what commands print, keeps the beginning.
A fork that is refused is tried again, and told once. Limits: a spare per command; with the keeper
gone it ends the commands, and stays only to drain what daemons that they started may still print.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from tidegate.frames import Channel, Closed, Malformed
from tidegate.gate.switches import spare
from tidegate.gate.switches.kinds import MOST_OUTPUT

GRACE = 2.0
"""Seconds between asking a command to end and ending it."""
CALM = 10.0
"""Seconds without a refusal, after which it is told that processes can be made again."""
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0
_CHUNK = 1 << 16
_SENT_WITHIN = 10.0
_MOST_DRAINS = 64


@dataclass
class _Running:
    """A command at work: `asked` is the keeper's number for it, `pipe` -1 once it is at its end."""

    asked: int
    pid: int
    pipe: int
    deadline: float
    seconds: float
    why: str = ""
    asked_to_end: bool = False
    output: bytearray = field(default_factory=bytearray)


class _Waiting(NamedTuple):
    asked: int
    words: list[str]
    ranked: bool
    seconds: float
    since: float


class Nursery:
    """Runs until the keeper has gone. `size` spares stand ready."""

    def __init__(self, connection: socket.socket, size: int) -> None:
        self._channel = Channel(connection)
        self._size = size
        self._spares: list[spare.Spare] = []
        self._running: dict[int, _Running] = {}  # by pid
        self._waiting: list[_Waiting] = []
        self._drains: set[int] = set()
        self._pause = self._next_fork = self._refused = 0.0
        self._noted = False
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def run(self) -> None:
        """Serve the keeper until it has gone, then drain."""
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        try:
            while True:
                self._turn()
        except (Closed, Malformed, TimeoutError):
            pass
        self._abandon()

    def _turn(self) -> None:
        now = time.monotonic()
        self._hand_out(now)
        self._refill(now)
        self._hand_out(now)
        pipes = {one.pipe: one for one in self._running.values() if one.pipe >= 0}
        poll = select.poll()
        for descriptor in (self._channel.fileno(), self._wake_read, *pipes, *self._drains):
            poll.register(descriptor, select.POLLIN)
        for descriptor, _events in poll.poll(self._wait(now) * 1000):
            if descriptor == self._wake_read:
                with suppress(BlockingIOError):
                    os.read(self._wake_read, 4096)
            elif descriptor in pipes:
                self._read(pipes[descriptor])
            elif descriptor in self._drains:
                self._drain(descriptor)
            else:
                self._hear()
        self._reap()
        self._end_late(time.monotonic())

    def _wait(self, now: float) -> float:
        moments = [one.deadline for one in self._running.values()]
        moments += [one.since + one.seconds for one in self._waiting]
        if len(self._spares) < self._size:
            moments.append(self._next_fork)
        return max(0.0, min([1.0, *(moment - now for moment in moments)]))

    def _hear(self) -> None:
        self._channel.fill()
        while (frame := self._channel.next()) is not None:
            words = [str(word) for word in frame["words"]]
            ranked, seconds = bool(frame["ranked"]), float(frame["seconds"])
            made = _Waiting(int(frame["id"]), words, ranked, seconds, time.monotonic())
            self._waiting.append(made)

    # -- spares ------------------------------------------------------------------------------

    def _refill(self, now: float) -> None:
        """Fork ahead of need; a refusal is no reason to stop trying."""
        while len(self._spares) < self._size and now >= self._next_fork:
            try:
                self._spares.append(spare.born(self._private()))
            except OSError as error:
                self._pause = min(max(FIRST_PAUSE, self._pause * 2), LONGEST_PAUSE)
                self._next_fork, self._refused = now + self._pause, now
                self._note(f"no process can be made ({error.strerror}); it is tried again")
                return
            self._pause = 0.0
        if self._noted and now - self._refused > CALM and len(self._spares) >= self._size:
            self._note("")

    def _private(self) -> list[int]:
        """Our descriptors that a spare must not keep."""
        found = [self._wake_read, self._wake_write, self._channel.fileno(), *self._drains]
        found += [one.pipe for one in self._running.values() if one.pipe >= 0]
        return found + [number for one in self._spares for number in (one.control, one.pipe)]

    def _note(self, line: str) -> None:
        """Told once, and once when it is over."""
        if bool(line) != self._noted:
            self._noted = bool(line)
            line = line or "processes can be made again"
            self._channel.send({"type": "note", "line": line}, _SENT_WITHIN)

    def _hand_out(self, now: float) -> None:
        while self._waiting and self._spares:
            job, ready = self._waiting[0], self._spares.pop(0)
            why = ready.start(job.words, job.ranked)
            if why == spare.DIED:  # somebody ended it while it stood ready
                os.close(ready.pipe)
                continue
            del self._waiting[0]
            deadline = job.since + job.seconds
            made = _Running(job.asked, ready.pid, ready.pipe, deadline, job.seconds, why)
            self._running[ready.pid] = made
        for job in [one for one in self._waiting if now >= one.since + one.seconds]:
            self._waiting.remove(job)
            why = f"not started: no process could be made for {job.seconds:.0f} s"
            self._tell(job.asked, -1, b"", why)

    # -- commands ----------------------------------------------------------------------------

    def _read(self, one: _Running) -> None:
        """Keep the beginning of what it prints, drop the rest."""
        with suppress(BlockingIOError):
            data = os.read(one.pipe, _CHUNK)
            one.output += data[: MOST_OUTPUT - len(one.output)]
            if not data:
                os.close(one.pipe)
                one.pipe = -1

    def _drain(self, pipe: int) -> None:
        with suppress(BlockingIOError):
            if not os.read(pipe, _CHUNK):
                self._drains.remove(pipe)
                os.close(pipe)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            one = self._running.pop(pid, None)
            if one is None:
                for gone in [ready for ready in self._spares if ready.pid == pid]:
                    self._spares.remove(gone)
                    gone.dismiss()
                continue
            self._rest(one)
            code = os.waitstatus_to_exitcode(status)
            self._tell(one.asked, code, bytes(one.output), one.why)

    def _rest(self, one: _Running) -> None:
        """It has ended: what is in the pipe yet; a daemon that it left may still hold the pipe."""
        for _chunk in range(16):
            before = len(one.output)
            if one.pipe >= 0:
                self._read(one)
            if len(one.output) == before:
                break
        if one.pipe < 0:
            return
        if len(self._drains) < _MOST_DRAINS:
            self._drains.add(one.pipe)
        else:
            os.close(one.pipe)

    def _end_late(self, now: float) -> None:
        """What is out of time is asked to end, with all that it started, and then ended."""
        for one in self._running.values():
            if now < one.deadline:
                continue
            number = signal.SIGKILL if one.asked_to_end else signal.SIGTERM
            one.why = one.why or f"ended, because it took longer than {one.seconds:.0f} s"
            one.asked_to_end, one.deadline = True, now + GRACE
            _end(one.pid, number)

    def _tell(self, asked: int, code: int, output: bytes, why: str) -> None:
        text = output.decode("utf-8", "replace")
        frame = {"type": "ran", "id": asked, "code": code, "output": text, "why": why}
        self._channel.send(frame, _SENT_WITHIN)

    def _abandon(self) -> None:
        """The keeper is gone: nobody undoes what these do now, so they end."""
        self._channel.close()
        for ready in self._spares:
            ready.dismiss()
        for one in self._running.values():
            _end(one.pid, signal.SIGKILL)
            if one.pipe >= 0:
                self._drains.add(one.pipe)
        while self._drains:
            poll = select.poll()
            for pipe in self._drains:
                poll.register(pipe, select.POLLIN)
            for pipe, _events in poll.poll():
                self._drain(pipe)


def _end(pid: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)
