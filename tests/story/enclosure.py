"""A control group with a limit for memory and one for processes, and what is left of both.

Touches groups of its own below /sys/fs/cgroup (version 1 or 2), and the processes in them, all of
which are ended by `close`. Limits: root; where a controller is missing, `missing` says so.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
CONTROLLERS = ("memory", "pids", "cpu")
ENTER = (
    'while [ "$1" != -- ]; do echo $$ > "$1/cgroup.procs" || exit 1; shift; done; shift; exec "$@"'
)
_FILES = {  # limit, use, and where it is told how many processes the kernel had to end
    True: ("memory.max", "memory.current", "memory.events"),
    False: ("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.oom_control"),
}


def _unified() -> bool:
    return (ROOT / "cgroup.controllers").exists()


def missing() -> str:
    """Why there can be no such group; "" if there can."""
    if _unified():
        held = (ROOT / "cgroup.subtree_control").read_text().split()
        lacking = [one for one in CONTROLLERS if one not in held]
    else:
        lacking = [one for one in CONTROLLERS if not (ROOT / one / "cgroup.procs").exists()]
    return f"no control groups for {', '.join(lacking)}" if lacking else ""


class Enclosure:
    """The group: `memory` bytes and `processes` (threads count, too) for all in it together."""

    def __init__(self, memory: int, processes: int) -> None:
        name = f"tidegate-story-{os.getpid()}"
        unified = _unified()
        roots = [ROOT] if unified else [ROOT / one for one in CONTROLLERS]
        self._groups = [root / name for root in roots]
        self._memory, self._pids = self._groups[0], self._groups[0 if unified else 1]
        self._limit, self._use, self._told = _FILES[unified]
        self.memory, self.processes = memory, processes

    def __enter__(self) -> Enclosure:
        try:
            for group in self._groups:
                group.mkdir()
            (self._memory / self._limit).write_text(str(self.memory))
            (self._pids / "pids.max").write_text(str(self.processes))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self.end()
        for group in self._groups:
            for _try in range(100):
                with suppress(FileNotFoundError):
                    try:
                        group.rmdir()
                    except OSError:  # the last to end are not gone yet
                        time.sleep(0.05)
                        continue
                break

    def end(self, pids: Iterable[int] | None = None) -> None:
        """End these, or all in the group: they are ours, since it is."""
        for _try in range(100):
            left = [pid for pid in self.pids() if pids is None or pid in pids]
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if not left:
                return
            time.sleep(0.05)

    def words(self, *words: str) -> list[str]:
        """A command that is run in there."""
        return ["sh", "-c", ENTER, "sh", *map(str, self._groups), "--", *words]

    def adopt(self, pids: Iterable[int]) -> None:
        """Take these processes in."""
        for pid in pids:
            for group in self._groups:
                with suppress(ProcessLookupError):
                    (group / "cgroup.procs").write_text(str(pid))

    def pids(self) -> list[int]:
        """Who is in there."""
        try:
            return [int(one) for one in (self._pids / "cgroup.procs").read_text().split()]
        except OSError:
            return []

    def memory_left(self) -> int:
        """Bytes until its limit; what the kernel could take back from files counts as used."""
        return self.memory - int((self._memory / self._use).read_text())

    def processes_left(self) -> int:
        """How many more there may be."""
        return self.processes - int((self._pids / "pids.current").read_text())

    def ended(self) -> int:
        """How many the kernel had to end because memory was short."""
        rows = dict(row.split() for row in (self._memory / self._told).read_text().splitlines())
        return int(rows.get("oom_kill", 0))
