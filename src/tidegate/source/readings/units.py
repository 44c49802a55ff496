"""What a service uses: cores, memory and processes of a systemd unit, a control group, a pid file.

Touches /sys/fs/cgroup (both versions), the pid file, and /proc of the processes below its own.
Memory of a group is without file pages that nobody uses just now; of a pid file it is the sum of
resident sets, in which shared pages count more than once.
Limits: by a pid file, children that a daemon gave away (to pid 1) are not found; by a group, all.
"""

from __future__ import annotations

import os
import re
import stat
import time
from pathlib import Path

from tidegate.errors import SourceError
from tidegate.source.readings.processes import WORKER, Processes, tree
from tidegate.source.readings.taking import NO_RATE, Places, Rate, Taken, Taker, said

_SUFFIXES = (".service", ".slice", ".scope", ".socket", ".mount", ".swap")
_FILES = (
    "/etc/systemd/system",
    "/run/systemd/system",
    "/run/systemd/transient",
    "/run/systemd/generator",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)
RUNNING = "/run/systemd/system"
"""There where systemd runs, see sd_booted(3)."""
_DEPTH = 5
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_SLACK = 60.0
"""Seconds that a process may be younger than the pid file which names it."""


class Gone(SourceError):  # noqa: N818 - said of a unit, not of us
    """It is known, and does not run."""


class Units:
    """Takes readings of units, all in the worker that sweeps the processes."""

    def __init__(self, places: Places, processes: Processes) -> None:
        self._places = places
        self._processes = processes

    def taker(self, part: str, name: str) -> Taker:
        """The taker of `unit.PART(NAME)`; PART is cpu, memory or processes."""
        group = Group(self._places, name)
        listed = PidFile(self._places, self._processes, name)
        rate = Rate()

        def take(look: int) -> Taken:
            used = listed if name.startswith("/") and group.absent() else group
            try:
                if part == "processes":
                    return Taken(used.processes(look))
                if part == "memory":
                    return Taken(used.memory(look))
                if isinstance(used, PidFile):
                    cores = used.cores(look)
                    return Taken(cores, why="" if cores is not None else NO_RATE)
                return rate.taken(used.seconds())
            except Gone:
                return Taken(0.0)

        return Taker(take, worker=WORKER)


class Group:
    """A control group, by a unit's name or by its path (with or without /sys/fs/cgroup)."""

    def __init__(self, places: Places, name: str) -> None:
        self._name = name
        self._top = Path(places.sys, "fs/cgroup")
        self._unified = (self._top / "cgroup.controllers").exists()
        self._path = ""  # below the top of each hierarchy
        if name.startswith("/"):
            self._path = name.removeprefix(str(self._top)).strip("/")
            first, _, rest = self._path.partition("/")
            if not self._unified and (self._top / first / "cgroup.procs").exists():
                self._path = rest  # it was named with its controller

    def absent(self) -> bool:
        """Whether there is no such group just now."""
        return not self._path or not self._tasks().is_dir()

    def seconds(self) -> float:
        """The seconds of cpu time that it has used so far."""
        if not self._unified:
            return int(self._read("cpuacct", "cpuacct.usage")) / 1e9
        return _field(self._read("", "cpu.stat"), b"usage_usec") / 1e6

    def memory(self, _look: int) -> float:
        """Bytes in use."""
        if self._unified:
            used, idle = self._read("", "memory.current"), b"inactive_file"
        else:
            used, idle = self._read("memory", "memory.usage_in_bytes"), b"total_inactive_file"
        unused = _field(self._read("" if self._unified else "memory", "memory.stat"), idle)
        return max(0, int(used) - unused)

    def processes(self, _look: int) -> float:
        """Processes in it and in the groups below."""
        self._locate()
        count = 0
        for folder, _names, _files in os.walk(self._tasks()):
            try:
                count += (Path(folder) / "cgroup.procs").read_bytes().count(b"\n")
            except OSError:
                continue  # it went away, or its threads are listed by the one above
        return count

    def _read(self, controller: str, file: str) -> bytes:
        self._locate()
        path = self._top / controller / self._path / file
        try:
            return path.read_bytes()
        except FileNotFoundError as error:
            if (self._top / controller).joinpath(self._path).is_dir():
                raise SourceError(f"{path} is not there: the controller is off") from error
            raise SourceError(f"{path}: no such control group") from error
        except OSError as error:
            raise SourceError(said(error)) from error

    def _tasks(self) -> Path:
        """The folder of a hierarchy that surely lists its processes."""
        if self._unified:
            return self._top / self._path
        found = (self._top / one / self._path for one in ("systemd", "memory", "cpuacct", "pids"))
        return next((one for one in found if one.is_dir()), self._top / "systemd" / self._path)

    def _locate(self) -> None:
        """Find the unit's group. Raises Gone where the unit is known and does not run."""
        if not self.absent():
            return
        if self._name.startswith("/"):
            raise SourceError(f"{self._name}: no such control group, and no pid file")
        unit = self._name if self._name.endswith(_SUFFIXES) else f"{self._name}.service"
        tops = [""] if self._unified else ["systemd", "memory", "cpuacct", "pids"]
        for top in tops:
            found = _search(self._top / top, unit)
            if found:
                self._path = found
                return
        template = re.sub(r"@.*\.", "@.", unit)
        if any(Path(folder, one).exists() for folder in _FILES for one in (unit, template)):
            if Path(RUNNING).is_dir():
                raise Gone(f"{unit} does not run")
            raise SourceError(
                f"{unit} has no control group, since systemd does not run here:"
                " name the service's pid file instead, as /run/NAME.pid"
            )
        raise SourceError(f'there is no unit "{unit}": name a unit, a control group or a pid file')


