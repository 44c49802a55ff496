"""Scores: points that fade, per subject, with the lines that gave them.

Touches nothing. A tally is one `bytes`: the state of the score, then the newest entries, oldest
first. Limits: of one subject the newest 64 entries are known; what is older can neither be put in
its place when it comes late, nor be recognised when it comes twice.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from struct import Struct
from zlib import crc32

from tidegate.evidence.decay import EMPTY, Linear, Points, State, form_of
from tidegate.evidence.tally import NOT_CONVICTED, OFFSET_BITS, Convict, Tallies
from tidegate.model import SECOND, Event, Micros, Ref, Shared, Subject, Verdict
from tidegate.policy.guards import Level
from tidegate.policy.models import Rule, ScoreTerms

KEPT = 64
_KNOCK = 0
_ELSEWHERE = 2  # kinds of events are odd
_ENTRY = Struct(">QQHh")
_NUMBER = 16  # bytes of each of the three numbers of a state
_HEAD = 3 * _NUMBER


class Score(Tallies):
    """The tallies of one rule. `count(event, ref, convict, weight)` counts one event."""

    def __init__(self, rule: Rule, terms: ScoreTerms) -> None:
        super().__init__(rule)
        self.terms = terms
        self.release = terms.release
        self.form = form_of(terms)

    def turn(self, tide: Level) -> None:
        """As ever; a ban must not end above the limit that it began at."""
        super().turn(tide)
        low = 1 if self.terms.form == "exponential" else 0  # what halves never comes down to 0
        self.release = max(low, min(self.terms.release, self.threshold))

    @property
    def part(self) -> str:
        """The name of this rule's part of the core's memory; it tells what the numbers mean."""
        terms = self.terms
        return f"score {self.rule.name} {terms.form} {terms.points} {terms.span}"

    def count(self, event: Event, ref: int, convict: Convict, weight: int) -> None:
        """Add the points of an event. Whoever is closed for goes on collecting, and stays out."""
        kind = crc32(event.kind.name.encode()) & 0xFFFF | 1  # 0 is a knock
        points = max(-32_768, min(weight * event.count, 32_767))
        given = Points(event.time, ref, kind, points)
        subject = event.subject
        tally = self.tallies.pop(subject, b"")
        state, entries = _unpacked(tally)
        if entries and given[:3] <= entries[-1][:3]:
            if any(given[:3] == one[:3] for one in entries):
                self.tallies[subject] = tally  # the same line, read twice
                return
            state, entries = self._late(state, entries, given)
        else:
            state = self.form.add(state, given)
            entries.append(given)
        self._keep(subject, state, entries)
        if self.hand_out is not None and points > 0 and not self._closed(subject, event.time):
            place = divmod(ref, 1 << OFFSET_BITS)
            self.hand_out(Shared(self.rule.name, subject, event.time, *place, points))
        if points > 0:
            self._weigh(subject, given, state, entries, convict)

    def knock(self, subject: Subject, time: Micros, port: int, convict: Convict) -> None:
        """Somebody this rule closed for tries again, as far as the kernel can tell.

        Senders can be forged, so it only keeps closed what is closed, no longer than the term
        allows, and adds no points that would outlast it.
        """
        held, points = self.held.get(subject), self.terms.knock
        if held is None or not points or not time < held.until:
            return
        given = Points(time, port, _KNOCK, points)
        state, entries = _unpacked(self.tallies.get(subject, b""))
        if not entries or given[:3] <= entries[-1][:3]:
            return
        state = self.form.add(state, given)
        release = self.form.release(state, self.release)
        if not held.until + SECOND <= release <= held.most:
            return
        entries.append(given)
        self._keep(subject, state, entries)
        count = math.ceil(self.form.score(state, time))
        refs = (*_refs(entries), Ref(time, 0, port))
        verdict = Verdict(self.rule.name, subject, time, count, refs, release=release, knocked=port)
        if convict(verdict, 0) is not NOT_CONVICTED:
            self.held[subject] = held._replace(until=release)

    def _keep(self, subject: Subject, state: State, entries: list[Points]) -> None:
        if len(entries) > KEPT:
            oldest = entries.pop(0)
            if isinstance(self.form, Linear):
                state = self.form.fold(state, oldest)
        self.tallies.pop(subject, None)  # to the end: the coldest stand in front
        self.tallies[subject] = _packed(state, entries)
        self.dirty.add(subject)

    def _late(
        self, state: State, entries: list[Points], given: Points
    ) -> tuple[State, list[Points]]:
        entries = sorted((*entries, given), key=lambda one: one[:3])
        if isinstance(self.form, Linear):
            return self.form.again(state, entries), entries
        return self.form.add(state, given), entries

    def _weigh(
        self, subject: Subject, given: Points, state: State, entries: list[Points], convict: Convict
    ) -> None:
        terms, time = self.terms, entries[-1].time
        if not self.form.beyond(state, time, self.threshold, over=terms.over):
            return
        release = self.form.release(state, self.release)
        held = self.held.get(subject)
        if held is not None and time < held.until and release - held.until < SECOND:
            return
        # The line that tipped the scales stands last, also where it came late.
        refs = _refs([*(one for one in entries if one is not given), given])
        count = math.ceil(self.form.score(state, time))
        twice = self.form.beyond(state, time, 2 * self.threshold, over=terms.over)
        verdict = Verdict(
            self.rule.name, subject, time, count, refs, release, twice, tide=self.tide
        )
        self.convicted(verdict, refs[-1].offset, convict)

    def _closed(self, subject: Subject, time: Micros) -> bool:
        held = self.held.get(subject)
        return held is not None and time < held.until

    def places(self, subject: Subject, upto: Micros) -> tuple[Ref, ...]:
        """See `Tallies`."""
        _state, entries = _unpacked(self.tallies.get(subject, b""))
        return _refs([one for one in entries if one.time <= upto])

    def spend(self, subject: Subject) -> None:
        """A score goes on."""
        self.dirty.add(subject)

    def sentence(self, verdict: Verdict, convict: Convict) -> None:
        """A score says itself when it will have faded; of others' points only the whole are known.
        They are added to ours, which go on fading, and may keep closed what is closed."""
        subject, time = verdict.subject, verdict.time
        held = self.held.get(subject, NOT_CONVICTED)
        state, entries = _unpacked(self.tallies.get(subject, b""))
        missing = verdict.count - math.ceil(self.form.score(state, time))
        whole = self.form.add(EMPTY, Points(time, 0, _ELSEWHERE, verdict.count))
        release = self.form.release(whole, self.release)
        if time < held.until and (missing <= 0 or release - held.until < SECOND):
            return
        refs = self.places(subject, time)
        verdict = verdict._replace(refs=refs, release=release)
        if not self.convicted(verdict, refs[-1].offset if refs else 0, convict):
            return
        self.dirty.add(subject)
        if missing > 0:
            given = Points(time, 0, _ELSEWHERE, min(missing, 32_767))
            self._keep(subject, *self._late(state, entries, given))

    def score(self, subject: Subject, time: Micros) -> float:
        """The score of a subject at a time."""
        state, _entries = _unpacked(self.tallies.get(subject, b""))
        return self.form.score(state, time)

    def kept(self, subject: Subject) -> Iterable[tuple[Micros, int, int]]:
        """See `Tallies`. The newest of it, as far as the lines are known."""
        entries = _unpacked(self.tallies.get(subject, b""))[1]
        return (
            (one.time, one.ref, one.points) for one in entries if one.points > 0 and one.kind & 1
        )

    def newest(self, tally: bytes) -> Micros:
        """When the score will have faded; 0 if there is none."""
        state, entries = _unpacked(tally)
        if not entries:
            return 0
        low = 1 if self.terms.form == "exponential" else 0
        return max(self.form.release(state, low), entries[-1].time)

    def holding(self, subject: Subject) -> int:
        """How many entries are remembered for a subject."""
        return max(0, len(self.tallies.get(subject, b"")) - _HEAD) // _ENTRY.size

    def relaid(self, tally: bytes, part: str) -> bytes:
        """A saved tally; b"" if it is damaged. Where the rule faded otherwise then, the entries
        that are kept are counted anew."""
        if len(tally) <= _HEAD or (len(tally) - _HEAD) % _ENTRY.size:
            return b""
        if part == self.part:
            return tally
        state, entries = EMPTY, _unpacked(tally)[1]
        for given in entries:
            state = self.form.add(state, given)
        return _packed(state, entries)


def _refs(entries: list[Points]) -> tuple[Ref, ...]:
    """The lines that gave points: not what took some off, knocks, or other hosts' points."""
    given = (one for one in entries if one.points > 0 and one.kind & 1)
    return tuple(Ref(one.time, *divmod(one.ref, 1 << OFFSET_BITS)) for one in given)


def _unpacked(tally: bytes) -> tuple[State, list[Points]]:
    if not tally:
        return EMPTY, []
    number = (int.from_bytes(tally[at : at + _NUMBER], signed=True) for at in (0, 16, 32))
    entries = [
        Points(time, ref, kind, points)
        for time, ref, kind, points in _ENTRY.iter_unpack(tally[_HEAD:])
    ]
    return (next(number), next(number), next(number)), entries


def _packed(state: State, entries: list[Points]) -> bytes:
    head = b"".join(number.to_bytes(_NUMBER, signed=True) for number in state)
    return head + b"".join(_ENTRY.pack(*one) for one in entries)
