"""Whether a condition holds now: true, false, or unknown where a reading is (Kleene's logic).

Touches nothing. `for SPAN` remembers since when its operand holds; the same condition written in
two guards is one. What holds is told with its values: `la1 11.2 (limit 10)`.
Limits: somebody has to look every few seconds; time that nobody looked at counts for nothing.
"""

from __future__ import annotations

import hashlib
import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from struct import Struct

from tidegate.evidence.board import Board, derived
from tidegate.model import SECOND, Change, Micros, Sample
from tidegate.policy.durations import format_duration
from tidegate.policy.guards import Compare, Condition, Held, Not, Or
from tidegate.policy.models import Policy
from tidegate.policy.needs import compares, conditions, holds, needed
from tidegate.policy.readings import reading_of

BLINK: Micros = 15 * SECOND
"""Longer than this between two looks, and nobody knows what was in between."""

_COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt,
    ">=": operator.ge, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip
_HELD = Struct(">qq?")
_NOT = (-1, 0, False)


class Evidence:
    """The board of a policy, and what its conditions say of it.

    `look` has to be called with the samples before anything is asked; asking changes nothing.
    """

    def __init__(self, policy: Policy) -> None:
        every = tuple(conditions(policy))
        readings = [one.reading for each in every for one in compares(each)]
        self.board = Board(needed(policy), derived(readings))
        # By key: for how long it has held, when it was last looked at, whether it was unknown then.
        self._held: dict[str, tuple[Micros, Micros, bool]] = {}
        nodes = [node for each in every for node in holds(each)]
        self._nodes = {_key(node): node for node in nodes}
        # Tuples of different classes can be equal, so they are no keys themselves.
        self._keys = {id(node): (_key(node), node) for node in nodes}
        self._saved: dict[str, bytes] = {}

    def look(self, now: Micros, samples: Sequence[Sample]) -> None:
        """Take in what was read, and let time pass for every `for SPAN`."""
        self.board.take(samples)
        for key, node in self._nodes.items():
            self._pass(key, node.operand, now)

    def holds(self, condition: Condition, now: Micros) -> bool | None:
        """Whether it holds; None where that is unknown."""
        if isinstance(condition, Compare):
            return self._compare(condition, now)
        if isinstance(condition, Not):
            found = self.holds(condition.operand, now)
            return None if found is None else not found
        if isinstance(condition, Held):
            key = self._keys.get(id(condition))
            held = self._held.get(_key(condition) if key is None else key[0])
            if held is None:
                # Nobody let time pass for it: what holds just now has held for no time yet.
                found = self.holds(condition.operand, now)
                return found if not found or condition.span <= 0 else False
            return None if held[2] else held[0] >= condition.span
        decisive = isinstance(condition, Or)  # what one operand of this value decides alone
        found_all = [self.holds(operand, now) for operand in condition.operands]
        if decisive in found_all:
            return decisive
        return None if None in found_all else not decisive

    def excess(self, condition: Condition, now: Micros) -> float | None:
        """How far beyond its limits a condition is, in shares of them: 0.5 for la1 at 15 of 10.

        Of what joins several, the one that decides; negative where it does not hold; None where
        a reading is unknown. Only good for telling whether it gets better or worse.
        """
        if isinstance(condition, Compare):
            return self._beyond(condition, now)
        if isinstance(condition, Not):
            found = self.excess(condition.operand, now)
            return None if found is None else -found
        if isinstance(condition, Held):
            return self.excess(condition.operand, now)
        every = [self.excess(operand, now) for operand in condition.operands]
        known = [one for one in every if one is not None]
        if isinstance(condition, Or):
            return max(known, default=None)
        return min(known) if len(known) == len(every) else None

    def value(self, reading: str, now: Micros) -> float | None:
        """The number that a reading is now; None where it is unknown."""
        return self.board.value(reading, now)

    def samples(self, condition: Condition, now: Micros) -> tuple[Sample, ...]:
        """What is known of every reading in a condition, each once."""
        readings = dict.fromkeys(one.reading for one in compares(condition))
        return tuple(self.board.at(reading, now) for reading in readings)

    def told(self, condition: Condition, now: Micros) -> str:
        """The readings of a condition with their limits: `la1 11.2 (limit 10), la5 4.1 (limit 6)`.

        Several limits of one reading stand together; what is unknown is told with the reason.
        """
        limits: dict[str, list[str]] = {}
        for one in compares(condition):
            text = number(one.reading, one.limit, percent=one.percent)
            if text not in limits.setdefault(one.reading, []):
                limits[one.reading].append(text)
        percent = {one.reading for one in compares(condition) if one.percent}
        parts = []
        for reading, texts in limits.items():
            said = told(self.board.at(reading, now), percent=reading in percent)
            parts.append(f"{said} (limit {' and '.join(texts)})")
        return ", ".join(parts)

    def changes(self) -> Iterator[Change]:
        """What changed since the last call: histories, and since when conditions hold."""
        yield from self.board.changes()
        for key in sorted(self._saved.keys() - self._nodes.keys()):
            del self._saved[key]
            yield Change("held", key, None)
        for key in self._nodes:
            value = _HELD.pack(*self._held.get(key, _NOT))
            if self._saved.get(key) != value:
                self._saved[key] = value
                yield Change("held", key, value)

    def restore(self, change: Change) -> bool:
        """Take back one saved piece; False if it is not ours."""
        if change.part != "held":
            return self.board.restore(change)
        key, value = change.key, change.value
        if value is not None:
            self._saved[key] = value
            if key in self._nodes and len(value) == _HELD.size:
                self._held[key] = _HELD.unpack(value)
        return True

    def take_over(self, old: Evidence) -> None:
        """On reload: what was read and since when conditions hold is still true."""
        self.board.take_over(old.board)
        self._held = {key: old._held[key] for key in self._nodes if key in old._held}
        self._saved = dict(old._saved)

    def _pass(self, key: str, operand: Condition, now: Micros) -> None:
        found = self.holds(operand, now)
        lasted, last, unknown = self._held.get(key, _NOT)
        if found is False:
            self._held[key] = _NOT
        elif found is None:
            self._held[key] = (lasted, now if lasted >= 0 else 0, True)
        else:
            watched = not unknown and 0 <= now - last <= BLINK
            lasted = lasted + now - last if lasted >= 0 and watched else max(lasted, 0)
            self._held[key] = (lasted, now, False)

    def _number(self, one: Compare, now: Micros) -> float | None:
        """The reading of a comparison, in the unit of its limit."""
        sample = self.board.at(one.reading, now)
        value = sample.value
        if value is None or math.isnan(value) or (one.percent and not sample.whole):
            return None
        return 100 * value / sample.whole if one.percent and sample.whole else value

    def _compare(self, one: Compare, now: Micros) -> bool | None:
        value = self._number(one, now)
        return None if value is None else _COMPARE[one.operator](value, one.limit)

    def _beyond(self, one: Compare, now: Micros) -> float | None:
        value = self._number(one, now)
        if value is None:
            return None
        if one.operator in ("==", "!="):
            return 0.0 if _COMPARE[one.operator](value, one.limit) else -1.0
        beyond = (value - one.limit) / (abs(one.limit) or 1.0)
        return beyond if one.operator in (">", ">=") else -beyond


