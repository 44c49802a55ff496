"""Processes as /proc tells them, as far as posture looks at them: who, what, from which file.

Touches /proc/PID of the host's processes, only to read. Limits: of other people's processes only
root sees the executable; a process that ends meanwhile is passed over.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

DELETED = " (deleted)"
LARGEST = 256 << 20
"""Bytes of an executable that are read for its hash; what is larger gets none."""
MOST_ARGUMENTS = 32 << 10


class Process(NamedTuple):
    """One process: `began` in clock ticks since boot, `executable` as the kernel names it (without
    ` (deleted)`), `deleted`: that file has no name any more."""

    pid: int
    uid: int
    began: int
    name: str
    executable: str
    deleted: bool
    command: tuple[str, ...]
    folder: str


def everyone(proc: Path) -> Iterator[Process]:
    """All processes whose executable can be seen."""
    for pid in sorted(int(one) for one in os.listdir(proc) if one.isdigit()):
        found = process(proc, pid)
        if found is not None:
            yield found


def process(proc: Path, pid: int) -> Process | None:
    """That process; None where it is gone, a kernel thread, or not ours to see."""
    folder = proc / str(pid)
    try:
        path = os.readlink(folder / "exe")
        began, uid = identity(folder)
        with open(folder / "cmdline", "rb") as file:
            words = file.read(MOST_ARGUMENTS).rstrip(b"\0").split(b"\0")
        name = (folder / "comm").read_text("utf-8", "replace").rstrip("\n")
        where = os.readlink(folder / "cwd")
    except (OSError, ValueError, IndexError):
        return None
    gone = path.endswith(DELETED)
    return Process(
        pid, uid, began, name, path.removesuffix(DELETED), gone,
        tuple(os.fsdecode(one) for one in words), where.removesuffix(DELETED),
    )  # fmt: skip


def identity(folder: Path) -> tuple[int, int]:
    """When it began (clock ticks since boot), and its effective user (proc_pid_status(5))."""
    text = (folder / "stat").read_text("ascii", "replace")
    began = int(text[text.rindex(")") + 2 :].split()[19])
    status = (folder / "status").read_text("ascii", "replace")
    line = next((one for one in status.splitlines() if one.startswith("Uid:")), "")
    return began, int(line.split()[2])


def digest(proc: Path, pid: int, seen: Callable[[int], None] = lambda _bytes: None) -> str:
    """The SHA-256 of what it runs, also where that has no name any more; "" where it can't be read
    or is too large. `seen` is told the bytes that were read."""
    made, size = hashlib.sha256(), 0
    try:
        with open(proc / str(pid) / "exe", "rb") as file:
            while block := file.read(1 << 20):
                size += len(block)
                if size > LARGEST:
                    return ""
                made.update(block)
                seen(len(block))
    except OSError:
        return ""
    return made.hexdigest()


def inside(path: str, places: Sequence[str]) -> str:
    """Which of these folders that path lies in; "" for none."""
    return next((one for one in places if path == one or path.startswith(one + "/")), "")
