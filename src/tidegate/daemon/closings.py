"""How often gates were closed, for how long and by whom, for `tidegate report`, from deeds.

Touches nothing: deeds in, the oldest first, rows out. What was refused, skipped or only observed
closed nothing. Limits: of a gate that was closed before the period, only an opening within tells.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tidegate.daemon.moves import PREFIX
from tidegate.ledger.port import Deed
from tidegate.model import MINUTE, Micros
from tidegate.text import time_text, well_formed

MOST = 10
_NOT_DONE = frozenset({"refused", "skipped"})
_COUNTED = ("restarts", "warnings", "given_up", "observed", "refused")


@dataclass(slots=True)
class _Gate:
    """One gate, or a guard that has none. `since`: closed since then (0: open)."""

    guard: str
    closings: int = 0
    span: Micros = 0
    since: Micros = 0
    last: Micros = 0
    by: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)


class Closings:
    """Adds up what guards and people did with gates since then."""

    def __init__(self, since: Micros, now: Micros) -> None:
        self._since, self._now = since, now
        self._gates: dict[str, _Gate] = {}

    def take(self, deed: Deed) -> None:
        """Take in one deed; those about addresses are passed over."""
        if not deed.subject.startswith(PREFIX):
            return
        name = deed.subject.removeprefix(PREFIX)
        gate = self._gates.setdefault(name, _Gate(deed.rule))
        first, gate.last = not gate.last, deed.time
        match deed.action:
            case "warn":
                gate.counts["warnings"] += 1
            case "give-up":
                gate.counts["given_up"] += 1
            case "open" if deed.mode == "enforce":
                if gate.since:
                    gate.span += deed.time - gate.since
                elif first and deed.by == "guard":  # closed before the period
                    gate.span += deed.time - self._since
                gate.since = 0
            case "close" | "fire" if deed.mode != "enforce":
                gate.counts["observed"] += 1
            case "close" | "fire" if deed.state in _NOT_DONE:
                gate.counts["refused"] += deed.state == "refused"
            case "fire":
                gate.counts["restarts"] += 1
            case "close" if not gate.since:
                gate.closings += 1
                gate.since = deed.time
                gate.by[deed.by] += 1

    def view(self) -> Iterator[dict[str, Any]]:
        """A row for each gate that anything happened to, the longest closed first."""
        rows = {name: one for name, one in self._gates.items() if _told(one)}
        spans = {
            name: one.span + (self._now - one.since if one.since else 0)
            for name, one in rows.items()
        }
        for name in sorted(rows, key=lambda name: (-spans[name], -rows[name].closings, name)):
            one = rows[name]
            yield {
                "gate": well_formed(name),
                "guard": well_formed(one.guard),
                "closings": one.closings,
                "closed_now": bool(one.since),
                "minutes": spans[name] // MINUTE,
                "by": {well_formed(who): count for who, count in one.by.most_common(MOST)},
                **{what: one.counts[what] for what in _COUNTED},
                "last": time_text(one.last),
            }


def _told(gate: _Gate) -> bool:
    return bool(gate.closings or gate.span or gate.counts)
