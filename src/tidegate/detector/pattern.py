"""Patterns: slots and macros expanded, and what may make a pattern slow or blind found out.

Touches nothing. Reads the parse tree that Python's own `re` makes of a pattern.
Limits: finds what can match exponentially, proves nothing of speed: the budget bounds the rest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import cache
from re import _constants as sre  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

_IPV4 = r"[0-9.]{7,15}"
_IPV6 = r"[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:.]{1,41}(?:%[0-9A-Za-z_.-]{1,15})?"
_NAME = r"[0-9A-Za-z_][0-9A-Za-z_.-]{0,252}"
SLOTS = {
    "addr": f"(?P<addr>{_IPV4}|{_IPV6})",
    "host": f"(?P<addr>{_IPV4}|{_IPV6}|{_NAME})",
}
_MACRO = re.compile(r"(?<!\?P)<([a-z][a-z0-9_-]*)>")
_NUMBERED = re.compile(r"(?<!\\)(?:\\\\)*(?:\\[1-9]|\(\?\([0-9])")
_DEPTH = 8

_EVERY = (1 << 256) - 1
_NEWLINE = 1 << 10
_MANY = 16  # a repeat of up to this often is as good as written out
_SPELLINGS = 256  # alternatives looked through for the literals before giving up
_LOOPS = (sre.MAX_REPEAT, sre.MIN_REPEAT)
_SURE = (sre.POSSESSIVE_REPEAT, sre.ATOMIC_GROUP)


def expand(text: str, macros: Mapping[str, str]) -> str:
    """`text` with `<addr>`, `<host>` and the pack's own macros put in; other `<words>` stay.

    Raises ValueError where macros contain each other.
    """
    known = {**macros, **SLOTS}
    for _ in range(_DEPTH):
        replaced = _MACRO.sub(lambda found: known.get(found[1], found[0]), text)
        if replaced == text:
            return text
        text = replaced
    raise ValueError("macros contain each other")


def faults(pattern: str, literals: Sequence[str], *, slot: bool) -> list[str]:
    """What is wrong with an expanded pattern, each as `key: what was expected`; [] if nothing is.

    `slot`: whether an address slot must be there.
    """
    if not pattern.isascii():
        return ["pattern: expected ASCII (write other bytes as \\xNN)"]
    if _NUMBERED.search(pattern):
        return ["pattern: expected named back-references, (?P=name), not numbered ones"]
    try:
        compiled = re.compile(pattern.encode())
    except (re.error, OverflowError, RecursionError) as error:
        return [f"pattern: expected a regular expression: {error}"]
    found = [
        f"pattern: group names beginning with _ are reserved: {name}"
        for name in compiled.groupindex
        if name.startswith("_")
    ]
    if slot and "addr" not in compiled.groupindex:
        found.append("pattern: expected <addr> or <host>, the slot that the address stands in")
    tree = parser.parse(pattern.encode())
    if _tangled(tree):
        found.append(
            "pattern: nested quantifiers or overlapping alternatives in a repeat can take for ever;"
            " end the inner repeat with a character that it cannot take itself"
        )
    if _untrusted(tree):
        found.append(
            "pattern: atomic groups and possessive repeats of groups are refused: Python before"
            " 3.11.5 matches them wrongly; a possessive repeat of one character is fine"
        )
    if _looks_back_over_newline(tree):
        found.append("pattern: a look-behind must not match a newline")
    blind = without_literal(tree, [literal.encode() for literal in literals])
    if literals and blind is not None:
        found.append(f"literals: expected one of them in every line that matches; {blind} has none")
    return found


def first_bytes(pattern: bytes) -> int:
    """The bytes that a match may begin with, as a 256-bit mask; all of them if it may be empty."""
    first = _first(parser.parse(pattern), 1 << 256)
    return _EVERY if first >> 256 else first


def _items(tree: Any) -> list[tuple[Any, Any]]:
    return list(tree)


def _charset(operator: Any, value: Any) -> int | None:
    """The bytes that a one-byte item takes, as a 256-bit mask; None if it is no such item."""
    if operator is sre.LITERAL:
        return int(1 << value)
    if operator is sre.NOT_LITERAL:
        return int(_EVERY & ~(1 << value))
    if operator is sre.ANY:
        return _EVERY & ~_NEWLINE
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
    return _EVERY & ~taken if value[0][0] is sre.NEGATE else taken


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


def _inner(operator: Any, value: Any) -> list[Any]:
    """The sequences inside an item."""
    if operator in _LOOPS or operator is sre.POSSESSIVE_REPEAT:
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


def _first(tree: Any, after: int) -> int:
    """The bytes that may come first in this sequence; `after`: those that may follow it."""
    first = 0
    for operator, value in _items(tree):
        taken, empty = _first_of(operator, value)
        first |= taken
        if not empty:
            return first
    return first | after


def _first_of(operator: Any, value: Any) -> tuple[int, bool]:
    """The bytes that an item may begin with, and whether it may be empty."""
    single = _charset(operator, value)
    if single is not None:
        return single, False
    ahead = operator is sre.ASSERT and value[0] > 0
    if operator in (sre.AT, sre.ASSERT, sre.ASSERT_NOT) and not ahead:
        return 0, True
    if operator in (sre.GROUPREF,):
        return _EVERY, True
    mark = 1 << 256  # beyond every byte: seen in the result only if the sequence may be empty
    taken = 0
    for sequence in _inner(operator, value):
        taken |= _first(sequence, mark)
    empty = bool(taken & mark)
    if operator in _LOOPS or operator is sre.POSSESSIVE_REPEAT:
        empty = empty or value[0] == 0
    if operator is sre.GROUPREF_EXISTS and value[2] is None:
        empty = True
    return taken & _EVERY, empty


def _tangled(tree: Any, follow: int = 0, *, looping: bool = False) -> bool:
    """Whether a repeat inside a repeat leaves open which of the two a byte belongs to."""
    items = _items(tree)
    for index, (operator, value) in enumerate(items):
        if operator in _SURE:
            if any(_tangled(sequence) for sequence in _inner(operator, value)):
                return True
            continue
        after = _first(items[index + 1 :], follow)
        if looping and operator in _LOOPS and value[1] > _MANY and _first(value[2], 0) & after:
            return True
        if looping and operator is sre.BRANCH and _overlap(value[1], after):
            return True
        loops = operator in _LOOPS and value[1] > 1
        for sequence in _inner(operator, value):
            behind = after | _first(sequence, 0) if loops else after
            if _tangled(sequence, behind, looping=looping or loops):
                return True
    return False


def _overlap(branches: Sequence[Any], after: int) -> bool:
    seen = 0
    for branch in branches:
        first = _first(branch, after)
        if seen & first:
            return True
        seen |= first
    return False


def _untrusted(tree: Any) -> bool:
    """Atomic groups and possessive repeats of more than one byte (CPython gh-106052)."""
    for operator, value in _items(tree):
        if operator is sre.ATOMIC_GROUP:
            return True
        if operator is sre.POSSESSIVE_REPEAT:
            body = _items(value[2])
            if len(body) != 1 or _charset(*body[0]) is None:
                return True
        elif any(_untrusted(sequence) for sequence in _inner(operator, value)):
            return True
    return False


def _looks_back_over_newline(tree: Any) -> bool:
    for operator, value in _items(tree):
        behind = operator in (sre.ASSERT, sre.ASSERT_NOT) and value[0] < 0
        for sequence in _inner(operator, value):
            if _takes_newline(sequence) if behind else _looks_back_over_newline(sequence):
                return True
    return False


def _takes_newline(tree: Any) -> bool:
    for operator, value in _items(tree):
        if (_charset(operator, value) or 0) & _NEWLINE:
            return True
        if any(_takes_newline(sequence) for sequence in _inner(operator, value)):
            return True
    return False


_GAP = b"\n"  # no literal holds a newline, so it can stand for anything unknown


def without_literal(tree: Any, literals: Sequence[bytes]) -> str | None:
    """A spelling of the pattern that holds none of the literals (… for what varies), or None."""
    for spelling in _spellings(tree, literals, top=True):
        if not any(literal in spelling for literal in literals):
            text = re.sub(rb"\n+", b"\n", spelling).decode("latin-1")
            return repr(text.replace("\n", "…")[:120])
    return None


def _spellings(tree: Any, literals: Sequence[bytes], *, top: bool = False) -> set[bytes]:
    """The texts that a sequence stands for, with a gap wherever it varies too much to list.

    `top`: nothing stands before this sequence, so that only how a text ends matters any more.
    """
    texts = {b""}
    for operator, value in _items(tree):
        choices = _choices(operator, value, literals)
        if len(texts) * len(choices) > _SPELLINGS:
            choices = {_GAP}
        texts = {_brief(text + choice, literals, top) for text in texts for choice in choices}
    return texts


def _brief(text: bytes, literals: Sequence[bytes], top: bool) -> bytes:
    """What of a text can still matter: the literal in it, or else its ends."""
    first = text.find(_GAP)
    if first < 0:
        return text
    for literal in literals:
        if literal in text:
            return _GAP + literal + _GAP
    return text[(first if top else 0) : first + 1] + text[text.rfind(_GAP) + 1 :]


def _choices(operator: Any, value: Any, literals: Sequence[bytes]) -> AbstractSet[bytes]:
    if operator is sre.AT or operator in (sre.ASSERT, sre.ASSERT_NOT):
        return {b""}
    single = _charset(operator, value)
    if single is not None:
        return _bytes_of(single) if single.bit_count() <= 4 else {_GAP}
    if operator in _LOOPS or operator is sre.POSSESSIVE_REPEAT:
        least, most, body = value
        inner = _spellings(body, literals)
        if most == 1:
            return inner | ({b""} if least == 0 else set())
        return {text + _GAP + text for text in inner} if least else {_GAP}
    if operator is sre.SUBPATTERN:
        folded = value[1] & re.IGNORECASE
        return {_GAP} if folded else _spellings(value[3], literals)
    if operator is sre.ATOMIC_GROUP:
        return _spellings(value, literals)
    if operator is sre.BRANCH:
        return set().union(*(_spellings(branch, literals) for branch in value[1]))
    return {_GAP}


@cache
def _bytes_of(mask: int) -> frozenset[bytes]:
    return frozenset(bytes((byte,)) for byte in range(256) if mask >> byte & 1)
