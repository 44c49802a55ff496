"""Exact N in M: the newest N counted events per rule and subject, on event time.

Touches nothing. A tally is one `bytes`: N entries of 16 bytes (time, origin and offset), oldest
first, and for rules over several kinds, in front, the attempts of the latest sessions.
Limits: eight parallel sessions of one subject; what is bounded over all rules stands in `windows`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from struct import Struct
from zlib import crc32

from tidegate.evidence.tally import OFFSET_BITS, Convict, HandOut, Tallies
from tidegate.model import Event, Micros, Ref, Shared, Subject, Verdict
from tidegate.policy.guards import Level
from tidegate.policy.models import Rule

Count = Callable[[Event, int, Convict], None]

_ENTRY = Struct(">QQ")
pack, from_bytes = _ENTRY.pack, int.from_bytes
_BYTES = [bytes((number,)) for number in range(256)]
_SESSIONS = 8  # a ninth parallel session of one subject pushes the oldest out


class Window(Tallies):
    """The tallies of one rule. `count(event, ref, convict)` counts one event."""

    def __init__(self, rule: Rule, weights: dict[str, int]) -> None:
        super().__init__(rule)
        self.weights = weights
        # Kinds of one program may tell of the same attempt; a program with one kind in the rule
        # writes one line an attempt and needs no sessions.
        shared = Counter(_program(kind) for kind in weights)
        paired = [kind for kind in weights if shared[_program(kind)] > 1]
        self.kinds = {kind: place for place, kind in enumerate(paired)}
        # One row per session: a hash of its name, then what it wrote of each kind.
        self.row = 4 + len(paired) if paired else 0
        self.full = self.threshold * 16
        # Whoever has a good record may need twice the count, so that many have to be kept. As many
        # while the tide is high: once it has fallen, the rule's own threshold counts again.
        self.double = rule.good_record == "double"
        self.most = self.full * (2 if self.double else 1)
        self.count = self._counting()

    @property
    def part(self) -> str:
        """The name of this rule's part of the core's memory; it tells the layout of the rows."""
        return f"window {self.rule.name} {' '.join(self.kinds)}"

    def turn(self, tide: Level) -> None:
        """As ever; counters have the threshold bound to a local name, so there are new ones."""
        super().turn(tide)
        self.full = self.threshold * 16
        self.count = self._counting()

    def share(self, hand_out: HandOut) -> None:
        """As ever; what is common has no short way any more, so that all pass by one place."""
        super().share(hand_out)
        self.count = self._counting()

    def _counting(self) -> Count:
        if self.hand_out is not None:
            return self._count_shared
        return self._attempt_counter() if self.row else self._counter()

    def _count_shared(self, event: Event, ref: int, convict: Convict) -> None:
        if self.held and self._holds(event, ref, convict):
            return
        tally = self.tallies.pop(event.subject, b"\0" if self.row else b"")
        self.dirty.add(event.subject)
        if self.row:
            self._count_attempt(event, ref, tally, convict)
        else:
            self._add(event, tally, b"", event.count * self.weights[event.kind.name], ref, convict)

    def _counter(self) -> Count:
        """`count` for rules without sessions, bound to local names: it runs for every event."""
        held, tallies, mark = self.held, self.tallies, self.dirty.add
        pop = tallies.pop
        full, most, within, weights = self.full, self.most, self.rule.within, self.weights
        simple = set(weights.values()) == {1}

        def count(event: Event, ref: int, convict: Convict) -> None:
            time, kind, subject, repeated = event[:4]
            if held and self._holds(event, ref, convict):
                return
            entry = pack(time, ref)
            tally = pop(subject, b"")
            mark(subject)
            # Packed times sort as numbers do: in order means not smaller than the newest.
            if not simple or repeated != 1:
                self._add(event, tally, b"", repeated * weights[kind.name], ref, convict)
            elif entry >= tally[-16:]:
                tally += entry
                if len(tally) < full:
                    tallies[subject] = tally
                    return
                tally = tally[-most:]
                if time - from_bytes(tally[-full : 8 - full]) > within:
                    tallies[subject] = tally
                    return
                self._cross(subject, tally, b"", event.offset, convict)
            else:
                self._add(event, tally, b"", 1, ref, convict)

        return count

    def _attempt_counter(self) -> Count:
        """`count` for rules with sessions: what is common at once, the rest by `_count_attempt`."""
        held, tallies, mark, rest = self.held, self.tallies, self.dirty.add, self._count_attempt
        pop, row, within, weights = tallies.pop, self.row, self.rule.within, self.weights
        nearly = self.full - 16  # a tally this long may be completed by the next entry
        places = {kind: 4 + place for kind, place in self.kinds.items()}
        firsts = {kind: bytes(at - 4) + b"\1" + bytes(row - at - 1) for kind, at in places.items()}

        def count(event: Event, ref: int, convict: Convict) -> None:
            time, kind, subject, repeated, session = event[:5]
            if held and self._holds(event, ref, convict):
                return
            tally, name, entry = pop(subject, b"\0"), kind.name, pack(time, ref)
            mark(subject)
            size = 1 + tally[0] * row
            entries = len(tally) - size
            if (
                repeated != 1
                or weights[name] != 1
                or entries >= nearly
                or (entries and (entry < tally[-16:] or time - from_bytes(tally[-16:-8]) > within))
            ):
                rest(event, ref, tally, convict)
            elif not session or name not in places:
                tallies[subject] = tally + entry
            else:
                label = crc32(session.encode("utf-8", "surrogateescape")).to_bytes(4)
                start = tally.find(label, 1, size)
                if start < 0 and tally[0] < _SESSIONS:
                    rows = _BYTES[tally[0] + 1] + tally[1:size] + label + firsts[name]
                    tallies[subject] = rows + tally[size:] + entry
                    return
                at = start + places[name]
                if (start - 1) % row or tally[at] >= max(tally[start + 4 : start + row]):
                    rest(event, ref, tally, convict)
                else:  # another kind has told of this attempt already
                    tallies[subject] = tally[:at] + _BYTES[tally[at] + 1] + tally[at + 1 :]

        return count

    def _count_attempt(self, event: Event, ref: int, tally: bytes, convict: Convict) -> None:
        kind = event.kind.name
        weight = event.count * self.weights[kind]
        size = 1 + tally[0] * self.row
        rows, tally = tally[:size], tally[size:]
        if tally and event.time - from_bytes(tally[-16:-8]) > self.rule.within:
            rows = b"\0"  # process ids are used again: an old session is not this one
        if event.session and kind in self.kinds:
            rows, weight = self._attempt(rows, event, weight)
        if weight:
            self._add(event, tally, rows, weight, ref, convict)
        else:
            self.tallies[event.subject] = rows + tally

    def _holds(self, event: Event, ref: int, convict: Convict) -> bool:
        """Whether the event is done with: its subject is banned by this rule already, or on
        probation, where one offence is enough. A term that is over is dropped."""
        subject, time = event.subject, event.time
        term = self.held.get(subject)
        if term is None:
            return False
        if time < term.until:
            return True
        self.let_go(subject, term)
        if time >= term.watched or not self.weights[event.kind.name]:
            return False
        found = Ref(time, *divmod(ref, 1 << OFFSET_BITS))
        verdict = Verdict(self.rule.name, subject, time, 1, (found,), watched=True)
        return self.convicted(verdict, event.offset, convict)

    def _add(
        self, event: Event, tally: bytes, rows: bytes, weight: int, ref: int, convict: Convict
    ) -> None:
        """Enter an event `weight` times, wherever its time belongs."""
        within, time, full = self.rule.within, event.time, self.full
        if self.hand_out is not None:
            place, amount = divmod(ref, 1 << OFFSET_BITS), min(weight, self.rule.threshold)
            self.hand_out(Shared(self.rule.name, event.subject, time, *place, amount))
        entry = pack(time, ref) * min(weight, self.most // 16)
        if entry[:16] >= tally[-16:]:
            # In order: the only window that can have been completed is the newest N.
            tally = (tally + entry)[-self.most :]
            crossed = len(tally) >= full and time - from_bytes(tally[-full : 8 - full]) <= within
        else:
            tally, crossed = self._late(tally, entry)
        if crossed:
            self._cross(event.subject, tally, rows, event.offset, convict)
        else:
            self.tallies[event.subject] = rows + tally

    def _cross(
        self, subject: Subject, tally: bytes, rows: bytes, offset: int, convict: Convict
    ) -> None:
        full, within = self.full, self.rule.within
        last = from_bytes(tally[-16:-8])
        twice = self.double and len(tally) >= 2 * full
        twice = twice and last - from_bytes(tally[-2 * full :][:8]) <= within
        counted = tally[-2 * full :] if twice else tally[-full:]
        entries = dict.fromkeys(_ENTRY.iter_unpack(counted))
        refs = tuple(Ref(time, *divmod(ref, 1 << OFFSET_BITS)) for time, ref in entries)
        verdict = Verdict(
            self.rule.name, subject, refs[-1].time, len(counted) // 16, refs, twice=twice,
            tide=self.tide,
        )  # fmt: skip
        # The tally starts anew: the same lines must not convict twice.
        if not self.convicted(verdict, offset, convict):
            self.tallies[subject] = rows + tally

    def _attempt(self, rows: bytes, event: Event, weight: int) -> tuple[bytes, int]:
        """Count in the event's session: its n-th line of one kind is attempt n, counted once."""
        name = crc32(event.session.encode("utf-8", "surrogateescape")).to_bytes(4)
        row, place = self.row, self.kinds[event.kind.name]
        start = self._row_of(name, rows) if name in rows else 0
        if start:
            known = rows[start + 4 : start + row]
            rows = rows[:start] + rows[start + row :]
            most = max(known)
        else:
            known, most = bytes(row - 4), 0
        seen = min(known[place] + event.count, 255)
        kept = rows[1:][-(_SESSIONS - 1) * row :] + name
        kept += known[:place] + bytes((seen,)) + known[place + 1 :]
        rows = bytes((len(kept) // row,)) + kept
        if seen <= most:
            return rows, 0
        return rows, weight if most == 0 else (seen - most) * self.weights[event.kind.name]

    def _row_of(self, name: bytes, rows: bytes) -> int:
        """Where the row of a session starts; 0 if it has none."""
        starts = range(1, len(rows), self.row)
        return next((start for start in starts if rows.startswith(name, start)), 0)

    def _late(self, tally: bytes, entry: bytes) -> tuple[bytes, bool]:
        """An event older than the newest: put it in its place and look at every window of N."""
        threshold, most = self.threshold, self.most // 16
        entries = sorted(_ENTRY.iter_unpack(tally + entry), key=lambda one: one[0])
        for first in range(len(entries) - threshold, -1, -1):
            chosen = entries[first : first + threshold]
            if chosen[-1][0] - chosen[0][0] <= self.rule.within:
                if most > threshold:
                    chosen = entries[max(0, first + threshold - most) : first + threshold]
                return b"".join(pack(*one) for one in chosen), True
        return b"".join(pack(*one) for one in entries[-most:]), False

    def newest(self, tally: bytes) -> Micros:
        """The time of the newest entry; 0 if there is none."""
        rows = 1 + tally[0] * self.row if self.row and tally else 0
        return from_bytes(tally[-16:-8]) if len(tally) > rows else 0

    def relaid(self, tally: bytes, part: str) -> bytes:
        """A saved tally; b"" if it is damaged. Where the rule counted other kinds then, its
        sessions go and its entries stay."""
        kinds = part.split(" ")[2:]
        if [kind for kind in kinds if kind] != list(self.kinds):
            if any(kinds) and tally:
                tally = tally[1 + tally[0] * (4 + len(kinds)) :]
            tally = b"\0" + tally if self.row else tally
        rows = 1 + tally[0] * self.row if self.row and tally else 0
        if len(tally) < rows or (len(tally) - rows) % 16:
            return b""  # damaged on the disk: one count is lost, nothing else
        return tally

    def places(self, subject: Subject, upto: Micros) -> tuple[Ref, ...]:
        """See `Tallies`."""
        entries = dict.fromkeys(_ENTRY.iter_unpack(self._entries(subject)))
        return tuple(
            Ref(time, *divmod(ref, 1 << OFFSET_BITS)) for time, ref in entries if time <= upto
        )

    def spend(self, subject: Subject) -> None:
        """See `Tallies`."""
        until = pack(self.held[subject].until, 0)
        entries = self._entries(subject)
        kept = next((at for at in range(0, len(entries), 16) if entries[at : at + 16] >= until), -1)
        self.tallies.pop(subject, None)
        if kept >= 0:
            self.tallies[subject] = (b"\0" if self.row else b"") + entries[kept:]
        self.dirty.add(subject)

    def _entries(self, subject: Subject) -> bytes:
        tally = self.tallies.get(subject, b"")
        return tally[1 + tally[0] * self.row :] if self.row and tally else tally

    def kept(self, subject: Subject) -> Iterable[tuple[Micros, int, int]]:
        """See `Tallies`."""
        entries = Counter(_ENTRY.iter_unpack(self._entries(subject)))
        return [(*one, amount) for one, amount in entries.items()]

    def holding(self, subject: Subject) -> int:
        """How many counted events are remembered for a subject, inside the window or not."""
        return len(self._entries(subject)) // 16


def _program(kind: str) -> str:
    return kind.partition(".")[0]
