"""Joomla and WordPress trees that are old: found by their version files below usual web roots.

Touches these folders, only to read; follows no link, and stays within bounds that it tells of.
Limits: what the files say is believed; "old" is a series without fixes, or a tree that nobody has
updated for half a year; what is newest today is not known here.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

DEEPEST = 8
MOST_FOLDERS = 200_000
MOST_TREES = 2_000
IDLE = timedelta(days=180)
JOOMLA_LIVES = 5
"""Joomla's oldest series that still gets fixes (4 ended in October 2025)."""
WORDPRESS_LIVES = (4, 7)
"""WordPress' oldest series that still gets security fixes."""

_SKIPPED = frozenset({"node_modules", ".git", ".svn", "cache", "proc", "sys"})
_LARGEST = 64 << 10
_NUMBER = r"(\d[\w.-]{0,30})"
_WORDPRESS = re.compile(rf"\$wp_version\s*=\s*['\"]{_NUMBER}['\"]")
_MANIFEST = re.compile(rf"<version>\s*{_NUMBER}\s*</version>")
_RELEASE = re.compile(rf"RELEASE\s*=\s*['\"]{_NUMBER}['\"]")
_LEVEL = re.compile(r"DEV_LEVEL\s*=\s*['\"](\d{1,4})['\"]")
_JOOMLA_OLD = ("libraries/joomla/version.php", "libraries/cms/version/version.php")


class Tree(NamedTuple):
    """One installation: where, whose, which version, from when its version file is, and why it is
    old ("" where it is not)."""

    kind: str
    path: str
    uid: int
    version: str
    changed: datetime
    why: str


class Walk(NamedTuple):
    """What was found, and "" or where the looking ended early."""

    trees: tuple[Tree, ...]
    cut: str = ""


def find(
    roots: Sequence[Path], now: datetime, tell: Callable[[str], None] = lambda _text: None,
    most: int = MOST_FOLDERS,
) -> Walk:  # fmt: skip
    """Every such tree below these folders, old or not."""
    found: list[Tree] = []
    stack = [(str(one), 0) for one in reversed(roots)]
    folders = 0
    seen: set[tuple[int, int]] = set()
    while stack:
        path, depth = stack.pop()
        folders += 1
        tell(f"{folders} web folders looked at")
        if folders > most or len(found) >= MOST_TREES:
            return Walk(tuple(found), f"looked at {most} folders, and left off at {path}")
        tree = _tree(path, now)
        if tree is not None:
            found.append(tree)
        with suppress(OSError), os.scandir(path) as entries:
            here = os.stat(path)
            if (here.st_dev, here.st_ino) in seen:  # roots that lie in each other
                continue
            seen.add((here.st_dev, here.st_ino))
            inner = [
                one.path
                for one in entries
                if one.name not in _SKIPPED and one.is_dir(follow_symlinks=False)
            ]
            if depth < DEEPEST:
                stack += [(one, depth + 1) for one in sorted(inner, reverse=True)]
    return Walk(tuple(found))


def _tree(path: str, now: datetime) -> Tree | None:
    if told := _read(f"{path}/wp-includes/version.php"):
        if version := _WORDPRESS.search(told[0]):
            return _made("WordPress", path, version[1], told[1], now)
    elif told := _read(f"{path}/administrator/manifests/files/joomla.xml"):
        if version := _MANIFEST.search(told[0]):
            return _made("Joomla", path, version[1], told[1], now)
    else:
        for name in _JOOMLA_OLD:
            told = _read(f"{path}/{name}")
            release = _RELEASE.search(told[0]) if told else None
            if told and release:
                level = _LEVEL.search(told[0])
                version_text = f"{release[1]}.{level[1]}" if level else release[1]
                return _made("Joomla", path, version_text, told[1], now)
    return None


def _made(kind: str, path: str, version: str, found: os.stat_result, now: datetime) -> Tree:
    changed = datetime.fromtimestamp(max(found.st_mtime, 0), UTC)
    return Tree(kind, path, found.st_uid, version, changed, old(kind, version, changed, now))


def old(kind: str, version: str, changed: datetime, now: datetime) -> str:
    """Why a tree is old; "" where it is not."""
    numbers = tuple(int(one) for one in re.findall(r"\d{1,6}", version)[:2]) or (0,)
    if kind == "Joomla" and numbers[0] < JOOMLA_LIVES:
        return f"Joomla {numbers[0]} gets no fixes any more"
    if kind == "WordPress" and numbers < WORDPRESS_LIVES:
        return "WordPress before 4.7 gets no fixes any more"
    if now - changed > IDLE:
        return f"not updated since {changed.date()}"
    return ""


def _read(path: str) -> tuple[str, os.stat_result] | None:
    """The beginning of a regular file, and its inode; a link, a pipe or a device is none."""
    try:
        how = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(path, how)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            return None
        try:
            return file.read(_LARGEST).decode("utf-8", "replace"), found
        except OSError:
            return None
