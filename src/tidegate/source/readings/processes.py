"""How many processes there are, by user and by state: one sweep over /proc for all who ask.

Touches /proc/PID/status of every process; the effective user counts, and lines are found by their
names, since kernels add some. Limits: a process that ends meanwhile is left out; where /proc hides
other users' processes (hidepid), all of these are unknown.
"""

from __future__ import annotations

import os
import pwd
import re
from typing import NamedTuple

from tidegate.errors import SourceError
from tidegate.policy.arguments import filters
from tidegate.source.readings.taking import Held, Places, Shared, Taken, Taker

WORKER = "processes"
STATES = {
    "running": "R",
    "sleeping": "S",
    "uninterruptible": "D",
    "stopped": "Tt",
    "zombie": "Z",
}
_STATUS = re.compile(rb"\nState:\s+(\w).*?\nPPid:\s+(\d+)\n.*?\nUid:\s+\d+\s+(\d+)\s", re.S)


class Process(NamedTuple):
    """What the sweep keeps of one process; `user` is the effective one."""

    user: int
    state: str
    parent: int


class Processes:
    """The sweep, made once a look by the one worker that all its readings share."""

    def __init__(self, places: Places) -> None:
        self._proc = places.proc
        self.numbers = Shared(self._numbers)
        self.table = Shared(self._table)
        self._most = Held(f"{places.proc}/sys/kernel/pid_max")

    def taker(self, argument: str) -> Taker:
        """The taker of `processes`, or of `processes(user=NAME,state=STATE)` by its argument.
        Raises SourceError for a state that there is not."""
        if not argument:
            return Taker(self._all, worker=WORKER)
        users, named = filters(argument)
        unknown = [name for name in named if name not in STATES]
        if unknown:
            raise SourceError(f'no process is "{unknown[0]}"; states are {", ".join(STATES)}')
        states = "".join(STATES[name] for name in named)
        known: dict[str, int] = {}

        def take(look: int) -> Taken:
            wanted = {_user(name, known) for name in users}
            return Taken(
                sum(
                    (not wanted or one.user in wanted) and (not states or one.state in states)
                    for one in self.table.at(look).values()
                )
            )

        return Taker(take, worker=WORKER)

    def _all(self, look: int) -> Taken:
        return Taken(len(self.numbers.at(look)), float(self._most.read()))

    def _numbers(self) -> list[str]:
        found = [name for name in os.listdir(self._proc) if name.isdigit()]
        if "1" not in found:
            raise SourceError(
                f"{self._proc} hides the processes of other users (hidepid):"
                " mount it with the option gid= of a group that this user is in"
            )
        return found

    def _table(self) -> dict[int, Process]:
        found = {}
        for name in self._numbers():
            status = _read(f"{self._proc}/{name}/status")
            parts = _STATUS.search(status)
            if parts is not None:
                found[int(name)] = Process(int(parts[3]), chr(parts[1][0]), int(parts[2]))
        return found


def tree(table: dict[int, Process], top: int) -> set[int]:
    """A process and all that descend from it, as far as they are in the table."""
    children: dict[int, list[int]] = {}
    for number, process in table.items():
        children.setdefault(process.parent, []).append(number)
    found: set[int] = set()
    todo = [top] if top in table else []
    while todo:
        number = todo.pop()
        if number not in found:
            found.add(number)
            todo += children.get(number, ())
    return found


def _read(path: str) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(descriptor, 8192)
    except OSError:
        return b""  # it ended meanwhile
    finally:
        os.close(descriptor)


def _user(name: str, known: dict[str, int]) -> int:
    if name not in known:
        try:
            known[name] = int(name) if name.isdigit() else pwd.getpwnam(name).pw_uid
        except KeyError:
            raise SourceError(f'there is no user "{name}"') from None
    return known[name]
