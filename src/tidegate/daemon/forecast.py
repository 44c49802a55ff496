"""What a policy makes of kept events, of one host or many: as one machine would, as each would.

Touches nothing. Rules that the fleet counts together see all hosts' events in the order of their
times; all other rules see each host's alone. Limits: as `rehearsal`; hosts are judged by the policy
that is handed in, whatever their own files add to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import merge
from itertools import islice, pairwise
from typing import NamedTuple

from tidegate.chronicle.records import Head, Noted, Record, Tide
from tidegate.chronicle.stretch import Stretch
from tidegate.daemon.build import Plan, with_policy
from tidegate.daemon.rehearsal import Rehearsal
from tidegate.decision.allow import Surroundings
from tidegate.model import SECOND, Batch, Decision, Micros, Subject
from tidegate.policy.models import Rule, SourceSpec

_ORIGINS = 1 << 20
_SPLIT: Micros = SECOND


@dataclass(slots=True)
class Seen:
    """What one host has kept: its stretches, the oldest first, and what is missing of it."""

    host: str
    stretches: Sequence[Stretch]
    left_out: list[str] = field(default_factory=list)
    first: Micros = 0
    last: Micros = 0
    events: int = 0
    tick: Callable[[int], None] | None = None
    """Told of every so many events that were judged."""

    def heads(self) -> Iterator[Head]:
        """How each stretch was seen."""
        for stretch in self.stretches:
            if found := stretch.head():
                yield found

    def records(self) -> Iterator[Record]:
        """All of it, and on the way what there is to say of it."""
        self.left_out, self.first, self.last, self.events = [], 0, 0, 0
        for number, stretch in enumerate(self.stretches, 1):
            for record in stretch:
                if isinstance(record, Noted) and record.batch.events:
                    self.events += len(record.batch.events)
                    first, last = record.batch.events[0].time, record.batch.events[-1].time
                    self.first = min(self.first or first, first)
                    self.last = max(self.last, last)
                    if self.tick is not None:
                        self.tick(len(record.batch.events))
                yield record
            if stretch.left_out:
                self.left_out.append(
                    f"stretch {number} of {len(self.stretches)}: {stretch.left_out}"
                )


class Judged(NamedTuple):
    """A decision that would have been, by the lines of which hosts, and on how many it would hold
    (0: on all)."""

    decision: Decision
    seen: tuple[str, ...]
    on: int = 0


class Eyes:
    """Which of the kept events a policy would have come to see; `before` is the one that had them
    kept."""

    def __init__(self, found: Plan, before: Plan) -> None:
        self._kinds: dict[str, frozenset[str] | None] = {}
        specs = {spec.name: spec for spec in found.sources}
        for old in before.sources:
            if old.name not in specs:
                self._kinds[old.name] = frozenset()
        if found is not before:
            for name, spec in specs.items():
                self._kinds[name] = _kinds(found, spec)

    def see(self, record: Record) -> Record | None:
        """The record as it would have been; None where there would have been none."""
        if not isinstance(record, Noted):
            return record
        kinds = self._kinds.get(record.batch.source)
        if kinds is None:
            return record
        if not kinds:
            return None
        batch = record.batch
        events = [one for one in batch.events if one.kind.name in kinds]
        if len(events) == len(batch.events):
            return record
        return Noted(Batch(batch.source, batch.origin, events, batch.successes), record.known)


def _kinds(found: Plan, spec: SourceSpec) -> frozenset[str]:
    asked = spec.detectors or found.common
    return frozenset(
        one.kind.name
        for pack in found.packs
        for one in pack.detectors
        if pack.name in asked or one.kind.detector in asked
    )


def forecast(
    found: Plan, before: Plan, hosts: Sequence[Seen], here: Surroundings | None = None
) -> list[Judged]:
    """Every decision that this policy would have come to, in the order of their times."""
    eyes = Eyes(found, before)
    policy = found.loaded.policy
    if policy.fleet is None or len(hosts) < 2:
        return [
            Judged(one, (host.host,), 1)
            for host in hosts
            for one in _play(found, here, _saw(eyes, host.records()))
        ]
    told: list[Judged] = []
    together = [rule for rule in policy.rules if rule.shared]
    if together:
        told += _together(_only(found, together), eyes, hosts, here)
    alone = [rule for rule in policy.rules if not rule.shared]
    if any(rule.enabled for rule in alone):
        one_by_one = _only(found, alone)
        on = 0 if policy.fleet.bans else 1
        for host in hosts:
            decisions = _play(one_by_one, here, _saw(eyes, host.records()))
            told += [Judged(one, (host.host,), on) for one in decisions]
    return sorted(told, key=lambda one: (one.decision.time, one.decision.id))


def _only(found: Plan, rules: Iterable[Rule]) -> Plan:
    return with_policy(found, rules=tuple(rules))


def _saw(eyes: Eyes, records: Iterable[Record]) -> Iterator[Record]:
    return (one for one in map(eyes.see, records) if one is not None)


def _play(found: Plan, here: Surroundings | None, records: Iterable[Record]) -> Iterator[Decision]:
    return Rehearsal(found, here).play(records)


def _together(
    found: Plan, eyes: Eyes, hosts: Sequence[Seen], here: Surroundings | None
) -> Iterator[Judged]:
    """As one machine that saw all lines."""
    fleet = found.loaded.policy.fleet
    assert fleet is not None
    origins = _Origins()
    streams = [
        in_time(origins.of(host.host, _saw(eyes, host.records())), number)
        for number, host in enumerate(hosts)
    ]
    records = (record for _time, _host, _number, record in merge(*streams))
    for decision in _play(found, here, records):
        seen = origins.hosts(decision)
        everywhere = len(seen) >= fleet.min_hosts and fleet.bans
        counted = len(seen) >= max(2, fleet.min_hosts)
        yield Judged(decision, seen, 0 if everywhere or counted else len(seen))


class _Origins:
    """Numbers of files over all hosts, so that no two lines have the same place."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[str, int], int] = {}
        self._hosts: dict[int, str] = {}

    def of(self, host: str, records: Iterable[Record]) -> Iterator[Record]:
        for record in records:
            if isinstance(record, Tide):
                continue  # each host has its own: what all count together does not tighten
            if isinstance(record, Noted):
                batch = record.batch
                key = host, batch.origin
                number = self._numbers.setdefault(key, (len(self._numbers) + 1) % _ORIGINS)
                self._hosts[number] = host
                again = Batch(batch.source, number, batch.events, batch.successes)
                record = Noted(again, record.known)
            yield record

    def hosts(self, decision: Decision) -> tuple[str, ...]:
        """Whose lines led to it, the one with the most of them first."""
        counted: dict[str, int] = {}
        for ref in decision.refs:
            host = self._hosts.get(ref.origin, "")
            counted[host] = counted.get(host, 0) + 1
        return tuple(sorted(filter(None, counted), key=lambda one: (-counted[one], one)))


