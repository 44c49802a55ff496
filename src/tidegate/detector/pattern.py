"""Patterns: slots and macros expanded, and what may make a pattern slow or blind found out.

Touches nothing. Judges by the parse tree that Python's own `re` makes of a pattern.
Limits: finds what can match exponentially, proves nothing of speed: the budget bounds the rest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from re import _constants as sre  # type: ignore[attr-defined]
from typing import Any

from tidegate.detector.spelling import without_literal
from tidegate.detector.tree import LOOPS, NEWLINE, beginning, charset, inner, items, parse

_IPV4 = r"[0-9.]{7,15}"
_IPV6 = r"[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:.]{1,41}(?:%[0-9A-Za-z_.-]{1,15})?"
_NAME = r"[0-9A-Za-z_][0-9A-Za-z_.-]{0,252}"
_OTHER = "uid:[0-9]{1,10}|interface:[0-9A-Za-z_.@-]{1,15}|service:[0-9A-Za-z:_.@-]{1,255}"
SLOTS = {
    "addr": f"(?P<addr>{_IPV4}|{_IPV6})",
    "host": f"(?P<addr>{_IPV4}|{_IPV6}|{_NAME})",
    "subject": f"(?P<addr>{_OTHER}|{_IPV4}(?:/[0-9]{{1,2}})?|{_IPV6}(?:/[0-9]{{1,3}})?)",
}
_MACRO = re.compile(r"(?<!\?P)<([a-z][a-z0-9_-]*)>")
_NUMBERED = re.compile(r"(?<!\\)(?:\\\\)*(?:\\[1-9]|\(\?\([0-9])")
_DEPTH = 8

_MANY = 16  # a repeat of up to this often is as good as written out
_SURE = (sre.POSSESSIVE_REPEAT, sre.ATOMIC_GROUP)


def expand(text: str, macros: Mapping[str, str]) -> str:
    """`text` with the slots (`<addr>` ...) and the pack's own macros put in; other `<words>` stay.

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
    tree = parse(pattern.encode())
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


def _tangled(tree: Any, follow: int = 0, *, looping: bool = False) -> bool:
    """Whether a repeat inside a repeat leaves open which of the two a byte belongs to."""
    entries = items(tree)
    for index, (operator, value) in enumerate(entries):
        if operator in _SURE:
            if any(_tangled(sequence) for sequence in inner(operator, value)):
                return True
            continue
        after = beginning(entries[index + 1 :], follow)
        if looping and operator in LOOPS and value[1] > _MANY and beginning(value[2], 0) & after:
            return True
        if looping and operator is sre.BRANCH and _overlap(value[1], after):
            return True
        loops = operator in LOOPS and value[1] > 1
        for sequence in inner(operator, value):
            behind = after | beginning(sequence, 0) if loops else after
            if _tangled(sequence, behind, looping=looping or loops):
                return True
    return False


def _overlap(branches: Sequence[Any], after: int) -> bool:
    seen = 0
    for branch in branches:
        first = beginning(branch, after)
        if seen & first:
            return True
        seen |= first
    return False


def _untrusted(tree: Any) -> bool:
    """Atomic groups and possessive repeats of more than one byte (CPython gh-106052)."""
    for operator, value in items(tree):
        if operator is sre.ATOMIC_GROUP:
            return True
        if operator is sre.POSSESSIVE_REPEAT:
            body = items(value[2])
            if len(body) != 1 or charset(*body[0]) is None:
                return True
        elif any(_untrusted(sequence) for sequence in inner(operator, value)):
            return True
    return False


def _looks_back_over_newline(tree: Any) -> bool:
    for operator, value in items(tree):
        behind = operator in (sre.ASSERT, sre.ASSERT_NOT) and value[0] < 0
        for sequence in inner(operator, value):
            if _takes_newline(sequence) if behind else _looks_back_over_newline(sequence):
                return True
    return False


def _takes_newline(tree: Any) -> bool:
    for operator, value in items(tree):
        if (charset(operator, value) or 0) & NEWLINE:
            return True
        if any(_takes_newline(sequence) for sequence in inner(operator, value)):
            return True
    return False
