"""Exact N in M: the newest N counted events per rule and subject, on event time.

Touches nothing. A tally is one `bytes`: N entries of 16 bytes (time, origin and offset), oldest
first, and for rules over several kinds, in front, the attempts of the latest sessions.
Limits: `capacity` tallies over all rules; the coldest are evicted, counted. An event that comes
more than an hour late may find its tally already dropped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from struct import Struct
from zlib import crc32

from tidegate.model import HOUR, Batch, Change, Event, Micros, Ref, Subject, Verdict
from tidegate.policy.models import Rule

Convict = Callable[[Verdict, int], Micros]
"""Called with each verdict and the offset of the line that triggered it, at once; returns until
when this rule need not count the subject again (its ban's end)."""

Count = Callable[[Event, int, Convict], None]

_ENTRY = Struct(">QQ")
pack, from_bytes = _ENTRY.pack, int.from_bytes
_OFFSET_BITS = 44  # 16 TiB a file, a million files
_SESSIONS = 8  # a ninth parallel session of one subject pushes the oldest out


class Window:
    """The tallies of one rule. `count(event, ref, convict)` counts one event."""

    def __init__(self, rule: Rule, weights: dict[str, int]) -> None:
        self.rule = rule
        self.weights = weights
        # Kinds of one program may tell of the same attempt; a program with one kind in the rule
        # writes one line an attempt and needs no sessions.
        shared = Counter(_program(kind) for kind in weights)
        paired = [kind for kind in weights if shared[_program(kind)] > 1]
        self.kinds = {kind: place for place, kind in enumerate(paired)}
        # One row per session: a hash of its name, then what it wrote of each kind.
        self.row = 4 + len(paired) if paired else 0
        self.full = rule.threshold * 16
        self.tallies: dict[Subject, bytes] = {}
        self.held: dict[Subject, Micros] = {}
        self.dirty: set[Subject] = set()
        self.last_verdict: Verdict | None = None
        self.verdicts = 0
        self.count = self._count_attempts if self.row else self._counter()

    @property
    def part(self) -> str:
        """The name of this rule's part of the core's memory; it tells the layout of the rows."""
        return f"window {self.rule.name} {' '.join(self.kinds)}"

    def _counter(self) -> Count:
        """`count` for rules without sessions, bound to local names: it runs for every event."""
        held, tallies, mark = self.held, self.tallies, self.dirty.add
        pop = tallies.pop
        full, within, weights = self.full, self.rule.within, self.weights
        simple = set(weights.values()) == {1}

        def count(event: Event, ref: int, convict: Convict) -> None:
            time, kind, subject, repeated = event[:4]
            if held and self._holds(subject, time):
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
                tally = tally[-full:]
                if time - from_bytes(tally[:8]) > within:
                    tallies[subject] = tally
                    return
                self._cross(subject, tally, event.offset, convict)
            else:
                self._add(event, tally, b"", 1, ref, convict)

        return count

    def _count_attempts(self, event: Event, ref: int, convict: Convict) -> None:
        subject, time, kind = event.subject, event.time, event.kind.name
        if self.held and self._holds(subject, time):
            return
        weight = event.count * self.weights[kind]
        tally = self.tallies.pop(subject, b"\0")
        self.dirty.add(subject)
        size = 1 + tally[0] * self.row
        rows, tally = tally[:size], tally[size:]
        if tally and time - from_bytes(tally[-16:-8]) > self.rule.within:
            rows = b"\0"  # process ids are used again: an old session is not this one
        if event.session and kind in self.kinds:
            rows, weight = self._attempt(rows, event, weight)
        if (
            weight == 1
            and len(tally) + 16 < self.full
            and (entry := pack(time, ref)) >= tally[-16:]
        ):
            self.tallies[subject] = rows + tally + entry
        elif weight:
            self._add(event, tally, rows, weight, ref, convict)
        else:
            self.tallies[subject] = rows + tally

    def _holds(self, subject: Subject, time: Micros) -> bool:
        """Whether the subject is banned by this rule already; a hold that is over is dropped."""
        until = self.held.get(subject)
        if until is None:
            return False
        if time < until:
            return True
        del self.held[subject]
        return False

    def _add(
        self, event: Event, tally: bytes, rows: bytes, weight: int, ref: int, convict: Convict
    ) -> None:
        """Enter an event `weight` times, wherever its time belongs."""
        threshold, within, time = self.rule.threshold, self.rule.within, event.time
        entry = pack(time, ref) * min(weight, threshold)
        if entry[:16] >= tally[-16:]:
            # In order: the only window that can have been completed is the newest N.
            tally = (tally + entry)[-threshold * 16 :]
            crossed = len(tally) == threshold * 16 and time - from_bytes(tally[:8]) <= within
        else:
            tally, crossed = self._late(tally, entry)
        if crossed:
            self._cross(event.subject, tally, event.offset, convict)
        else:
            self.tallies[event.subject] = rows + tally

    def _cross(self, subject: Subject, tally: bytes, offset: int, convict: Convict) -> None:
        # The tally starts anew: the same lines must not convict twice.
        entries = dict.fromkeys(_ENTRY.iter_unpack(tally))
        refs = tuple(Ref(time, *divmod(ref, 1 << _OFFSET_BITS)) for time, ref in entries)
        verdict = Verdict(self.rule.name, subject, refs[-1].time, len(tally) // 16, refs)
        self.last_verdict = verdict
        self.verdicts += 1
        self.held[subject] = convict(verdict, offset)

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
        threshold = self.rule.threshold
        entries = sorted(_ENTRY.iter_unpack(tally + entry), key=lambda one: one[0])
        for first in range(len(entries) - threshold, -1, -1):
            chosen = entries[first : first + threshold]
            if chosen[-1][0] - chosen[0][0] <= self.rule.within:
                return b"".join(pack(*one) for one in chosen), True
        return b"".join(pack(*one) for one in entries[-threshold:]), False

    def newest(self, tally: bytes) -> Micros:
        """The time of the newest entry; 0 if there is none."""
        rows = 1 + tally[0] * self.row if self.row and tally else 0
        return from_bytes(tally[-16:-8]) if len(tally) > rows else 0

    def holding(self, subject: Subject) -> int:
        """How many counted events are remembered for a subject, inside the window or not."""
        tally = self.tallies.get(subject, b"")
        rows = 1 + tally[0] * self.row if self.row and tally else 0
        return (len(tally) - rows) // 16

    def forget(self, subject: Subject) -> None:
        """Drop a subject's tally and let it be counted again."""
        self.held.pop(subject, None)
        self.tallies.pop(subject, None)
        self.dirty.add(subject)


class Windows:
    """All N-in-M rules of a policy. `weights` gives each kind its detectors' default weight."""

    def __init__(
        self, rules: Sequence[Rule], weights: dict[str, int], capacity: int = 1_000_000
    ) -> None:
        self.capacity = capacity
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

    def tally(self, batch: Batch, convict: Convict) -> None:
        """Count the events of a batch in their order; `convict` is called at each crossing."""
        by_kind, origin = self._by_kind, batch.origin << _OFFSET_BITS
        latest = self._latest
        for event in batch.events:
            windows = by_kind.get(event.kind.name)
            if windows:
                if event.time > latest:
                    latest = event.time
                ref = origin + event.offset
                for window in windows:
                    window.count(event, ref, convict)
        self._latest = latest
        if latest - self._expired > HOUR // 60:
            self._expire(latest)
        if len(self) > self.capacity:
            self._evict()

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


def _program(kind: str) -> str:
    return kind.partition(".")[0]


def _weights(rule: Rule, defaults: dict[str, int]) -> dict[str, int]:
    return {kind: defaults.get(kind, 1) if weight is None else weight for kind, weight in rule.on}


def _relaid(tally: bytes, kinds: list[str], window: Window) -> bytes:
    """A tally whose rule counted other kinds before: its sessions go, its entries stay."""
    if kinds == list(window.kinds):
        return tally
    if kinds and tally:
        tally = tally[1 + tally[0] * (4 + len(kinds)) :]
    return b"\0" + tally if window.row else tally
