"""Answers about the whole: how it is, what is under attack, and what was done about it.

Touches the watcher that it is handed: its memory, its ledger, and its gate's counters.
Limits: a report reads every decision of its time, 7 µs each, in the loop.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

from tidegate import __version__
from tidegate.control.call import Call
from tidegate.control.views import target_view
from tidegate.daemon import asked, fleetview, gateview, incidentwork, outview
from tidegate.daemon.effect import Effect
from tidegate.daemon.flows import FlowSource
from tidegate.daemon.outward import OutwardSource
from tidegate.decision.breaker import Breaker
from tidegate.evidence.targets import WHATS, What
from tidegate.model import Micros
from tidegate.text import time_text

if TYPE_CHECKING:
    from tidegate.daemon.answer import Daemon

MOST = 10_000


def status(watcher: Daemon, _call: Call, now: Micros) -> tuple[int, dict[str, object]]:
    """How the daemon is: gate, sources, rules, guards, and every limit that was reached."""
    pipeline = watcher.pipeline
    policy, totals, actor = pipeline.policy, pipeline.totals, watcher.actor
    return 200, {
        "v": 1,
        "version": __version__,
        "pid": os.getpid(),
        "time": time_text(now),
        "started": time_text(watcher.started),
        "mode": policy.mode,
        "off": watcher.wiring.is_off(),
        "policy": {
            "hash": policy.hash,
            "loaded": time_text(watcher.loaded_at),
            "files": list(policy.files),
        },
        "gate": {
            "kind": watcher.wiring.gate_kind,
            "state": actor.out_of_step or "ok",
            "applied": actor.applied,
            "refused": actor.refused,
            "repaired": actor.repaired,
            "evicted": actor.gate.evicted,
            "knocks": watcher.knocks,
            "knocks_missed": getattr(actor.gate, "missed", 0),
        },
        "bans": actor.in_force(now),
        "fleet": fleetview.status(watcher),
        "outward": outview.status(watcher, now),
        "meter": _meter(watcher),
        "tide": pipeline.guards.tide(now),
        "closed": sorted(watcher.guarding.closed(now)),
        "incidents": incidentwork.open_now(watcher, now),
        "guards": gateview.every(watcher, now),
        "sources": [_source(watcher, name) for name in watcher.sources],
        "rules": _rules(watcher),
        "lines": totals.lines,
        "events": dict(totals.kinds),
        "successes": totals.successes,
        "limits": {
            "tallies": len(pipeline.windows),
            "capacity": pipeline.windows.capacity,
            "evicted": pipeline.windows.evicted
            + pipeline.record.evicted
            + pipeline.judge.ladder.evicted,
            "clamped": totals.clamped,
            "cut": totals.cut,
            "quarantined": totals.quarantined,
            "ledger_bytes": watcher.wiring.ledger.size(),
            "events_bytes": watcher.chronicle.size(),
            "events_lost": watcher.chronicle.lost,
        },
        "detectors_off": sorted(
            {name for engine in pipeline.engines.values() for name in engine.disabled}
        ),
        "breaker": _breaker(pipeline.judge.breaker, now),
    }


def _breaker(breaker: Breaker, now: Micros) -> dict[str, object]:
    until = breaker.tripped_until
    return {"tripped_until": time_text(until) if until > now else None, "trips": breaker.trips}


def _meter(watcher: Daemon) -> dict[str, object] | None:
    """How what leaves is listened to; None where nobody does."""
    for source in watcher.sources.values():
        if isinstance(source, OutwardSource) and source.fds():
            return source.view()
    return None


def _source(watcher: Daemon, name: str) -> dict[str, Any]:
    source = watcher.sources[name]
    health = source.health()
    return {
        "name": name,
        "state": health.state,
        "detail": health.detail,
        "lag": health.lag,
        "last_read": time_text(health.last_read) if health.last_read else None,
        **({"flows": source.view()} if isinstance(source, FlowSource) else {}),
    }


def _rules(watcher: Daemon) -> list[dict[str, Any]]:
    windows = {window.rule.name: window for window in watcher.pipeline.windows.windows}
    rows = []
    for rule in watcher.pipeline.policy.rules:
        window = windows.get(rule.name)
        last = window.last_verdict if window else None
        if rule.ban.service and not (last or (window and window.tallies)):
            continue  # one of some hundred services, and nothing is wrong with it
        rows.append(
            {
                "name": rule.name,
                "mode": rule.mode if rule.enabled else "disabled",
                "stated": rule.stated,
                "tallies": len(window.tallies) if window else 0,
                "verdicts": window.verdicts if window else 0,
                "last_verdict": {"time": time_text(last.time), "subject": last.subject}
                if last
                else None,
            }
        )
    return rows


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
    effect = Effect(now, pipeline.aftermath.courses, since)
    effect.take(watcher.wiring.ledger.deeds(since))
    return 200, {
        "v": 1,
        "time": time_text(now),
        "since": time_text(since),
        "started": time_text(watcher.started),
        "in_force": watcher.actor.in_force(now),
        "gate": watcher.wiring.gate_kind,
        "incidents": incidentwork.reported(watcher, since, now),
        **effect.view(pipeline.drops.since(since)),
    }
