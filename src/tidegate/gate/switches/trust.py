"""Whether a file may be run, or written, as root: only where nobody but root can interfere.

Touches the inodes on a path (stat). Limits: what the file runs or reads in turn is not looked at.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from tidegate.gate.switches.spare import PATH


def distrusted(path: Path, owners: Collection[int] = (0,)) -> str:
    """Why this file must not be run as root, what to do about it; "" if it may be."""
    try:
        real = Path(os.path.realpath(path, strict=True))
        for one in (real, *real.parents):
            found = one.stat()
            if found.st_uid not in owners and found.st_uid != 0:
                return f"{one} does not belong to root, so {path} is not run: chown root {one}"
            sticky = stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX
            if found.st_mode & 0o022 and not sticky:
                return f"others than root may write {one}, so {path} is not run: chmod go-w {one}"
    except OSError as error:
        return f"{path}: {error.strerror}"
    return ""


def unsafe(path: Path, owners: Collection[int] = (0,)) -> str:
    """Why root must not put a file there: others could lead it elsewhere; "" if it may."""
    try:
        for one in (path, *path.parents):
            with suppress(FileNotFoundError):
                found = one.lstat()
                if stat.S_ISLNK(found.st_mode) and found.st_uid not in (0, *owners):
                    return f"{one} is a link of somebody else's, so {path} is not written"
        folder = Path(os.path.realpath(path)).parent
        for one in (folder, *folder.parents):
            found = one.stat()
            others = found.st_mode & 0o022 and (one == folder or not found.st_mode & stat.S_ISVTX)
            if others or found.st_uid not in (0, *owners):
                return (
                    f"others than root may write {one}, so {path} is not written:"
                    f" name a file in a folder of root's, such as /run/keepalived"
                )
    except OSError as error:
        return f"{path}: {error.strerror}"
    return ""


def runnable(word: str, owners: Collection[int] = (0,)) -> str:
    """Why a command that begins with this word must not be run, or can't be; "" if it may be."""
    found = shutil.which(word, path=PATH)
    if found is None:
        return f"{word}: no such command in {PATH}" if "/" not in word else f"{word}: not found"
    if not os.path.isabs(found):
        return f"{word}: say where it is by a whole path"
    return distrusted(Path(found), owners)
