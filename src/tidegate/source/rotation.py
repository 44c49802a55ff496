"""Finding a log's lines again after it was rotated, while we looked elsewhere or were not running.

Touches the log and what is beside it, read only. Knows files by inode and first bytes, not by name.
Limits: those of `siblings`.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import NamedTuple

from tidegate.errors import SourceError
from tidegate.model import Position
from tidegate.source.siblings import Sibling, itself, siblings
from tidegate.source.tail import Fingerprint, Key, Tail, open_tail

_TRIES = 10


class Resumed(NamedTuple):
    """The file at the path itself, its former selves still to be read (oldest first), and the
    saved positions that no file was found for."""

    live: Tail | None
    leaving: list[Tail]
    lost: list[Position]


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


def _opened(path: str, *, whole: bool) -> list[tuple[Sibling, Tail]]:
    """The siblings of a log, opened; for the `whole` log, what has the name now comes last.

    Names may be shifted while we look: then what is open is not what was listed, and we look again.
    """
    opened: list[tuple[Sibling, Tail]] = []
    for _attempt in range(_TRIES):
        for _place, tail in opened:
            tail.close()
        places = _places(path, whole)
        found = [(place, _open(place.path, path)) for place in places]
        opened = [(place, tail) for place, tail in found if tail]
        steady = all(place.inode == tail.key[1] for place, tail in opened)
        if steady and [each.inode for each in _places(path, whole)] == [p.inode for p in places]:
            break
    return opened


def _places(path: str, whole: bool) -> list[Sibling]:
    now = itself(path) if whole else []
    return [each for each in siblings(path) if each.inode not in {own.inode for own in now}] + now


def unread(tail: Tail, tracked: Container[Key], *, emptied: bool) -> list[Tail]:
    """The lines after those read from `tail` that stand in rotated files, oldest first.

    `emptied`: by copytruncate (ask before it is begun anew): first the rest of the copy. Then, as
    after a renaming, the whole files rotated since that nobody has `tracked` yet.
    """
    opened = _opened(tail.path, whole=False)
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
    opened = _opened(path, whole=True)
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
