"""The most frequent of many, in little memory: who is heavy stays, whoever else floods in.

Touches nothing. SpaceSaving (Metwally, Agrawal, El Abbadi: Efficient Computation of Frequent and
Top-k Elements in Data Streams, ICDT 2005). Limits: of N counted, an estimate is off by N / capacity
at most; how many subjects there are is estimated too, beyond `EXACT` to about a sixth.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator
from hashlib import blake2b
from heapq import heappush, heapreplace

from tidegate.model import Micros, Subject

KINDS = 4
"""How many kinds of event a counter names."""

EXACT = 48
"""Up to so many subjects are counted exactly, and the memory of them is no larger."""

_WIDTH = 1 << 32


class Subjects:
    """About how many different subjects there were: the smallest hashes of all that were seen.

    k minimum values (Bar-Yossef and others: Counting Distinct Elements in a Data Stream, RANDOM
    2002): with the k-th smallest of evenly spread hashes at the share s of the range, there are
    about (k - 1) / s. The hash has no secret: who can choose addresses can mislead this number,
    and nothing but a person's eyes depends on it.
    """

    __slots__ = ("_least",)

    def __init__(self) -> None:
        self._least = array("I")

    def add(self, subject: Subject) -> None:
        """Take in one subject, for the first time or again."""
        mark = subject.encode("utf-8", "surrogatepass")
        self._take(int.from_bytes(blake2b(mark, digest_size=4).digest()))

    def join(self, other: Subjects) -> None:
        """Take in all that another one has seen."""
        for mark in other._least:
            self._take(mark)

    def _take(self, mark: int) -> None:
        least = self._least
        full = len(least) >= EXACT
        if full and mark >= least[-1]:
            return
        at = bisect_left(least, mark)
        if at < len(least) and least[at] == mark:
            return
        if full:
            least.pop()
        least.insert(at, mark)

    def __len__(self) -> int:
        if len(self._least) < EXACT:
            return len(self._least)
        return round((EXACT - 1) * _WIDTH / (self._least[-1] + 1))


class Counter:
    """What is known of one thing that is counted: `over` of the `count` may belong to others.

    `looked`: how much of it `note` was told of; the rest was only inferred.
    """

    __slots__ = ("count", "kinds", "last", "looked", "over", "serial", "subjects")

    def __init__(self, count: int, over: int, serial: int) -> None:
        self.count = count
        self.over = over
        self.serial = serial
        self.looked = 0
        self.last: Micros = 0
        self.kinds: dict[str, int] = {}
        self.subjects = Subjects()

    def note(self, kind: str, count: int, subject: Subject, time: Micros) -> None:
        """What an event was that was looked at, and how many attempts it summed up."""
        self.looked += count
        if kind in self.kinds or len(self.kinds) < KINDS:
            self.kinds[kind] = self.kinds.get(kind, 0) + count
        self.subjects.add(subject)
        self.last = max(self.last, time)


class Frequent:
    """At most `capacity` counters. A newcomer takes the place, and the count, of the least of them.

    So a count is never too small for what has a counter; it is too large by `over` at most; and
    whatever was counted more often than `total / capacity` has a counter.
    """

    __slots__ = ("_capacity", "_counters", "_order", "total")

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._counters: dict[str, Counter] = {}
        self._order: list[tuple[int, int, str]] = []  # a heap; counts in it may lag behind
        self.total = 0

    def __len__(self) -> int:
        return len(self._counters)

    def items(self) -> Iterator[tuple[str, Counter]]:
        """Everything that has a counter."""
        return iter(self._counters.items())

    def add(self, name: str, count: int = 1) -> Counter:
        """Count it; the counter it has now."""
        self.total += count
        found = self._counters.get(name)
        if found is not None:
            found.count += count
            return found
        if len(self._counters) < self._capacity:
            found = self._counters[name] = Counter(count, 0, self.total)
            heappush(self._order, (count, found.serial, name))
            return found
        least = self._least()
        over = self._counters.pop(least).count
        found = self._counters[name] = Counter(over + count, over, self.total)
        heapreplace(self._order, (found.count, found.serial, name))
        return found

    def _least(self) -> str:
        """The name with the smallest count, the oldest of several; it then tops the heap."""
        order = self._order
        while True:
            count, serial, name = order[0]
            counter = self._counters[name]
            if counter.count == count:
                return name
            heapreplace(order, (counter.count, serial, name))
