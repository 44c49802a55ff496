"""Parse trees: what Python's own `re` makes of a pattern, and what its parts can begin with.

Touches nothing. The only module here that uses the parser inside `re`.
Limits: patterns on bytes; a set of bytes is a mask of 256 bits.
"""

from __future__ import annotations

import re
from functools import cache
from re import _compiler as compiler  # type: ignore[attr-defined]
from re import _constants as sre  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

EVERY = (1 << 256) - 1
NEWLINE = 1 << 10
LOOPS = (sre.MAX_REPEAT, sre.MIN_REPEAT)
"""Repeats that give back; possessive ones do not."""


def parse(pattern: bytes) -> Any:
    """The tree of a pattern: a sequence of (operator, value). Raises re.error."""
    return parser.parse(pattern)


def items(tree: Any) -> list[tuple[Any, Any]]:
    """The items of a sequence."""
    return list(tree)


def charset(operator: Any, value: Any) -> int | None:
    """The bytes that a one-byte item takes, as a 256-bit mask; None if it is no such item."""
    if operator is sre.LITERAL:
        return int(1 << value)
    if operator is sre.NOT_LITERAL:
        return int(EVERY & ~(1 << value))
    if operator is sre.ANY:
        return EVERY & ~NEWLINE
    if operator is not sre.IN:
        return None
    taken = 0
    for inner, argument in value:
        if inner is sre.LITERAL:
            taken |= 1 << argument
        elif inner is sre.RANGE:
            taken |= (1 << (argument[1] + 1)) - (1 << argument[0])
        elif inner is sre.CATEGORY:
            taken |= _category(argument)
    return EVERY & ~taken if value[0][0] is sre.NEGATE else taken


_CATEGORIES = {
    sre.CATEGORY_DIGIT: rb"\d",
    sre.CATEGORY_NOT_DIGIT: rb"\D",
    sre.CATEGORY_SPACE: rb"\s",
    sre.CATEGORY_NOT_SPACE: rb"\S",
    sre.CATEGORY_WORD: rb"\w",
    sre.CATEGORY_NOT_WORD: rb"\W",
}


@cache
def _category(name: Any) -> int:
    single = re.compile(_CATEGORIES[name])
    return sum(1 << byte for byte in range(256) if single.match(bytes((byte,))))


def inner(operator: Any, value: Any) -> list[Any]:
    """The sequences inside an item."""
    if operator in LOOPS or operator is sre.POSSESSIVE_REPEAT:
        return [value[2]]
    if operator is sre.SUBPATTERN:
        return [value[3]]
    if operator is sre.ATOMIC_GROUP:
        return [value]
    if operator is sre.BRANCH:
        return list(value[1])
    if operator in (sre.ASSERT, sre.ASSERT_NOT):
        return [value[1]]
    if operator is sre.GROUPREF_EXISTS:
        return [sequence for sequence in value[1:] if sequence is not None]
    return []


def beginning(tree: Any, after: int) -> int:
    """The bytes that may come first in this sequence; `after`: those that may follow it."""
    first = 0
    for operator, value in items(tree):
        taken, empty = beginning_of(operator, value)
        first |= taken
        if not empty:
            return first
    return first | after


def beginning_of(operator: Any, value: Any) -> tuple[int, bool]:
    """The bytes that an item may begin with, and whether it may be empty."""
    single = charset(operator, value)
    if single is not None:
        return single, False
    ahead = operator is sre.ASSERT and value[0] > 0
    if operator in (sre.AT, sre.ASSERT, sre.ASSERT_NOT) and not ahead:
        return 0, True
    if operator in (sre.GROUPREF,):
        return EVERY, True
    mark = 1 << 256  # beyond every byte: seen in the result only if the sequence may be empty
    taken = 0
    for sequence in inner(operator, value):
        taken |= beginning(sequence, mark)
    empty = bool(taken & mark)
    if operator in LOOPS or operator is sre.POSSESSIVE_REPEAT:
        empty = empty or value[0] == 0
    if operator is sre.GROUPREF_EXISTS and value[2] is None:
        empty = True
    return taken & EVERY, empty


def first_bytes(pattern: bytes) -> int:
    """The bytes that a match may begin with, as a 256-bit mask; all of them if it may be empty."""
    first = beginning(parse(pattern), 1 << 256)
    return EVERY if first >> 256 else first


def sequence(tree: Any, entries: list[tuple[Any, Any]]) -> Any:
    """A sequence of these items, with the groups of the pattern that they come from."""
    return parser.SubPattern(tree.state, entries)


def compiled(tree: Any) -> re.Pattern[bytes]:
    """A tree made into a pattern, as `re.compile` does it. Groups outside of it never match."""
    pattern: re.Pattern[bytes] = compiler.compile(tree)
    return pattern
