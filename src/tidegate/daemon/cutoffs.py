"""Whom quarantines cut off, how often and for how long, for `tidegate report`, from deeds.

Touches nothing: deeds in, the oldest first, one JSON value out. What was refused, skipped or only
observed cut nobody off. Limits: quarantines decided within the period; ten sources.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tidegate.ledger.port import Deed
from tidegate.model import MINUTE, Micros, Subject
from tidegate.text import time_text, well_formed

MOST = 10
_NOT_DONE = frozenset({"refused", "skipped"})
_MACHINE = frozenset({"rule", "reload"})


@dataclass(slots=True)
class _Source:
    """One who was cut off. `reach`: until when, by the quarantines so far."""

    times: int = 0
    cut: Micros = 0
    reach: Micros = 0
    last: Micros = 0
    by: dict[str, None] = field(default_factory=dict)


class Cutoffs:
    """Adds up quarantines and releases."""

    def __init__(self, now: Micros) -> None:
        self._now = now
        self._sources: dict[Subject, _Source] = {}
        self._counts: Counter[str] = Counter()
        self._spared: Counter[str] = Counter()

    def take(self, deed: Deed) -> None:
        """Take in one deed; others than quarantines and releases are passed over."""
        if deed.action == "release":
            self._counts["released"] += deed.by not in _MACHINE
        elif deed.action != "quarantine":
            return
        elif deed.spared:
            self._spared[deed.spared] += 1
        elif deed.mode != "enforce":
            self._counts["observed"] += 1
        elif deed.state in _NOT_DONE:
            self._counts["refused"] += deed.state == "refused"
        else:
            self._cut(deed)

    def _cut(self, deed: Deed) -> None:
        source = self._sources.setdefault(deed.subject, _Source())
        source.times += 1
        source.last = deed.time
        source.by[deed.rule or deed.by] = None
        start = max(deed.time, source.reach)
        end = deed.until if deed.undone is None else min(deed.undone, deed.until)
        source.reach = max(source.reach, end)
        source.cut += max(0, min(end, self._now) - start)

    def view(self) -> dict[str, Any]:
        """How many, how many of them again, for how long, and who the longest."""
        found = self._sources
        order = sorted(found, key=lambda one: (-found[one].cut, -found[one].times, one))
        return {
            "quarantines": sum(one.times for one in found.values()),
            "sources": len(found),
            "again": sum(one.times > 1 for one in found.values()),
            "minutes": sum(one.cut for one in found.values()) // MINUTE,
            **{what: self._counts[what] for what in ("released", "observed", "refused")},
            "spared": {well_formed(why): n for why, n in self._spared.most_common(MOST)},
            "longest": [
                {
                    "subject": well_formed(who),
                    "times": found[who].times,
                    "minutes": found[who].cut // MINUTE,
                    "by": [well_formed(name) for name in found[who].by],
                    "cut_off_now": found[who].reach > self._now,
                    "last": time_text(found[who].last),
                }
                for who in order[:MOST]
            ],
        }