def in_time(records: Iterable[Record], number: int) -> Iterator[tuple[Micros, int, int, Record]]:
    """Records with the times at which they came, never backwards, to be merged with others'."""
    now: Micros = 0
    count = 0
    for record in records:
        for piece in pieces(record) if isinstance(record, Noted) else (record,):
            if isinstance(piece, Noted):
                if piece.batch.events:
                    now = max(now, piece.batch.events[0].time)
                elif piece.batch.successes:
                    now = max(now, min(one.first_time for one in piece.batch.successes.values()))
            elif not isinstance(piece, Head):
                now = max(now, getattr(piece, "time", 0))
            count += 1
            yield now, number, count, piece


def pieces(noted: Noted) -> Iterator[Noted]:
    """A batch cut wherever a second has passed: what a host read late all at once came bit by bit.

    A success goes with the piece in which it stands, so that it counts for just the same lines; one
    behind the last line is a piece by itself, or it would count for what others saw before it.
    """
    batch = noted.batch
    late = {
        subject: one
        for subject, one in batch.successes.items()
        if batch.events
        and one.first_offset > batch.events[-1].offset
        and one.first_time > batch.events[-1].time
    }
    rest = {subject: one for subject, one in batch.successes.items() if subject not in late}
    yield from _cut(Noted(Batch(batch.source, batch.origin, batch.events, rest), noted.known))
    for subject, one in sorted(late.items(), key=lambda each: each[1].first_time):
        yield Noted(Batch(batch.source, batch.origin, [], {subject: one}), {})


def _cut(noted: Noted) -> Iterator[Noted]:
    events = noted.batch.events
    if not events or abs(events[-1].time - events[0].time) <= _SPLIT:
        yield noted
        return
    cuts = [0]
    for at, event in enumerate(events):
        if event.time - events[cuts[-1]].time > _SPLIT:
            cuts.append(at)
    left = sorted(noted.batch.successes.items(), key=lambda one: one[1].first_offset)
    known: Mapping[Subject, Micros] = noted.known
    for start, end in pairwise([*cuts, len(events)]):
        last = events[end - 1].offset if end < len(events) else 1 << 62
        count = sum(one.first_offset < last for _subject, one in left)
        mine, left = dict(islice(left, count)), left[count:]
        batch = Batch(noted.batch.source, noted.batch.origin, events[start:end], mine)
        yield Noted(batch, known)
        known = {}
