"""Finding a log again after it was rotated: which names are its former selves, and in what order.

Touches the log's own directory, read only. Knows files by inode and first bytes, not by name.
Limits: no other directory (logrotate's `olddir`) is searched, and no compressed copies.
"""

from __future__ import annotations

import os
import re
from collections.abc import Container, Sequence
from typing import NamedTuple

from tidegate.errors import SourceError
from tidegate.model import Position
from tidegate.source.tail import Fingerprint, Key, Tail, open_tail

COMPRESSED = (".gz", ".xz", ".bz2", ".zst", ".lz4", ".Z")
_MAX_SIBLINGS = 64  # looked at, the newest first


class Sibling(NamedTuple):
    """A name beside the log that may hold its earlier lines. `ordered`: it is one of a rotation."""

    path: str
    ordered: bool


class Resumed(NamedTuple):
    """The file at the path itself, its former selves still to be read (oldest first), and the
    saved positions that no file was found for."""

    live: Tail | None
    leaving: list[Tail]
    lost: list[Position]


def rotated_from(name: str) -> str | None:
    """The log that this is a rotated copy of (`mail.log.2.gz` → `mail.log`); None if of none."""
    for ending in COMPRESSED:
        name = name.removesuffix(ending)
    found = re.fullmatch(r"(.+?)[.\-_](?:\d[\d.\-_T]*|old|bak)", name, re.DOTALL)
    return found[1] if found else None


def siblings(path: str) -> list[Sibling]:
    """Uncompressed former selves of a log, the oldest first; those outside a numbering come first.

    `log.2` is older than `log.1`; `log-20260820` older than `log-20260821`; else by mtime.
    """
    directory, base = os.path.split(path)
    stem, dot, ending = base.rpartition(".")
    numbered = re.escape(base) + r"[.\-_](\d[\d.\-_T]*)"
    if stem:  # logrotate's `extension`: mail.log → mail-20260821.log
        numbered += rf"|{re.escape(stem)}[.\-_](\d[\d.\-_T]*){re.escape(dot + ending)}"
    rotated = re.compile(numbered, re.DOTALL)
    found: list[tuple[bool, int, str, str]] = []
    try:
        entries = list(os.scandir(directory or "."))
    except OSError:
        return []
    for entry in entries:
        if entry.name == base or entry.name.endswith(COMPRESSED):
            continue
        number = rotated.fullmatch(entry.name)
        if number or entry.name.startswith(base):
            place = number[number.lastindex or 0] if number else ""
            try:
                moment = entry.stat(follow_symlinks=False).st_mtime_ns
            except OSError:
                continue  # gone since
            found.append((bool(number), moment, place, entry.path))
    return [Sibling(each[3], each[0]) for each in _in_order(found)][-_MAX_SIBLINGS:]


def _in_order(found: list[tuple[bool, int, str, str]]) -> list[tuple[bool, int, str, str]]:
    """Strays by mtime, then the rotation: by its numbers if all are counters or all are dates."""
    strays = sorted(each for each in found if not each[0])
    rotation = [each for each in found if each[0]]
    if all(each[2].isdigit() and len(each[2]) < 5 for each in rotation):
        return strays + sorted(rotation, key=lambda each: -int(each[2]))
    if len({len(each[2]) for each in rotation}) == 1:
        return strays + sorted(rotation, key=lambda each: each[2])
    return strays + sorted(rotation)


def _open(path: str, name: str) -> Tail | None:
    """A tail on `path`, followed under `name`; None if it can't be read."""
    try:
        return open_tail(path, name)
    except SourceError:
        return None


def find(path: str, identity: str, least: int = 0) -> Tail | None:
    """The file of that identity, at `path` or beside it, of that size at least; to be closed.

    The same inode is preferred; a copy of the same beginning will do.
    """
    wanted = Fingerprint.parse(identity)
    if wanted is None:
        return None
    copy: Tail | None = None
    for place in (path, *(each.path for each in reversed(siblings(path)))):
        tail = _open(place, path)
        if tail is None:
            continue
        fits = wanted.fits(tail.head) and tail.size() >= least
        if fits and tail.key[1] == wanted.inode:
            if copy:
                copy.close()
            return tail
        if fits and wanted.length and copy is None:
            copy = tail
        else:
            tail.close()
    return copy


def unread(tail: Tail, tracked: Container[Key], *, emptied: bool) -> list[Tail]:
    """The lines after those read from `tail` that stand in rotated files, oldest first.

    `emptied`: by copytruncate (ask before it is begun anew): first the rest of the copy. Then, as
    after a renaming, the whole files rotated since that nobody has `tracked` yet.
    """
    opened = [
        (place, other) for place in siblings(tail.path) if (other := _open(place.path, tail.path))
    ]
    others = [other for _, other in opened]
    same = [index for index, other in enumerate(others) if other.key == tail.key]
    anchor = same[0] if same and not emptied else _copy(tail, others)
    found = []
    for index, (place, other) in enumerate(opened):
        if index == anchor and emptied and other.size() > tail.offset:
            other.seek(tail.offset)
            found.append(other)
        elif anchor is not None and index > anchor and place.ordered and other.key not in tracked:
            found.append(other)
        else:
            other.close()
    return found


def _copy(tail: Tail, others: Sequence[Tail]) -> int | None:
    """Which other holds all that was read from this file: the longest, of equals the last."""
    fitting = [
        (other.size(), index)
        for index, other in enumerate(others)
        if other.key != tail.key and tail.head and other.head.startswith(tail.head)
    ]
    size, index = max(fitting, default=(-1, None))
    return index if size >= tail.offset else None


def resume(path: str, positions: Sequence[Position]) -> Resumed:
    """Open what was being read when the positions were saved, and everything written after that.

    Without a match the file at `path` is new to us: it is read from the start. Positions older
    than others of the same file do no harm. One of a file that was still empty tells nothing but
    an inode, which may be another file's by now: it counts only if no other fits.
    """
    places = [*siblings(path), Sibling(path, True)]
    opened = [(place, tail) for place in places if (tail := _open(place.path, path))]
    tails = [tail for _, tail in opened]
    offsets: dict[int, int] = {}
    lost = []
    for position in sorted(positions, key=lambda each: not each.offset):
        index = match(tails, position)
        if not position.offset and offsets:
            continue
        if index is None:
            lost.append(position)
        else:
            offsets[index] = max(offsets.get(index, 0), min(position.offset, tails[index].size()))
    newest = max(offsets, default=len(tails))
    live: Tail | None = None
    leaving = []
    for index, (place, tail) in enumerate(opened):
        if index in offsets:
            tail.seek(offsets[index])
        elif place.path != path and not (place.ordered and index > newest):
            tail.close()
            continue
        if place.path == path:
            live = tail
        else:
            leaving.append(tail)
    return Resumed(live, leaving, lost)


def match(tails: Sequence[Tail], position: Position) -> int | None:
    """Which file a position was saved for: by inode and beginning, else the longest copy of it."""
    wanted = Fingerprint.parse(position.identity)
    if wanted is None:
        return None
    fitting = [index for index in range(len(tails)) if wanted.fits(tails[index].head)]
    whole = [index for index in fitting if tails[index].size() >= position.offset]
    for group in (whole, fitting):
        same = [index for index in group if tails[index].key[1] == wanted.inode]
        if same:
            return same[-1]
        if group is whole and wanted.length and whole:
            return max(whole, key=lambda index: (tails[index].size(), index))
    return None
