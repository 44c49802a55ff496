"""The processes of this host, by number, user, and how busy each has been lately.

Touches /proc/PID/status and stat. Looked at anew when older than a moment, so that many may ask.
Limits: busy is what the kernel counts, to a hundredth of a second; `MOST` processes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

MOST = 32768
FRESH = 1.0
_USER = re.compile(rb"\nUid:\s+\d+\s+(\d+)\s")


class Process(NamedTuple):
    """One process; `user` is the effective one."""

    pid: int
    user: int


class _Work(NamedTuple):
    ticks: int
    when: float


class Processes:
    """Those that run now."""

    def __init__(self, proc: str, clock: Callable[[], float]) -> None:
        self._proc, self._clock = proc, clock
        self._found: dict[int, Process] = {}
        self._worked: dict[int, _Work] = {}
        self._when = float("-inf")

    def look(self) -> None:
        """See who came and went; users are read again once a second, since programs change them."""
        now = self._clock()
        if now - self._when > FRESH:
            self._found.clear()
            self._when = now
        try:
            pids = [int(name) for name in os.listdir(self._proc) if name.isdigit()]
        except OSError:
            pids = []
        there = set(pids[-MOST:])
        for pid in self._found.keys() - there:
            del self._found[pid]
        for pid in self._worked.keys() - there:
            del self._worked[pid]
        for pid in there - self._found.keys():
            found = _USER.search(_read(f"{self._proc}/{pid}/status"))
            if found is not None:
                self._found[pid] = Process(pid, int(found[1]))

    def all(self) -> Iterable[Process]:
        """As of the last look."""
        return self._found.values()

    def get(self, pid: int) -> Process | None:
        """One of them."""
        return self._found.get(pid)

    def busiest(self, some: Iterable[Process]) -> list[Process]:
        """These, those first that used the processor most since they were last asked about; at
        first, since they began."""
        now = self._clock()
        uptime = float((_read(f"{self._proc}/uptime") or b"0").split()[0])
        rate = os.sysconf("SC_CLK_TCK")
        busy = {}
        for one in {*some}:
            # What stands behind the last bracket: a program may have brackets in its name.
            words = _read(f"{self._proc}/{one.pid}/stat").rpartition(b")")[2].split()
            if len(words) < 20:
                continue
            ticks, began = int(words[11]) + int(words[12]), int(words[19]) / rate
            before = self._worked.get(one.pid)
            if before is None or now - before.when < 0.1:
                busy[one] = ticks / max(uptime - began, 0.1)
            else:
                busy[one] = (ticks - before.ticks) / (now - before.when)
            if before is None or now - before.when > FRESH:
                self._worked[one.pid] = _Work(ticks, now)
        return sorted(busy, key=lambda one: (-busy[one], one.pid))


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(8192)
    except OSError:
        return b""  # it ended meanwhile
