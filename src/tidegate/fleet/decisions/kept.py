"""Decisions of hosts, and which of them are kept where there is no room for all.

Touches nothing. What is kept depends on what was heard, and neither on its order nor on how often.
Limits: bounded per matter, per host and over all, by `Limits`.

A decision is kept or crowded out by its rank alone. Rank is the end, so what is crowded out ends no
later than what stays; the bounds lie within each other (matter, host, all). Such bounds form a
laminar matroid, and keeping the highest ranks within them gives one result, whatever the order
(Rado 1957, Edmonds 1971). Time takes the lowest ranks first, so forgetting changes nothing either.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Literal, NamedTuple

from tidegate.model import DAY, Micros, Subject

Verb = Literal["ban", "unban"]
Ports = tuple[int, ...]
Matter = tuple[Subject, Ports, str, str]


class Entry(NamedTuple):
    """One decision of one host, for all. Every host that hears it knows it by the same `id`.

    `host` said it, `rule` convicted ("": a person did, `by`). `until`: a ban's end; an unban has
    none of its own (0). `shares`: how much each host counted of it, and `needed` is what convicts;
    without shares it is the one host's word. `proof` names the claims. An unban without ports
    opens all ports, one without rule opens the bans of all rules.
    """

    id: str
    verb: Verb
    host: str
    time: Micros
    subject: Subject
    ports: Ports = ()
    until: Micros = 0
    rule: str = ""
    by: str = "rule"
    shares: tuple[tuple[str, int], ...] = ()
    needed: int = 0
    proof: tuple[bytes, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is kept; **the same on all hosts**, or they come to different results.

    `matter`: bans of one host by one rule for one (subject, ports). `longest`: no ban lasts longer,
    and for that long an unban is remembered, since a ban that it opens may be heard that late.
    """

    matter: int = 8
    host: int = 20_000
    total: int = 200_000
    longest: Micros = 30 * DAY

    def end(self, one: Entry) -> Micros:
        """When a decision may be forgotten, and with it the message that says it."""
        return one.until if one.verb == "ban" else one.time + self.longest


Rank = tuple[Micros, Micros, str]


class Kept:
    """The entries of highest rank within the bounds; how it got them does not matter."""

    def __init__(self, limits: Limits, matter: int) -> None:
        self.entries: dict[str, Entry] = {}
        self.of: defaultdict[Subject, dict[str, Entry]] = defaultdict(dict)
        self._limits, self._matter = limits, matter
        self._hosts: dict[str, list[Rank]] = {}  # of those who have ever had too many
        self._sizes: dict[str, int] = {}
        self._ranks: list[Rank] = []

    def _rank(self, one: Entry) -> Rank:
        return (self._limits.end(one), one.time, one.id)

    def add(self, one: Entry) -> Entry | None:
        """Keep it; what that crowded out, if anything: it may be `one` itself."""
        rank = self._rank(one)
        of = self.of[one.subject]
        self.entries[one.id] = of[one.id] = one
        size = self._sizes[one.host] = self._sizes.get(one.host, 0) + 1
        heappush(self._ranks, rank)
        if one.host in self._hosts:
            heappush(self._hosts[one.host], rank)
        if len(of) > self._matter and len(same := self._same(one)) > self._matter:
            out = min(same, key=self._rank).id
        elif size > self._limits.host:
            out = self._lowest(self._of_host(one.host))
        elif len(self.entries) > self._limits.total:
            out = self._lowest(self._ranks)
        else:
            return None
        return self._drop(out)

    def ended(self, now: Micros) -> Iterator[Entry]:
        """Drop what has ended, one after another."""
        while self._ranks and (self._ranks[0][0] <= now or self._ranks[0][2] not in self.entries):
            number = heappop(self._ranks)[2]
            if number in self.entries:
                yield self._drop(number)

    def _same(self, one: Entry) -> list[Entry]:
        matter = _matter(one)
        return [each for each in self.of[one.subject].values() if _matter(each) == matter]

    def _of_host(self, host: str) -> list[Rank]:
        if host not in self._hosts:
            found = [self._rank(each) for each in self.entries.values() if each.host == host]
            heapify(found)
            self._hosts[host] = found
        return self._hosts[host]

    def _lowest(self, heap: list[Rank]) -> str:
        while heap[0][2] not in self.entries:
            heappop(heap)
        return heap[0][2]

    def _drop(self, number: str) -> Entry:
        one = self.entries.pop(number)
        del self.of[one.subject][number]
        if not self.of[one.subject]:
            del self.of[one.subject]
        self._sizes[one.host] -= 1
        if self._sizes[one.host]:
            if one.host in self._hosts:
                self._sweep(self._hosts[one.host], self._sizes[one.host])
        else:
            del self._sizes[one.host]
            self._hosts.pop(one.host, None)
        self._sweep(self._ranks, len(self.entries))
        return one

    def _sweep(self, heap: list[Rank], alive: int) -> None:
        # What left by another bound stays in a heap until it is the lowest there, or until now.
        if len(heap) > 2 * alive + 64:
            heap[:] = [rank for rank in heap if rank[2] in self.entries]
            heapify(heap)


def _matter(one: Entry) -> Matter:
    return (one.subject, one.ports, one.rule, one.host)
