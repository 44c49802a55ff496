"""Templates of NetFlow v9 and IPFIX: what a record is made of, and records cut out by them.

Touches nothing. Only fields that we look at are taken out; a record always has a length, so that
nothing runs for ever. Limits: `FIELDS` fields; numbers of at most eight bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tidegate.source.flow.records import REVERSE, REVERSE_ENTERPRISE, WANTED, Record

FIELDS = 256
VARIABLE = 0xFFFF
"""This length says that each record has its own (RFC 7011 §7)."""
ENTERPRISE = 0x8000


class Malformed(ValueError):  # noqa: N818 - a datagram is, nothing failed
    """What came is no datagram that we understand; the text says why."""


class Field(NamedTuple):
    """One field: its information element, bytes, and whose element it is (0: IANA's)."""

    number: int
    length: int
    enterprise: int


class Template:
    """The layout of the records of one set."""

    __slots__ = ("_fields", "_length", "_variable", "options")

    def __init__(self, fields: Sequence[Field], *, options: bool) -> None:
        self.options = options
        self._variable = any(one.length == VARIABLE for one in fields)
        # One of variable length takes a byte at least, which says how long it is.
        self._length = sum(1 if one.length == VARIABLE else one.length for one in fields)
        if not self._length:
            raise Malformed("a template whose records have no bytes")
        self._fields: list[tuple[int, int, int]] = []
        at = 0
        for one in fields:
            name = _name(one)
            if self._variable or name:
                self._fields.append((name, at, one.length))
            at += one.length

    def records(self, body: bytes) -> Iterator[Record]:
        """Every record of a set; what is left at its end is padding."""
        if self._variable:
            yield from self._uneven(body)
            return
        length, fields = self._length, self._fields
        for start in range(0, len(body) - length + 1, length):
            yield {
                name: _value(name, body[start + at : start + at + size])
                for name, at, size in fields
            }

    def _uneven(self, body: bytes) -> Iterator[Record]:
        at = 0
        while len(body) - at >= self._length:
            record: Record = {}
            for name, _offset, size in self._fields:
                if size == VARIABLE:
                    size, at = _length_at(body, at)
                if at + size > len(body):
                    raise Malformed("a record is cut off")
                if name:
                    record[name] = _value(name, body[at : at + size])
                at += size
            yield record


def _name(one: Field) -> int:
    """How we call this field; 0: we do not look at it."""
    if one.enterprise == REVERSE_ENTERPRISE:
        return REVERSE + one.number if one.number in WANTED else 0
    return one.number if not one.enterprise and one.number in WANTED else 0


def _length_at(body: bytes, at: int) -> tuple[int, int]:
    """The length that a record says of its own field, and where the field begins."""
    if at < len(body) and body[at] < 255:
        return body[at], at + 1
    if at + 3 > len(body):
        raise Malformed("the length of a field is cut off")
    return int.from_bytes(body[at + 1 : at + 3]), at + 3


def _value(name: int, data: bytes) -> bytes | int:
    if WANTED[name % REVERSE]:
        return data
    return int.from_bytes(data) if len(data) <= 8 else 0
