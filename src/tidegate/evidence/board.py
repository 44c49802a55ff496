"""The board: the latest sample of every reading, and what follows from the history of some.

Touches nothing. What is older than three of its intervals is unknown. From histories of at most
60 points it works out in how long a disk is full or a queue clear.
Limits: a time ahead is a straight line through the last ten minutes; nobody knows the future.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from statistics import median
from struct import Struct
from typing import NamedTuple

from tidegate.model import SECOND, Change, Micros, Sample
from tidegate.policy.needs import DERIVED, DERIVED_EVERY, source_of
from tidegate.policy.readings import split

STALE = 3
"""After so many intervals without a sample a reading is unknown."""
POINTS = 60
LEAST_POINTS = 6
"""With fewer there is no slope: a minute of values ten seconds apart."""

_POINT = Struct(">qd")


class Point(NamedTuple):
    """A value of a history."""

    time: Micros
    value: float


def slope(points: Sequence[Point]) -> float:
    """Change per second: the median of the slopes between every two points.

    A few wild values, up to 29 % of them, do not move it. At least two points, times rising.
    Source: Theil 1950; Sen, Estimates of the regression coefficient based on Kendall's tau,
    Journal of the American Statistical Association 63 (1968).
    """
    return median(
        (later.value - before.value) * SECOND / (later.time - before.time)
        for before, later in combinations(points, 2)
    )


class Board:
    """What is known of every reading now. `intervals`: how often each is taken (see `needed`)."""

    def __init__(self, intervals: Mapping[str, Micros], derived: Sequence[str] = ()) -> None:
        self._intervals = dict(intervals)
        self._latest: dict[str, Sample] = {}
        self._histories: dict[str, deque[Point]] = {
            source_of(one): deque(maxlen=POINTS) for one in derived if source_of(one) != one
        }
        self._slopes: dict[str, float | None] = {}
        self._dirty: set[str] = set()  # histories to save, or to forget: those nobody needs

    def take(self, samples: Sequence[Sample]) -> None:
        """Take in what was read; of readings that nobody asked for nothing is kept."""
        for sample in samples:
            if sample.reading in self._intervals:
                self._latest[sample.reading] = sample
                self._remember(sample)

    def at(self, reading: str, now: Micros) -> Sample:
        """What is known of a reading now. Without a value it is unknown, and `why` says why."""
        source = source_of(reading)
        sample = self._latest.get(source)
        if sample is None:
            return Sample(reading, now, None, None, "not read yet")
        age = now - sample.time
        if age > STALE * self._intervals[source]:
            return Sample(reading, sample.time, None, None, f"not read for {age // SECOND} s")
        if age < -STALE * self._intervals[source]:  # or it would never be too old
            why = "not read since the clock was set back"
            return Sample(reading, now, None, None, why)
        if source == reading or sample.value is None:
            return sample._replace(reading=reading)
        return self._ahead(reading, source, sample, sample.value)

    def value(self, reading: str, now: Micros) -> float | None:
        """The number that a reading is now; None where it is unknown."""
        return self.at(reading, now).value

    def changes(self) -> Iterator[Change]:
        """The histories that changed since the last call: they take minutes to come together."""
        dirty, self._dirty = self._dirty, set()
        for reading in sorted(dirty):
            history = self._histories.get(reading)
            packed = None if history is None else b"".join(_POINT.pack(*one) for one in history)
            yield Change("history", reading, packed)

    def restore(self, change: Change) -> bool:
        """Take back one saved history; False if it is not one."""
        if change.part != "history":
            return False
        history = self._histories.get(change.key)
        if history is None:
            self._dirty.add(change.key)
        elif change.value is not None and len(change.value) % _POINT.size == 0:
            history.clear()
            for time, value in _POINT.iter_unpack(change.value):
                if math.isfinite(value) and (not history or time > history[-1].time):
                    history.append(Point(time, value))
        return True

    def take_over(self, old: Board) -> None:
        """On reload: what was read is still true."""
        for reading, sample in old._latest.items():
            if reading in self._intervals:
                self._latest[reading] = sample
        for reading, history in self._histories.items():
            history.extend(old._histories.get(reading, ()))
        self._dirty |= self._histories.keys() | old._histories.keys()

    def _remember(self, sample: Sample) -> None:
        history = self._histories.get(sample.reading)
        if history is None or sample.value is None or not math.isfinite(sample.value):
            return
        passed = sample.time - history[-1].time if history else 0
        if not 0 <= passed <= POINTS * DERIVED_EVERY:
            history.clear()  # the clock was set back, or nobody looked for long
        if not history or passed >= DERIVED_EVERY - SECOND:
            history.append(Point(sample.time, sample.value))
            self._slopes.pop(sample.reading, None)
            self._dirty.add(sample.reading)

    def _ahead(self, reading: str, source: str, sample: Sample, value: float) -> Sample:
        """In how long what is left will be gone, at the pace of the history."""
        if value <= 0:
            return Sample(reading, sample.time, 0.0)
        if source not in self._slopes:
            points = tuple(self._histories.get(source, ()))
            self._slopes[source] = slope(points) if len(points) >= LEAST_POINTS else None
        pace = self._slopes[source]
        if pace is None:
            why = f"fewer than {LEAST_POINTS} values of {source} yet"
            return Sample(reading, sample.time, None, None, why)
        return Sample(reading, sample.time, -value / pace if pace < 0 else math.inf)


def derived(readings: Sequence[str]) -> tuple[str, ...]:
    """Those of them that are worked out of a history."""
    return tuple(one for one in readings if split(one)[0] in DERIVED)
