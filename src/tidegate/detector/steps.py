"""Two steps: a line's header first, then whose pattern its message matches. Any form, any framing.

Touches nothing. What the engine's inner loop does for ordinary lines, done the plain way; notes
which forms are frequent and makes their patterns ready for it. Limits: about twice as slow.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from tidegate.detector.journal import entry_header
from tidegate.detector.line import SHAPES, Header, read_header
from tidegate.detector.matcher import Literals, Matcher, Ready
from tidegate.detector.proxies import Proxies
from tidegate.detector.timestamps import Stamps
from tidegate.model import MINUTE, Batch, Block, Event, Micros, Subject, Success

AHEAD = MINUTE
OFTEN = 16
"""Lines of a form until it gets patterns of its own."""

NO_FIELDS: Mapping[str, str] = MappingProxyType({})
_new = tuple.__new__


class Steps:
    """Reads single lines. `ready` are the one-step patterns for the form that was frequent last.

    `running` is the matcher that is matching just now, or was when something failed.
    """

    def __init__(self, literals: Literals, stamps: Stamps, proxies: Proxies | None = None) -> None:
        self._proxies = proxies or Proxies()
        self.ready: dict[int, tuple[Ready, ...]] = {}
        self.running: Matcher | None = None
        self._literals = literals
        self._stamps = stamps
        self._without: frozenset[str] = frozenset()
        self._asked: dict[int, list[Matcher]] = {}
        self._seen = [0] * len(SHAPES)
        self._form = -1
        self._prepared: dict[int, dict[int, tuple[Ready, ...]]] = {}

    def leave_out(self, detector: str) -> None:
        """Never ask this detector again."""
        self._without |= {detector}
        self.begin_anew()

    def begin_anew(self) -> None:
        """Forget who is asked by which key."""
        self._asked.clear()
        self._prepared.clear()
        self.ready, self._form = {}, -1

    def read(
        self, batch: Batch, block: Block, place: tuple[int, int, int], key: int, *, fields: bool
    ) -> None:
        """Add what the line at `place` (start, where it is cut, stop) says to the batch."""
        start, cut, stop = place
        header = self.header(block, start, cut)
        if header is None:
            return
        data, program, taken = block.data, header.program, -1
        for matcher in self._ask(key):
            if matcher.pack == taken or not matcher.programs[program]:
                continue
            self.running = matcher
            found = matcher.message(data, header.begin, header.stop)
            if found is None or (who := matcher.who(found)) is None:
                continue
            taken = matcher.pack
            if forwarded := matcher.forwarded(found):
                who = self._proxies.behind(who, forwarded)
            time = self.time(batch, block, header, matcher.stamp(found))
            count = (header.repeated or 1) * matcher.count(found)
            offset = block.offset + start
            if matcher.success and not matcher.told:  # those the engine tallies, by their events
                tally(batch.successes, who, Success(count, offset, time, time))
                if not fields:
                    continue
            session = matcher.session(found, header.pid)
            values = matcher.fields(found) if fields or matcher.named else NO_FIELDS
            event = (time, matcher.kind, who, count, session, offset, stop - start, values)
            batch.events.append(_new(Event, event))
        self.running = None
        if taken >= 0 and header.form >= 0 and not header.repeated and not fields:
            self._prepare(header.form, key)

    def header(self, block: Block, start: int, stop: int) -> Header | None:
        """The header of a line in the block's framing; None if it is no message."""
        if block.framing == "journal":
            return entry_header(block.data, start, stop)
        return read_header(block.data, start, stop)

    def time(
        self, batch: Batch, block: Block, header: Header, stamp: bytes | None = None
    ) -> Micros:
        """When the line was written: by its header, else by the stamp in its message.

        Where there is neither, or the time is ahead of the arrival, on arrival.
        """
        stamp = header.stamp or stamp
        time = header.time if stamp is None or header.time else self._stamps[stamp]
        if time is None:
            time = block.arrival
        elif time > block.arrival + AHEAD:
            batch.clamped += 1
            time = block.arrival
        return time

    def _ask(self, key: int) -> list[Matcher]:
        asked = self._asked.get(key)
        if asked is None:
            asked = self._asked[key] = self._literals.matchers(key, self._without)
        return asked

    def _prepare(self, form: int, key: int) -> None:
        """Note that a form was seen; make patterns for it and this key when it is seen often."""
        if form != self._form:
            self._seen[form] += 1
            if self._seen[form] < OFTEN or not SHAPES[form].swift:
                return
            self._seen[form] = 0
            self._form = form
            self.ready = self._prepared.setdefault(form, {})
        if key not in self.ready:
            shape = SHAPES[form]
            self.ready[key] = tuple(
                each.with_header(form, shape)
                for each in self._ask(key)
                if each.programs.bare or "{program}" in shape.swift
            )


def tally(successes: dict[Subject, Success], who: Subject, more: Success) -> None:
    """Add to the successes of a subject."""
    before = successes.get(who)
    if before is None:
        successes[who] = more
        return
    successes[who] = Success(
        before.count + more.count,
        min(before.first_offset, more.first_offset),
        min(before.first_time, more.first_time),
        max(before.last_time, more.last_time),
    )
