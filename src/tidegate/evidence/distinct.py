"""Distinct values: how many different users, paths or ports a subject tried within a window.

Touches nothing. A tally is one `bytes`: an entry for each value (a hash of it), with the time and
place of the newest line that held it, oldest first. Exact as far as the rule needs it.
Limits: of each subject as many values as convict; what is older gives way.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from struct import Struct

from tidegate.evidence.tally import OFFSET_BITS, Convict, Tallies
from tidegate.model import Event, Micros, Ref, Shared, Subject, Verdict
from tidegate.policy.models import Rule

_ENTRY = Struct(">QQ8s")
_SIZE = _ENTRY.size


class Distinct(Tallies):
    """The tallies of one rule. `count(event, ref, convict, weight)` counts one event."""

    def __init__(self, rule: Rule) -> None:
        super().__init__(rule)
        self.double = rule.good_record == "double"
        self.most = rule.threshold * (2 if self.double else 1)

    @property
    def part(self) -> str:
        """The name of this rule's part of the core's memory."""
        return f"distinct {self.rule.name} {self.rule.distinct}"

    def count(self, event: Event, ref: int, convict: Convict, weight: int) -> None:
        """Note the value that the event's field has; one without that field does not count."""
        value = event.fields.get(self.rule.distinct)
        if value is None or not weight:
            return
        subject, time = event.subject, event.time
        term = self.held.get(subject)
        self.dirty.add(subject)
        if term is not None:
            if time < term.until:
                return
            self.let_go(subject, term)
            if time < term.watched:
                found = Ref(time, *divmod(ref, 1 << OFFSET_BITS))
                verdict = Verdict(self.rule.name, subject, time, 1, (found,), watched=True)
                if self.convicted(verdict, event.offset, convict):
                    return
        if self.hand_out is not None:
            place = divmod(ref, 1 << OFFSET_BITS)
            self.hand_out(Shared(self.rule.name, subject, time, *place, value=value))
        hashed = blake2b(value.encode("utf-8", "surrogateescape"), digest_size=8).digest()
        entries = list(_ENTRY.iter_unpack(self.tallies.pop(subject, b"")))
        known = next((one for one in entries if one[2] == hashed), None)
        if known is not None:
            entries.remove(known)
        entries.append(max(known or (0, 0, hashed), (time, ref, hashed)))
        entries.sort()
        entries = entries[-self.most :]
        if not self._crossed(subject, entries, event.offset, convict):
            self.tallies[subject] = b"".join(_ENTRY.pack(*one) for one in entries)

    def _crossed(
        self, subject: Subject, entries: list[tuple[int, int, bytes]], offset: int, convict: Convict
    ) -> bool:
        threshold, within = self.threshold, self.rule.within
        newest = entries[-1][0]
        if len(entries) < threshold or newest - entries[-threshold][0] > within:
            return False
        twice = self.double and len(entries) >= 2 * threshold
        twice = twice and newest - entries[-2 * threshold][0] <= within
        counted = entries[-2 * threshold :] if twice else entries[-threshold:]
        refs = tuple(Ref(time, *divmod(ref, 1 << OFFSET_BITS)) for time, ref, _value in counted)
        verdict = Verdict(
            self.rule.name, subject, newest, len(counted), refs, twice=twice, tide=self.tide
        )
        return self.convicted(verdict, offset, convict)

    def places(self, subject: Subject, upto: Micros) -> tuple[Ref, ...]:
        """See `Tallies`."""
        entries = _ENTRY.iter_unpack(self.tallies.get(subject, b""))
        return tuple(
            Ref(time, *divmod(ref, 1 << OFFSET_BITS))
            for time, ref, _value in entries
            if time <= upto
        )

    def spend(self, subject: Subject) -> None:
        """See `Tallies`."""
        entries = _ENTRY.iter_unpack(self.tallies.pop(subject, b""))
        kept = [one for one in entries if one[0] >= self.held[subject].until]
        if kept:
            self.tallies[subject] = b"".join(_ENTRY.pack(*one) for one in kept)
        self.dirty.add(subject)

    def kept(self, subject: Subject) -> Iterable[tuple[Micros, int, int]]:
        """See `Tallies`. Of a value only its hash is known: it is the amount."""
        entries = _ENTRY.iter_unpack(self.tallies.get(subject, b""))
        return ((time, ref, int.from_bytes(hashed)) for time, ref, hashed in entries)

    def newest(self, tally: bytes) -> Micros:
        """The time of the newest entry; 0 if there is none."""
        return int.from_bytes(tally[-_SIZE : 8 - _SIZE])

    def holding(self, subject: Subject) -> int:
        """How many values are remembered for a subject."""
        return len(self.tallies.get(subject, b"")) // _SIZE

    def relaid(self, tally: bytes, part: str) -> bytes:
        """A saved tally; b"" if it is damaged, or of another field."""
        return tally if part == self.part and not len(tally) % _SIZE else b""
