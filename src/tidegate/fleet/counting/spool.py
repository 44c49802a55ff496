"""What waits to be counted while the engine is away: hits by subject, of all shards together.

Touches nothing; it is told the time. `outbox` numbers what is on its way and sends it again; it is
given so much as one call takes, the rest stays here, where hits of one subject are one sum.
Limits: `subjects` and `hits` over all; beyond, who was quiet longest goes first, and is counted.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from tidegate.fleet.counting import functions
from tidegate.fleet.counting.functions import Form, Hit, Terms
from tidegate.fleet.counting.outbox import Outbox
from tidegate.fleet.trust.admission import LATE
from tidegate.model import Micros, Subject

Key = tuple[Terms, Subject]


@dataclass(slots=True)
class _Waiting:
    """The hits of one subject; `touched` is the number of the last one, over all subjects."""

    touched: int
    hits: list[Hit] = field(default_factory=list)


@dataclass(slots=True)
class Spool:
    """Hits that no outbox has. Counts what it let go: `dropped` for want of room, `thinned` where a
    subject had more than can matter, `late` what the engine would not count any more."""

    shards: int
    subjects: int = 50_000
    hits: int = 400_000
    dropped: int = 0
    thinned: int = 0
    late: int = 0
    _number: int = 0
    _size: int = 0
    _sums: dict[int, OrderedDict[Key, _Waiting]] = field(default_factory=dict)
    _held: int = 0

    def __len__(self) -> int:
        return self._held

    def shards_waiting(self) -> list[int]:
        """The shards that something waits for."""
        return list(self._sums)

    def waits(self, shard: int) -> bool:
        """Whether something waits for this shard."""
        return shard in self._sums

    def add(self, terms: Terms, subject: Subject, hit: Hit) -> None:
        """Note a hit."""
        shard = functions.shard_of(subject, self.shards)
        sums = self._sums.get(shard)
        if sums is None:
            sums = self._sums[shard] = OrderedDict()
        waiting = sums.get((terms, subject))
        self._number += 1
        if waiting is None:
            waiting = sums[terms, subject] = _Waiting(self._number)
            self._size += 1
        waiting.touched = self._number
        sums.move_to_end((terms, subject))
        self._held += _note(waiting.hits, terms, hit)
        if len(waiting.hits) > _most(terms):
            waiting.hits.remove(min(waiting.hits, key=lambda one: one.time))
            self._held -= 1
            self.thinned += 1
        while self._size > self.subjects or self._held > self.hits:
            self._drop_oldest()

    def fill(self, outbox: Outbox, now: Micros) -> int:
        """Give an outbox that has nothing to do what one call takes, who waits longest first.

        How many hits it was given. What the engine would not count any more is left out.
        """
        sums = self._sums.get(outbox.shard)
        if not sums or not outbox.idle:
            return 0
        given = chosen = 0
        while sums and chosen < functions.MOST_SUMS:
            (terms, subject), waiting = sums.popitem(last=False)
            self._left(waiting)
            young = [hit for hit in waiting.hits if now - hit.time <= LATE]
            self.late += len(waiting.hits) - len(young)
            for hit in sorted(young):
                outbox.add(terms, subject, hit)
            chosen += bool(young)
            given += len(young)
        if not sums:
            del self._sums[outbox.shard]
        return given

    def _drop_oldest(self) -> None:
        # The first of each shard is its oldest: at most 256 are looked at.
        shard = min(self._sums, key=lambda one: next(iter(self._sums[one].values())).touched)
        _key, waiting = self._sums[shard].popitem(last=False)
        self._left(waiting)
        self.dropped += len(waiting.hits)
        if not self._sums[shard]:
            del self._sums[shard]

    def _left(self, waiting: _Waiting) -> None:
        self._size -= 1
        self._held -= len(waiting.hits)


def _most(terms: Terms) -> int:
    """Four times as many as cross the limit: more of one host could not say more."""
    return functions.NEED if terms.form.scored else min(4 * terms.need, functions.NEED)


def _note(hits: list[Hit], terms: Terms, hit: Hit) -> int:
    """Add a hit, of a value that counts once the newest; how many more there are now."""
    if terms.form is Form.DISTINCT:
        for at, one in enumerate(hits):
            if one.value == hit.value:
                hits[at] = max(one, hit)
                return 0
    hits.append(hit)
    return 1
