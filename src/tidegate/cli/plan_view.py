"""What a plan shows, as text and as JSON: bans that appear, vanish and change, and what it lacks.

Touches standard output. Limits: of each kind the first 40 as text, all as JSON.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC
from typing import Any

import click

from tidegate.cli import common
from tidegate.cli.common import clock, ports_text
from tidegate.daemon.blindness import Blind
from tidegate.daemon.build import Plan
from tidegate.daemon.comparison import Bans, Comparison, Row, What
from tidegate.daemon.forecast import Seen
from tidegate.model import HOUR
from tidegate.policy.durations import format_duration
from tidegate.text import time_text, well_formed

MOST = 40
TITLE = ("", "ADDRESS", "RULE", "FIRST", "CLOSED", "PORTS", "HOSTS", "WHY")
_KINDS: tuple[What, ...] = ("appears", "vanishes", "changes")
_SIGNS = {"appears": "+", "vanishes": "-", "changes": "~"}
_FEW = 10
_STEP = 50_000


class Ticking:
    """How many events were judged so far, on a terminal, where it takes a while."""

    def __init__(self) -> None:
        self._told = sys.stderr.isatty()
        self._count = self._shown = 0

    def tick(self, events: int) -> None:
        """So many more."""
        self._count += events
        if self._told and self._count - self._shown >= _STEP:
            self._shown = self._count
            sys.stderr.write(f"\r{self._count} events judged")
            sys.stderr.flush()

    def done(self) -> None:
        """All of them."""
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def head(found: Comparison, hosts: Sequence[Seen]) -> Iterator[str]:
    """What it comes to, before the rows."""
    events = sum(host.events for host in hosts)
    first = min((host.first for host in hosts if host.first), default=0)
    last = max((host.last for host in hosts), default=0)
    where = hosts[0].host if len(hosts) == 1 else f"{len(hosts)} hosts"
    if not events:
        yield f"No event is kept of {where}: nothing can be said."
        return
    spoken = f"{clock(time_text(first, UTC))} to {clock(time_text(last, UTC))}"
    yield f"{events} events of {where}, {spoken}"
    old, new = found.before, found.after
    yield (
        f"In use: {_bans(old.bans.values())}. Proposed: {_bans(new.bans.values())}"
        + (f" ({new.observed} more only observed)" if new.observed else "")
        + "."
    )
    counts = {what: found.count(what) for what in _KINDS}
    if not any(counts.values()):
        yield "No ban would be different."
        return
    yield (
        f"{counts['appears']} would appear, {counts['vanishes']} vanish,"
        f" {counts['changes']} change:"
        f" {len(found.newly)} would be closed for who are not now, {len(found.freed)} no longer."
    )
    good = [row for row in found.rows if row.what == "appears" and row.bans.good]
    if good:
        yield (
            f"LOOK  {len(good)} of those that would appear hit somebody who succeeded in the 30"
            " days before: perhaps customers."
        )


def _bans(found: Any) -> str:
    total = sum(one.times for one in found)
    return f"{total} ban{'s' * (total != 1)}"


def table(found: Comparison, hosts: int) -> None:
    """The rows, the first of each kind."""
    shown: list[tuple[str, ...]] = []
    for what in _KINDS:
        rows = [row for row in found.rows if row.what == what]
        shown += [cells(row, hosts) for row in rows[:MOST]]
        if len(rows) > MOST:
            shown.append((_SIGNS[what], f"… and {len(rows) - MOST} more", "", "", "", "", "", ""))
    if shown:
        common.table(TITLE, shown, "")
    if any(len([r for r in found.rows if r.what == what]) > MOST for what in _KINDS):
        click.echo("--json shows all.")


def cells(row: Row, hosts: int) -> tuple[str, ...]:
    """One row for people."""
    bans = row.bans
    return (
        _SIGNS[row.what], str(row.key.subject), row.key.rule, clock(time_text(bans.first, UTC)),
        _closed(row), ports_text(row.key.ports), _on(bans, hosts), _why(row),
    )  # fmt: skip


def _closed(row: Row) -> str:
    if row.before and row.after and row.before.closed != row.after.closed:
        return f"{format_duration(row.before.closed)} → {format_duration(row.after.closed)}"
    times = f" ({row.bans.times} times)" if row.bans.times > 1 else ""
    return format_duration(row.bans.closed) + times


def _on(bans: Bans, hosts: int) -> str:
    return "all" if not bans.on else str(min(bans.on, hosts))


def _why(row: Row) -> str:
    told = ["good record"] if row.bans.good else []
    if row.spared:
        told.append(f"{'now ' if row.what == 'appears' else ''}spared: {row.spared}")
    if row.also:
        still = "is closed for" if row.what == "appears" else "stays closed for"
        told.append(f"{still} by {', '.join(row.also[:3])}")
    if row.what == "changes" and row.before and row.after and not _longer(row):
        told.append(f"first {clock(time_text(row.before.first, UTC))} before")
    return "; ".join(told)


def _longer(row: Row) -> bool:
    return bool(row.before and row.after and row.before.closed != row.after.closed)


def row(one: Row, hosts: int) -> dict[str, Any]:
    """One row as JSON."""
    return {
        "v": 1,
        "what": one.what,
        "action": one.key.action,
        "subject": well_formed(one.key.subject),
        "rule": well_formed(one.key.rule),
        "ports": list(one.key.ports),
        "before": None if one.before is None else _view(one.before, hosts),
        "after": None if one.after is None else _view(one.after, hosts),
        "also": [well_formed(name) for name in one.also],
        "spared": well_formed(one.spared),
    }


def _view(bans: Bans, hosts: int) -> dict[str, Any]:
    return {
        "times": bans.times,
        "first": time_text(bans.first),
        "until": time_text(bans.until),
        "seconds": bans.closed // 1_000_000,
        "count": bans.count,
        "reason": well_formed(bans.reason),
        "good_record": bans.good,
        "seen_by": list(bans.seen[:_FEW]),
        "hosts": bans.on or hosts,
    }


def summary(
    found: Comparison,
    hosts: Sequence[Seen],
    gaps: Sequence[Blind],
    notes: Sequence[str],
    plans: tuple[Plan, Plan],
) -> dict[str, Any]:
    """What it comes to, as the last line of JSON."""
    old, new = (one.loaded.policy.hash for one in plans)
    return {
        "v": 1,
        "summary": {
            "policy": old,
            "proposed": new,
            **{what: found.count(what) for what in _KINDS},
            "newly_closed": len(found.newly),
            "no_longer_closed": len(found.freed),
            "bans_before": sum(one.times for one in found.before.bans.values()),
            "bans_after": sum(one.times for one in found.after.bans.values()),
            "observed_after": found.after.observed,
            "good_record": sum(r.bans.good for r in found.rows if r.what == "appears"),
            "spared_after": dict(found.after.spared),
        },
        "hosts": [
            {
                "host": host.host,
                "events": host.events,
                "first": time_text(host.first) if host.first else None,
                "last": time_text(host.last) if host.last else None,
            }
            for host in hosts
        ],
        "not_kept": [
            {"rule": one.rule, "kind": one.kind, "fields": list(one.fields),
             "stretches": one.stretches, "of": one.of}
            for one in gaps
        ],
        "left_out": list(notes),
    }  # fmt: skip


def gaps(found: Sequence[Blind]) -> Iterator[str]:
    """What can't be judged, one line a rule."""
    by_rule: dict[str, list[Blind]] = {}
    for one in found:
        by_rule.setdefault(one.rule, []).append(one)
    for rule, rows in by_rule.items():
        told = [
            f"{', '.join(one.fields)} of {one.kind}" if one.fields else one.kind for one in rows[:3]
        ]
        more = f" and {len(rows) - 3} more" if len(rows) > 3 else ""
        part = max(one.stretches / one.of for one in rows if one.of)
        how = "" if part >= 1 else f" in {part:.0%} of the time"
        yield (
            f"rule {rule} can't be judged as it would{how}: nobody kept {'; '.join(told)}{more}."
            ' For a day with it: put the rule in with mode = "observe"'
        )


def others(hosts: Sequence[Seen], current: Plan) -> Iterator[str]:
    """Hosts whose events were seen under another policy than ours."""
    mine = current.loaded.policy.hash
    counted: Counter[str] = Counter()
    for host in hosts:
        if heads := list(host.heads()):
            counted[heads[-1].policy] += heads[-1].policy != mine
    number = sum(counted.values())
    if number and len(hosts) > 1:
        yield (
            f"{number} of {len(hosts)} hosts have something else in their own files than this one;"
            " they are judged as if they had not"
        )
    begun = [heads[0].begun for host in hosts if (heads := list(host.heads()))]
    if begun and max(begun) - min(begun) > HOUR:
        yield "some hosts have kept less of the day than others"
