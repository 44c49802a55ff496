"""Conditions cut into words: names with their arguments, limits, comparisons, and or not for.

Touches nothing. Every token knows its column, counted from 1, so that a fault can name the place.
Limits: an argument with quotes or parentheses in it must itself stand in quotes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_TOKEN = re.compile(
    r"(?P<limit>[+-]?\.?\d[\w.%/]*)"
    r"|(?P<name>[A-Za-z_][\w.-]*)"
    r"|(?P<operator><=|=<|>=|=>|<>|!=|==|=|<|>|≤|≥|≠)"
    r"|(?P<sign>&&|\|\||!|\(|\))",
    re.ASCII,
)
_BLANK = re.compile(r"\s*")
_QUOTED = re.compile(r"""\(\s*(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)')\s*\)""", re.DOTALL)
_RAW = re.compile(r"\(([^()\"]*)\)", re.ASCII)
_SIGNS = {"&&": "and", "||": "or", "!": "not"}


class ExpressionError(ValueError):
    """A text that is no condition: `column` (from 1) where it goes wrong, and what to write."""

    def __init__(self, column: int, said: str) -> None:
        super().__init__(f"column {column}: {said}")
        self.column = column
        self.said = said


class Token(NamedTuple):
    """A piece of text: `kind` is limit, name, operator, word (and or not for), open, close or end;
    `argument` what stands in parentheses behind a name, without quotes (None: there are none)."""

    kind: str
    text: str
    column: int
    argument: str | None = None


def tokens(text: str) -> Iterator[Token]:
    """The tokens of a condition, the last of kind "end". Raises ExpressionError."""
    at = 0
    while (at := _after_blanks(text, at)) < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise ExpressionError(at + 1, _stray(text[at]))
        kind, said, column = str(found.lastgroup), found[0], at + 1
        at = found.end()
        if kind == "sign":
            said = _SIGNS.get(said, said)
            kind = {"(": "open", ")": "close"}.get(said, "word")
        elif kind == "name" and said.lower() in ("and", "or", "not", "for"):
            kind, said = "word", said.lower()
        elif kind == "name" and text[_after_blanks(text, at) :][:1] == "(":
            at = _after_blanks(text, at)
            given = _QUOTED.match(text, at) or _RAW.match(text, at)
            if given is None:
                raise ExpressionError(
                    at + 1, f'{said}( is not closed; write {said}(…), or {said}("…")'
                )
            quoted = given.re is _QUOTED
            argument = re.sub(r"\\(.)", r"\1", given[1] or given[2] or "") if quoted else given[1]
            yield Token(kind, said, column, argument)
            at = given.end()
            continue
        yield Token(kind, said, column)
    yield Token("end", "", len(text) + 1)


def _after_blanks(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    assert found is not None
    return found.end()


def _stray(sign: str) -> str:
    instead = {"&": "and", "|": "or", "{": "(", "}": ")", "[": "(", "]": ")", ",": "and, or or"}
    if sign in "+-*/%^":
        return f"{sign!r} means nothing here: nothing is calculated; write a reading and its limit"
    return f"{sign!r} means nothing here" + (f"; write {instead[sign]}" if sign in instead else "")
