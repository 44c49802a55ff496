"""Fields of what hosts say to each other: big endian, one spelling for each value.

Touches nothing. `Reader` takes them off untrusted bytes and raises nothing but Malformed.
Limits: names of 255 bytes; subjects are addresses and networks; moments are whole milliseconds.
"""

from __future__ import annotations

import re

from tidegate import subject as subjects
from tidegate.frames import Malformed as Malformed
from tidegate.model import Micros, Subject
from tidegate.subject import Network

HOST = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}", re.ASCII)
"""The name of a host in its fleet."""
RULE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", re.ASCII)
"""The name of a rule that is counted over hosts."""

_MILLI = 1000
_LAST = (1 << 48) - 1
_MAPPED = bytes(10) + b"\xff\xff"


def rounded(moment: Micros) -> Micros:
    """A moment as it is after a journey: the whole milliseconds of it."""
    return moment // _MILLI * _MILLI


def number(value: int, width: int) -> bytes:
    """A whole number in so many bytes. ValueError where it does not fit."""
    try:
        return value.to_bytes(width)
    except OverflowError as error:
        raise ValueError(f"{value} does not fit into {width} bytes") from error


def short(value: int) -> bytes:
    """A whole number in as few bytes as it takes, seven bits in each. ValueError if negative."""
    if value < 0:
        raise ValueError(f"{value} is below nothing")
    found = bytearray((value & 127,))
    while value := value >> 7:
        found.append(value & 127 | 128)
    found.reverse()
    return bytes(found)


def moment(value: Micros) -> bytes:
    """A moment, rounded down to milliseconds."""
    return number(value // _MILLI, 6)


def name(value: str, pattern: re.Pattern[str]) -> bytes:
    """A name with its length in front. ValueError where the pattern does not have it."""
    if not pattern.fullmatch(value):
        raise ValueError(f"{value!r} is no such name")
    return number(len(value), 1) + value.encode("ascii")


def range_of(value: Subject) -> Network:
    """The range behind an address or network. ValueError where it is none, or another spelling."""
    found = subjects.network(value)
    if found is None:
        raise ValueError(f"{value!r} is neither address nor network")
    if subjects.from_network(found) != value:
        raise ValueError(f"{value!r} is not in its canonical spelling")
    return found


def subject(value: Subject) -> bytes:
    """An address or network: family, length of the prefix, packed address."""
    found = range_of(value)
    return bytes((found.family, found.length)) + found.bits


class Reader:
    """Takes fields off bytes that anybody may have written. Every method may raise Malformed."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def taken(self) -> bytes:
        """What was read so far."""
        return self._data[: self._at]

    def take(self, size: int) -> bytes:
        """So many bytes."""
        end = self._at + size
        if end > len(self._data):
            raise Malformed("ends too early")
        found = self._data[self._at : end]
        self._at = end
        return found

    def number(self, width: int, least: int = 0, most: int | None = None) -> int:
        """A whole number of so many bytes, inside its bounds."""
        found = int.from_bytes(self.take(width))
        if found < least or (most is not None and found > most):
            raise Malformed(f"{found} is out of bounds")
        return found

    def short(self, most: int) -> int:
        """A whole number in as few bytes as it takes."""
        found = 0
        while (byte := self.number(1)) & 128:
            if byte == 128 and not found:
                raise Malformed("a number that begins with nothing")
            found = (found | byte & 127) << 7
            if found > most:
                raise Malformed("a number out of bounds")
        found |= byte
        if found > most:
            raise Malformed(f"{found} is out of bounds")
        return found

    @property
    def left(self) -> int:
        """How many bytes are left."""
        return len(self._data) - self._at

    def moment(self) -> Micros:
        """A moment."""
        return self.number(6) * _MILLI

    def name(self, pattern: re.Pattern[str]) -> str:
        """A name of this pattern."""
        found = self.take(self.number(1)).decode("latin-1")
        if not pattern.fullmatch(found):
            raise Malformed("a name that can be none")
        return found

    def subject(self) -> Subject:
        """An address or network in its one spelling."""
        family = self.number(1)
        if family not in (4, 6):
            raise Malformed("an address of no known family")
        width = 4 if family == 4 else 16
        length = self.number(1, 0, width * 8)
        found = Network(family, length, self.take(width))
        if found.first & ((1 << (width * 8 - length)) - 1):
            raise Malformed("bits behind the prefix of a network")
        if family == 6 and length >= 96 and found.bits.startswith(_MAPPED):
            raise Malformed("an IPv4 address as IPv6")
        return subjects.from_network(found)

    def end(self) -> None:
        """Nothing may be left."""
        if self._at != len(self._data):
            raise Malformed(f"{len(self._data) - self._at} bytes too many")
