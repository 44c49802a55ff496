"""What was done and what it was good for: the answer to `tidegate report`, from the ledger's deeds.

Touches nothing: deeds, courses and drops in, one JSON value out. Limits: decisions taken within the
period; of scores, `events` are points; ten sources, ten people's unbans, ten reasons.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tidegate.daemon.closings import Closings
from tidegate.daemon.cutoffs import Cutoffs
from tidegate.evidence.aftermath import SPAN, Course
from tidegate.ledger.port import Deed
from tidegate.model import MINUTE, Micros, Subject
from tidegate.text import time_text, well_formed

MOST = 10

Ports = tuple[int, ...]
_NOT_CLOSED = frozenset({"refused", "skipped"})
_MACHINE = frozenset({"rule", "reload"})


def _by_machine(by: str) -> bool:
    """Whether no person did it: a rule, a reload, or the fleet, which takes back what it closed."""
    return by in _MACHINE or by == "fleet" or by.startswith("fleet:")


@dataclass(slots=True)
class Rates:
    """Events and the time they belong to, before bans, meanwhile and afterwards, added up."""

    bans: int = 0
    events: list[int] = field(default_factory=lambda: [0, 0, 0])
    spans: list[Micros] = field(default_factory=lambda: [0, 0, 0])

    def add(self, course: Course, now: Micros) -> None:
        """Take in one ban, as far as it has come by now."""
        until, stop = min(course.until, now), min(course.stop, now)
        self.bans += 1
        spans = (SPAN, max(0, until - course.time), max(0, stop - until))
        for at, count in enumerate((course.before, course.during, course.after)):
            self.events[at] += count
            self.spans[at] += spans[at]

    def view(self) -> dict[str, Any]:
        """`followed` bans, and events a minute; null where no time has passed yet."""
        rates = [
            round(count * MINUTE / span, 2) if span else None
            for count, span in zip(self.events, self.spans, strict=True)
        ]
        before, during, after = rates
        return {"followed": self.bans, "before": before, "during": during, "after": after}


@dataclass(slots=True)
class Part:
    """What one rule, or one person's hand, has done."""

    bans: int = 0
    subjects: set[Subject] = field(default_factory=set)
    closed: Micros = 0
    standing: int = 0
    good: int = 0
    states: Counter[str] = field(default_factory=Counter)
    rates: Rates = field(default_factory=Rates)


@dataclass(slots=True)
class Source:
    """What one subject has cost; `events` as the rules that closed for it counted them."""

    events: int = 0
    bans: int = 0
    closed: Micros = 0
    last: Micros = 0
    rules: dict[str, None] = field(default_factory=dict)


