"""Tries every source as the watcher would open it, and says what is missing and what would help.

Touches the sources, only to open them, in a child that became the watcher's user first.
Limits: as root only is another user tried; a file that is not there yet is told, not refused.
"""

from __future__ import annotations

import glob
import os
import shutil

from tidegate.daemon.build import Plan
from tidegate.daemon.flows import listen_trouble
from tidegate.daemon.privilege import drop, identity
from tidegate.errors import SourceError, WorldError
from tidegate.policy.models import SourceSpec
from tidegate.source.opening import open_log

WATCHER_USER = "tidegate-watch"
WATCHER_GROUPS = ("adm", "systemd-journal")


def troubles(planned: Plan) -> list[str]:
    """One line for each source that could not be read now."""
    if os.geteuid() != 0:
        return _tried(planned)
    try:
        who = identity(WATCHER_USER, WATCHER_GROUPS)
    except WorldError as error:
        return [str(error), *_tried(planned)]
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(read)
            drop(who)
            with open(write, "w", encoding="utf-8", errors="backslashreplace") as out:
                out.write("\n".join(_tried(planned)))
        finally:
            os._exit(0)
    os.close(write)
    with open(read, encoding="utf-8") as answers:
        found = answers.read().splitlines()
    os.waitpid(pid, 0)
    return found


def _tried(planned: Plan) -> list[str]:
    found = []
    for spec in planned.sources:
        found += [f"source.{spec.name}: {trouble}" for trouble in _trouble(spec)]
    return found


def _trouble(spec: SourceSpec) -> list[str]:
    if spec.stdin or spec.outward:
        return []
    if spec.netflow is not None:
        return listen_trouble(spec.netflow)
    if spec.journal is not None:
        missing = shutil.which("journalctl") is None
        return ["journalctl is not installed (apt install systemd)"] if missing else []
    found, absent, opened = [], [], 0
    for pattern in spec.files:
        paths = sorted(glob.glob(pattern)) if glob.has_magic(pattern) else [pattern]
        absent += [path for path in paths or [pattern] if not os.path.lexists(path)]
        for path in paths:
            try:
                fd, _status = open_log(path)
            except SourceError as error:
                if path not in absent:
                    found.append(str(error))
            else:
                os.close(fd)
                opened += 1
    # Of several places where distributions put one log, one is enough.
    if absent and not opened and not found:
        found.append(f"not there yet, and read as soon as it is: {', '.join(absent)}")
    return found
