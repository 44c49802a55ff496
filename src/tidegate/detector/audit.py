"""Audit logs: ModSecurity's native records, many lines a request, folded into one line each.

Touches nothing. A record begins with `--boundary-A--` and ends with `--boundary-Z--`; bodies stand
between them as the client sent them, so only the boundary that began a record says anything in it.
The line is one of an error log, as the pack `modsecurity` reads it. Limits: one line a record, the
denial or the gravest warning; what stands in a record is kept only as far as that line needs it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from tidegate.model import MINUTE, SECOND, Batch, Block, Micros

DEAD = 10 * MINUTE
"""A record that has not ended after this time never will: its writer died."""

QUIET = 2 * SECOND
"""Nothing was written for so long: what comes then is no rest of a record."""

FILES = 256
_LONGEST = 16 * 1024  # of a message, and of the client's words
_MARK = re.compile(rb"^(--[0-9A-Za-z@]{8}-|---[0-9A-Za-z]{8}---)([A-Z])--\r?$", re.M)
_FIRST = re.compile(rb"\[([^\]\n]{10,50})\] ([0-9A-Za-z@_.-]{1,80}) ([0-9A-Fa-f:.%]{2,60}) [0-9]")
_REQUEST = re.compile(rb"[^ \n]{1,40} ([^ \n]*)")
_HOST = re.compile(rb"^[Hh][Oo][Ss][Tt]: *([^\n]{0,255})$", re.M)
_MESSAGE = re.compile(rb"(?:Message|ModSecurity): (?:ModSecurity: )?(.*)")
_GRAVE = re.compile(rb'\[severity "(?:CRITICAL|ALERT|EMERGENCY|[012])"\]')
_ZONE = re.compile(rb" ([+-])-?([0-9]{2})([0-9]{2,4})$")
_DENIED, _GRAVELY, _WARNED = 3, 2, 1


class Folded(NamedTuple):
    """A block with a line for each record that ended in the one it came from, and their places."""

    block: Block
    places: dict[int, tuple[int, int]]  # where a line begins: its record's first line, length

    def restore(self, batch: Batch, lines: int) -> Batch:
        """The batch as of the block that was folded, of so many lines: events at their records."""
        batch.lines = lines
        batch.events[:] = [
            event._replace(offset=place[0], length=place[1])
            for event in batch.events
            if (place := self.places.get(event.offset - self.block.offset))
        ]
        for who, success in batch.successes.items():
            at = self.places[success.first_offset - self.block.offset][0]
            batch.successes[who] = success._replace(first_offset=at)
        for number, bad in enumerate(batch.quarantined):
            at = self.places[bad.offset - self.block.offset][0]
            batch.quarantined[number] = bad._replace(offset=at)
        return batch


@dataclass(slots=True)
class _Record:
    """What is kept of a record that has begun."""

    boundary: bytes
    offset: int
    told: int  # where its first line stands, behind the boundary: it names time and client
    seen: Micros
    section: bytes = b"A"
    time: bytes = b""
    name: bytes = b""
    address: bytes = b""
    uri: bytes = b""
    host: bytes = b""
    intercepted: bool = False
    grave: int = 0
    message: bytes = b""

    def take(self, text: bytes) -> None:
        """Add whole lines of the section that is open."""
        if self.section == b"A" and not self.address:
            if found := _FIRST.match(text):
                self.time, self.name, self.address = found.groups()
        elif self.section == b"B":
            head = text[:_LONGEST]
            if not self.uri and (found := _REQUEST.match(head)):
                self.uri = found[1]
            if not self.host and (found := _HOST.search(head)):
                self.host = found[1]
        elif self.section == b"H":
            for line in text.split(b"\n"):
                self._trailer(line)

    def _trailer(self, line: bytes) -> None:
        if line.startswith(b"Action: Intercepted"):
            self.intercepted = True
        elif found := _MESSAGE.match(line):
            message = found[1][:_LONGEST]
            grave = _gravity(message)
            if grave > self.grave:
                self.grave, self.message = grave, message

    def line(self) -> bytes:
        """The record as a line of an error log; b"" where nothing matched, or nobody is named."""
        message = self.message
        if self.intercepted and self.grave < _DENIED:
            message = b"Access denied with code 0. " + message.removeprefix(b"Warning. ")
        if not self.address or not message:
            return b""
        added = b""
        if b' [unique_id "' not in message:
            said = (escaped(self.host), escaped(self.uri), self.name)
            added = b' [hostname "%s"] [uri "%s"] [unique_id "%s"]' % said
        stamp = _ZONE.sub(_zone, self.time)
        return b"[%s] [error] [client %s] ModSecurity: %s%s\n" % (
            stamp,
            self.address,
            message.rstrip(b"\r"),
            added,
        )


@dataclass(slots=True)
class _File:
    """How far a file was read: the record that is open, or whether a next one is believed here.

    Where reading began inside a record, what looks like one may be a client's. `whole`: it began
    with the file, where no client can arrange that, and any end of a record will do.
    """

    whole: bool
    record: _Record | None = None
    between: bool = True
    heard: Micros = 0


@dataclass(slots=True)
class AuditLogs:
    """Folds the blocks of audit logs. `broken` counts records that never ended."""

    broken: int = 0
    _files: dict[tuple[str, int], _File] = field(default_factory=dict)

    def fold(self, block: Block) -> Folded:
        """A block with one line for each record that ends in this one."""
        key = (block.source, block.origin)
        file = self._files.pop(key, None) or _File(whole=block.offset == 0)
        if len(self._files) >= FILES:
            del self._files[next(iter(self._files))]
        self._files[key] = file
        lines: list[bytes] = []
        places: dict[int, tuple[int, int]] = {}
        at = 0
        for record, stop in self._records(file, block):
            if line := record.line():
                places[at] = (record.told, stop - record.told)
                lines.append(line)
                at += len(line)
        folded = block._replace(data=b"".join(lines) or b"\n", offset=0, framing="lines")
        return Folded(folded, places)

    def resume(self, source: str, origin: int) -> int | None:
        """Where a record begins that has not ended: from there on it is to be read again."""
        file = self._files.get((source, origin))
        return file.record.offset if file and file.record else None

    def _records(self, file: _File, block: Block) -> Iterator[tuple[_Record, int]]:
        """The records that end in the block, each with the offset behind it."""
        data, base, begin = block.data, block.offset, 0
        file.between |= file.record is None and block.arrival - file.heard >= QUIET
        file.heard = block.arrival
        for mark in _MARK.finditer(data):
            boundary, section = mark.groups()
            start, stop = mark.start(), min(mark.end() + 1, len(data))
            record = file.record
            if record is not None and boundary == record.boundary:
                record.take(data[begin:start])
                record.section = section
                record.seen = block.arrival
                if section == b"Z":
                    file.record, file.between = None, True
                    yield record, base + stop
            elif record is None or (section == b"A" and block.arrival - record.seen > DEAD):
                self.broken += record is not None
                believed = record is not None or (file.between and _blank(data, begin, start))
                file.record, file.between = None, file.whole and section == b"Z"
                if section == b"A" and believed:
                    file.record = _Record(boundary, base + start, base + stop, block.arrival)
            else:  # somebody else's words
                continue
            begin = stop
        if file.record is not None:
            file.record.take(data[begin:])
        elif not _blank(data, begin, len(data)):
            file.between = False


def begins(data: bytes) -> bool:
    """Whether a file that begins like this is an audit log."""
    return _MARK.match(data) is not None and b"-A--" in data[:20]


def escaped(text: bytes) -> bytes:
    r"""A client's words as ModSecurity writes them: quotes, \ and what is not printable as \xNN."""
    return b"".join(
        b"%c" % byte if 32 <= byte < 127 and byte not in b'"\\' else b"\\x%02x" % byte
        for byte in text[:1024]
    )


def _gravity(message: bytes) -> int:
    if message.startswith(b"Access denied "):
        return _DENIED
    if not message.startswith(b"Warning."):
        return 0
    return _GRAVELY if _GRAVE.search(message) else _WARNED


def _zone(found: re.Match[bytes]) -> bytes:
    """The zone mended: 2.5 wrote +051800 (seconds) for +0530, 2.9 writes --0400."""
    minutes = int(found[3]) // 60 if len(found[3]) > 2 else int(found[3])
    return b" %s%s%02d" % (found[1], found[2], minutes)


def _blank(data: bytes, start: int, stop: int) -> bool:
    return not data[start:stop].strip(b"\r\n")
