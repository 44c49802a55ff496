"""Naming: what an event's line names besides its subject, read again for a few events of a block.

Touches nothing but the budget it is handed. The hot loop takes no fields of events whose rules look
at none; who wants a sample of them asks here. Limits: a line of this block only; 5 µs an event.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import islice

from tidegate.detector.budget import Budget
from tidegate.detector.matcher import Matcher
from tidegate.detector.steps import NO_FIELDS, Steps
from tidegate.model import Batch, Block, Event


class Naming:
    """Reads fields of single events. `groups` are those for whose sake a line is read again."""

    def __init__(
        self, matchers: Sequence[Matcher], groups: Collection[str], steps: Steps, budget: Budget
    ) -> None:
        marks = [f"(?P<{group}>".encode() for group in groups]
        self._matchers = {
            each.detector.name: each
            for each in matchers
            if any(mark in each.detector.pattern for mark in marks)
        }
        self._steps = steps
        self._budget = budget

    def fields(self, block: Block, event: Event, longest: int) -> Mapping[str, str]:
        """The fields of an event of this block; none where its detector has no such group."""
        matcher = self._matchers.get(event.kind.detector)
        start = event.offset - block.offset
        if matcher is None or not 0 <= start < len(block.data):
            return NO_FIELDS
        stop = start + min(event.length, longest)
        match = matcher.message  # compiled at first use, which is no line's fault
        self._budget.start()
        try:
            header = self._steps.header(block, start, stop)
            found = match(block.data, header.begin, header.stop) if header else None
            fields = matcher.fields(found) if found else NO_FIELDS
        except Exception:  # noqa: BLE001  (no line is poison; this one was counted all the same)
            fields = NO_FIELDS
        finally:
            self._budget.stop()
        return fields

    def fill(self, batch: Batch, block: Block, longest: int, most: int) -> None:
        """Give the first events their fields, where their block is not there later on."""
        for number, event in enumerate(islice(batch.events, most)):
            if not event.fields:
                named = self.fields(block, event, longest)
                batch.events[number] = event._replace(fields=named)
