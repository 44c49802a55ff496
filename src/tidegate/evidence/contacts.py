"""What traffic tells of its sources: contacts and cuts in, findings of scans and floods out.

Touches nothing: no clock, no I/O. The same contacts and cuts, in any order within a call, give the
same findings. Algorithms: `walk` (do new destinations answer?), `throttle` (how much do the caps
keep back?), `cusum` (do handshakes that arrive come to an end?). Limits: `SOURCES` sources and
about `PAIRS_IN_ALL` destinations; who was not seen for longest goes, and that is counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import merge

from tidegate import subject as subjects
from tidegate.evidence.cusum import Floods, Handshakes
from tidegate.evidence.finding import Finding, FindingKind, endpoint, listed, span_text
from tidegate.evidence.generations import Generations
from tidegate.evidence.silence import Silence
from tidegate.evidence.sources import Source
from tidegate.evidence.throttle import PATIENCE, QUEUE, SIGNATURES, Backlog, leak_of, most_of
from tidegate.evidence.walk import HIT, Walk
from tidegate.model import DAY, HOUR, MINUTE, SECOND, Micros, Subject
from tidegate.policy.outward import OutwardSpec, Rate
from tidegate.prefixes import PrefixSet
from tidegate.traffic import Contact, Cut

SOURCES = 4096
PAIRS_IN_ALL = 131_072
"""Above so many destinations remembered in all, a source may keep `FEW` of them."""
FEW = 64
TORRENT = 1000
"""So many packets kept back within a second need no further proof."""
IRC_FOR = HOUR

_AGAIN = SECOND
_TOLD_AGAIN = MINUTE
_TCP = 6
_FLOODS: dict[str, FindingKind] = {
    "syn": "outward.syn_flood",
    "udp": "outward.udp_flood",
    "smtp": "outward.smtp_flood",
}
_KEPT: dict[str, str] = {
    "syn": "connections begun",
    "udp": "unanswered datagrams",
    "smtp": "mail connections",
}
_CAPS = ("destinations", *_FLOODS)
_QUEUED = Rate(1, SECOND, 1)


class Contacts:
    """All sources that leave through this host, and the services behind it that are reached."""

    def __init__(self, spec: OutwardSpec) -> None:
        self.spec = spec
        self._governed = PrefixSet((*spec.networks, *spec.customers))
        self._busy_names = frozenset(spec.busy)
        self._busy = PrefixSet(spec.busy)
        self._filters = frozenset(one.name for one in spec.filters)
        self._sources: Generations[Source] = Generations(SOURCES, DAY)
        self._lively: dict[Subject, Source] = {}
        self._floods = Floods()
        self._silence = Silence()
        self._found: list[Finding] = []
        self._measured: Micros = 0

    def feed(self, contacts: Sequence[Contact], cuts: Sequence[Cut], now: Micros) -> list[Finding]:
        """Take these in; what is found, in order of time."""
        ordered: Iterator[Contact | Cut]
        ordered = merge(sorted(contacts), sorted(cuts), key=lambda value: value.time)
        for one in ordered:
            if isinstance(one, Contact):
                self._contact(one)
            else:
                self._cut(one)
        return self.tick(now)

    def tick(self, now: Micros) -> list[Finding]:
        """Time has passed: what was waited for and did not come."""
        self._measure(now)
        for source in sorted(self._lively.values(), key=lambda one: one.subject):
            self._judge(source, now)
            if not source.walk.pending and all(one.empty for one in source.backlogs.values()):
                del self._lively[source.subject]
        for gone in self._sources.turn(now):
            self._lively.pop(gone.subject, None)
        self._found += self._floods.turn(now)
        found, self._found = self._found, []
        return found

    def _measure(self, now: Micros) -> None:
        """Once a second: whether so much is remembered that each may keep only a little."""
        if 0 <= now - self._measured < SECOND:
            return
        self._measured = now
        if self.counts["pairs"] > PAIRS_IN_ALL:
            for source in self._sources.values():
                source.walk.pairs.shrink(FEW)

    def handshakes(self, values: Sequence[Handshakes], now: Micros) -> list[Finding]:
        """Connections that arrived, counted elsewhere."""
        self._found += self._floods.count(values)
        return self.tick(now)

    @property
    def counts(self) -> dict[str, int]:
        """How much is remembered, and how often something had to go for something newer."""
        sources = self._sources.values()
        return {
            "sources": len(sources),
            "pairs": sum(len(one.walk.pairs) for one in sources),
            "services": len(self._floods),
            "evicted": self._sources.evicted
            + self._floods.evicted
            + sum(one.walk.pairs.evicted + one.walk.unknown for one in sources),
        }

    def _of(self, subject: Subject, now: Micros) -> Source | None:
        """The source; None if it is none of those that we answer for."""
        source = self._sources.get(subject)
        if source is not None:
            return source
        found = subjects.network(subject)
        if found is None:
            if not subject.startswith(("uid:", "interface:")):
                return None
            spared = subject in self._busy_names
        elif self._governed.holds(found):
            spared = self._busy.holds(found)
        else:
            return None
        source = Source(subject, now, spared=spared)
        for gone in self._sources.put(subject, source, now):
            self._lively.pop(gone.subject, None)
        return source

    def _contact(self, contact: Contact) -> None:
        time = contact.time
        source = self._of(contact.source, time)
        if source is None:
            self._inward(contact)
            return
        answered = contact.outcome == "answered"
        if answered:
            self._silence.heard(time)
        if source.spared:
            return
        walk = source.walk
        if answered:
            walk.answered(contact.destination, time)
            return  # most are: an answer convicts nobody, and what is due comes with a tick
        label = endpoint(contact.destination, contact.port, contact.protocol)
        if contact.outcome == "unheard":
            walk.unheard(contact.destination)
        elif contact.outcome == "tried":
            walk.tried(contact.destination, label, time)
            self._lively[source.subject] = source
        else:
            judge = walk.missed if contact.outcome == "refused" else walk.gave_up
            judge(contact.destination, label, time, counts=self._proves(source, time))
        self._judge(source, time)

    def _inward(self, contact: Contact) -> None:
        if contact.protocol != _TCP:
            return
        self._found += self._floods.turn(contact.time)
        begun, finished = contact.outcome == "tried", contact.outcome == "answered"
        if begun or finished:
            self._floods.add(contact.port, int(begun), int(finished))

    def _proves(self, source: Source, now: Micros, tried: Micros | None = None) -> bool:
        """Whether a failure is the source's own: who has a good record is not to blame for a dead
        network."""
        return not source.walk.good or not self._silence.explains(now, tried)

    def _cut(self, cut: Cut) -> None:
        source = self._of(cut.source, cut.time)
        if source is None or source.spared or cut.packets <= 0:
            return
        if cut.by:
            source.by = (cut.time, cut.by)
        what, _blank, name = cut.what.partition(" ")
        if what == "irc":
            source.irc = cut.time
            self._tell(source, "outward.irc", cut, f"{cut.packets} lines of IRC")
        elif what == "filter" and name in self._filters:
            backlog = self._backlog(source, cut.what, _QUEUED, cut)
            if backlog.over(SIGNATURES - 1):
                text = f"{backlog.packets} packets in {span_text(cut.time - backlog.since)}"
                self._convict(source, "outward.signature", cut.time, _named(text, cut), name)
        elif what in _CAPS:
            text = f"{what}: {cut.packets} packets kept back in {span_text(cut.span)}"
            self._tell(source, "outward.capped", cut, text)
            if what == "destinations":
                self._queue(source, cut)
            else:
                self._flood(source, what, cut)

    def _backlog(self, source: Source, what: str, leak: Rate, cut: Cut) -> Backlog:
        backlog = source.backlogs.get(what)
        if backlog is None:
            backlog = source.backlogs[what] = Backlog(leak, cut.time)
        backlog.add(cut.packets, cut.time - cut.span, cut.time, cut.destinations)
        self._lively[source.subject] = source
        return backlog

    def _queue(self, source: Source, cut: Cut) -> None:
        second = cut.time // SECOND
        before = source.second[1] if source.second[0] == second else 0
        source.second = (second, before + cut.packets)
        self._backlog(source, "destinations", _QUEUED, cut)
        self._judge(source, cut.time)

    def _torrent(self, source: Source, now: Micros) -> bool:
        """Whether so much is kept back that no dead network explains it."""
        return source.second[1] > TORRENT and now - source.second[0] * SECOND <= 2 * SECOND

    def _flood(self, source: Source, what: str, cut: Cut) -> None:
        rate = {"syn": self.spec.syn, "udp": self.spec.udp, "smtp": self.spec.smtp}[what]
        if rate is None:
            return
        suspect = source.irc is not None and cut.time - source.irc <= IRC_FOR
        name = f"{what} irc" if suspect else what
        backlog = self._backlog(source, name, leak_of(rate, suspect=suspect), cut)
        if backlog.over(most_of(rate, suspect=suspect)):
            span = span_text(cut.time - backlog.since)
            text = f"{backlog.packets} {_KEPT[what]} kept back in {span}"
            if suspect:
                text += ", and it speaks IRC"
            self._convict(source, _FLOODS[what], cut.time, _named(text, cut))
            backlog.clear()

    def _judge(self, source: Source, now: Micros) -> None:
        """Scan or not, by what has come of its contacts, and by how much waits behind the cap."""
        walk = source.walk
        for destination, label, tried in walk.overdue(now):
            walk.missed(destination, label, now, counts=self._proves(source, now, tried))
        backlog = source.backlogs.get("destinations")
        if walk.crossed or walk.slow:
            self._scan(source, now, self._text_of(walk, now))
        elif backlog is not None:
            if not self._proves(source, now) and not self._torrent(source, now):
                backlog.clear()
            backlog.leak(now)
            walk.lately(now)
            late = walk.waiting(now - PATIENCE)
            if (
                backlog.over(QUEUE)
                and now - backlog.since >= PATIENCE
                and walk.answers * HIT <= walk.failures + late
            ):
                span = span_text(now - backlog.since)
                text = f"{backlog.packets} packets to new destinations kept back in {span}"
                tried = walk.answers + walk.failures + len(walk.pending)
                text += f", {walk.answers} of {tried} that got out answered"
                self._scan(source, now, text + listed(backlog.destinations))

    def _text_of(self, walk: Walk, now: Micros) -> str:
        if walk.crossed:
            misses, hits = walk.misses_run, walk.answers_run
            span = span_text(now - walk.begun)
        else:
            (misses, hits), span = walk.day, "a day"
        text = f"{misses} of {misses + hits} new destinations in {span} did not answer"
        return text + listed(walk.named[::-1], misses)

    def _scan(self, source: Source, now: Micros, text: str) -> None:
        if source.by[1] and now - source.by[0] <= MINUTE:
            text += f", by {source.by[1]}"
        self._convict(source, "outward.scan", now, text)
        source.walk.convicted(now)
        source.backlogs.pop("destinations", None)

    def _tell(self, source: Source, kind: FindingKind, cut: Cut, text: str) -> None:
        what = f"{kind} {cut.what}"
        last = source.said.get(what)
        if last is None or cut.time - last >= _TOLD_AGAIN:
            source.said[what] = cut.time
            self._found.append(Finding(cut.time, kind, source.subject, _named(text, cut)))

    def _convict(
        self, source: Source, kind: FindingKind, now: Micros, text: str, name: str = ""
    ) -> None:
        what = f"{kind} {name}"
        last = source.said.get(what)
        if last is None or now - last >= _AGAIN:
            source.said[what] = now
            self._found.append(Finding(now, kind, source.subject, text, name))


def _named(text: str, cut: Cut) -> str:
    text += listed(cut.destinations)
    return f"{text}, by {cut.by}" if cut.by else text
