"""The dead man: a process that does nothing until the service keeper is gone, and then opens.

Touches the pipe that tells it so, and then what records name. It leaves each closing its time, and
all to a new service keeper when there is one.
Limits: where it is ended too, the next service keeper opens, or a timer of systemd (see `timer`).
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from setproctitle import setproctitle

from tidegate.errors import GateError
from tidegate.gate.switches.kinds import Runner, Tools
from tidegate.gate.switches.overdue import open_these
from tidegate.gate.switches.pool import keep_only
from tidegate.gate.switches.record import Records, overdue
from tidegate.model import SECOND, Micros

KEEPER = "service keeper"
"""As what a service keeper has the lock."""
_EACH = 0.5
_AGAIN: Micros = 10 * SECOND


class DeadMan:
    """The service keeper's end of it. Make it before there are threads; hold it."""

    def __init__(
        self,
        folder: Path,
        now: Callable[[], Micros],
        tools: Callable[[Runner], Tools],
    ) -> None:
        reading, self._pipe = os.pipe2(os.O_CLOEXEC)
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._pipe)
            _be_dead_man(reading, folder, now, tools)
        os.close(reading)
        self._poll = select.poll()
        self._poll.register(self._pipe, 0)

    @property
    def gone(self) -> bool:
        """Whether somebody has ended it."""
        return bool(self._poll.poll(0))

    def close(self) -> None:
        """We go: from now on it is its turn."""
        os.close(self._pipe)


def _be_dead_man(
    pipe: int, folder: Path, now: Callable[[], Micros], tools: Callable[[Runner], Tools]
) -> NoReturn:
    """In the forked child: never returns."""
    try:
        keep_only((pipe,))
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        os.setsid()
        setproctitle("tidegate: dead man")
        while os.read(pipe, 1):
            pass
        watch(folder, now, tools)
    finally:
        os._exit(0)


def watch(folder: Path, now: Callable[[], Micros], tools: Callable[[Runner], Tools]) -> None:
    """Until nothing is recorded any more, or a service keeper has it in hand: open each record at
    its deadline. What can't be opened is tried again."""
    records = Records(folder)
    tried: dict[str, Micros] = {}
    seen = 0
    while True:
        if not records.lock("dead man"):
            # The first time it may be the word of the one that died: whoever has the lock now, such
            # as `tidegate open`, may not have said yet what it is.
            seen = seen + 1 if records.worker() == KEEPER else 0
            if seen > 1:
                return
            time.sleep(_EACH)
            continue
        seen = 0
        try:
            found = records.read()
            if not found:
                return
            moment = now()
            due = [
                one
                for one in found
                if overdue(one, moment) and not 0 <= moment - tried.get(one.gate, 0) < _AGAIN
            ]
            if due:
                tried.update((one.gate, moment) for one in due)
                open_these(due, records, tools, lambda _line: None)
        except GateError:
            pass  # tried again: there is nobody to tell
        finally:
            records.unlock()
        _reap()
        time.sleep(_EACH)


def _reap() -> None:
    """What an attempt has started and left behind: there may be thousands of attempts."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
