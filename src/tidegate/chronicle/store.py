"""The chronicle on the disk: what was seen in the last day, in files that are dropped as they age.

Touches one folder. What is written counts only up to where the ledger says, since lines behind it
are read again after a crash; a torn last block is left out. Limits: `most` bytes, the oldest goes
first; what can't be written is given up, counted and said, and nothing else waits for it.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from tidegate.chronicle.pages import PAGE, Known, Writer
from tidegate.chronicle.records import Head, Knock, Pardon, Tide
from tidegate.chronicle.stretch import MAGIC, Packer, Stretch, head, other, page, untorn
from tidegate.model import DAY, HOUR, MINUTE, Batch, Change, Micros

PART = "events"
"""The name of this part of the daemon's memory."""
FOLDER = "events"
"""Where the stretches are, below the state folder."""
STRETCH = 256 << 10
"""A stretch that has as many bytes is ended: the least that can be dropped, or sent, at once."""
LEAST = 4 * STRETCH
KEPT: Micros = DAY + HOUR
SPAN: Micros = HOUR
_HELD_BACK = 1 << 20
_NAME = re.compile(r"(\d{12})\.events")
_KEY = "written"


class Chronicle:
    """What the watcher writes. `seen(now)` says how events are seen from now on; `most` 0: nothing
    is kept. `trouble` says why nothing can be written ("": it can), `lost` how many events were
    not kept for that."""

    part = PART

    def __init__(self, folder: Path, most: int, seen: Callable[[Micros], Head]) -> None:
        self._folder, self._seen = folder, seen
        self._most = _enough(most)
        self._tide = Tide("low")
        self._now: Micros = 0
        self._writer: Writer | None = None
        self._packer = Packer()
        self._records: list[bytes] = []
        self._held = 0
        self._file = -1
        self._number = self._size = 0
        self._begun: Micros = 0
        self._committed: tuple[int, int] | None = None
        self._told = (-1, 0)  # that nothing is written is said too: else who died would not know
        self._dropped: Micros = 0
        self._patience: Micros = 0  # nothing is tried until then
        self._unsure = 0
        self.trouble = ""
        self.lost = 0

    # -- what is noted ------------------------------------------------------------------------

    def note(self, batch: Batch, known: Known) -> None:
        """A batch that is about to be counted; `known`: the newest success of each until then."""
        if not (batch.events or batch.successes):
            return
        writer = self._ready()
        if writer is None:
            self.lost += len(batch.events) if self._most else 0
            return
        writer.note(batch, known)
        self._unsure += len(batch.events)
        if writer.waiting >= PAGE:
            self._turn()
            if self._held >= _HELD_BACK:
                self._write()
        if writer.full:
            self._end()

    def also(self, what: Knock | Pardon | Tide) -> None:
        """Something else by which events are judged otherwise."""
        if isinstance(what, Tide):
            if what == self._tide:
                return
            self._tide = what
            if self._writer is None:  # it is said where the next stretch begins
                return
        if self._ready() is not None:
            self._turn()
            self._records.append(other(what))

    def _ready(self) -> Writer | None:
        """Whoever notes for this stretch; another is begun where there is none."""
        if self._writer is None and self._most and self._now >= self._patience:
            told = self._seen(self._now)
            self._writer, self._packer = Writer(told.fields), Packer()
            self._records, self._begun = [head(told)], self._now
            if self._tide.level != "low":
                self._records[0] += other(self._tide)
        return self._writer

    def _turn(self) -> None:
        """What was noted becomes a page."""
        if self._writer is not None and self._writer.waiting:
            record = page(self._writer.page())
            self._records.append(record)
            self._held += len(record)

    def size(self) -> int:
        """Bytes on disk."""
        total = 0
        for path, _number in stretches(self._folder):
            with suppress(OSError):
                total += path.stat().st_size
        return total

    # -- the files ----------------------------------------------------------------------------

    def _write(self) -> None:
        """All pages to the disk, as one block."""
        self._turn()
        if not self._records or (self._file < 0 and len(self._records) < 2):
            return
        records, self._records, self._held = b"".join(self._records), [], 0
        try:
            if self._file < 0:
                self._open()
            data = self._packer.block(records)
            if os.write(self._file, data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            self.trouble = f"{error.filename or self._folder}: {error.strerror}"
            self._patience = self._now + MINUTE
            self.lost += self._unsure
            self._give_up()
        else:
            self.trouble = ""
            self._size += len(data)
        self._unsure = 0
        if self._size >= STRETCH:
            self._give_up()

    def _open(self) -> None:
        self._drop()
        path = self._folder / f"{self._number + 1:012d}.events"
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self._number += 1
        self._size = os.write(self._file, MAGIC)

    def _give_up(self) -> None:
        """Nothing more comes into this stretch."""
        if self._file >= 0:
            os.close(self._file)
        self._file, self._writer = -1, None
        self._records, self._held = [], 0

    def _end(self) -> None:
        self._write()
        self._give_up()

    def _drop(self) -> None:
        """What is too old, and of the rest what is too much, the oldest first."""
        self._dropped = self._now
        left = self._most - 2 * STRETCH
        for path, _number in reversed(stretches(self._folder)):
            state = path.stat()
            left -= state.st_size
            if left < 0 or state.st_mtime_ns // 1000 < self._now - KEPT:
                path.unlink()

    # -- as part of the daemon's memory -------------------------------------------------------

    def changes(self) -> Iterator[Change]:
        """Write what was noted; how far it is written, for the checkpoint."""
        self._write()
        if self._most and (self._number, self._size) != self._told:
            self._told = self._number, self._size
            yield Change(PART, _KEY, b"%d:%d" % self._told)

    def restore(self, change: Change) -> bool:
        """How far it was written at the last checkpoint; False if it is not ours."""
        if change.part != PART or change.value is None:
            return False
        number, _colon, size = change.value.partition(b":")
        if number.isdigit() and size.isdigit():
            self._committed = self._told = int(number), int(size)
        return True

    def begin(self, now: Micros) -> None:
        """Go on behind the last checkpoint: what was written after it will be seen again."""
        self._now = now
        last, size = self._committed or (0, 0)
        self._number, self._size = last, size
        try:
            if self._most:
                self._folder.mkdir(mode=0o700, exist_ok=True)
            for path, number in stretches(self._folder):
                if not self._most or (self._committed and number > last):
                    path.unlink()
                elif number == last and path.stat().st_size > size:
                    os.truncate(path, size)
                elif self._committed is None:  # the ledger is new: all of it is from before
                    self._number, self._size = number, path.stat().st_size
            self._drop()
        except OSError as error:
            self.trouble = f"{error.filename or self._folder}: {error.strerror}"

    def reload(self, most: int, now: Micros) -> None:
        """Policy has changed: events are seen otherwise from now on, and so many bytes kept."""
        self._end()
        self._most = _enough(most)
        self.tick(now)
        with suppress(OSError):
            self._drop()

    def tick(self, now: Micros) -> None:
        """Called every second: an old stretch is ended, those of yesterday are dropped."""
        self._now = now
        if self._writer is not None and not 0 <= now - self._begun < SPAN:
            self._end()
        if not 0 <= now - self._dropped < 10 * MINUTE:
            with suppress(OSError):
                self._drop()

    def close(self) -> None:
        """Give the file back; what `changes` did not write is gone, its lines are read again."""
        self._give_up()


def _enough(most: int) -> int:
    """Room for a few stretches; 0: for none at all."""
    return most if most >= LEAST else 0


def stretches(folder: Path) -> list[tuple[Path, int]]:
    """The files of a chronicle, the oldest first, with their numbers."""
    try:
        names = sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
    found = ((folder / name, _NAME.fullmatch(name)) for name in names)
    return [(path, int(number[1])) for path, number in found if number]


def read(folder: Path, since: Micros = 0) -> Iterator[Stretch]:
    """The stretches of a folder that were written to since then, the oldest first. OSError where
    the folder can't be read; a file that is gone by then was dropped."""
    for path, _number in stretches(folder):
        with suppress(FileNotFoundError):
            if path.stat().st_mtime_ns // 1000 >= since:
                yield Stretch(untorn(path.read_bytes()))
