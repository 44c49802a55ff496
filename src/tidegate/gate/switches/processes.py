"""Processes as /proc tells: which belong to a daemon, whether they still live, how to end them.

Touches /proc, and sends signals through pidfds, so that a number used anew is never hit.
Limits: what has left its parent's session and tree is not known to belong.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")


class Process(NamedTuple):
    """One process; `began` (clock ticks since boot) tells it from a later one of that number."""

    pid: int
    began: int
    parent: int
    session: int
    state: str
    terminal: int

    @property
    def alive(self) -> bool:
        """Not a zombie, which nothing but its parent can remove."""
        return self.state not in ("Z", "X")


def process(pid: int) -> Process | None:
    """The process of that number (proc_pid_stat(5)); None where there is none."""
    try:
        text = (PROC / str(pid) / "stat").read_text(encoding="ascii", errors="replace")
        # The name is in parentheses, and may hold anything but a slash.
        fields = text[text.rindex(")") + 2 :].split()
        return Process(
            pid, int(fields[19]), int(fields[1]), int(fields[3]), fields[0], int(fields[4])
        )
    except (OSError, ValueError, IndexError):
        return None


def users(pid: int) -> tuple[int, ...]:
    """Whose signals a process takes, besides root's: its real and its saved user (kill(2))."""
    text = (PROC / str(pid) / "status").read_text(encoding="ascii", errors="replace")
    line = next(one for one in text.splitlines() if one.startswith("Uid:"))
    real, _effective, saved, _files = map(int, line.split()[1:])
    return real, saved


def began(one: Process) -> float:
    """When it was started, in seconds since the epoch."""
    up = time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.time() - up + one.began / os.sysconf("SC_CLK_TCK")


def everything() -> dict[int, Process]:
    """All processes that can be seen."""
    found = (process(int(name)) for name in os.listdir(PROC) if name.isdigit())
    return {one.pid: one for one in found if one is not None}


def belonging(main: Process) -> set[tuple[int, int]]:
    """(pid, began) of the daemon whose main process this is: its descendants, and its session
    where that is nobody else's (no terminal, and its leader is the daemon or gone)."""
    seen = everything()
    leader = seen.get(main.session)
    own = main.terminal == 0 and main.session > 1 and leader in (None, main)
    found = {main.pid}
    grown = True
    while grown:
        grown = False
        for one in seen.values():
            related = one.parent in found or (own and one.session == main.session)
            if related and one.pid not in found:
                found.add(one.pid)
                grown = True
    found -= {os.getpid(), os.getppid(), 1}
    return {(pid, seen[pid].began) for pid in found if pid in seen}


def living(them: Iterable[tuple[int, int]]) -> list[int]:
    """Which of these still live."""
    found = []
    for pid, began in them:
        now = process(pid)
        if now is not None and now.began == began and now.alive:
            found.append(pid)
    return found


def end(them: Iterable[tuple[int, int]], number: int = signal.SIGTERM) -> None:
    """Send a signal to those of these that still live; needs no new process."""
    for pid, began in them:
        with suppress(OSError):
            handle = os.pidfd_open(pid)
            try:
                now = process(pid)
                if now is not None and now.began == began:
                    signal.pidfd_send_signal(handle, number)
            finally:
                os.close(handle)
