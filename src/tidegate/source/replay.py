"""A file that is replayed: every block of it, as fast as the disk gives it, on its own clock.

Touches the named file or standard input, read only. `open` may be done as root and the rest after
privilege is dropped. Limits: of compressed and piped input only the last 16 MiB can be fetched.
"""

from __future__ import annotations

import os
import stat
import time
import zlib
from collections.abc import Iterator

from tidegate.detector.audit import begins as is_audit
from tidegate.errors import SourceError
from tidegate.model import Block, Framing, Micros, Origin
from tidegate.source.export import START, EntryCutter, message_at
from tidegate.source.memory import Numbering
from tidegate.source.opening import explain
from tidegate.source.port import MAX_BLOCK, Register
from tidegate.source.stream import LineCutter, Piece, Ring
from tidegate.source.tail import MAX_FETCH, Fingerprint, Tail, line_at

_GZIP = b"\x1f\x8b"


class Replay:
    """Reads one file once: plain, gzip (by its first bytes), a journal export, or `-`.

    `total` is its size in bytes (0: not known), `done` how much of that was read; `problem` says
    why reading ended early ("" if it did not). `arrival` is the file's mtime, for `-` now.
    """

    def __init__(self, path: str, source: str = "", register: Register | None = None) -> None:
        self.path = path
        self.name = source or path
        self.total = 0
        self.done = 0
        self.arrival: Micros = 0
        self.problem = ""
        self.cut_lines = 0
        self.origin: Origin | None = None
        self._register = register or Numbering(self.name)
        self._descriptor = -1
        self._status: os.stat_result | None = None
        self._ring: Ring | None = None
        self._journal = False
        self._first = b""

    def open(self) -> None:
        """Open it and see what it is. Raises SourceError (missing, not permitted, a directory)."""
        try:
            if self.path == "-":
                self._descriptor = os.dup(0)
            else:
                self._descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY)
            status = os.fstat(self._descriptor)
        except OSError as error:
            raise SourceError(explain(self.path, error)) from error
        if stat.S_ISDIR(status.st_mode) or stat.S_ISBLK(status.st_mode):
            self.close()
            raise SourceError(f"{self.path}: not a file with lines")
        self._status = status
        self.arrival = status.st_mtime_ns // 1000
        if stat.S_ISREG(status.st_mode):
            self.total = status.st_size
        else:
            self.arrival = time.time_ns() // 1000

    def blocks(self) -> Iterator[Block]:
        """Every block in order, whole lines (or journal entries); a last line gets its newline."""
        status = self._status
        assert status is not None, "open() comes first"
        regular = stat.S_ISREG(status.st_mode) and self.path != "-"
        first = os.pread(self._descriptor, len(START), 0) if regular else b""
        if regular and not first.startswith((_GZIP, START)):
            yield from self._file_blocks(status)
        else:
            yield from self._stream_blocks(status)

    def _file_blocks(self, status: os.stat_result) -> Iterator[Block]:
        """By pread at our own offset: no byte is copied twice, every line can be fetched again."""
        tail = Tail(self._descriptor, self.path, status)
        origin = self._origin(tail.identity, rereadable=True)
        while piece := tail.next() or tail.rest():
            self.done = tail.offset
            yield Block(self.name, piece[1], piece[0], self.arrival, origin, tail.framing)
        self.cut_lines = tail.cut_lines

    def _stream_blocks(self, status: os.stat_result) -> Iterator[Block]:
        chunks = self._chunks()
        first = next(chunks, b"")
        while len(first) < len(START) and (more := next(chunks, b"")):
            first += more
        self._journal = first.startswith(START)
        identity = (
            "stdin" if self.path == "-" else Fingerprint.of(status.st_ino, first[:256]).identity
        )
        origin = self._origin(identity, rereadable=False)
        ring = self._ring = Ring()
        cutter = EntryCutter() if self._journal else LineCutter()
        framing: Framing = "journal" if self._journal else "lines"
        if is_audit(first):
            framing = "audit"
        for piece in self._pieces(cutter, first, chunks):
            ring.add(*piece)
            yield Block(self.name, piece.data, piece.offset, self.arrival, origin, framing)
        if isinstance(cutter, LineCutter):
            self.cut_lines = cutter.cut_lines

    def _pieces(
        self, cutter: EntryCutter | LineCutter, first: bytes, chunks: Iterator[bytes]
    ) -> Iterator[Piece]:
        yield from cutter.feed(first)
        for chunk in chunks:
            yield from cutter.feed(chunk)
        yield from cutter.finish()

    def _chunks(self) -> Iterator[bytes]:
        """Chunks of at most 1 MiB, decompressed if need be."""
        raw = self._raw()
        first = next(raw, b"")
        while len(first) == 1 and (more := next(raw, b"")):
            first += more
        if not first.startswith(_GZIP):
            yield first
            yield from raw
            return
        try:
            yield from _decompressed(first, raw)
        except (zlib.error, EOFError) as error:
            self.problem = f"{self.path}: damaged gzip data ({error}); what came before was read"

    def _raw(self) -> Iterator[bytes]:
        try:
            while data := os.read(self._descriptor, MAX_BLOCK):
                self.done += len(data)
                yield data
        except OSError as error:
            self.problem = f"{self.path}: {error.strerror or error}; what came before was read"

    def _origin(self, identity: str, *, rereadable: bool) -> int:
        self.origin = self._register(self.path, identity, rereadable)
        return self.origin.number

    def fetch(self, origin: int, offset: int) -> bytes | None:
        """The line that starts there, without newline, at most 32 KiB; None if it is gone."""
        if self.origin is None or origin != self.origin.number or offset < 0:
            return None
        if self._ring is None:
            return line_at(self._descriptor, offset)
        if self._journal:
            found = self._ring.rest_of(offset)
            return message_at(*found)[:MAX_FETCH] if found else None
        return self._ring.line(offset)

    def close(self) -> None:
        """Give the descriptor back."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _decompressed(first: bytes, raw: Iterator[bytes]) -> Iterator[bytes]:
    """The content of all gzip members (RFC 1952), 1 MiB at a time. Raises zlib.error, EOFError."""
    data = first
    while data:
        member = zlib.decompressobj(wbits=31)
        while not member.eof:
            if not data:
                data = next(raw, b"")
                if not data:
                    raise EOFError("it ends too early")
            before = member.copy()
            try:
                text = member.decompress(data, MAX_BLOCK)
            except zlib.error:
                yield from _salvaged(before, data)
                raise
            data = member.unconsumed_tail
            if text:
                yield text
        # Between and after members there may be padding.
        data = member.unused_data.lstrip(b"\0")
        while not data and (more := next(raw, b"")):
            data = more.lstrip(b"\0")


def _salvaged(member: zlib._Decompress, data: bytes) -> Iterator[bytes]:
    """What can be had before the damage: zlib gives nothing of a call that fails."""
    for start in range(0, len(data), 64):
        try:
            yield member.decompress(data[start : start + 64])
        except zlib.error:
            return
