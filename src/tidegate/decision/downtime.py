"""How long what was closed, within a stretch of time: overlapping closings count once.

Touches nothing. Exact to the microsecond: spans are merged, never sampled.
Limits: a service by its name; how it was closed is told apart, since a stop is for everybody and a
ban for one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from tidegate.decision.incidents import Closing, What
from tidegate.model import Micros, Subject

Span = tuple[Micros, Micros]
ORDER: tuple[What, ...] = ("stop", "limit", "quarantine", "ban")


class Downtime(NamedTuple):
    """One service closed in one way: for how long in all, by how many closings, for how many."""

    service: str
    what: What
    span: Micros
    closings: int
    subjects: int


class Spans:
    """Stretches of time, from the first moment up to, without, the last; those that touch or
    overlap are kept as one, so that a hundred thousand bans take no room."""

    def __init__(self) -> None:
        self._kept: list[Span] = []

    def add(self, start: Micros, end: Micros) -> None:
        """Take one in; an empty one is none. Quick where it begins in or after the last one."""
        if end <= start:
            return
        at = len(self._kept)
        while at and self._kept[at - 1][0] > start:
            at -= 1
        if at and self._kept[at - 1][1] >= start:
            at -= 1
            start = self._kept[at][0]
        stop = at
        while stop < len(self._kept) and self._kept[stop][0] <= end:
            end = max(end, self._kept[stop][1])
            stop += 1
        self._kept[at:stop] = [(start, end)]

    @property
    def total(self) -> Micros:
        """How long at least one of them holds."""
        return sum(end - start for start, end in self._kept)


class _Own:
    """What is known of one service and one way of closing it."""

    def __init__(self) -> None:
        self.spans = Spans()
        self.closings = 0
        self.subjects: set[Subject] = set()


def downtime(closings: Iterable[Closing], first: Micros, last: Micros) -> list[Downtime]:
    """Each service and way of closing it, from `first` up to `last`; what opens later, or nobody
    knows when, counts up to `last`. The harshest way first, then the longest."""
    found: dict[tuple[str, What], _Own] = {}
    for one in closings:
        start = max(one.start, first)
        end = last if one.end is None else min(one.end, last)
        if one.what == "run" or end <= start:
            continue
        for service in one.services:
            own = found.get((service, one.what))
            if own is None:
                own = found[service, one.what] = _Own()
            own.spans.add(start, end)
            own.closings += 1
            own.subjects.add(one.subject)
    rows = [
        Downtime(*key, own.spans.total, own.closings, len(own.subjects))
        for key, own in found.items()
    ]
    return sorted(rows, key=lambda row: (ORDER.index(row.what), -row.span, row.service))
