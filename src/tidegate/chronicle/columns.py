"""Columns of numbers and texts as bytes: what many records have in common costs little that way.

Touches nothing. Reading takes any bytes and raises nothing but Damaged. Limits: MOST values in a
column, MAX_TEXT bytes of texts in one.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from itertools import accumulate, pairwise
from struct import Struct

MOST = 1 << 20
MAX_TEXT = 8 << 20

_HEAD = Struct(">cI")
_SIZE = Struct(">I")
_UNSIGNED = tuple((1 << 8 * array(code).itemsize, code) for code in "BHIQ")
_SIGNED = tuple((1 << (8 * array(code).itemsize - 1), code) for code in "bhiq")
_WIDTH = {code: array(code).itemsize for code in "BHIQbhiq"}
_SWAPPED = sys.byteorder == "little"


class Damaged(ValueError):  # noqa: N818 - said of bytes, not of us
    """Bytes that nobody has written here."""


def numbers(values: Sequence[int]) -> bytes:
    """A column of whole numbers, as narrow as the widest of them."""
    if not values:
        return _HEAD.pack(b"B", 0)
    low, high = min(values), max(values)
    table, need = (_UNSIGNED, high) if low >= 0 else (_SIGNED, max(high, -low - 1))
    code = next(code for limit, code in table if need < limit)
    column = array(code, values)
    if _SWAPPED and column.itemsize > 1:
        column.byteswap()
    return _HEAD.pack(code.encode(), len(column)) + column.tobytes()


def steps(values: Sequence[int]) -> bytes:
    """A column of numbers that are near the one before, such as moments."""
    return numbers([*values[:1], *(after - before for before, after in pairwise(values))])


def texts(values: Sequence[str]) -> bytes:
    """A column of texts, whatever is in them."""
    data = "".join(values).encode("utf-8", "surrogatepass")
    return numbers([*map(len, values)]) + _SIZE.pack(len(data)) + data


class Columns:
    """Takes columns off bytes in the order they were written. Every method may raise Damaged."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, size: int) -> bytes:
        """So many bytes."""
        end = self._at + size
        if end > len(self._data):
            raise Damaged("ends too early")
        found = self._data[self._at : end]
        self._at = end
        return found

    def numbers(self, count: int | None = None) -> list[int]:
        """A column of numbers; of this many, where that is known."""
        kind, size = _HEAD.unpack(self.take(_HEAD.size))
        width = _WIDTH.get(kind.decode("latin-1"), 0)
        if not width or size > MOST or (count is not None and size != count):
            raise Damaged("no such column")
        column = array(kind.decode("latin-1"), self.take(size * width))
        if _SWAPPED and width > 1:
            column.byteswap()
        return column.tolist()

    def steps(self, count: int) -> list[int]:
        """A column of numbers near the one before."""
        return list(accumulate(self.numbers(count)))

    def texts(self, count: int | None = None) -> list[str]:
        """A column of texts."""
        lengths = self.numbers(count)
        (size,) = _SIZE.unpack(self.take(_SIZE.size))
        if size > MAX_TEXT:
            raise Damaged(f"{size} bytes of text")
        try:
            text = self.take(size).decode("utf-8", "surrogatepass")
        except UnicodeDecodeError as error:
            raise Damaged("no text") from error
        ends = list(accumulate(lengths, initial=0))
        if ends[-1] != len(text) or min(lengths, default=0) < 0:
            raise Damaged("texts of other lengths")
        return [text[start:end] for start, end in pairwise(ends)]

    def end(self) -> None:
        """Nothing may be left."""
        if self._at != len(self._data):
            raise Damaged(f"{len(self._data) - self._at} bytes too many")
