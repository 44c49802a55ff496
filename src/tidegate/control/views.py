"""The JSON shapes of decisions, as the command line prints them and the socket speaks them.

Touches nothing: pure functions from values to plain dictionaries, version 1.
Limits: text is passed on as it is (well-formed, not made printable): the reader shows it safely.
"""

from __future__ import annotations

from datetime import UTC, tzinfo
from typing import Any, Protocol

from tidegate.model import SECOND, Decision, Evidence, Micros
from tidegate.text import time_text, well_formed

VERSION = 1


def decision_view(
    decision: Decision, now: Micros | None = None, zone: tzinfo | None = UTC
) -> dict[str, Any]:
    """One decision: `v`, `id`, `time`, `action`, `subject`, `rule`, `ports`, `until` … `evidence`.

    With `now` also `left`: whole seconds until it is over, 0 when it is. Times are RFC 3339 in
    `zone` (None: the host's).
    """
    view: dict[str, Any] = {
        "v": VERSION,
        "id": well_formed(decision.id),
        "time": time_text(decision.time, zone),
        "action": decision.action,
        "subject": well_formed(decision.subject),
        "rule": well_formed(decision.rule),
        "ports": list(decision.ports),
        "until": time_text(decision.until, zone),
        "count": decision.count,
        "step": decision.step,
        "mode": decision.mode,
        "spared": well_formed(decision.spared),
        "by": well_formed(decision.by),
        "note": well_formed(decision.note),
        "reason": well_formed(decision.reason),
        "collateral": decision.collateral,
    }
    if now is not None:
        view["left"] = max(0, (decision.until - now) // SECOND)
    view["evidence"] = [evidence_view(line, zone) for line in decision.evidence]
    return view


def evidence_view(line: Evidence, zone: tzinfo | None = UTC) -> dict[str, Any]:
    """One line that was counted: `time`, `file`, `offset` (bytes), `line`."""
    return {
        "time": time_text(line.time, zone),
        "file": well_formed(line.path),
        "offset": line.offset,
        "line": well_formed(line.line),
    }


class Entry(Protocol):
    """A ledger entry, as far as it is shown: a decision with what became of it."""

    @property
    def decision(self) -> Decision:
        """What was decided."""

    @property
    def state(self) -> str:
        """`intended`, or the state of its outcome."""

    @property
    def detail(self) -> str:
        """Of a refusal: why."""

    @property
    def settled(self) -> Micros | None:
        """When the outcome was written down."""


def entry_view(
    entry: Entry, now: Micros | None = None, zone: tzinfo | None = UTC
) -> dict[str, Any]:
    """A decision with what became of it: also `state`, `detail`, `settled` (a time or null)."""
    view = decision_view(entry.decision, now, zone)
    evidence = view.pop("evidence")
    view["state"] = entry.state
    view["detail"] = well_formed(entry.detail)
    view["settled"] = None if entry.settled is None else time_text(entry.settled, zone)
    view["evidence"] = evidence
    return view
