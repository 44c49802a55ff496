"""The ladder: each further offence of a subject against a rule is closed for longer.

Touches nothing. Catch and release in steps, as Zeek's NetControl has it: 10 min, 1 h, 24 h, 7 d.
Limits: `capacity` remembered offenders; those whose last offence is oldest go first, counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from struct import Struct

from tidegate.model import Change, Micros, Subject

_OFFENCE = Struct(">qI")


class Ladder:
    """Remembered offences per rule and subject."""

    def __init__(self, capacity: int = 1_000_000) -> None:
        self.capacity = capacity
        self.evicted = 0
        self._offences: dict[tuple[str, Subject], tuple[Micros, int]] = {}
        self._dirty: set[tuple[str, Subject]] = set()
        self._rules: set[str] = set()  # few, so that a pardon need not walk all offences

    def __len__(self) -> int:
        return len(self._offences)

    def climb(self, rule: str, subject: Subject, time: Micros, forget: Micros) -> int:
        """Remember an offence; returns how many came before it and are not forgotten (0, 1, …)."""
        key = (rule, subject)
        self._rules.add(rule)
        last, before = self._offences.pop(key, (time, 0))
        if time - last > forget:
            before = 0
        self._offences[key] = (time, before + 1)
        self._dirty.add(key)
        if len(self._offences) > self.capacity:
            surplus = len(self._offences) - self.capacity + self.capacity // 64
            for oldest in list(islice(self._offences, surplus)):
                del self._offences[oldest]
                self._dirty.add(oldest)
                self.evicted += 1
        return before

    def descend(self, rule: str, subject: Subject) -> None:
        """Take the last offence back."""
        key = (rule, subject)
        last, before = self._offences.get(key, (0, 0))
        if before > 1:
            self._offences[key] = (last, before - 1)
        else:
            self._offences.pop(key, None)
        self._dirty.add(key)

    def pardon(self, subject: Subject) -> None:
        """Forget every offence of a subject."""
        for rule in self._rules:
            if self._offences.pop((rule, subject), None) is not None:
                self._dirty.add((rule, subject))

    def changes(self) -> Iterator[Change]:
        """What changed since the last call, for a checkpoint."""
        dirty, self._dirty = self._dirty, set()
        for key in sorted(dirty):
            offence = self._offences.get(key)
            value = None if offence is None else _OFFENCE.pack(*offence)
            yield Change(f"offence {key[0]}", key[1], value)

    def restore(self, change: Change) -> bool:
        """Take back one saved change; False if it is not ours."""
        what, _space, rule = change.part.partition(" ")
        if what != "offence" or change.value is None or len(change.value) != _OFFENCE.size:
            return False
        self._rules.add(rule)
        self._offences[rule, Subject(change.key)] = _OFFENCE.unpack(change.value)
        return True


def step(ladder: Sequence[Micros], before: int) -> Micros:
    """The duration for an offence with `before` earlier ones: the last step repeats."""
    return ladder[min(before, len(ladder) - 1)]
