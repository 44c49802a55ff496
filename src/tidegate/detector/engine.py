"""The engine: a block of whole lines in, a batch of events out.

Touches nothing: time comes with the data, and the budget it is handed may use a timer. Remembers
which detectors failed. Limits: one thread; lines over 32 KiB are cut, still matched, and counted.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from datetime import tzinfo
from itertools import islice
from operator import itemgetter

from tidegate.detector.audit import AuditLogs
from tidegate.detector.budget import Budget, Unlimited
from tidegate.detector.definition import Pack
from tidegate.detector.matcher import Literals, Matcher, count_of, matchers_of
from tidegate.detector.naming import Naming
from tidegate.detector.proofs import SURE, Proofs, Read
from tidegate.detector.proxies import Proxies
from tidegate.detector.scanner import EngineName, Hits, choose
from tidegate.detector.sessions import Sessions
from tidegate.detector.steps import AHEAD, NO_FIELDS, Steps, tally
from tidegate.detector.strikes import SHOWN, Strikes
from tidegate.detector.timestamps import Stamps
from tidegate.detector.torn import Tears
from tidegate.model import Batch, Block, Event, Micros, Quarantined, Subject, Success

LONGEST = 32 * 1024
_literal = itemgetter(1)
_FILLED = 256
_END = (1 << 62, -1)  # a hit behind every line, so that the last line is done like the others


class Engine:
    """Detects events. `engine` names the scanner in use, `disabled` the detectors switched off.

    `zone` is that of stamps without one; `detectors` names packs or detectors (None: all), a
    PackError says which are unknown; `cpu_flags`: see `scanner.choose`. Kinds in `fields_of` always
    come with their fields; successes of the kinds in `told` are events besides being tallied.
    Requests that one of the `proxies` passed on are whose address it forwards.
    `named`: the groups for whose sake `fields` reads a line again.
    """

    def __init__(
        self,
        packs: Sequence[Pack],
        *,
        zone: tzinfo,
        engine: EngineName = "auto",
        detectors: Collection[str] | None = None,
        budget: Budget | None = None,
        cpu_flags: str | None = None,
        fields_of: Collection[str] = (),
        told: Collection[str] = (),
        named: Collection[str] = (),
        proxies: Sequence[Subject] = (),
    ) -> None:
        self._tears = Tears(packs)
        # What a torn line says for somebody must be an event, too, else it could not be dropped.
        self._asked = frozenset(told)
        self._tells = self._asked | self._tears.successes
        matchers = matchers_of(packs, detectors, fields_of, self._tells)
        self._literals = Literals(matchers)
        roles = {id(each.kind): each.detector.session for each in matchers if each.detector.session}
        self._sessions = Sessions(roles)
        self._joining = self._literals.of(each for each in matchers if each.detector.session)
        self._scanner = choose(engine, self._literals.texts, cpu_flags)
        self.engine = self._scanner.name
        self._audits = AuditLogs()
        self._strikes = Strikes()
        self._budget = budget or Unlimited()
        self._stamps = Stamps(zone)
        self._proofs = Proofs()
        self.proxies = Proxies(proxies)
        self._steps = Steps(self._literals, self._stamps, self.proxies)
        self._naming = Naming(matchers, named, self._steps, self._budget)

    @property
    def disabled(self) -> tuple[str, ...]:
        """The detectors that failed too often, and are not asked any more."""
        return tuple(self._strikes.disabled)

    @property
    def literals(self) -> Literals:
        """What it looks for, and who is asked about it; for explanations."""
        return self._literals

    def take_over(self, old: Engine) -> None:
        """Go on with the connections that the engine before a reload has seen the beginning of."""
        self._sessions.take_over(old._sessions)
        self._audits = old._audits

    def detect(self, block: Block, *, fields: bool = False) -> Batch:
        """The events in a block, in line order; with `fields` successes are events too."""
        if block.framing == "audit":
            folded = self._audits.fold(block)
            batch = self._detect(folded.block, fields)
            self._naming.fill(batch, folded.block, LONGEST, _FILLED)
            return folded.restore(batch, block.data.count(b"\n"))
        return self._detect(block, fields)

    def fields(self, block: Block, event: Event) -> Mapping[str, str]:
        """What the line of an event in this block names, read again (`named` says for which)."""
        return self._naming.fields(block, event, LONGEST)

    def _detect(self, block: Block, fields: bool) -> Batch:
        if not block.data.endswith(b"\n"):
            block = block._replace(data=block.data + b"\n")
        batch = Batch(block.source, block.origin)
        batch.lines = len(block.data) - len(block.data.replace(b"\n", b""))  # count: ten times this
        batch.cut = _overlong(block.data)
        self._stamps.arrive(block.arrival)
        if self._literals.full:
            self._literals.begin_anew()
            self._steps.begin_anew()
        hits = self._scanner.scan(block.data)
        batch.hits = len(hits)
        hits.append(_END)
        at = 0
        while at < batch.hits:
            self._budget.start()
            at = self._go(batch, block, hits, at, fields=fields)
        if not self._joining.isdisjoint(map(_literal, hits)):
            self._sessions.join(batch, block)
        if self._tears:
            self._tears.drop(batch, block)
        if self._tells:
            self._speak_for(batch, fields=fields)
        return batch

    def _go(self, batch: Batch, block: Block, hits: Hits, at: int, *, fields: bool) -> int:
        """Read the lines with hits from index `at` on, up to one that fails; returns how far.

        The inner loop: an ordinary line costs one match and no call of ours. Journal entries, and
        lines whose fields are wanted, are read in two steps instead.
        """
        data, base, arrival = block.data, block.offset, block.arrival
        rfind, find, new = data.rfind, data.find, tuple.__new__
        times, merge, append = self._stamps, self._literals.merge, batch.events.append
        read, behind = self._steps.read, self.proxies.behind
        tallies: dict[Subject, list[int]] = {}  # of Success; a list, since most hits only add to it
        proofs = self._proofs
        prove, seen = proofs.note, proofs.seen.append
        latest = arrival + AHEAD
        overlong = batch.cut > 0
        plain = fields or block.framing == "journal"
        ready = {} if plain else self._steps.ready
        proven = ({} if plain or overlong else proofs).get
        alone = frozenset() if plain or overlong else self._literals.speaking
        matcher: Matcher | None = None
        line_start = line_stop = 0
        hit, key = hits[at]
        stop = find(b"\n", hit)
        try:
            for end, literal in islice(hits, at + 1, None):
                if end <= stop:
                    key, hit = merge(key, literal), 0
                    continue
                if hit and (proof := proven(data[hit - SURE : hit])) is not None:
                    if not proof.count:
                        proof.first = stop
                        seen(proof)
                    proof.count += 1
                    proof.last = stop
                    hit, stop, key = end, find(b"\n", end), literal
                    continue
                line_start, line_stop = rfind(b"\n", 0, stop) + 1, stop
                line_key, line_hit = key, hit
                hit, stop, key = end, find(b"\n", end), literal
                cut = min(line_stop, line_start + LONGEST) if overlong else line_stop
                taken = -1
                asked = ready.get(line_key, ())
                # `matcher` is for the blame, should this line fail.
                for match, pack, a, t, process, n, slot, kind, named, f, matcher in asked:  # noqa: B007
                    if pack == taken or (found := match(data, line_start, cut)) is None:
                        continue
                    who, time = slot[found[a]], times[found[1]]
                    if who is None:
                        continue
                    if time is None:  # no stamp after all: the header may be of another form
                        break
                    taken = pack
                    if f and (passed := found[f]):
                        who = behind(who, passed)
                    if time > latest:
                        batch.clamped += 1
                        time = arrival
                    count = count_of(found[n]) if n else 1
                    place = base + line_start
                    if not t:
                        if (told := tallies.get(who)) is None:
                            tallies[who] = [count, place, time, time]
                        else:
                            told[0] += count
                            if time > told[3]:
                                told[3] = time
                            elif time < told[2]:
                                told[2] = time
                        if line_hit and line_key in alone and not n:
                            prove(data, line_hit, found, a, who)
                        continue
                    thread = found[t] or found[process]
                    session = thread.decode("latin-1") if thread else ""
                    length = line_stop - line_start
                    values = named(found) if named else NO_FIELDS
                    append(new(Event, (time, kind, who, count, session, place, length, values)))
                if taken < 0:
                    read(batch, block, (line_start, cut, line_stop), line_key, fields=fields)
                    ready = ready if plain else self._steps.ready
            self._budget.stop()
        except Exception as error:  # noqa: BLE001  (no line is poison: whatever it does, go on)
            self._budget.stop()
            culprit = self._steps.running or matcher
            self._blame(batch, block, (line_start, line_stop), culprit, error)
            at = bisect_left(hits, (line_stop + 1, 0))
        else:
            at = batch.hits
        for who, told in tallies.items():
            tally(batch.successes, who, new(Success, told))
        for who, success in proofs.successes(data, base, times, latest, self._time(batch, block)):
            tally(batch.successes, who, success)
        return at

    def _speak_for(self, batch: Batch, *, fields: bool) -> None:
        """Tally the successes that are events; those nobody asked for are no events any more."""
        for event in batch.events:
            if event.kind.name in self._tells:
                time = event.time
                said = Success(event.count, event.offset, time, time)
                tally(batch.successes, event.subject, said)
        if not fields and self._asked != self._tells:
            extra = self._tells - self._asked
            batch.events[:] = [one for one in batch.events if one.kind.name not in extra]

    def _time(self, batch: Batch, block: Block) -> Read:
        def time(start: int, stop: int) -> Micros:
            header = self._steps.header(block, start, stop)
            return self._steps.time(batch, block, header) if header else block.arrival

        return time

    def _blame(
        self,
        batch: Batch,
        block: Block,
        place: tuple[int, int],
        matcher: Matcher | None,
        error: Exception,
    ) -> None:
        """Quarantine a line; switch the detector off if it has failed too often."""
        start, stop = place
        name = matcher.kind.detector if matcher else ""
        reason = f"{type(error).__name__}: {error}"
        shown = block.data[start : min(stop, start + SHOWN)]
        batch.quarantined.append(Quarantined(block.offset + start, name, reason, shown))
        self._steps.running = None
        header = self._steps.header(block, start, min(stop, start + LONGEST))
        if not name or header is None:
            return
        if self._strikes.failed(name, self._steps.time(batch, block, header)):
            batch.disabled.append(name)
            self._steps.leave_out(name)


def _overlong(data: bytes) -> int:
    """How many lines are longer than LONGEST, without looking at the others one by one."""
    count = at = 0
    size = len(data)
    while size - at > LONGEST:
        newline = data.rfind(b"\n", at, at + LONGEST + 1)
        if newline < 0:
            count += 1
            newline = data.find(b"\n", at)
        at = newline + 1
    return count
