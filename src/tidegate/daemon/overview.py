"""Answers about the whole: what is under attack, and what was done about it.

Touches the watcher that it is handed: its memory, its ledger, and its gate's counters.
Limits: a report reads every decision of its time, 7 µs each, in the loop.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

from tidegate.control.call import Call
from tidegate.control.views import target_view
from tidegate.daemon import asked
from tidegate.daemon.effect import Effect
from tidegate.evidence.targets import WHATS, What
from tidegate.model import Micros
from tidegate.text import time_text

if TYPE_CHECKING:
    from tidegate.daemon.answer import Daemon

MOST = 10_000


def targets(watcher: Daemon, call: Call, now: Micros) -> tuple[int, Iterator[object]]:
    """What was abused within the last ten minutes, the heaviest first: a row each."""
    by = asked.choice("by", call.query.get("by", "target"), ("target", *WHATS))
    limit = asked.number(call.query.get("limit", "20"), MOST)
    what = None if by == "target" else cast("What", by)
    rows = watcher.pipeline.targets.rows(now, what)[:limit]
    return 200, iter([target_view(row) for row in rows])


def report(watcher: Daemon, call: Call, now: Micros) -> tuple[int, dict[str, object]]:
    """What was done since a while ago, and what it was good for."""
    since = max(0, now - asked.span(call.query, "7d", "since"))
    watcher.count_drops(now)
    pipeline = watcher.pipeline
    effect = Effect(now, pipeline.aftermath.courses)
    effect.take(watcher.wiring.ledger.deeds(since))
    return 200, {
        "v": 1,
        "time": time_text(now),
        "since": time_text(since),
        "started": time_text(watcher.started),
        "in_force": watcher.actor.in_force(now),
        "gate": watcher.wiring.gate_kind,
        **effect.view(pipeline.drops.since(since)),
    }
