"""One open log file: whole lines from an offset on, and whether it was cut behind our back.

Touches one descriptor, by pread only, so its offset is ours alone. Holds at most 1 MiB at a time.
Limits: a file rewritten in place with the same first 256 bytes and no shorter is not noticed.
"""

from __future__ import annotations

import os
from hashlib import blake2b
from typing import Literal, NamedTuple

from tidegate.detector.audit import begins as is_audit
from tidegate.errors import SourceError
from tidegate.model import Framing, Micros
from tidegate.source.opening import explain, open_log
from tidegate.source.port import MAX_BLOCK

HEAD = 256
MAX_FETCH = 32 << 10


Key = tuple[int, int]
"""Device and inode number."""


class Fingerprint(NamedTuple):
    """Which file it is: inode number, and a hash of its first `length` bytes (at most 256)."""

    inode: int
    length: int
    digest: str

    @classmethod
    def of(cls, inode: int, head: bytes) -> Fingerprint:
        """Of the first bytes of a file, as many of the 256 as there are."""
        return cls(inode, len(head), _digest(head))

    @classmethod
    def parse(cls, identity: str) -> Fingerprint | None:
        """From `Origin.identity`, `inode:length-digest`; None if it is something else."""
        inode, _, rest = identity.partition(":")
        length, _, digest = rest.partition("-")
        try:
            return cls(int(inode), int(length), digest)
        except ValueError:
            return None

    @property
    def identity(self) -> str:
        """`inode:length-digest`."""
        return f"{self.inode}:{self.length}-{self.digest}"

    def fits(self, head: bytes) -> bool:
        """Whether a file that begins with `head` can be this one, grown since or not."""
        return len(head) >= self.length and _digest(head[: self.length]) == self.digest

    def is_of(self, inode: int, head: bytes) -> bool:
        """Whether it is that very file, not a copy."""
        return inode == self.inode and self.fits(head)


ORDINARY = 512
"""Bytes that hold most lines; only a longer one is fetched with its whole length."""


def _digest(data: bytes) -> str:
    return blake2b(data, digest_size=8).hexdigest()


