"""All N-in-M rules of a policy together: which event goes to which window, and what is kept.

Touches nothing. Limits: `capacity` tallies over all rules; the coldest are evicted, counted. An
event that comes more than an hour late may find its tally already dropped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from tidegate.evidence.window import OFFSET_BITS, Convict, Window
from tidegate.model import HOUR, MINUTE, Batch, Change, Event, Micros, Subject
from tidegate.policy.models import Rule


class Windows:
    """All N-in-M rules of a policy. `weights` gives each kind its detectors' default weight.

    `durable`: note what changed, for checkpoints; without them nobody would ever ask for it.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        weights: dict[str, int],
        capacity: int = 1_000_000,
        *,
        durable: bool = True,
    ) -> None:
        self.capacity = capacity
        self.durable = durable
        self.evicted = 0
        self.windows = [Window(rule, _weights(rule, weights)) for rule in rules if rule.enabled]
        self._by_kind: dict[str, list[Window]] = {}
        for window in self.windows:
            for kind, weight in window.weights.items():
                if weight:
                    self._by_kind.setdefault(kind, []).append(window)
        self._latest: Micros = 0
        self._expired: Micros = 0

    def __len__(self) -> int:
        return sum(len(window.tallies) for window in self.windows)

    def tally(self, batch: Batch, convict: Convict, events: Iterator[Event] | None = None) -> None:
        """Count the events of a batch in their order; `convict` is called at each crossing.

        `events`: those that are left, where one of the batch could not be counted.
        """
        by_kind, origin = self._by_kind, batch.origin << OFFSET_BITS
        latest = self._latest
        for event in batch.events if events is None else events:
            windows = by_kind.get(event.kind.name)
            if windows:
                if event.time > latest:
                    latest = event.time
                ref = origin + event.offset
                for window in windows:
                    window.count(event, ref, convict)
        self._latest = latest
        if latest - self._expired > MINUTE:
            self._expire(latest)
        if len(self) > self.capacity:
            self._evict()
        if not self.durable:
            for window in self.windows:
                window.dirty.clear()

    def forget(self, subject: Subject) -> None:
        """A person pardoned the subject: no rule remembers it."""
        for window in self.windows:
            window.forget(subject)

    def changes(self) -> Iterator[Change]:
        """What changed since the last call, for a checkpoint; one row per tally, however often."""
        for window in self.windows:
            dirty, part = sorted(window.dirty), window.part
            window.dirty.clear()  # the same set: `count` holds on to it
            for subject in dirty:
                yield Change(part, subject, window.tallies.get(subject))
                until = window.held.get(subject)
                yield Change(
                    f"held {window.rule.name}", subject, until.to_bytes(8) if until else None
                )

    def restore(self, change: Change) -> bool:
        """Take back one saved change; False if it belongs to no rule of this policy."""
        what, _space, rest = change.part.partition(" ")
        name, _space, kinds = rest.partition(" ")
        window = next((one for one in self.windows if one.rule.name == name), None)
        if window is None or change.value is None or what not in ("window", "held"):
            return False
        subject = Subject(change.key)
        if what == "held":
            window.held[subject] = int.from_bytes(change.value[:8])
            return True
        tally = _relaid(change.value, kinds.split(), window)
        rows = 1 + tally[0] * window.row if window.row and tally else 0
        if not tally or len(tally) < rows or (len(tally) - rows) % 16:
            return False  # damaged on the disk: one count is lost, nothing else
        window.tallies[subject] = tally
        return True

    def take_over(self, old: Windows) -> None:
        """On reload: every count of a rule that is still there is kept."""
        for change in old.everything():
            self.restore(change)
        for window in self.windows:
            window.dirty.update(window.tallies)
            before = next((one for one in old.windows if one.rule.name == window.rule.name), None)
            if before is not None:
                window.last_verdict, window.verdicts = before.last_verdict, before.verdicts
        self.evicted = old.evicted
        self._latest, self._expired = old._latest, old._expired

    def everything(self) -> Iterator[Change]:
        """The whole memory, as if all of it had changed."""
        for window in self.windows:
            for subject, tally in window.tallies.items():
                yield Change(window.part, subject, tally)
            for subject, until in window.held.items():
                yield Change(f"held {window.rule.name}", subject, until.to_bytes(8))

    def _expire(self, latest: Micros) -> None:
        """Drop tallies that no event in order can complete any more. Coldest first, in order."""
        self._expired = latest
        for window in self.windows:
            horizon = latest - window.rule.within - HOUR
            while window.tallies:
                front = list(islice(window.tallies.items(), 1000))
                gone = [one for one, tally in front if window.newest(tally) < horizon]
                for subject in gone:
                    del window.tallies[subject]
                window.dirty.update(gone)
                if len(gone) < 1000:
                    break
            for subject in [one for one, until in window.held.items() if until < horizon]:
                del window.held[subject]
                window.dirty.add(subject)

    def _evict(self) -> None:
        while len(self) > self.capacity:
            window = max(self.windows, key=lambda one: len(one.tallies))
            surplus = len(self) - self.capacity + self.capacity // 64
            gone = list(islice(window.tallies, surplus))
            for subject in gone:
                del window.tallies[subject]
            window.dirty.update(gone)
            self.evicted += len(gone)


def _weights(rule: Rule, defaults: dict[str, int]) -> dict[str, int]:
    return {kind: defaults.get(kind, 1) if weight is None else weight for kind, weight in rule.on}


def _relaid(tally: bytes, kinds: list[str], window: Window) -> bytes:
    """A tally whose rule counted other kinds before: its sessions go, its entries stay."""
    if kinds == list(window.kinds):
        return tally
    if kinds and tally:
        tally = tally[1 + tally[0] * (4 + len(kinds)) :]
    return b"\0" + tally if window.row else tally
