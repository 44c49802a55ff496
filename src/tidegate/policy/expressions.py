"""The language of conditions: `la1 >= 10 or not (memfree > 20M and up(URL)) for 30s`.

Touches nothing. `or` binds weaker than `and`, that weaker than `not`; `for` belongs to the
comparison or the parentheses before it. && || ! and = <> =< => are other spellings.
Limits: 2,000 characters, 32 levels; a limit is a number, never another reading.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from tidegate.model import SECOND
from tidegate.policy.guards import And, Compare, Condition, Held, Not, Operator, Or
from tidegate.policy.limits import (
    limit_text,
    limit_words,
    parse_limit,
    seconds,
    span_text,
    span_words,
)
from tidegate.policy.readings import canonical, in_words, reading_of
from tidegate.policy.tokens import ExpressionError, Token, tokens

__all__ = ["ExpressionError", "Parsed", "parse", "parse_noted", "readings_of", "text_of", "words"]

LONGEST = 2_000
_DEEPEST = 32

_OPERATORS: dict[str, Operator] = {
    "<": "<", ">": ">", "<=": "<=", "=<": "<=", "≤": "<=", ">=": ">=", "=>": ">=", "≥": ">=",
    "=": "==", "==": "==", "!=": "!=", "<>": "!=", "≠": "!=",
}  # fmt: skip
_UNITS = {"k", "kb", "m", "g", "t", "mb", "gb", "tb", "kib", "mib", "gib", "s", "ms", "h", "d"}
_SAID: dict[Operator, str] = {
    "<": "is less than", "<=": "is at most", ">": "is more than", ">=": "is at least",
    "==": "is", "!=": "is not",
}  # fmt: skip
OPPOSITE: dict[Operator, Operator] = {
    "<": ">=", ">=": "<", ">": "<=", "<=": ">", "==": "!=", "!=": "==",
}  # fmt: skip
"""What holds where a comparison does not."""


class Parsed(NamedTuple):
    """A condition, and what to look at in it although it holds: `memfree < 20` means bytes."""

    condition: Condition
    notes: tuple[str, ...]


def parse(text: str, own: Collection[str] = ()) -> Condition:
    """The condition behind `text`; `own`: names of the administrator's own readings.

    Raises ExpressionError.
    """
    return parse_noted(text, own).condition


def parse_noted(text: str, own: Collection[str] = ()) -> Parsed:
    """The condition behind `text`, with notes. Raises ExpressionError."""
    if len(text) > LONGEST:
        raise ExpressionError(LONGEST, f"longer than {LONGEST} characters")
    parser = _Parser([*tokens(text)], own)
    return Parsed(parser.whole(), tuple(parser.notes))


def both(operands: list[Condition]) -> Condition:
    """All of these hold; what is `and` inside is the same `and`."""
    flat = [part for one in operands for part in (one.operands if isinstance(one, And) else (one,))]
    return flat[0] if len(flat) == 1 else And(tuple(flat))


def either(operands: list[Condition]) -> Condition:
    """One of these holds; what is `or` inside is the same `or`."""
    flat = [part for one in operands for part in (one.operands if isinstance(one, Or) else (one,))]
    return flat[0] if len(flat) == 1 else Or(tuple(flat))


# -- out of text ---------------------------------------------------------------------------------


class _Parser:
    """Recursive descent, one method a level of precedence."""

    def __init__(self, tokens: list[Token], own: Collection[str]) -> None:
        self._tokens = tokens
        self._own = own
        self._at = 0
        self._depth = 0
        self.notes: list[str] = []

    def whole(self) -> Condition:
        """The whole text."""
        if self._next.kind == "end":
            raise self._fault("expected a condition such as la1 >= 10")
        found = self._or()
        if self._next.kind == "close":
            raise self._fault("this ) has no ( before it")
        if self._next.kind == "limit":
            raise self._fault(f"expected and or or before {self._next.text}")
        if self._next.kind != "end":
            raise self._fault(f"expected and or or before {self._next.text!r}")
        return found

    @property
    def _next(self) -> Token:
        return self._tokens[self._at]

    def _taken(self, kind: str, text: str = "") -> Token | None:
        token = self._next
        if token.kind != kind or (text and token.text != text):
            return None
        self._at += 1
        return token

    def _fault(self, said: str, token: Token | None = None) -> ExpressionError:
        return ExpressionError((token or self._next).column, said)

    def _or(self) -> Condition:
        found = [self._and()]
        while self._taken("word", "or"):
            found.append(self._and())
        return either(found)

    def _and(self) -> Condition:
        found = [self._not()]
        while self._taken("word", "and"):
            found.append(self._not())
        return both(found)

    def _not(self) -> Condition:
        # Counted here, since every way down passes: no text makes Python's own stack overflow.
        self._depth += 1
        if self._depth > _DEEPEST:
            raise self._fault(f"more than {_DEEPEST} levels")
        found = Not(self._not()) if self._taken("word", "not") else self._held()
        self._depth -= 1
        return found

    def _held(self) -> Condition:
        opened = self._taken("open")
        if opened is None:
            found = self._compare()
        else:
            found = self._or()
            if self._taken("close") is None:
                if self._next.kind == "end":
                    raise self._fault("this ( is never closed", opened)
                raise self._fault(f"expected and, or or ) before {self._next.text!r}")
        while self._taken("word", "for"):
            found = Held(found, self._span())
        return found

    def _span(self) -> int:
        token = self._next
        try:
            span = int(seconds(token.text if token.kind == "limit" else "") * SECOND)
        except ValueError:
            raise self._fault("expected a time after for, such as 30s or 5m") from None
        if span <= 0:
            raise self._fault("expected a time after for, longer than 0s")
        self._at += 1
        return span

    def _compare(self) -> Condition:
        token = self._next
        if token.kind == "limit":
            raise self._fault("expected a reading first, then its limit: la1 >= 10")
        if token.kind != "name":
            raise self._fault("expected a reading such as la1")
        self._at += 1
        try:
            reading = canonical(token.text, token.argument, self._own)
        except ValueError as error:
            raise self._fault(str(error), token) from None
        known = reading_of(reading)
        operator = self._taken("operator")
        if operator is None:
            if known.unit == "flag":
                return Compare(reading, "==", 1.0)
            raise self._fault(f"expected a comparison such as {token.text} >= 10")
        written = self._next
        if written.kind == "name":
            said = f"expected a limit: {reading} can only be compared with a number"
            raise self._fault(said)
        if written.kind != "limit":
            raise self._fault(f"expected a limit such as 10 after {operator.text}")
        self._at += 1
        if self._next.kind == "name" and self._next.text.lower() in _UNITS:
            joined = written.text + self._next.text
            raise self._fault(f"write {joined}, without a blank in it")
        try:
            limit = parse_limit(written.text, known)
        except ValueError as error:
            raise self._fault(f"expected {error}; found {written.text}", written) from None
        if limit.note:
            said = f"{reading} {operator.text} {written.text} means {limit.note}"
            self.notes.append(f"column {written.column}: {said}")
        return Compare(reading, _OPERATORS[operator.text], limit.value, limit.percent)


# -- into text -----------------------------------------------------------------------------------


def text_of(condition: Condition) -> str:
    """The canonical text; `parse` reads it as the same condition. Where and and or mix, with the
    parentheses that would not be needed, since people do not know which binds stronger."""
    match condition:
        case Compare(reading, operator, limit, percent):
            return f"{reading} {operator} {limit_text(limit, percent, reading_of(reading).unit)}"
        case Not(operand):
            bare = isinstance(operand, Compare | Not)
            return f"not {text_of(operand)}" if bare else f"not ({text_of(operand)})"
        case Held(operand, span):
            bare = isinstance(operand, Compare)
            said = text_of(operand) if bare else f"({text_of(operand)})"
            return f"{said} for {span_text(span / SECOND)}"
        case And(operands):
            return " and ".join(_grouped(one, Or) for one in operands)
        case Or(operands):
            return " or ".join(_grouped(one, And) for one in operands)


def _grouped(condition: Condition, other: type[And] | type[Or]) -> str:
    said = text_of(condition)
    return f"({said})" if isinstance(condition, other) else said


def words(condition: Condition) -> str:
    """The condition in English: `the load of the last minute is at least 10, or …`."""
    match condition:
        case Compare():
            return _compared(condition)
        case Not(Compare() as compare):
            return _compared(compare._replace(operator=OPPOSITE[compare.operator]))
        case Not(operand):
            return f"it is not so that ({words(operand)})"
        case Held(operand, span):
            said = words(operand)
            said = said if isinstance(operand, Compare) else f"({said})"
            return f"{said} for {span_words(span / SECOND)} without a break"
        case And(operands):
            return ", and ".join(_worded(one) for one in operands)
        case Or(operands):
            return ", or ".join(_worded(one) for one in operands)


def _worded(condition: Condition) -> str:
    return f"({words(condition)})" if isinstance(condition, And | Or) else words(condition)


def _compared(compare: Compare) -> str:
    known, said = reading_of(compare.reading), in_words(compare.reading)
    if known.unit == "flag":
        answers = (compare.operator == "==") == (compare.limit == 1)
        if compare.operator in ("==", "!="):
            return said if answers else said.replace(" answers", " does not answer")
        said = f"whether {said} (1 or 0)"
    limit = limit_words(compare.limit, compare.percent, known)
    return f"{said} {_SAID[compare.operator]} {limit}"


def readings_of(condition: Condition) -> tuple[str, ...]:
    """The readings that a condition looks at, each once, in the order of its text."""
    match condition:
        case Compare(reading):
            return (reading,)
        case Not(operand) | Held(operand):
            return readings_of(operand)
        case And(operands) | Or(operands):
            return tuple(dict.fromkeys(name for one in operands for name in readings_of(one)))
