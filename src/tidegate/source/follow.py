"""One followed path through its rotations: the file under the name now, and those leaving it.

Touches the path by stat and open at each look. A rotated file is read on until it has been silent
for ten minutes. Limits: at most 8 leaving files; then the oldest goes once it is read to its end.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

from tidegate.errors import SourceError
from tidegate.model import MINUTE, Micros, Position
from tidegate.source import rotation
from tidegate.source.opening import explain
from tidegate.source.tail import Key, Tail, open_tail
from tidegate.source.watch import Watch

GRACE: Micros = 10 * MINUTE
GRACE_DELETED: Micros = MINUTE
MAX_LEAVING = 8

Start = Literal["end", "beginning"]


class Follow:
    """A path and the files behind it. `live` is the file under the name; `leaving` those before it.

    `problem` is why the path can't be read just now ("" if it can); `missing`: nothing is there.
    `pending`: saved positions whose file is not there (yet); `truncated` counts restarts in place.
    """

    def __init__(self, path: str, start: Start, watch: Watch) -> None:
        self.path = path
        self.live: Tail | None = None
        self.leaving: list[Tail] = []
        self.pending: Sequence[Position] = ()
        self.problem = ""
        self.missing = False
        self.truncated = 0
        self._start = start
        self._watch = watch
        self._beside = 0  # when the directory had last changed, as we looked for what was missed
        self._least: int | None = None  # size when first seen but not yet readable

    def resume(self, positions: Sequence[Position]) -> None:
        """Go back to where reading stopped; without positions the start rule holds."""
        if not positions:
            return
        self.live, self.leaving, lost = rotation.resume(self.path, positions)
        self.pending = () if self.live else lost
        self._start = "beginning"  # another file under the name was not there when we stopped
        self._watched(self.tails())

    def tails(self) -> list[Tail]:
        """Every open file, in the order in which they are to be read."""
        return [*self.leaving, self.live] if self.live else self.leaving[:]

    @contextmanager
    def troubled(self) -> Iterator[None]:
        """A failing disk or a stale network file is this path's problem, never the daemon's end."""
        try:
            yield
        except OSError as error:
            self.problem = f"{self.path}: {error.strerror or error}"

    def look(self, now: Micros, claim: Callable[[Key], Tail | bool]) -> None:
        """See what is under the name; a new file there turns the one before into a leaving one.

        `claim` says whether a file is read under another name already (True: it stays there), or
        hands it over if it was renamed to this one.
        """
        try:
            status = os.stat(self.path)
        except (FileNotFoundError, NotADirectoryError):
            self._look_beside(now)
            return
        except OSError as error:
            self.problem, self.missing = explain(self.path, error), False
            return
        self.problem, self.missing = "", False
        key = (status.st_dev, status.st_ino)
        if self.live and self.live.key == key:
            return
        claimed = claim(key)
        if isinstance(claimed, Tail):
            self._replace(claimed, now)
        elif not claimed:
            self._open(now, status.st_size)

    def _look_beside(self, now: Micros) -> None:
        """Nothing is under the name. A file may have come and been rotated since we looked last."""
        self.problem, self.missing = f"{self.path}: does not exist", True
        if self.live is None and self._least is None:
            self._start = "beginning"  # so all that will ever be in it is new
        try:
            changed = os.stat(os.path.dirname(self.path) or ".").st_mtime_ns
        except OSError:
            return
        if changed != self._beside:
            self._beside = changed
            self._miss_nothing(now)

    def _miss_nothing(self, now: Micros, *but: Tail) -> None:
        """Find what was rotated away unseen after the newest file we know."""
        tails = self.tails()
        missed = rotation.unread(tails[-1], self._keys(*but), emptied=False) if tails else []
        if (missed or but) and self.live:
            self.live.silent_since = now
            self.live.dirty = True
            self.leaving.append(self.live)
            self.live = None
        self.leaving += self._watched(missed)

    def _open(self, now: Micros, size: int) -> None:
        try:
            tail = open_tail(self.path, self.path)
        except SourceError as error:
            self.problem = str(error)
            if self._least is None and self.live is None:
                self._least = size
            return
        self._watch.file(tail.descriptor)
        self._place(tail)
        self._replace(tail, now)

    def _place(self, tail: Tail) -> None:
        """Where to begin in a file that was just opened."""
        known = [each for each in self.pending if rotation.match([tail], each) is not None]
        if known:
            tail.seek(min(max(each.offset for each in known), tail.size()))
        elif self.live and tail.continues(self.live):
            tail.seek(self.live.offset)
            self._dispose(self.live)
            self.live = None
        elif not self.live and self._start == "end":
            tail.seek_line(tail.size() if self._least is None else min(self._least, tail.size()))

    def _replace(self, tail: Tail, now: Micros) -> None:
        """Make this file the live one; the one before leaves."""
        self._miss_nothing(now, tail)
        self.live = tail
        tail.path = self.path
        self.pending = ()
        self._start, self._least = "beginning", None

    def renew(self, tail: Tail) -> None:
        """Go on rightly in a file that was cut, or begun anew, in place."""
        if tail.changed() == "shorter":
            tail.seek(tail.size())
            return
        self.truncated += 1
        place = len(self.leaving) if tail is self.live else self.leaving.index(tail)
        self.leaving[place:place] = self._watched(rotation.unread(tail, self._keys(), emptied=True))
        tail.restart()

    def _keys(self, *more: Tail) -> set[Key]:
        return {tail.key for tail in (*self.tails(), *more)}

    def _watched(self, tails: list[Tail]) -> list[Tail]:
        for tail in tails:
            self._watch.file(tail.descriptor)
        return tails

    def hand_over(self, key: Key) -> Tail | bool:
        """The file of that key, if its name is no longer ours; True if it stays here."""
        try:
            status = os.stat(self.path)
        except OSError:
            pass
        else:
            if (status.st_dev, status.st_ino) == key:
                return True
        for tail in self.tails():
            if tail.key == key:
                if tail is self.live:
                    self.live = None
                else:
                    self.leaving.remove(tail)
                return tail
        return True

    def leave(self, now: Micros) -> None:
        """The path is followed no more: what is open is read to its end and then let go."""
        self.problem = ""
        if self.live:
            self.live.silent_since = now
            self.leaving.append(self.live)
            self.live = None

    def retire(self, now: Micros) -> list[Tail]:
        """Take out the leaving files that are read to their end and were silent long enough.

        The caller takes their last words and then calls `dispose`.
        """
        done: list[Tail] = []
        for tail in self.leaving:
            tail.silent_since = tail.silent_since or now
            grace = GRACE if tail.links() else GRACE_DELETED
            crowded = len(self.leaving) - len(done) > MAX_LEAVING
            if not tail.dirty and (crowded or now - tail.silent_since >= grace):
                done.append(tail)
        self.leaving = [tail for tail in self.leaving if tail not in done]
        return done

    def _dispose(self, tail: Tail) -> None:
        self._watch.forget(tail.descriptor)
        tail.close()

    def close(self, *tails: Tail) -> None:
        """Give the descriptors of these files back (none named: of all)."""
        for tail in tails or self.tails():
            self._dispose(tail)
        if not tails:
            self.live, self.leaving = None, []
