"""What has gone through the pipeline so far, for summaries and `status`.

Touches nothing. Limits: numbers since the start; what a report needs of earlier is in the ledger.
"""

from __future__ import annotations

from collections import Counter

from tidegate.model import Batch


class Totals:
    """What has gone through so far, for summaries and `status`."""

    def __init__(self) -> None:
        self.lines = 0
        self.hits = 0
        self.successes = 0
        self.clamped = 0
        self.cut = 0
        self.quarantined = 0
        self.kinds: Counter[str] = Counter()

    def add(self, batch: Batch) -> None:
        """Take in one batch."""
        self.lines += batch.lines
        self.hits += batch.hits
        self.clamped += batch.clamped
        self.cut += batch.cut
        self.quarantined += len(batch.quarantined)
        self.successes += sum(success.count for success in batch.successes.values())
        self.kinds.update([event.kind.name for event in batch.events])