class PidFile:
    """A process named by a file, and all that descend from it."""

    def __init__(self, places: Places, processes: Processes, path: str) -> None:
        self._proc = places.proc
        self._processes = processes
        self._path = path
        self._before: tuple[float, dict[tuple[int, int], float]] | None = None

    def processes(self, look: int) -> float:
        """How many."""
        return len(self._tree(look))

    def memory(self, look: int) -> float:
        """The sum of their resident sets, in bytes."""
        return sum(int(fields[21]) * _PAGE for _number, fields in self._stats(look))

    def cores(self, look: int) -> float | None:
        """Cores used since the last look; None at the first."""
        now = time.monotonic()
        used = {}
        for number, fields in self._stats(look):
            used[number, int(fields[19])] = (int(fields[11]) + int(fields[12])) / _TICKS
        before, self._before = self._before, (now, used)
        if before is None or now <= before[0]:
            return None
        # What is new has used all of its time since, at most.
        grown = sum(seconds - before[1].get(who, 0.0) for who, seconds in used.items())
        return max(0.0, grown) / (now - before[0])

    def _tree(self, look: int) -> set[int]:
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                found = os.fstat(descriptor)
                text = os.read(descriptor, 64) if stat.S_ISREG(found.st_mode) else b""
            finally:
                os.close(descriptor)
        except OSError as error:
            error.filename = self._path
            raise SourceError(f"{said(error)}, and no such control group") from error
        word = text.split(None, 1)[0] if text.strip() else b""
        if not word.isdigit():
            raise SourceError(f"{self._path}: expected a control group, or a file with a pid")
        top = int(word)
        table = self._processes.table.at(look)
        # A file left behind may name a number that somebody else has now.
        if top not in table or self._began(top) > found.st_mtime + _SLACK:
            raise Gone(f"{self._path} names no process that runs")
        return tree(table, top)

    def _stats(self, look: int) -> list[tuple[int, list[bytes]]]:
        """Each process with its fields as `_stat` gives them."""
        found = [(number, _stat(self._proc, number)) for number in self._tree(look)]
        return [(number, fields) for number, fields in found if fields]

    def _began(self, number: int) -> float:
        """When it began, in seconds since 1970, by the system's clock."""
        fields = _stat(self._proc, number)
        if not fields:
            return float("inf")
        return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + int(fields[19]) / _TICKS


def _stat(proc: str, number: int) -> list[bytes]:
    """The fields of /proc/PID/stat behind the name: state, parent …; [] where it ended."""
    try:
        data = Path(proc, str(number), "stat").read_bytes()
    except OSError:
        return []
    return data[data.rindex(b")") + 1 :].split()


def _search(top: Path, unit: str) -> str:
    """Where the unit's group is below `top`, looking into slices only; "" where it is not."""
    todo = ["system.slice", ""]
    seen = set()
    while todo:
        folder = todo.pop(0)
        if folder in seen or folder.count("/") >= _DEPTH:
            continue
        seen.add(folder)
        if (top / folder / unit).is_dir():
            return f"{folder}/{unit}".lstrip("/")
        try:
            names = os.listdir(top / folder)
        except OSError:
            continue
        todo += sorted(f"{folder}/{name}".lstrip("/") for name in names if name.endswith(".slice"))
    return ""


def _field(data: bytes, name: bytes) -> int:
    for line in data.splitlines():
        key, _, value = line.partition(b" ")
        if key == name:
            return int(value)
    raise SourceError(f"the kernel does not tell {name.decode()}")