class Effect:
    """Adds up deeds, the oldest first."""

    def __init__(self, now: Micros, courses: Mapping[str, Course], since: Micros = 0) -> None:
        self._now = now
        self._gates = Closings(since, now)
        self._cutoffs = Cutoffs(now)
        self._courses = courses
        self._parts: dict[str, Part] = {}
        self._sources: dict[Subject, Source] = {}
        self._shut: dict[tuple[Subject, Ports], Micros] = {}  # until when, by the bans so far
        self._scopes: dict[Ports, Counter[str]] = {}
        self._good: dict[Subject, None] = {}
        self._spared: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()
        self._unbans: list[Deed] = []
        self._opened = 0
        self._decisions = 0

    def take(self, deeds: Iterable[Deed]) -> None:
        """Take them in."""
        for deed in deeds:
            self._decisions += 1
            self._gates.take(deed)
            self._cutoffs.take(deed)
            if deed.state == "refused":
                self._refused[deed.detail] += 1
            if deed.action == "ban":
                self._ban(deed)
            elif deed.action == "unban" and not _by_machine(deed.by):
                self._opened += 1
                self._unbans = [*self._unbans, deed][-MOST:]

    def _ban(self, deed: Deed) -> None:
        name = deed.rule or "by hand"
        part = self._parts.get(name)
        if part is None:
            part = self._parts[name] = Part()
        if deed.spared:
            self._spared[deed.spared] += 1
            part.states["spared"] += 1
            return
        if deed.mode != "enforce" or deed.state in _NOT_CLOSED:
            part.states["observed" if deed.mode != "enforce" else deed.state] += 1
            return
        part.bans += 1
        part.subjects.add(deed.subject)
        part.standing += deed.undone is None and deed.until > self._now
        if deed.collateral:
            part.good += 1
            self._good[deed.subject] = None
        closed = self._closed(deed)
        part.closed += closed
        source = self._sources.get(deed.subject)
        if source is None:
            source = self._sources[deed.subject] = Source()
        source.bans += 1
        source.closed += closed
        source.events += deed.count
        source.last = deed.time
        source.rules[name] = None
        scope = self._scopes.get(deed.ports)
        if scope is None:
            scope = self._scopes[deed.ports] = Counter()
        scope[name] += 1
        course = self._courses.get(deed.id)
        if course is not None:
            part.rates.add(course, self._now)

    def _closed(self, deed: Deed) -> Micros:
        """How long this ban closed what no earlier one had closed already."""
        end = deed.until if deed.undone is None else min(deed.undone, deed.until)
        key = deed.subject, deed.ports
        start = max(deed.time, self._shut.get(key, 0))
        end = min(end, self._now)
        if end <= start:
            return 0
        self._shut[key] = end
        return end - start

    def view(self, drops: Mapping[Ports, tuple[int, int]]) -> dict[str, Any]:
        """The report without its time; `drops`: packets and bytes by ports, as the kernel counts.

        Spans are whole minutes, rates events a minute.
        """
        parts = self._parts.values()
        rates = Rates()
        for one in parts:
            rates.bans += one.rates.bans
            for at in range(3):
                rates.events[at] += one.rates.events[at]
                rates.spans[at] += one.rates.spans[at]
        return {
            "decisions": self._decisions,
            "bans": sum(one.bans for one in parts),
            "subjects": len(self._sources),
            "standing": sum(one.standing for one in parts),
            "minutes": sum(one.closed for one in parts) // MINUTE,
            "rates": rates.view(),
            "rules": list(self._rules()),
            "kernel": list(self._kernel(drops)),
            "good": {
                "banned": sum(one.good for one in parts),
                "subjects": [well_formed(one) for one in list(self._good)[:MOST]],
                "spared": {well_formed(why): n for why, n in self._spared.most_common(MOST)},
                "unbanned": self._opened,
                "unbans": [_unban(one) for one in self._unbans],
            },
            "refused": {well_formed(why): n for why, n in self._refused.most_common(MOST)},
            "sources": list(self._costliest()),
            "gates": list(self._gates.view()),
            "outward": self._cutoffs.view(),
        }

    def _rules(self) -> Iterator[dict[str, Any]]:
        order = sorted(self._parts.items(), key=lambda item: (-item[1].bans, item[0]))
        for name, one in order:
            yield {
                "rule": well_formed(name),
                "bans": one.bans,
                "subjects": len(one.subjects),
                "standing": one.standing,
                "minutes": one.closed // MINUTE,
                "good": one.good,
                **{state: one.states[state] for state in ("spared", "observed", "refused")},
                "rates": one.rates.view(),
            }

    def _kernel(self, drops: Mapping[Ports, tuple[int, int]]) -> Iterator[dict[str, Any]]:
        for ports in sorted(self._scopes.keys() | drops.keys()):
            packets, size = drops.get(ports, (0, 0))
            rules = self._scopes.get(ports, Counter())
            bans = rules.total()
            yield {
                "ports": list(ports),
                "packets": packets,
                "bytes": size,
                "bans": bans,
                "per_ban": round(packets / bans, 1) if bans else None,
                "rules": [well_formed(name) for name, _count in rules.most_common(MOST)],
            }

    def _costliest(self) -> Iterator[dict[str, Any]]:
        order = sorted(
            self._sources.items(), key=lambda item: (-item[1].events, -item[1].bans, item[0])
        )
        for subject, one in order[:MOST]:
            yield {
                "subject": well_formed(subject),
                "events": one.events,
                "bans": one.bans,
                "minutes": one.closed // MINUTE,
                "rules": [well_formed(name) for name in one.rules],
                "last": time_text(one.last),
            }


def _unban(deed: Deed) -> dict[str, Any]:
    return {
        "time": time_text(deed.time),
        "subject": well_formed(deed.subject),
        "by": well_formed(deed.by),
    }
