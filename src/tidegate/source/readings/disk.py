"""Space and inodes of the file system that a path is on.

Touches the path by statvfs(3), in a worker of its own for each path, since a file system of the
network may hang. The whole of a reading is the size of the file system.
Limits: an unmounted file system is not told from the folder that it should be mounted on.
"""

from __future__ import annotations

import os

from tidegate.errors import SourceError
from tidegate.source.readings.taking import Shared, Taken, Taker, said

SPACE = ("free", "available", "used")
INODES = ("free", "used")


class Disks:
    """File systems, each asked once a look."""

    def __init__(self) -> None:
        self._paths: dict[str, Shared[os.statvfs_result]] = {}

    def taker(self, family: str, part: str, path: str) -> Taker:
        """The taker of `disk.PART(PATH)` or `inodes.PART(PATH)`."""
        if not path.startswith("/"):
            raise SourceError(f'expected an absolute path, not "{path}"')
        shared = self._paths.get(path)
        if shared is None:
            shared = self._paths[path] = Shared(lambda: _asked(path))
        measure = _space if family == "disk" else _inodes
        return Taker(lambda look: measure(shared.at(look), part), worker=f"disk {path}")


def _asked(path: str) -> os.statvfs_result:
    try:
        return os.statvfs(path)
    except OSError as error:
        raise SourceError(said(error)) from error


def _space(found: os.statvfs_result, part: str) -> Taken:
    unit, whole = found.f_frsize, found.f_blocks * found.f_frsize
    if not whole:
        return Taken(None, why="this file system has no size")
    if part == "free":
        return Taken(found.f_bfree * unit, whole)
    if part == "available":
        return Taken(found.f_bavail * unit, whole)
    return Taken((found.f_blocks - found.f_bfree) * unit, whole)


def _inodes(found: os.statvfs_result, part: str) -> Taken:
    if not found.f_files:
        return Taken(None, why="this file system does not count inodes")
    free = found.f_ffree
    return Taken(free if part == "free" else found.f_files - free, found.f_files)
