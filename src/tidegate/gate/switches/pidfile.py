"""Pid files: believed only of processes that whoever wrote the file could have ended anyway.

Touches the file and /proc. A daemon's own user often owns its pid file; what it writes there must
not become a signal of ours to somebody else's process.
Limits: of what is named, the process must be older than the file (a number may be used anew).
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from tidegate.gate.switches import processes

_SLACK = 3.0  # seconds; clocks of files and processes differ by some hundredths


def stated(path: Path) -> processes.Process | None:
    """The process that lives and is named there; None where there is none to be believed."""
    try:
        if any(_strange_link(one) for one in (path, *path.parents)):
            return None
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            file, text = os.fstat(descriptor), os.read(descriptor, 32)
        finally:
            os.close(descriptor)
        found = processes.process(int(text.split()[0]))
        if not stat.S_ISREG(file.st_mode) or found is None or found.pid <= 1 or not found.alive:
            return None
        # One that is younger than the file has only its number in common with the daemon.
        if processes.began(found) > file.st_mtime + _SLACK:
            return None
        trusted = not _open_to_others(file) and file.st_uid in (0, *processes.users(found.pid))
        return found if trusted else None
    except (OSError, ValueError, IndexError):
        return None


def _open_to_others(file: os.stat_result) -> bool:
    """Whether more than its owner, and root's group, may have written it."""
    return bool(file.st_mode & (0o002 if file.st_gid == 0 else 0o022))


def _strange_link(path: Path) -> bool:
    found = path.lstat()
    return stat.S_ISLNK(found.st_mode) and found.st_uid != 0
