"""Who is behind a flow: the user, the process and its program, as `/var/tmp/.x/bot (pid 4711)`.

Touches sock_diag and /proc (status, stat, fd, exe, cmdline); other users' processes need
CAP_SYS_PTRACE, or nobody is found: "unknown". Limits: `SHARE` of one processor, saved up for
`SAVED` seconds; beyond that whoever is asked for is unknown, and found when asked for again.
A program's arguments can be forged by itself; the path of its file can't.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import NamedTuple

from tidegate.errors import SourceError
from tidegate.source.traffic.processes import Process, Processes
from tidegate.source.traffic.sockets import Flow, Socket, Sockets, without_ports
from tidegate.text import printable

UNKNOWN = "unknown"
SHARE, SAVED = 0.05, 0.2
_MOST = 65536
_LONGEST = 120
_INTERPRETER = re.compile(r"(python|perl|php|ruby|node|lua|tclsh|(ba|da|z|k)?sh|busybox)[\d.]*")


class Program(NamedTuple):
    """A process and its program. `sure`: it holds the flow's own socket; else it is the likeliest
    (the socket was gone, or raw)."""

    user: int
    pid: int
    path: str
    sure: bool

    def __str__(self) -> str:
        return f"{'' if self.sure else 'probably '}{self.path} (pid {self.pid})"


class Owners:
    """Asked for one flow after the other. `proc`: where /proc is; `clock`: seconds; `work`: seconds
    of the processor, since on a busy host looking takes long and yet is little work."""

    def __init__(
        self,
        proc: str = "/proc",
        clock: Callable[[], float] = time.monotonic,
        work: Callable[[], float] = time.thread_time,
    ) -> None:
        self._proc, self._clock, self._work = proc, clock, work
        self._processes = Processes(proc, clock)
        self._held: dict[int, int] = {}  # a socket's number → the process that holds it
        self._looked: set[int] = set()
        self._saved, self._last = SAVED, clock()
        try:
            self._sockets: Sockets | None = Sockets()
        except SourceError:
            self._sockets = None

    def close(self) -> None:
        """Give back what is open."""
        if self._sockets is not None:
            self._sockets.close()

    def owner_of(
        self, protocol: int, local: str, local_port: int,
        remote: str = "", remote_port: int = 0, user: int | None = None,
    ) -> str:  # fmt: skip
        """Who is behind it, for people: `/usr/sbin/named (pid 612)`; `UNKNOWN` where nobody is
        found. `user`: whose it is where that is known already, as the kernel tells with a cut."""
        found = self.find(Flow(protocol, local, local_port, remote, remote_port), user)
        return UNKNOWN if found is None else str(found)

    def find(self, flow: Flow, user: int | None = None, *, raw: bool = True) -> Program | None:
        """The program behind a flow; the likeliest of the user's where its socket is gone, or with
        `raw` of those that can forge packets."""
        now, began = self._clock(), self._work()
        self._saved = min(SAVED, self._saved + (now - self._last) * SHARE)
        self._last = now
        if self._saved <= 0:
            return None
        try:
            return self._find(flow, user, began + self._saved, raw)
        finally:
            self._saved -= self._work() - began

    def user_of(self, flow: Flow) -> int | None:
        """Whose socket it is, without looking for the process: some microseconds."""
        found = self._socket(flow)
        # Of a connection that only waits for stragglers (TIME_WAIT) the kernel says nobody: 0.
        return found.user if found is not None and (found.number or found.user) else None

    def _find(self, flow: Flow, user: int | None, deadline: float, raw: bool) -> Program | None:
        found = self._socket(flow)
        if found is not None and found.number:
            pid = self._holder(found, deadline)
            if pid is not None:
                return self._program(pid, found.user, sure=True)
            user = found.user
        elif user is None:
            user = self.user_of(flow)
        if user is None and not raw:
            return None
        self._processes.look()
        likely = self._forgers(user, deadline) if raw else []
        if not likely and user is not None:
            likely = self._of(user)
        for one in self._processes.busiest(likely):
            named = self._program(one.pid, one.user, sure=False)
            if named is not None:
                return named
        return None

    def _socket(self, flow: Flow) -> Socket | None:
        if self._sockets is None:
            return None
        with suppress(SourceError):
            return self._sockets.of(flow)
        return None

    def _of(self, user: int) -> list[Process]:
        own = os.getpid()
        return [one for one in self._processes.all() if one.user == user and one.pid != own]

    def _forgers(self, user: int | None, deadline: float) -> list[Process]:
        """Those who hold raw or packet sockets: where no socket has the flow's port, it is one of
        them that wrote the port into its packets by itself."""
        own = os.getpid()
        found = []
        for one in without_ports(self._proc):
            if one.number and (user is None or one.user == user):
                pid = self._holder(one, deadline)
                process = None if pid in (None, own) else self._processes.get(pid or 0)
                if process is not None:
                    found.append(process)
        return found

    def _holder(self, wanted: Socket, deadline: float) -> int | None:
        """The process that holds a socket: that of its user first, the newest of them first (the
        oldest are those that only pass sockets on)."""
        pid = self._held.get(wanted.number)
        if pid is not None and os.path.exists(f"{self._proc}/{pid}/exe"):
            return pid
        self._processes.look()
        everybody = sorted(self._processes.all(), reverse=True, key=lambda one: one.pid)
        theirs = [one.pid for one in everybody if one.user == wanted.user]
        if (pid := self._search(wanted.number, theirs, deadline)) is not None:
            return pid
        # Where this takes longer than may be, the next who asks goes on from here.
        rest = [one.pid for one in everybody if one.user != wanted.user]
        pid = self._search(
            wanted.number, [one for one in rest if one not in self._looked], deadline
        )
        if pid is None and self._looked.issuperset(rest):
            self._looked.clear()
        return pid

    def _search(self, number: int, pids: Iterable[int], deadline: float) -> int | None:
        for pid in pids:
            if self._work() > deadline:
                return None
            for one in self._numbers(pid):
                if len(self._held) >= _MOST:
                    self._held.clear()
                self._held[one] = pid
                if one == number:
                    return pid
            self._looked.add(pid)
        return None

    def _numbers(self, pid: int) -> Iterator[int]:
        """The numbers of the sockets that a process holds."""
        folder = f"{self._proc}/{pid}/fd"
        try:
            names = os.listdir(folder)
        except OSError:
            return  # it has ended, or is none of our business
        for name in names:
            try:
                target = os.readlink(f"{folder}/{name}")
            except OSError:
                continue
            if target.startswith("socket:["):
                yield int(target[8:-1])

    def _program(self, pid: int, user: int, *, sure: bool) -> Program | None:
        path = program(pid, self._proc)
        return Program(user, pid, path, sure) if path else None


def program(pid: int, proc: str = "/proc") -> str:
    """The program that a process runs, made printable: its file, `… (deleted)` where that is gone,
    `memfd:NAME (in memory)` where it never was one, with the script where it is an interpreter.
    "": it has ended, is the kernel's own, or may not be looked at."""
    place = f"{proc}/{pid}/exe"
    try:
        path = os.readlink(place)
        gone = os.stat(place).st_nlink == 0
    except OSError:
        return ""
    if gone:
        path = path.removesuffix(" (deleted)")
        if path.startswith("/memfd:"):
            return _short(path[1:]) + " (in memory)"
        return _short(path) + " (deleted)"
    if _INTERPRETER.fullmatch(os.path.basename(path)):
        script = _script(pid, proc)
        return _short(path) + (f" {_short(script)}" if script else "")
    return _short(path)


def _script(pid: int, proc: str) -> str:
    """The first argument that is the path of a file: what an interpreter runs, by its own word."""
    try:
        with open(f"{proc}/{pid}/cmdline", "rb") as file:
            words = file.read(4096).split(b"\0")[1:]
        folder = os.readlink(f"{proc}/{pid}/cwd")
        root = f"{proc}/{pid}/root"
    except OSError:
        return ""
    for word in words:
        text = os.fsdecode(word)
        if not text or text.startswith("-"):
            continue
        path = os.path.normpath(os.path.join(folder, text))
        with suppress(OSError, ValueError):
            if stat.S_ISREG(os.stat(root + path).st_mode):
                return path
    return ""


def _short(path: str) -> str:
    """Printable, and cut in the middle where somebody made it very long."""
    text = printable(path)
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST // 2]}…{text[-_LONGEST // 2 :]}"
    return text
