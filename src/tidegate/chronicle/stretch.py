"""One stretch of a chronicle as bytes: records in compressed blocks, each with its sum.

Touches nothing. A block that is torn or damaged, and all behind it, is left out, and said.
Limits: MOST_PLAIN bytes a block when unpacked, so that nobody's few bytes become many of ours.

    "TGEV" | version 1 | blocks: size 4, crc32 4, deflate (one stream over all blocks, flushed)
    in a block: records of kind 1, size 4, body
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from struct import Struct

from tidegate.chronicle.columns import Damaged
from tidegate.chronicle.pages import Reader
from tidegate.chronicle.records import (
    Head,
    Knock,
    Pardon,
    Record,
    Tide,
    decode_head,
    encode_head,
)
from tidegate.model import Subject

MAGIC = b"TGEV\x01"
MOST_PLAIN = 32 << 20
_BLOCK = Struct(">II")
_RECORD = Struct(">cI")
_LATEST = 1 << 62
_LONGEST_SUBJECT = 300


class Packer:
    """Packs records; one for each stretch, since its blocks lean on those before."""

    def __init__(self, level: int = 1) -> None:
        self._deflate = zlib.compressobj(level, zlib.DEFLATED, -15)

    def block(self, records: bytes) -> bytes:
        """A block with these records in it."""
        data = self._deflate.compress(records) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        return _BLOCK.pack(len(data), zlib.crc32(data)) + data


def head(found: Head) -> bytes:
    """A head as a record; the first of its stretch."""
    return _record(b"H", encode_head(found))


def page(data: bytes) -> bytes:
    """A page of events as a record."""
    return _record(b"E", data)


def other(found: Knock | Pardon | Tide) -> bytes:
    """What else there is as a record."""
    kind = {Knock: b"K", Pardon: b"P", Tide: b"T"}[type(found)]
    return _record(kind, json.dumps(found).encode())


def _record(kind: bytes, body: bytes) -> bytes:
    return _RECORD.pack(kind, len(body)) + body


def untorn(data: bytes) -> bytes:
    """The same without a last block that is not whole yet: somebody is just writing it, or died
    while doing so."""
    at = len(MAGIC)
    while at + _BLOCK.size <= len(data):
        size, _checksum = _BLOCK.unpack_from(data, at)
        if at + _BLOCK.size + size > len(data):
            break
        at += _BLOCK.size + size
    return data[:at]


class Stretch:
    """Reads the records of one stretch. `left_out` says why reading ended early ("": it did not),
    `whole` how many bytes were good."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.left_out = ""
        self.whole = 0

    def __iter__(self) -> Iterator[Record]:
        self.left_out, self.whole = "", 0
        reader = Reader()
        try:
            for plain in self._blocks():
                yield from _records(plain, reader)
        except Damaged as error:
            self.left_out = str(error)

    def head(self) -> Head | None:
        """Its head, and no more of it; None where there is none."""
        first = next(iter(self), None)
        return first if isinstance(first, Head) else None

    def _blocks(self) -> Iterator[bytes]:
        if not self._data.startswith(MAGIC):
            raise Damaged("no events of a version that we read")
        at = self.whole = len(MAGIC)
        inflate = zlib.decompressobj(-15)
        while at < len(self._data):
            start = at + _BLOCK.size
            if start > len(self._data):
                raise Damaged("its last block is torn")
            size, checksum = _BLOCK.unpack_from(self._data, at)
            data = self._data[start : start + size]
            if len(data) < size:
                raise Damaged("its last block is torn")
            if zlib.crc32(data) != checksum:
                raise Damaged("a block of it is damaged")
            try:
                plain = inflate.decompress(data, MOST_PLAIN)
            except zlib.error as error:
                raise Damaged("a block of it is damaged") from error
            if inflate.unconsumed_tail:
                raise Damaged("a block of it is too large")
            at = self.whole = start + size
            yield plain


def _records(plain: bytes, reader: Reader) -> Iterator[Record]:
    at = 0
    while at < len(plain):
        if at + _RECORD.size > len(plain):
            raise Damaged("a record ends too early")
        kind, size = _RECORD.unpack_from(plain, at)
        at += _RECORD.size
        body = plain[at : at + size]
        if len(body) < size:
            raise Damaged("a record ends too early")
        at += size
        if kind == b"E":
            yield from reader.read(body)
        elif kind == b"H":
            yield decode_head(body)
        else:
            yield _other(kind, body)


def _other(kind: bytes, body: bytes) -> Record:
    try:
        values = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Damaged("a record that is none") from error
    match kind, values:
        case b"K", [int(time), str(subject), int(port)] if 0 <= port < 1 << 16:
            found: Knock | Pardon = Knock(time, Subject(subject), port)
        case b"P", [int(time), str(subject), int(span)] if abs(span) < _LATEST:
            found = Pardon(time, Subject(subject), span)
        case b"T", [str(level)] if level in ("low", "high", "flood"):
            return Tide(level)
        case _:
            raise Damaged("a record that is none")
    if abs(time) >= _LATEST or len(subject) > _LONGEST_SUBJECT:
        raise Damaged("a record that is none")
    return found
