"""The good record: which subjects succeeded lately, because good behaviour is evidence too.

Touches nothing. Keeps one time per subject, the newest success. Limits: `capacity` subjects;
the ones that succeeded longest ago go first, counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain

from tidegate import subject as subjects
from tidegate.model import DAY, HOUR, Change, Micros, Subject, Success

REMEMBERED: Micros = 30 * DAY
_PART = "success"


class GoodRecord:
    """The newest success of each subject, remembered for 30 days of event time."""

    def __init__(self, capacity: int = 1_000_000) -> None:
        self.capacity = capacity
        self.evicted = 0
        self._latest: dict[Subject, Micros] = {}
        self._saved: dict[Subject, Micros] = {}
        self._dirty: set[Subject] = set()

    def __len__(self) -> int:
        return len(self._latest)

    def tally(self, successes: Mapping[Subject, Success]) -> None:
        """Take in the successes of one block."""
        latest = self._latest
        for subject, success in successes.items():
            known = latest.pop(subject, 0)
            latest[subject] = max(known, success.last_time)
        # An hour more or less makes no difference to 30 days, but to the ledger it does.
        saved = self._saved
        self._dirty.update(
            subject for subject in successes if latest[subject] - saved.get(subject, 0) > HOUR
        )
        if len(latest) > self.capacity:
            self._evict()

    def good(
        self, subject: Subject, time: Micros, offset: int, block: Mapping[Subject, Success]
    ) -> bool:
        """Whether the subject succeeded in the 30 days before `time`.

        `block` are the successes of the block being read: only those before `offset` count, so
        that the answer does not depend on where blocks were cut.
        """
        known = self._latest.get(subject)
        if known is not None and time - known <= REMEMBERED:
            return True
        here = block.get(subject)
        if here is None or here.first_offset >= offset:
            return False
        # A quiet log holds months in one block. The first is before this line; the last may be.
        return time - here.first_time <= REMEMBERED or 0 <= time - here.last_time <= REMEMBERED

    def good_in(
        self, network: Subject, time: Micros, offset: int, block: Mapping[Subject, Success]
    ) -> bool:
        """Whether anybody in a network succeeded in the 30 days before `time`; `block` as above.

        Walks all that are known: asked only when a network is about to be closed for.
        """
        wide = subjects.network(network)
        if wide is None:
            return False
        prefix = _common(wide)
        for subject in chain(self._latest, block):
            if subject.startswith(prefix) and self.good(subject, time, offset, block):
                found = subjects.network(subject)
                if found is not None and wide.overlaps(found):
                    return True
        return False

    def newest(self, subject: Subject) -> Micros:
        """When the subject succeeded last; 0: it is not known to have."""
        return self._latest.get(subject, 0)

    def ever(self, subject: Subject) -> bool:
        """Whether the subject is known to have succeeded at all."""
        return subject in self._latest

    def forget(self, subject: Subject) -> None:
        """Drop what is known of a subject."""
        if self._latest.pop(subject, None) is not None:
            self._dirty.add(subject)

    def changes(self) -> Iterator[Change]:
        """What changed since the last call, for a checkpoint."""
        dirty, self._dirty = self._dirty, set()
        for subject in sorted(dirty):
            time = self._latest.get(subject)
            if time is None:
                self._saved.pop(subject, None)
                yield Change(_PART, subject, None)
            else:
                self._saved[subject] = time
                yield Change(_PART, subject, time.to_bytes(8))

    def restore(self, change: Change) -> bool:
        """Take back one saved change; False if it is not ours."""
        if change.part != _PART or change.value is None or len(change.value) != 8:
            return False
        time = int.from_bytes(change.value)
        self._latest[Subject(change.key)] = self._saved[Subject(change.key)] = time
        return True

    def expire(self, now: Micros) -> None:
        """Drop what is older than 30 days."""
        gone = [one for one, time in self._latest.items() if now - time > REMEMBERED]
        for subject in gone:
            self.forget(subject)

    def _evict(self) -> None:
        # The order of the dictionary is the order of the newest success: coldest first.
        surplus = len(self._latest) - self.capacity + self.capacity // 64
        for subject in list(self._latest)[:surplus]:
            self.forget(subject)
            self.evicted += 1


def _common(wide: subjects.Network) -> str:
    """What the text of every subject in a network begins with; a first look that costs little."""
    if wide.family == 4 and wide.length >= 24:
        return ".".join(map(str, wide.bits[:3])) + "."
    return f"{int.from_bytes(wide.bits[:2]):x}:" if wide.family == 6 and wide.length >= 16 else ""