def _key(node: Held) -> str:
    """A short name of a condition, the same in every run."""
    return hashlib.sha256(repr(node).encode()).hexdigest()[:16]


def told(sample: Sample, *, percent: bool = False) -> str:
    """A reading with its value, for people: `memavailable 210.0 MiB`."""
    if sample.value is None:
        return (
            f"{sample.reading} unknown: {sample.why}" if sample.why else f"{sample.reading} unknown"
        )
    value = sample.value
    if percent:
        if not sample.whole:
            return f"{sample.reading} unknown: there is none"
        value = 100 * value / sample.whole
    return f"{sample.reading} {number(sample.reading, value, percent=percent)}"


def number(reading: str, value: float, *, percent: bool = False) -> str:
    """A value in the unit of its reading, for people: `11.2`, `210.0 MiB`, `4m`, `90%`."""
    unit = "percent" if percent else reading_of(reading).unit
    if not math.isfinite(value):
        return "never" if unit == "seconds" else str(value)
    if unit == "percent":
        return f"{_short(value)}%"
    if unit in ("bytes", "bytes/s"):
        return _bytes(value) + unit[5:]
    if unit == "seconds":
        if value >= 1:
            return format_duration(round(value) * SECOND)
        return f"{_short(value * 1000)} ms"
    return _short(value) + ("/s" if unit == "per second" else "")


def _short(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if abs(value) < 1e15 else f"{value:g}"


def _bytes(value: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024:
            return f"{_short(value)} {unit}"
        value /= 1024
    return f"{_short(value)} TiB"
