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
from re import Match
from types import MappingProxyType

from tidegate.detector.budget import Budget, Unlimited
from tidegate.detector.definition import Pack
from tidegate.detector.journal import entry_header
from tidegate.detector.line import SHAPES, Header, Headers
from tidegate.detector.matcher import Literals, Matcher, Ready, count_of, matchers_of
from tidegate.detector.scanner import EngineName, Hits, choose
from tidegate.detector.sessions import Sessions
from tidegate.detector.strikes import SHOWN, Strikes
from tidegate.detector.timestamps import Stamps
from tidegate.model import MINUTE, Batch, Block, Event, Micros, Quarantined, Subject, Success

LONGEST = 32 * 1024
AHEAD = MINUTE
Prepared = dict[int, tuple[Ready, ...]]

_OFTEN = 16  # lines of a form until it gets patterns of its own
_NO_FIELDS: Mapping[str, str] = MappingProxyType({})
_NOT_READY: Prepared = {}
_literal = itemgetter(1)
_END = (1 << 62, -1)  # a hit behind every line, so that the last line is done like the others


class Engine:
    """Detects events. `engine` names the scanner in use, `disabled` the detectors switched off.

    `zone` is that of stamps without one; `detectors` names packs or detectors (None: all), a
    PackError says which are unknown; `cpu_flags`: see `scanner.choose`.
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
    ) -> None:
        matchers = matchers_of(packs, detectors)
        self._literals = Literals(matchers)
        roles = {id(each.kind): each.detector.session for each in matchers if each.detector.session}
        self._sessions = Sessions(roles)
        self._joining = self._literals.of(each for each in matchers if each.detector.session)
        self._scanner = choose(engine, self._literals.texts, cpu_flags)
        self.engine = self._scanner.name
        self._strikes = Strikes()
        self._budget = budget or Unlimited()
        self._stamps = Stamps(zone)
        self._headers = Headers()
        self._asked: dict[int, list[Matcher]] = {}
        self._seen = [0] * len(SHAPES)
        self._often = -1  # the form that `_ready` is for
        self._ready: Prepared = {}
        self._prepared: dict[int, Prepared] = {}
        self._running: Matcher | None = None

    @property
    def disabled(self) -> tuple[str, ...]:
        """The detectors that failed too often, and are not asked any more."""
        return tuple(self._strikes.disabled)

    def detect(self, block: Block, *, fields: bool = False) -> Batch:
        """The events in a block, in line order; with `fields` successes are events too."""
        if block.data[-1:] != b"\n":
            block = block._replace(data=block.data + b"\n")
        batch = Batch(block.source, block.origin)
        batch.lines = len(block.data) - len(block.data.replace(b"\n", b""))  # count: ten times this
        batch.cut = _overlong(block.data)
        self._stamps.arrive(block.arrival)
        hits = self._scanner.scan(block.data)
        batch.hits = len(hits)
        hits.append(_END)
        at = 0
        while at < batch.hits:
            self._budget.start()
            at = self._go(batch, block, hits, at, fields=fields)
        if not self._joining.isdisjoint(map(_literal, hits)):
            self._sessions.join(batch, block)
        return batch

    def _go(self, batch: Batch, block: Block, hits: Hits, at: int, *, fields: bool) -> int:
        """Read the lines with hits from index `at` on, up to one that fails; returns how far.

        The inner loop: an ordinary line costs one match and no call of ours. Journal entries, and
        lines whose fields are wanted, are read in two steps instead.
        """
        data, base, arrival = block.data, block.offset, block.arrival
        rfind, find, new = data.rfind, data.find, tuple.__new__
        times, merge, append = self._stamps, self._literals.merge, batch.events.append
        tallies, latest, last = batch.successes, arrival + AHEAD, batch.last_time
        overlong = batch.cut > 0
        plain = fields or block.framing == "journal"
        ready = _NOT_READY if plain else self._ready
        matcher: Matcher | None = None
        end, key = hits[at]
        line_start = start = rfind(b"\n", 0, end) + 1
        line_stop = stop = find(b"\n", end)
        try:
            for end, literal in islice(hits, at + 1, None):
                if end <= stop:
                    key = merge(key, literal)
                    continue
                line_start, line_stop, line_key = start, stop, key
                start, stop, key = rfind(b"\n", 0, end) + 1, find(b"\n", end), literal
                cut = min(line_stop, line_start + LONGEST) if overlong else line_stop
                taken = -1
                for match, pack, a, t, n, slot, kind, matcher in ready.get(line_key, ()):
                    if pack == taken or (found := match(data, line_start, cut)) is None:
                        continue
                    who, time = slot[found[a]], times[found[1]]
                    if who is None:
                        continue
                    if time is None:  # no stamp after all: the header may be of another form
                        break
                    taken = pack
                    if time > latest:
                        batch.clamped += 1
                        time = arrival
                    if time > last:
                        last = time
                    count = count_of(found[n]) if n else 1
                    place = base + line_start
                    if not t:
                        if who in tallies:
                            _tally(tallies, who, count, place, time)
                        else:
                            tallies[who] = new(Success, (count, place, time, time))
                        continue
                    thread = found[t]
                    session = matcher.thread(found) if thread is None else thread.decode("latin-1")
                    length = line_stop - line_start
                    append(new(Event, (time, kind, who, count, session, place, length, _NO_FIELDS)))
                if taken < 0:
                    self._read(batch, block, (line_start, cut, line_stop), line_key, fields)
                    ready = _NOT_READY if plain else self._ready
            self._budget.stop()
        except Exception as error:  # noqa: BLE001  (no line is poison: whatever it does, go on)
            self._budget.stop()
            self._blame(batch, block, (line_start, line_stop), self._running or matcher, error)
            at = bisect_left(hits, (line_stop + 1, 0))
        else:
            at = batch.hits
        batch.last_time = max(last, batch.last_time)
        return at

    def _read(
        self, batch: Batch, block: Block, place: tuple[int, int, int], key: int, fields: bool
    ) -> None:
        """One line in two steps: its header, then whose pattern the message matches."""
        start, cut, stop = place
        self._running = None
        if block.framing == "journal":
            header = entry_header(block.data, start, cut)
        else:
            header = self._headers.read(block.data, start, cut)
        if header is None:
            return
        taken = -1
        for matcher in self._ask(key):
            if matcher.pack == taken or not matcher.takes(header.program):
                continue
            self._running = matcher
            found = matcher.message(block.data, header.begin, header.stop)
            who = None if found is None else matcher.who(found)
            if found is not None and who is not None:
                taken = matcher.pack
                self._add(batch, block, matcher, found, header, (who, start, stop - start), fields)
        self._running = None
        if taken >= 0 and header.form >= 0 and not header.repeated and not fields:
            self._prepare(header.form, key)

    def _add(
        self,
        batch: Batch,
        block: Block,
        matcher: Matcher,
        found: Match[bytes],
        header: Header,
        about: tuple[Subject, int, int],
        fields: bool,
    ) -> None:
        """What the inner loop does with a match, for any header."""
        who, start, length = about
        time = self._when(header)
        if time is None or time > block.arrival + AHEAD:
            batch.clamped += time is not None
            time = block.arrival
        batch.last_time = max(batch.last_time, time)
        count = (header.repeated or 1) * matcher.count(found)
        if matcher.success:
            _tally(batch.successes, who, count, block.offset + start, time)
            if not fields:
                return
        session = matcher.session(found, header.pid)
        values = matcher.fields(found) if fields else _NO_FIELDS
        place = block.offset + start
        batch.events.append(Event(time, matcher.kind, who, count, session, place, length, values))

    def _when(self, header: Header) -> Micros | None:
        if header.stamp is None:
            return header.time
        return self._stamps[header.stamp]

    def _ask(self, key: int) -> list[Matcher]:
        asked = self._asked.get(key)
        if asked is None:
            asked = self._literals.matchers(key, self._strikes.disabled)
            self._asked[key] = asked
        return asked

    def _prepare(self, form: int, key: int) -> None:
        """Note that a form was seen; make patterns for it and this key when it is seen often."""
        if form != self._often:
            self._seen[form] += 1
            if self._seen[form] < _OFTEN or not SHAPES[form].swift:
                return
            self._seen[form] = 0
            self._often = form
            self._ready = self._prepared.setdefault(form, {})
        if key not in self._ready:
            shape = SHAPES[form]
            self._ready[key] = tuple(each.with_header(form, shape) for each in self._ask(key))

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
        if block.framing == "journal":
            header = entry_header(block.data, start, stop)
        else:
            header = self._headers.read(block.data, start, min(stop, start + LONGEST))
        time = self._when(header) if header else None
        ahead = time is None or time > block.arrival + AHEAD
        if name and self._strikes.failed(name, block.arrival if ahead or time is None else time):
            batch.disabled.append(name)
            self._asked.clear()
            self._ready, self._often = {}, -1
            self._prepared.clear()


def _tally(
    tallies: dict[Subject, Success], who: Subject, count: int, offset: int, time: Micros
) -> None:
    before = tallies.get(who)
    if before is None:
        tallies[who] = Success(count, offset, time, time)
        return
    tallies[who] = Success(
        before.count + count,
        before.first_offset,
        min(before.first_time, time),
        max(before.last_time, time),
    )


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
