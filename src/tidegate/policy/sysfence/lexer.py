"""The words of sysfence's language, and text → tokens as sysfence itself takes them.

Touches nothing. Every token ends at a blank or at the end of the file; only a closing quote, and a
number before `#`, need none after them. Limits: what a word may not be here, `grammar` says.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from typing import Literal, NamedTuple

Kind = Literal[
    "if", "run", "log", "once", "step", "and", "or", "compare", "comma", "load", "memory", "space",
    "nproc", "state", "{", "}", "string", "word", "broken", "end",
]  # fmt: skip
_TABLE: dict[Kind, dict[str, str]] = {
    "if": {"if": "if when on rule"},
    "run": {"run": "run exec execute invoke"},
    "log": {"log": "log"},
    "once": {"once": "once onlyonce"},
    "step": {"step": "step stepping"},
    "and": {"and": "and andalso &&"},
    "or": {"or": "or orelse ||"},
    "compare": {"==": "= ==", "!=": "!= <>", "<": "<", ">": ">", "<=": "<= =<", ">=": ">= =>"},
    "comma": {",": ", |"},
    "{": {"{": "{"},
    "}": {"}": "}"},
    "load": {f"la{minutes}": f"la{minutes} load{minutes} loadavg{minutes}"
             for minutes in (1, 5, 15)},
    "memory": {
        "memfree": "memfree freemem freememory",
        "memused": "memused usedmem usedmemory",
        "swapfree": "swapfree freeswap",
        "swapused": "swapused usedswap",
    },
    "space": {
        "spacefree": "spacefree freespace",
        "spaceavail": "spaceavail availspace spaceavailable availablespace",
        "spaceused": "spaceused usedspace",
    },
    "nproc": {"nproc": "nproc numproc procnum processes"},
    "state": {
        "running": "running",
        "stopped": "stop stopped traced",
        "sleeping": "sleep sleeping",
        "uninterruptible": "unint io uninterruptible",
        "zombie": "zombie defunct",
    },
}  # fmt: skip
SPELLINGS: dict[str, tuple[Kind, str]] = {
    spelling: (kind, meaning)
    for kind, meanings in _TABLE.items()
    for meaning, spellings in meanings.items()
    for spelling in spellings.split()
}
"""What a word is, by its spelling in lower case: its kind and its canonical spelling."""
SENSORS: frozenset[Kind] = frozenset({"load", "memory", "space", "nproc"})

_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE | re.ASCII)
_HEX = re.compile(
    r"[+-]?0x([0-9a-f]+\.?[0-9a-f]*|\.[0-9a-f]+)(p[+-]?\d+)?", re.IGNORECASE | re.ASCII
)
_ENDLESS = re.compile(r"([+-]?)inf(inity)?", re.IGNORECASE)
_NO_NUMBER = re.compile(r"[+-]?nan(\([0-9a-z_]*\))?", re.IGNORECASE)
_SIZE = re.compile(r"([+-]?\d{1,30})([kMG]?)", re.ASCII)
_FACTORS = {"": 1, "k": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_NAN = float("nan")  # one object, so that equal texts give equal trees
_BLANK = " \t\n\r\v\f"  # isspace() of C


class Token(NamedTuple):
    """A word at its place, both counted from 1; `value` is canonical, a string's its content, and
    that of the end `comment` where a comment without an end of line is the last thing there."""

    kind: Kind
    text: str
    value: str
    line: int
    column: int
    start: int
    end: int


class Refused(Exception):  # noqa: N818  # a verdict, caught where rules are read
    """Why a rule, or in sysfence's own reading a whole file, is not taken; and where."""

    def __init__(self, line: int, column: int, message: str) -> None:
        super().__init__(message)
        self.line, self.column, self.message = line, column, message


class Places:
    """Where in a text an offset stands."""

    def __init__(self, text: str) -> None:
        self._starts = [0, *(match.end() for match in re.finditer("\n", text))]

    def at(self, offset: int) -> tuple[int, int]:
        """Line and column of an offset, from 1."""
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1


def word_token(text: str, start: int, places: Places) -> Token:
    """A word that is no string: a keyword, or kind `word` for everything else."""
    kind, value = SPELLINGS.get(text.lower(), ("word", text))
    return Token(kind, text, value, *places.at(start), start, start + len(text))


def closing_quote(text: str, start: int) -> int:
    """Where the string that opens at `start` is closed; -1: nowhere. A quote behind a backslash
    does not close, and the backslash stays in the string."""
    found = text.find(text[start], start + 1)
    while found > 0 and text[found - 1] == "\\":
        found = text.find(text[start], found + 1)
    return found


def tokens(text: str) -> Iterator[Token]:
    """The tokens of a file as sysfence takes them, `end` the last. Raises Refused."""
    places, at, overrun = Places(text), 0, False
    while at < len(text):
        char = text[at]
        if char in _BLANK:
            at += 1
        elif char == "#":
            at = end_of_line(text, at)
            overrun = at == len(text)
        elif char in "\"'":
            end = closing_quote(text, at)
            if end < 0:
                raise Refused(*places.at(at), "the quote that opens here is never closed")
            yield Token(
                "string", text[at : end + 1], text[at + 1 : end], *places.at(at), at, end + 1
            )
            at = end + 1
        else:
            end = at + 1
            while end < len(text) and text[end] not in _BLANK:
                end += 1
            before, mark, _after = text[at:end].partition("#")
            if mark and (number(before) is not None or size(before) is not None):
                end = at + len(before)
            yield word_token(text[at:end], at, places)
            at = end
    last = "comment" if overrun else ""
    yield Token("end", "", last, *places.at(len(text)), len(text), len(text))


def end_of_line(text: str, at: int) -> int:
    """Where the line that `at` stands in ends."""
    found = text.find("\n", at)
    return len(text) if found < 0 else found


def number(text: str) -> float | None:
    """A number as C's strtod takes it, the whole of it; None where it does not."""
    if _DECIMAL.fullmatch(text):
        return float(text)
    if _HEX.fullmatch(text):
        try:
            return float.fromhex(text)
        except OverflowError:
            return float("-inf" if text[0] == "-" else "inf")
    if endless := _ENDLESS.fullmatch(text):
        return float(f"{endless[1]}inf")
    return _NAN if _NO_NUMBER.fullmatch(text) else None


def size(text: str) -> float | None:
    """An integer, or one with k, M or G, in bytes (or just that many); None where it is neither."""
    found = _SIZE.fullmatch(text)
    return float(int(found[1]) * _FACTORS[found[2]]) if found else None