class Tail:
    """An open file and how far it was read. `path` is the name it is followed under."""

    def __init__(self, descriptor: int, path: str, status: os.stat_result, offset: int = 0) -> None:
        self.descriptor = descriptor
        self.path = path
        self.key = (status.st_dev, status.st_ino)
        self.head = os.pread(descriptor, HEAD, 0)
        self.origin = 0
        self.registered = ""
        self.dirty = True
        self.cut_lines = 0
        self.silent_since: Micros = 0
        self.offset = 0
        self._seen = 0  # no newline between offset and here
        self._skipping = False  # inside the rest of a line that was cut
        self.seek(offset)

    def seek(self, offset: int) -> None:
        """Read on from there. In the midst of a line, the rest of that line is passed over."""
        self.offset = self._seen = offset
        self._skipping = offset > 0 and os.pread(self.descriptor, 1, offset - 1) != b"\n"

    def seek_line(self, offset: int) -> None:
        """Read on from the start of the line that `offset` is in (the last MiB is searched)."""
        first = max(0, offset - MAX_BLOCK)
        before = os.pread(self.descriptor, offset - first, first)
        newline = before.rfind(b"\n")
        self.seek(first + newline + 1 if newline >= 0 or not first else offset)

    @property
    def identity(self) -> str:
        """Which file this is, as far as its first bytes are written: `inode:length-digest`."""
        return Fingerprint.of(self.key[1], self.head).identity

    @property
    def framing(self) -> Framing:
        """How its bytes are laid out, as its beginning tells."""
        return "audit" if is_audit(self.head) else "lines"

    def size(self) -> int:
        """Bytes in the file now."""
        return os.fstat(self.descriptor).st_size

    def unread(self) -> int:
        """Bytes behind what was read; 0 if that can't be told just now."""
        try:
            return max(0, self.size() - self.offset)
        except OSError:
            return 0

    def links(self) -> int:
        """How many names the file still has; 0 when it was deleted."""
        return os.fstat(self.descriptor).st_nlink

    def next(self) -> tuple[int, bytes] | None:
        """The next whole lines, at most 1 MiB, and where they start; None at the end.

        A longer line comes alone, cut to 1 MiB with its newline; its rest is passed over.
        Call `changed` afterwards: what was read is only sure if it says "no".
        """
        if self._skipping and not self._skip():
            return None
        if not self.offset:
            self._pass_hole()
        start = self.offset
        room = MAX_BLOCK - (self._seen - start)
        data = os.pread(self.descriptor, room, self._seen)
        end = data.rfind(b"\n") + 1
        if not end:
            self._seen += len(data)
            return self._cut_line() if len(data) == room else None
        if self._seen > start:
            data = os.pread(self.descriptor, self._seen - start + end, start)
            if data[-1:] != b"\n":
                return None  # cut short meanwhile; `changed` tells
        elif end < len(data):
            data = data[:end]
        self.offset = self._seen = start + len(data)
        return start, data

    def _cut_line(self) -> tuple[int, bytes]:
        start = self.offset
        data = os.pread(self.descriptor, MAX_BLOCK - 1, start) + b"\n"
        self.offset = self._seen = start + len(data) - 1
        self._skipping = True
        self.cut_lines += 1
        return start, data

    def _skip(self) -> bool:
        """Go on to behind the next newline; False if it is not written yet."""
        while data := os.pread(self.descriptor, MAX_BLOCK, self.offset):
            newline = data.find(b"\n")
            self.offset = self._seen = self.offset + (newline + 1 if newline >= 0 else len(data))
            if newline >= 0:
                self._skipping = False
                return True
        return False

    def _pass_hole(self) -> None:
        """Pass over leading NULs: after copytruncate, a writer that does not append leaves them."""
        while (data := os.pread(self.descriptor, HEAD, self.offset)).startswith(b"\0"):
            step = len(data) - len(data.lstrip(b"\0"))
            self.offset += step
            if step == len(data):
                try:
                    self.offset = os.lseek(self.descriptor, self.offset, os.SEEK_DATA)
                except OSError:
                    return  # ENXIO: a hole to the end; or a file system that can't tell
        self._seen = max(self._seen, self.offset)

    def changed(self) -> Literal["no", "shorter", "replaced"]:
        """Whether the file was truncated or rewritten in place since we last looked.

        "shorter": the same beginning, but an end before what was read. "replaced": begun anew.
        """
        head = os.pread(self.descriptor, HEAD, 0)
        size = self.size()
        if not head.startswith(self.head):
            return "replaced"
        if size < self.offset:
            return "shorter"
        self.head = head
        return "no"

    def restart(self) -> None:
        """Begin anew at the start, as another origin."""
        self.head = os.pread(self.descriptor, HEAD, 0)
        self.origin, self.registered = 0, ""
        self.seek(0)

    def rest(self) -> tuple[int, bytes] | None:
        """A last line that never got its newline, with one added: for files that are done with."""
        data = os.pread(self.descriptor, MAX_BLOCK - 1, self.offset)
        if not data or self._skipping:
            return None
        start = self.offset
        self.offset = self._seen = start + len(data)
        self._skipping = True
        return start, data + b"\n"

    def continues(self, other: Tail) -> bool:
        """Whether this file holds all that was read from `other`: a rewritten copy of it."""
        if not other.head or not self.head.startswith(other.head) or self.size() < other.offset:
            return False
        first = max(0, other.offset - HEAD)
        length = other.offset - first
        return os.pread(self.descriptor, length, first) == os.pread(other.descriptor, length, first)

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self.descriptor)


def open_tail(path: str, name: str) -> Tail:
    """The file at `path`, followed under `name`. Raises SourceError with the reason in one line."""
    descriptor, status = open_log(path)
    try:
        return Tail(descriptor, name, status)
    except OSError as error:
        os.close(descriptor)
        raise SourceError(explain(path, error)) from error


def line_at(descriptor: int, offset: int) -> bytes | None:
    """The line that starts at `offset`, without newline, at most 32 KiB; None if none does."""
    data = b""
    for most in (ORDINARY, MAX_FETCH + 1):
        try:
            data = os.pread(descriptor, most, max(0, offset - 1))
        except OSError:
            return None
        if len(data) < most or data.find(b"\n", 1) > 0:
            break
    if offset:
        if data[:1] not in (b"\n", b"\0"):
            return None
        data = data[1:]
    if not data:
        return None
    return data[:MAX_FETCH].partition(b"\n")[0]
