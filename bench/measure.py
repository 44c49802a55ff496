"""CPU seconds: of a command with all its children, and of a daemon that is running.

Touches only processes that it starts. Wall time is never a figure of cost. Limits: /proc counts a
running process in clock ticks (10 ms), so a daemon is given work of a second or more.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

TICK: int = os.sysconf("SC_CLK_TCK")


class Run(NamedTuple):
    """What a command cost: `cpu` seconds (user and system, children included), `wall` seconds."""

    cpu: float
    wall: float
    peak: int
    """Peak resident set of the largest process, bytes."""
    code: int
    out: bytes


def command(
    arguments: Sequence[str],
    *,
    stdin: Path | None = None,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Run:
    """Run to the end. Standard error is thrown away unless the command cannot be started."""
    source = stdin.open("rb") if stdin else subprocess.DEVNULL
    started = time.monotonic()
    with subprocess.Popen(
        arguments,
        stdin=source,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **(environment or {})},
        cwd=cwd,
    ) as process:
        assert process.stdout is not None
        out = process.stdout.read()
        _pid, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.monotonic() - started
    if stdin:
        source.close()  # type: ignore[union-attr]
    cpu = usage.ru_utime + usage.ru_stime
    return Run(cpu, wall, usage.ru_maxrss * 1024, process.returncode, out)


def median(measure: Callable[[], float], runs: int) -> float:
    """The median of that many runs."""
    return statistics.median(measure() for _ in range(runs))


def process_cpu(pid: int) -> float:
    """CPU seconds of a process, all its threads and the children it has waited for (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / TICK


def descendants(pid: int) -> list[int]:
    """A process and all that descend from it, itself first."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            found.extend(map(int, task.read_text().split()))
    return found


def tree_cpu(pid: int) -> float:
    """CPU seconds of a daemon and every process below it."""
    return sum(map(process_cpu, descendants(pid)))


def resident(pid: int) -> int:
    """Proportional resident set of one process, in bytes: pages shared by n count 1/n."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def resident_set(pid: int) -> int:
    """Resident set of one process, in bytes (VmRSS)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def wait_until(done: Callable[[], bool], seconds: float, what: str) -> None:
    """Ask every 20 ms; TimeoutError names what did not come."""
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.02)


def wait_idle(pid: int, quiet: float = 1.0, limit: float = 120.0) -> float:
    """Wait until a daemon uses at most two ticks in `quiet` seconds; its CPU seconds by then."""
    end = time.monotonic() + limit
    before = tree_cpu(pid)
    while True:
        time.sleep(quiet)
        now = tree_cpu(pid)
        if now - before <= 2 / TICK:
            return now
        if time.monotonic() > end:
            raise TimeoutError(f"process {pid} did not become idle")
        before = now
