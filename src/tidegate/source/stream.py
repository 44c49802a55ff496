"""Bytes that come once and in order (pipes, decompressed files): whole lines, and a memory.

Touches nothing. Holds at most one unfinished line (1 MiB) and the last 16 MiB handed over.
Limits: what has left the ring can't be fetched again.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from typing import NamedTuple

from tidegate.source.port import MAX_BLOCK
from tidegate.source.tail import MAX_FETCH

MAX_RING = 16 << 20


class Piece(NamedTuple):
    """Whole lines, and the offset of the first in the stream, in bytes."""

    offset: int
    data: bytes


class LineCutter:
    """Cuts a stream into pieces of whole lines. Lines over 1 MiB come cut, and are counted."""

    def __init__(self) -> None:
        self.offset = 0
        self.cut_lines = 0
        self._parts: list[bytes] = []
        self._size = 0
        self._skipping = False
        self._begun = False

    def feed(self, chunk: bytes) -> list[Piece]:
        """The lines that this chunk (at most 1 MiB) completes."""
        if self._skipping:
            chunk = self._skip(chunk)
        if not self._begun:
            # As in files: leading NULs are a hole that copytruncate left.
            text = chunk.lstrip(b"\0")
            self.offset += len(chunk) - len(text)
            chunk, self._begun = text, bool(text)
        end = chunk.rfind(b"\n") + 1
        if not end:
            self._keep(chunk)
            return self._cut() if self._size >= MAX_BLOCK else []
        pieces: list[Piece] = []
        first = chunk.find(b"\n") if self._parts else 0
        if self._size + first >= MAX_BLOCK:
            self._keep(chunk[:first])
            pieces = self._cut()
            chunk, end = self._skip(chunk[first:]), end - first - 1
        head, rest = (chunk, b"") if end == len(chunk) else (chunk[:end], chunk[end:])
        if self._parts:
            head = b"".join((*self._parts, head))
            self._parts, self._size = [], 0
        if head:
            pieces.append(Piece(self.offset, head))
            self.offset += len(head)
        self._keep(rest)
        return pieces

    def _keep(self, part: bytes) -> None:
        if part:
            self._parts.append(part)
            self._size += len(part)

    def _cut(self) -> list[Piece]:
        """Hand over the beginning of a line that is too long; its rest will be passed over."""
        start, size = self.offset, self._size
        data = b"".join(self._parts)[: MAX_BLOCK - 1] + b"\n"
        self._parts, self._size = [], 0
        self._skipping = True
        self.cut_lines += 1
        self.offset += size
        return [Piece(start, data)]

    def _skip(self, chunk: bytes) -> bytes:
        newline = chunk.find(b"\n") + 1
        self.offset += newline or len(chunk)
        self._skipping = not newline
        return chunk[newline:] if newline else b""

    def finish(self) -> list[Piece]:
        """A last line that has no newline, with one added: the stream is over."""
        if not self._size:
            return []
        return self.feed(b"\n")


class Ring:
    """The last 16 MiB of pieces, by reference, so that a line can be shown when it convicts."""

    def __init__(self, limit: int = MAX_RING) -> None:
        self._limit = limit
        self._size = 0
        self._pieces: deque[Piece] = deque()

    def add(self, offset: int, data: bytes) -> None:
        """Remember a piece; the oldest go when there is too much."""
        self._pieces.append(Piece(offset, data))
        self._size += len(data)
        while self._size > self._limit and len(self._pieces) > 1:
            self._size -= len(self._pieces.popleft().data)

    def rest_of(self, offset: int) -> tuple[bytes, int] | None:
        """The piece that holds this offset, and where in it; None if it is gone."""
        index = bisect_right(self._pieces, offset, key=lambda piece: piece.offset) - 1
        if index < 0:
            return None
        piece = self._pieces[index]
        place = offset - piece.offset
        return (piece.data, place) if place < len(piece.data) else None

    def line(self, offset: int) -> bytes | None:
        """The line that starts there, without newline, at most 32 KiB."""
        found = self.rest_of(offset)
        if found is None:
            return None
        data, place = found
        if place and data[place - 1 : place] != b"\n":
            return None
        return data[place : place + MAX_FETCH].partition(b"\n")[0]
