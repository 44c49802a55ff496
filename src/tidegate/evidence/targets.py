"""What is under attack: which site, page, mailbox, account, port and service, and how hard.

Touches nothing; time comes with the events. Counts abuse by what it was aimed at, minute by minute,
of the last ten. Limits: `CAPACITY` names of each sort a minute (the heavy ones stay, see
`frequent`); of a block with more than `LOOKED_AT` abuse events only so many are looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple, get_args

from tidegate.evidence.frequent import Counter, Frequent, Subjects
from tidegate.model import MINUTE, Event, Micros

What = Literal["site", "page", "mailbox", "user", "port", "service"]
WHATS: tuple[What, ...] = get_args(What)

CAPACITY = 128
MINUTES = 10
LOOKED_AT = 32
FEW = 4
"""An estimate from fewer events than this says nothing, and is left out."""

_OURS = ("outward", "inward")
"""Packs of our own findings: of no service here, and the first of nothing that was done to us."""

LONGEST = 120
"""Characters of a name; what differs only behind them is one."""

FIELDS = ("vhost", "uri", "rcpt", "user", "dport")
"""The fields that name a target; `proto` and `service` only say more about one."""

Read = Callable[[Event], Mapping[str, str]]


class Row(NamedTuple):
    """What one target has suffered: at least `events`, at most `at_most`, as `looked` of them say.

    Where fewer were looked at, each stood for several, and both are estimates. `minutes` are the
    counts of each minute, the latest last.
    """

    what: What
    target: str
    kinds: tuple[str, ...]
    events: int
    at_most: int
    looked: int
    minutes: tuple[int, ...]
    subjects: int
    last: Micros

    @property
    def per_minute(self) -> int:
        """The rate just now: of the minute that has begun or, if it was more, of the one before."""
        return max(self.minutes[-2:])


class Targets:
    """Abuse by target. `span`: the length of a period, 0 for all time in one (as replay wants).

    Memory is bounded: `MINUTES` + 1 periods, `CAPACITY` names of six sorts in each, 8 MB at worst.
    """

    def __init__(self, span: Micros = MINUTE) -> None:
        self._span = span
        self._periods: dict[int, dict[What, Frequent]] = {}
        self._latest = 0

    def tally(self, events: Sequence[Event], read: Read) -> None:
        """Count the abuse in a batch; `read` gives the fields of an event that came without."""
        abuse = [
            event
            for event in events
            if event.kind.klass == "abuse" and event.kind.pack not in _OURS
        ]
        step = -(-len(abuse) // LOOKED_AT)
        if step <= 1:
            for event in abuse:
                self._count(event, event.count, read)
            return
        for number, first in enumerate(range(0, len(abuse), step)):
            part = abuse[first : first + step]
            # Not always the first, or whoever takes turns in step with us would go unseen.
            chosen = part[number * 7919 % len(part)]
            self._count(chosen, sum(event.count for event in part), read)

    def _count(self, event: Event, count: int, read: Read) -> None:
        period = event.time // self._span if self._span else 0
        if period > self._latest:
            self._latest = period
            for old in [one for one in self._periods if one < period - MINUTES]:
                del self._periods[old]
        elif period < self._latest - MINUTES:
            return
        sorts = self._periods.get(period)
        if sorts is None:
            sorts = self._periods[period] = {what: Frequent(CAPACITY) for what in WHATS}
        for what, name in aimed_at(event, event.fields or read(event)):
            counter = sorts[what].add(name, count)
            counter.note(event.kind.name, event.count, event.subject, event.time)

    def rows(self, now: Micros | None = None, what: What | None = None) -> list[Row]:
        """The targets of the last ten minutes (None: of all that is remembered), heaviest first."""
        latest = self._latest if now is None or not self._span else now // self._span
        first = latest - MINUTES
        periods = [one for one in sorted(self._periods) if first <= one <= latest]
        rows = [
            _row(one, name, found, latest)
            for one in (WHATS if what is None else (what,))
            for name, found in self._joined(periods, one).items()
        ]
        rows = [row for row in rows if row.looked >= min(FEW, row.events)]
        rows.sort(key=lambda row: (-row.events, -row.subjects, WHATS.index(row.what), row.target))
        return rows

    def _joined(self, periods: Sequence[int], what: What) -> dict[str, dict[int, Counter]]:
        found: dict[str, dict[int, Counter]] = {}
        for period in periods:
            for name, counter in self._periods[period][what].items():
                found.setdefault(name, {})[period] = counter
        return found


def _row(what: What, name: str, found: Mapping[int, Counter], latest: int) -> Row:
    kinds: dict[str, int] = {}
    subjects = Subjects()
    for counter in found.values():
        subjects.join(counter.subjects)
        for kind, count in counter.kinds.items():
            kinds[kind] = kinds.get(kind, 0) + count
    sure = {period: one.count - one.over for period, one in found.items()}
    return Row(
        what,
        name,
        tuple(sorted(kinds, key=lambda kind: (-kinds[kind], kind))),
        sum(sure.values()),
        sum(one.count for one in found.values()),
        sum(one.looked for one in found.values()),
        tuple(sure.get(period, 0) for period in range(latest - MINUTES, latest + 1)),
        len(subjects),
        max(one.last for one in found.values()),
    )


def aimed_at(event: Event, fields: Mapping[str, str]) -> Iterator[tuple[What, str]]:
    """Everything an event was aimed at, by its fields; its service (pack) in any case."""
    pack = event.kind.pack
    yield "service", pack
    if not fields:
        return
    site = fields.get("vhost", "").strip(". ").lower()[:LONGEST]
    if site:
        yield "site", site
    if "uri" in fields:
        yield "page", f"{site}{_path(fields['uri'])}"[: 2 * LONGEST]
    if mailbox := fields.get("rcpt", "").strip("<> ").lower()[:LONGEST]:
        yield "mailbox", mailbox
    if user := fields.get("user", "")[:LONGEST]:
        yield "user", f"{user} ({pack})"
    if port := fields.get("dport", "")[:LONGEST]:
        proto = fields.get("proto", "").lower()[:LONGEST]
        yield "port", f"{port}/{_PROTOCOLS.get(proto, proto)}" if proto else port


_PROTOCOLS = {"6": "tcp", "17": "udp", "1": "icmp", "58": "icmp6"}
"""By number, as some firewalls write them (IANA, Assigned Internet Protocol Numbers)."""


def _path(uri: str) -> str:
    """The path of a request, without what only this request had: query, fragment, host."""
    path = uri[: 4 * LONGEST].partition("?")[0].partition("#")[0]
    if "://" in path[:9]:  # as a proxy is asked
        path = "/" + path.partition("://")[2].partition("/")[2]
    return path[:LONGEST] or "/"
