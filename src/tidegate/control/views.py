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
    `zone` (None: the host's). Quarantines and releases also have `watched`, a time or null.
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
    if decision.action in ("quarantine", "release"):
        view["watched"] = time_text(decision.watched, zone) if decision.watched else None
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


class Aimed(Protocol):
    """A target of abuse, as far as it is shown; see `evidence.targets.Row`."""

    @property
    def what(self) -> str:
        """The sort: site, page, mailbox, user, port or service."""

    @property
    def target(self) -> str:
        """Its name, as hostile as the line it stood in."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of the events, the most frequent first."""

    @property
    def events(self) -> int:
        """How many there were, at least."""

    @property
    def at_most(self) -> int:
        """And at most."""

    @property
    def looked(self) -> int:
        """How many of them were looked at; where fewer, the numbers are estimates."""

    @property
    def per_minute(self) -> int:
        """The rate just now."""

    @property
    def minutes(self) -> tuple[int, ...]:
        """Events of each minute, the latest last."""

    @property
    def subjects(self) -> int:
        """About how many subjects did it."""

    @property
    def last(self) -> Micros:
        """When it was abused last."""


def target_view(row: Aimed, zone: tzinfo | None = UTC) -> dict[str, Any]:
    """One target: `v`, `what`, `target`, `kinds`, `events` … `last` (RFC 3339 in `zone`)."""
    return {
        "v": VERSION,
        "what": row.what,
        "target": well_formed(row.target),
        "kinds": list(row.kinds),
        "events": row.events,
        "at_most": row.at_most,
        "looked_at": row.looked,
        "per_minute": row.per_minute,
        "minutes": list(row.minutes),
        "subjects": row.subjects,
        "last": time_text(row.last, zone),
    }
