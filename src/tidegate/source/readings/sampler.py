"""The sampler: the process that takes all readings, so that what hangs never holds up the watcher.

Touches what the readings touch, and the socket to the watcher. Frames in: `want` (`wanted`: name →
microseconds), `capture` (`name`), `reload`. Frames out: `samples`, `captured`, `error`.
Limits: samples that the watcher does not take in time are left out for newer ones, never queued.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from tidegate.errors import TidegateError
from tidegate.frames import Channel, Closed, Frame, Malformed
from tidegate.model import Micros, Sample
from tidegate.policy.models import Policy
from tidegate.policy.needs import source_of
from tidegate.source.readings import commands
from tidegate.source.readings.capture import Captures
from tidegate.source.readings.catalogue import Catalogue
from tidegate.source.readings.schedule import Schedule
from tidegate.source.readings.workers import Workers, sample

MOST_WANTED = 4096
_TOGETHER = 0.02
"""Seconds that what was taken at once waits for what workers take, to go out in one frame."""


def now() -> Micros:
    """Now, by the system's clock."""
    return time.time_ns() // 1000


def serve(
    connection: socket.socket, load_policy: Callable[[], Policy], clock: Callable[[], Micros] = now
) -> None:
    """Take readings for the watcher at the other end, until it is gone.

    Raises TidegateError where the policy can't be read at the start; later the old one holds on.
    """
    sampler = Sampler(connection, load_policy, clock)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _end)
    try:
        while sampler.turn():
            pass
    finally:
        sampler.close()


def _end(_signal: int, _frame: object) -> None:
    """End as SIGTERM ends, but not without the commands: nobody else knows of them."""
    commands.stop_all()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)


class Sampler:
    """One conversation. Call `turn` until it says that the watcher is gone."""

    def __init__(
        self,
        connection: socket.socket,
        load_policy: Callable[[], Policy],
        clock: Callable[[], Micros] = now,
    ) -> None:
        self._channel = Channel(connection)
        self._load_policy = load_policy
        self._clock = clock
        policy = load_policy()
        self._specs = policy.readings
        self._catalogue = Catalogue(self._specs)
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._schedule = Schedule()
        self._workers = Workers(clock, self._ring)
        self._captures = Captures(policy, clock, self._ring)
        self._look = 0
        self._unsent: dict[str, Sample] = {}
        self._frames: list[Frame] = []
        self._poll = select.poll()
        self._poll.register(self._channel.fileno(), select.POLLIN)
        self._poll.register(self._bell, select.POLLIN)

    def turn(self) -> bool:
        """Wait for what comes next and do it; False where the watcher is gone."""
        try:
            flushed = self._channel.flush()
            events = (
                select.POLLIN if flushed and not self._frames else select.POLLIN | select.POLLOUT
            )
            self._poll.modify(self._channel.fileno(), events)
            for descriptor, _event in self._poll.poll(self._wait()):
                if descriptor == self._bell:
                    self._answered()
                else:
                    self._listen()
            self._tick()
            self._tell()
        except Closed:
            return False
        return True

    def close(self) -> None:
        """End the conversation, commands and workers."""
        self._captures.close()
        commands.stop_all()
        self._workers.close()
        self._catalogue.close()
        self._channel.close()

    def _ring(self) -> None:
        os.eventfd_write(self._bell, 1)

    def _answered(self) -> None:
        try:
            os.eventfd_read(self._bell)
        except BlockingIOError:
            return

    def _wait(self) -> float:
        """Milliseconds until something is due."""
        moment = time.monotonic()
        due = self._schedule.next()
        until = [moment + 60] if due is None else [due / 1e6]
        if (late := self._workers.next()) is not None:
            until.append(late)
        return max(0.0, (min(until) - moment) * 1000)

    def _tick(self) -> None:
        """Take what is due: at once, or by workers."""
        self._workers.late()
        names = self._schedule.due(time.monotonic_ns() // 1000)
        if names:
            self._look += 1
            self._take(names)
        for one in self._workers.samples():
            if one.reading in self._schedule:
                self._unsent[one.reading] = one

    def _take(self, names: list[str]) -> None:
        elsewhere: dict[str, dict[str, Any]] = {}
        for name in names:
            taker = self._catalogue.taker(name)
            if taker.worker:
                elsewhere.setdefault(taker.worker, {})[name] = taker
        for worker, takers in elsewhere.items():
            self._workers.submit(worker, takers, self._look)
        for name in names:
            taker = self._catalogue.taker(name)
            if not taker.worker:
                self._unsent[name] = sample(name, self._clock, taker.attempt(self._look))
        until = time.monotonic() + _TOGETHER
        while elsewhere and self._workers.busy and (left := until - time.monotonic()) > 0:
            bell = select.poll()
            bell.register(self._bell, select.POLLIN)
            if bell.poll(left * 1000):
                self._answered()

    def _tell(self) -> None:
        """Send what there is, without waiting."""
        self._frames += self._captures.taken()
        while self._frames and self._channel.offer(self._frames[0]):
            del self._frames[0]
        del self._frames[:-32]
        if self._unsent and not self._frames:
            rows = [list(one) for one in self._unsent.values()]
            if self._channel.offer({"type": "samples", "samples": rows}):
                self._unsent.clear()

    def _listen(self) -> None:
        self._channel.fill()
        while True:
            try:
                frame = self._channel.next()
                if frame is None:
                    return
                self._heard(frame)
            except Malformed as error:
                if error.fatal:
                    raise Closed from error
                self._frames.append({"type": "error", "reason": f"malformed: {error}"})

    def _heard(self, frame: Frame) -> None:
        if frame["type"] == "want":
            self._want(frame.get("wanted"))
        elif frame["type"] == "capture":
            self._captures.ask(str(frame.get("name")))
        elif frame["type"] == "reload":
            self._reload()
        else:
            raise Malformed(f"nothing is called {str(frame['type'])[:40]!r} here")

    def _want(self, wanted: object) -> None:
        if not isinstance(wanted, Mapping) or len(wanted) > MOST_WANTED:
            raise Malformed(f"expected at most {MOST_WANTED} names with microseconds")
        often: dict[str, Micros] = {}
        for name, every in wanted.items():
            if not isinstance(every, int) or isinstance(every, bool) or every <= 0:
                raise Malformed("expected microseconds")
            name = source_of(name)
            often[name] = min(every, often.get(name, every))
        self._schedule.want(often, time.monotonic_ns() // 1000)
        self._workers.keep({self._catalogue.taker(name).worker for name in often})
        self._unsent = {name: one for name, one in self._unsent.items() if name in often}

    def _reload(self) -> None:
        try:
            policy = self._load_policy()
        except TidegateError as error:
            self._frames.append({"type": "error", "reason": str(error)})
            return
        self._captures.policy = policy
        if policy.readings != self._specs:  # else rates and files that are open go on
            self._specs = policy.readings
            self._catalogue.close()
            self._catalogue = Catalogue(self._specs)
