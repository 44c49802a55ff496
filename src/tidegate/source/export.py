"""The journal export format, cut at entry ends and made harmless: no message can forge an entry.

Touches nothing. Format: https://systemd.io/JOURNAL_EXPORT_FORMATS/. Binary fields become text with
control bytes escaped. Limits: fields over 64 KiB are cut; entries of over 2,048 fields are dropped.
"""

from __future__ import annotations

import re

from tidegate.source.port import MAX_BLOCK
from tidegate.source.stream import Piece

MAX_FIELD = 64 << 10
MAX_FIELDS = 2048  # journald itself stops at 1,024
START = b"__CURSOR="

# A field with its value in binary: the name alone on a line, then 8 bytes of length, little-endian.
_BINARY = re.compile(rb"(?<![^\n])[A-Z0-9_]{1,64}\n")
_NAME_AND_LENGTH = 64 + 1 + 8
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_ESCAPES = {bytes((code,)): b"\\x%02x" % code for code in (*range(32), 127)} | {
    b"\n": b"\\n",
    b"\r": b"\\r",
}


def escape(value: bytes) -> bytes:
    """A field's value on one line: `\\n`, `\\r`, `\\xNN` for control bytes; tabs stay."""
    return _CONTROL.sub(lambda found: _ESCAPES[found[0]], value)


class EntryCutter:
    """Cuts an export stream into pieces of whole entries.

    `offset` counts the bytes handed over, `cursor` names the last entry seen. An entry that holds
    `refused` at the start of a line is left out; so is the first entry if its cursor is `after`.
    """

    def __init__(self, offset: int = 0, *, after: str = "", refused: bytes = b"") -> None:
        self.offset = offset
        self.cursor = after
        self.cut_fields = 0
        self._after = START + after.encode() + b"\n" if after else b""
        self._refused = b"\n" + refused if refused else b""
        self._buffer = b""  # starts with an entry
        self._drop = 0  # bytes of a long binary value still to come
        self._drop_line = False  # inside the rest of a long text value

    def feed(self, chunk: bytes) -> list[Piece]:
        """The entries that this chunk completes."""
        if self._drop or self._drop_line:
            chunk = self._dropped(chunk)
        data = self._buffer + chunk if self._buffer else chunk
        text = len(data)
        # Text fields hold no control bytes; every binary field has NULs in its length.
        if b"\0" in data:
            data, text = self._harmless(data)
        end = _end(data, text)
        if end == len(data):
            self._buffer = b""
        else:
            data, self._buffer = data[:end], data[end:]
            if len(self._buffer) > MAX_BLOCK:
                self._shorten()
        return self._piece(data) if data else []

    def finish(self) -> list[Piece]:
        """A last entry whose empty line is missing: the stream is over."""
        if b"=" not in self._buffer or b"\0" in self._buffer:
            return []
        return self.feed(b"\n" if self._buffer.endswith(b"\n") else b"\n\n")

    def _piece(self, data: bytes) -> list[Piece]:
        last = data.rfind(b"\n\n" + START) + 2
        if last >= 2 or data.startswith(START):
            place = (last if last >= 2 else 0) + len(START)
            self.cursor = data[place : data.find(b"\n", place)].decode("ascii", "replace")
        if self._after:
            if data.startswith(self._after):
                data = data[data.find(b"\n\n") + 2 :]
            self._after = b""
        if self._refused and self._refused in data:
            entries = data[:-2].split(b"\n\n")
            data = b"".join(each + b"\n\n" for each in entries if self._refused not in each)
        if not data:
            return []
        start = self.offset
        self.offset += len(data)
        return [Piece(start, data)]

    def _harmless(self, data: bytes) -> tuple[bytes, int]:
        """Binary fields as text, and how far they are complete: what is behind that must wait."""
        done: list[bytes] = []
        place = 0
        while (nul := data.find(b"\0", place)) >= 0:
            window = max(place, nul - _NAME_AND_LENGTH)
            header = _BINARY.search(data, window, nul)
            if header is None:  # no export ever holds this: a stray NUL in a text field
                done += (data[place:nul], b"\\x00")
                place = nul + 1
                continue
            value = header.end() + 8
            size = int.from_bytes(data[header.end() : value], "little")
            kept = min(size, MAX_FIELD)
            if len(data) < value + kept + 1:
                done.append(data[place : header.start()])
                text = b"".join(done)
                return text + data[header.start() :], len(text)
            done += (
                data[place : header.end() - 1],
                b"=",
                escape(data[value : value + kept]),
                b"\n",
            )
            place = value + size + 1
            if size > kept:
                self.cut_fields += 1
                self._drop = max(0, place - len(data))
        done.append(data[place:])
        text = b"".join(done)
        return text, len(text)

    def _dropped(self, chunk: bytes) -> bytes:
        """What follows the value that is being dropped."""
        if self._drop:
            dropped = min(self._drop, len(chunk))
            self._drop -= dropped
            return chunk[dropped:]
        newline = chunk.find(b"\n")
        self._drop_line = newline < 0
        return chunk[newline:] if newline >= 0 else b""

    def _shorten(self) -> None:
        """Keep an entry that grows without end within bounds: its longest values are cut."""
        if b"\0" in self._buffer:
            return  # an unfinished binary field; those are bounded already
        lines = self._buffer.split(b"\n")
        if len(lines) > MAX_FIELDS:
            lines = [b""]
            self.cut_fields += 1
        room = min(MAX_FIELD, MAX_BLOCK // len(lines))
        self._drop_line = len(lines[-1]) > room
        self.cut_fields += sum(len(line) > room for line in lines)
        self._buffer = b"\n".join(line[:room] for line in lines)


def _end(data: bytes, limit: int) -> int:
    """Behind the last empty line in data[:limit] that ends an entry.

    The length of a binary field that is only half there can look like one, but no `=` is before it.
    """
    end = data.rfind(b"\n\n", 0, limit)
    while end >= 0:
        if data.find(b"=", data.rfind(b"\n", 0, end) + 1, end) >= 0:
            return end + 2
        end = data.rfind(b"\n\n", 0, end + 1)
    return 0


def message_at(data: bytes, place: int) -> bytes:
    """The value of MESSAGE in the entry around `place`, or the line there if it has none."""
    start = data.rfind(b"\n\n", 0, place) + 2 if place else 0
    start = 0 if start == 1 else start
    end = data.find(b"\n\n", place)
    entry = data[start : end if end >= 0 else len(data)]
    for line in entry.split(b"\n"):
        if line.startswith(b"MESSAGE="):
            return line[8:]
    return data[place:].partition(b"\n")[0]
