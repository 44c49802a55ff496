"""Which names beside a log are its former selves, and which of them is older.

Touches directories only. Counters go downwards (`log.2` is older than `log.1`), dates upwards.
Limits: no other directory (logrotate's `olddir`) is searched, and no compressed copies.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

COMPRESSED = (".gz", ".xz", ".bz2", ".zst", ".lz4", ".Z")
_MAX_SIBLINGS = 64  # looked at, the newest


class Sibling(NamedTuple):
    """A name beside the log that may hold its earlier lines. `ordered`: it is one of a rotation.

    `number` is what the rotation put into the name, `moment` its mtime in nanoseconds.
    """

    path: str
    ordered: bool
    inode: int
    number: str = ""
    moment: int = 0


def rotated_from(name: str) -> str | None:
    """The log that this is a rotated copy of (`mail.log.2.gz` → `mail.log`); None if of none."""
    for ending in COMPRESSED:
        name = name.removesuffix(ending)
    found = re.fullmatch(r"(.+?)[.\-_](?:\d[\d.\-_T]*|old|bak)", name, re.DOTALL)
    return found[1] if found else None


def siblings(path: str) -> list[Sibling]:
    """Uncompressed former selves of a log, the oldest first; those outside a numbering come first.

    Of a symbolic link, those of its target too.
    """
    real = os.path.realpath(path)
    found = {each.inode: each for each in _listed(real)} if os.path.islink(path) else {}
    found |= {each.inode: each for each in _listed(path)}
    return _in_order(list(found.values()))[-_MAX_SIBLINGS:]


def itself(path: str) -> list[Sibling]:
    """The file that has the name now, if there is one."""
    try:
        return [Sibling(path, True, os.stat(path).st_ino)]
    except OSError:
        return []


def _listed(path: str) -> list[Sibling]:
    directory, base = os.path.split(path)
    stem, dot, ending = base.rpartition(".")
    numbered = re.escape(base) + r"[.\-_](\d[\d.\-_T]*)"
    if stem:  # logrotate's `extension`: mail.log → mail-20260821.log
        numbered += rf"|{re.escape(stem)}[.\-_](\d[\d.\-_T]*){re.escape(dot + ending)}"
    rotated = re.compile(numbered, re.DOTALL)
    found = []
    try:
        entries = list(os.scandir(directory or "."))
    except OSError:
        return []
    for entry in entries:
        number = rotated.fullmatch(entry.name)
        if entry.name == base or not (number or entry.name.startswith(base)):
            continue
        if entry.name.endswith(COMPRESSED) or not entry.is_file(follow_symlinks=False):
            continue
        try:
            moment = entry.stat(follow_symlinks=False).st_mtime_ns
        except OSError:
            continue  # gone since
        place = number[number.lastindex or 0] if number else ""
        found.append(Sibling(entry.path, bool(number), entry.inode(), place, moment))
    return found


def _in_order(found: list[Sibling]) -> list[Sibling]:
    """Strays by mtime, then the rotation: by its numbers if all are counters or all are dates."""
    strays = sorted((each for each in found if not each.ordered), key=_age)
    rotation = [each for each in found if each.ordered]
    if all(each.number.isdigit() and len(each.number) < 5 for each in rotation):
        return strays + sorted(rotation, key=lambda each: -int(each.number))
    if len({len(each.number) for each in rotation}) == 1:
        return strays + sorted(rotation, key=lambda each: each.number)
    return strays + sorted(rotation, key=_age)


def _age(sibling: Sibling) -> tuple[int, str]:
    return sibling.moment, sibling.path
