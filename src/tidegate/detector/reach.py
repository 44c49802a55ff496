"""How far a pattern matches a text: the longest run of its parts, and what it expected there.

Touches nothing. Compiles beginnings of the parsed pattern and bisects them, going into the part
that fails. Limits: for explanations, about a millisecond a pattern; where a part could have been
read in several ways it tells of the one that `re` tries first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from re import _constants as sre  # type: ignore[attr-defined]
from typing import Any, NamedTuple

from tidegate.detector.tree import LOOPS, compiled, items, parse, sequence

Items = list[tuple[Any, Any]]
_Wrap = Callable[[Items], Items]
_LONGEST = 48


class Reach(NamedTuple):
    """Where a pattern stopped: the byte `at`, and what it wanted there ("" if it matched)."""

    at: int
    expected: str


def reach(pattern: bytes, data: bytes, begin: int, stop: int) -> Reach:
    """How far a detector's pattern gets in the message [begin, stop) of `data`."""
    tree = parse(b"(?:" + pattern + rb")\r?\Z")
    search = _Search(tree, data, begin, stop)
    return search.deepest(items(tree), lambda found: found)


class _Search:
    """One pattern on one message."""

    def __init__(self, tree: Any, data: bytes, begin: int, stop: int) -> None:
        self._tree = tree
        self._place = (data, begin, stop)
        self._names = {number: name for name, number in tree.state.groupdict.items()}

    def _end(self, beginning: Items) -> int | None:
        """Where a match of these parts ends; None if they don't match."""
        found = compiled(sequence(self._tree, beginning)).match(*self._place)
        return found.end() if found else None

    def deepest(self, entries: Items, wrap: _Wrap) -> Reach:
        """The farthest that a beginning of `entries` gets; `wrap` puts what is around them."""
        low, high, end = 0, len(entries), self._place[1]
        while low < high:  # `low` parts match: bisect for the most that do
            middle = (low + high + 1) // 2
            there = self._end(wrap(entries[:middle]))
            if there is None:
                high = middle - 1
            else:
                low, end = middle, there
        if not low:
            end = self._end(wrap([])) or end
        if low == len(entries):
            return Reach(end, "")
        best = Reach(end, self._spelt(entries, low))
        for part, put in self._inside(*entries[low]):
            before = entries[:low]

            def around(found: Items, put: _Wrap = put, before: Items = before) -> Items:
                return wrap(before + put(found))

            inner = self.deepest(items(part), around)
            if inner.at > best.at:
                best = inner._replace(expected=inner.expected or self._spelt(entries, low))
        return best

    def _inside(self, operator: Any, value: Any) -> list[tuple[Any, _Wrap]]:
        """The sequences inside a part, each with what puts a beginning of it in its place."""
        if operator is sre.BRANCH:
            return [(branch, lambda found: found) for branch in value[1]]
        if operator is sre.SUBPATTERN and self._names.get(value[0]) != "addr":

            def grouped(found: Items) -> Items:
                return [(operator, (*value[:3], sequence(self._tree, found)))]

            return [(value[3], grouped)]
        if operator in LOOPS and value[0]:
            return [(value[2], lambda found: found)]
        return []

    def _spelt(self, entries: Items, at: int) -> str:
        """The part that failed: of fixed text what is left of it, and the whole of it."""
        first = at
        while first and entries[first - 1][0] is sre.LITERAL and entries[at][0] is sre.LITERAL:
            first -= 1
        left, whole = _literal(entries[at:]), _literal(entries[first:])
        if left:
            return f'"{left}"' + (f' (of "{whole}")' if first < at else "")
        text = self._part(*entries[at])
        return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"

    def _part(self, operator: Any, value: Any) -> str:
        """A part as a reader of patterns would write it."""
        if operator is sre.AT:
            return "the end of the message" if value is sre.AT_END_STRING else "the beginning"
        if operator is sre.LITERAL:
            return ("\\" if chr(value) in "\\.^$*+?{}[]|()" else "") + _char(value)
        if operator is sre.ANY:
            return "."
        if operator is sre.NOT_LITERAL:
            return f"[^{_char(value)}]"
        if operator is sre.IN:
            text = "".join(_member(*one) for one in value)
            return text if value[0][0] is sre.CATEGORY and len(value) == 1 else f"[{text}]"
        if operator is sre.BRANCH:
            return "(?:" + "|".join(self._whole(branch) for branch in value[1]) + ")"
        if operator is sre.SUBPATTERN:
            name = self._names.get(value[0])
            return f"<{name}>" if name else f"(?:{self._whole(value[3])})"
        if operator in LOOPS or operator is sre.POSSESSIVE_REPEAT:
            return self._repeat(operator, *value)
        if operator in (sre.ASSERT, sre.ASSERT_NOT):
            sign = "=" if operator is sre.ASSERT else "!"
            return f"(?{'<' if value[0] < 0 else ''}{sign}{self._whole(value[1])})"
        if operator is sre.GROUPREF:
            return f"(?P={self._names.get(value, value)})"
        return "…"

    def _whole(self, tree: Any) -> str:
        return "".join(self._part(*one) for one in items(tree))

    def _repeat(self, operator: Any, least: int, most: Any, body: Any) -> str:
        text = self._whole(body)
        if len(items(body)) > 1:
            text = f"(?:{text})"
        known = {(0, 1): "?", (0, sre.MAXREPEAT): "*", (1, sre.MAXREPEAT): "+"}
        upper = "" if most is sre.MAXREPEAT else most
        bounds = f"{{{least}}}" if least == most else f"{{{least},{upper}}}"
        mark = {sre.MIN_REPEAT: "?", sre.POSSESSIVE_REPEAT: "+"}.get(operator, "")
        return text + known.get((least, most), bounds) + mark


def _literal(entries: Sequence[tuple[Any, Any]]) -> str:
    """The fixed text that a sequence begins with."""
    text = ""
    for operator, value in entries:
        if operator is not sre.LITERAL or len(text) >= _LONGEST:
            break
        text += _char(value)
    return text


def _char(code: int) -> str:
    return chr(code) if 0x20 <= code < 0x7F else f"\\x{code:02x}"


_CATEGORIES = {
    sre.CATEGORY_DIGIT: r"\d",
    sre.CATEGORY_NOT_DIGIT: r"\D",
    sre.CATEGORY_SPACE: r"\s",
    sre.CATEGORY_NOT_SPACE: r"\S",
    sre.CATEGORY_WORD: r"\w",
    sre.CATEGORY_NOT_WORD: r"\W",
}


def _member(operator: Any, value: Any) -> str:
    """One member of a set of characters."""
    if operator is sre.NEGATE:
        return "^"
    if operator is sre.RANGE:
        return f"{_char(value[0])}-{_char(value[1])}"
    if operator is sre.CATEGORY:
        return _CATEGORIES.get(value, "…")
    return _char(value)
