"""Whether this is a container, and how many cores it may use.

Touches /proc/self, /run, /sys/fs/cgroup (both versions) and /sys/devices/system/cpu; only reads.
Limits: a container that sees the processes of its host, or hides every mark, is taken for a host.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from tidegate.source.readings.taking import Places

_MARKS = (("/.dockerenv", "docker"), ("/run/.containerenv", "podman"))
HERE = Places()
_FIRST_PIDS = "pid:[4026531836]"  # PROC_PID_INIT_INO, linux/proc_ns.h: the machine's own
_GROUPS = re.compile(r"/(docker|lxc|kubepods|libpod|machine)[/.-]")


def kind(places: Places = HERE) -> str:
    """What sort of container this is (`docker`, `lxc`, …); "" on a host."""
    if _link(Path(places.proc, "self/ns/pid")) == _FIRST_PIDS:
        return ""  # a virtual machine made of a container's image bears the marks of one
    told = _text(Path(places.root, "run/systemd/container")).strip()
    if told:
        return told
    for mark, name in _MARKS:
        if Path(places.root, mark.lstrip("/")).exists():
            return name
    found = _GROUPS.search(_text(Path(places.proc, "self/cgroup")))
    if found:
        return found[1]
    return "lxc" if own_load(places) else ""


def own_load(places: Places = HERE) -> bool:
    """Whether /proc/loadavg is a file system of its own (lxcfs), so that it is the container's."""
    return any(
        line.split(" ")[4:5] == ["/proc/loadavg"]
        for line in _text(Path(places.proc, "self/mountinfo")).splitlines()
    )


def online(places: Places = HERE) -> int:
    """The cores of the machine that are switched on."""
    count = 0
    for part in _text(Path(places.sys, "devices/system/cpu/online")).strip().split(","):
        first, _, last = part.partition("-")
        if first.isdigit():
            count += int(last or first) - int(first) + 1
    return count or os.cpu_count() or 1


def allowed(places: Places = HERE) -> float:
    """The cores that this process may use: its cpuset, and the least quota above it."""
    cores = float(len(os.sched_getaffinity(0)))
    for line in _text(Path(places.proc, "self/cgroup")).splitlines():
        _number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "":
            top = Path(places.sys, "fs/cgroup")
            cores = min(cores, _quota(top, path, _unified))
        elif "cpu" in controllers.split(","):
            top = Path(places.sys, "fs/cgroup", controllers)
            cores = min(cores, _quota(top, path, _legacy))
    return cores


def _quota(top: Path, path: str, read: Callable[[Path], float]) -> float:
    least = float("inf")
    group = top / path.lstrip("/")
    # In a namespace of its own the path may lead out of what is mounted: then only the top counts.
    for folder in (group, *group.parents):
        if folder == top or top in folder.parents:
            least = min(least, read(folder))
    return least


def _unified(folder: Path) -> float:
    words = _text(folder / "cpu.max").split()
    if len(words) != 2 or not words[0].isdigit() or not int(words[1] or 0):
        return float("inf")
    return int(words[0]) / int(words[1])


def _legacy(folder: Path) -> float:
    quota, period = (_text(folder / f"cpu.cfs_{part}_us").strip() for part in ("quota", "period"))
    if not quota.isdigit() or not period.isdigit() or not int(period):
        return float("inf")  # -1: none
    return int(quota) / int(period)


def _link(path: Path) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""
