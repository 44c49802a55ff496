"""Spellings: the texts a pattern stands for, to see whether each holds one of its literals.

Touches nothing. What varies too much to list is a gap that holds no literal.
Limits: may miss a literal that is there in too many ways, never claims one that is not.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from functools import cache
from re import _constants as sre  # type: ignore[attr-defined]
from typing import Any

from tidegate.detector.tree import LOOPS, charset, items

_SPELLINGS = 256  # alternatives looked through for the literals before giving up
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
    for operator, value in items(tree):
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
    single = charset(operator, value)
    if single is not None:
        return _bytes_of(single) if single.bit_count() <= 4 else {_GAP}
    if operator in LOOPS or operator is sre.POSSESSIVE_REPEAT:
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
