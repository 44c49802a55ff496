"""All rules of a policy together: which event goes to which rule's tallies, and what is kept.

Touches nothing. Limits: `capacity` tallies over all rules; the coldest are evicted, counted. An
event that comes more than an hour late may find its tally already dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from struct import Struct

from tidegate.evidence.distinct import Distinct
from tidegate.evidence.score import Score
from tidegate.evidence.tally import OFFSET_BITS, Convict
from tidegate.evidence.where import counts
from tidegate.evidence.window import Window
from tidegate.model import (
    HOUR,
    MINUTE,
    Batch,
    Change,
    Event,
    Micros,
    Shared,
    Subject,
    Term,
    Verdict,
)
from tidegate.policy.guards import Level
from tidegate.policy.models import Counted, Rule

Tally = Window | Score | Distinct
_TERM = Struct(">QQQ")
_NONE = Term(0)


class Windows:
    """All rules of a policy. `weights` gives each kind its detectors' default weight.

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
        self.windows: list[Tally] = []
        self._by_kind: dict[str, list[Window]] = {}  # N in M without conditions: what is common
        self._special: dict[str, list[tuple[Tally, Counted]]] = {}
        self._reset: dict[str, list[Tally]] = {}
        self._shared: list[Shared] = []
        for rule in rules:
            if rule.enabled:
                self._enter(rule, weights)
        self._latest: Micros = 0
        self._expired: Micros = 0
        self._tide: Level = "low"

    @property
    def tide(self) -> Level:
        """The host's tide; rules that tighten with it count so from the next event on."""
        return self._tide

    @tide.setter
    def tide(self, tide: Level) -> None:
        if tide != self._tide:
            self._tide = tide
            for window in self.windows:
                if window.rule.tightened:
                    window.turn(tide)

    def _enter(self, rule: Rule, weights: Mapping[str, int]) -> None:
        counted = [one._replace(weight=_weight(one, weights)) for one in rule.on]
        tally: Tally
        if rule.score is not None:
            tally = Score(rule, rule.score)
        elif rule.distinct:
            tally = Distinct(rule)
        else:
            tally = Window(rule, {one.kind: one.weight or 0 for one in counted})
        if rule.shared and self.durable:
            tally.share(self._shared.append)
        self.windows.append(tally)
        for one in counted:
            if not one.weight:
                continue
            if isinstance(tally, Window) and not one.where and not one.unless:
                self._by_kind.setdefault(one.kind, []).append(tally)
            else:
                self._special.setdefault(one.kind, []).append((tally, one))
        for kind in rule.reset_on:
            self._reset.setdefault(kind, []).append(tally)

    def __len__(self) -> int:
        return sum(len(window.tallies) for window in self.windows)

    def tally(self, batch: Batch, convict: Convict, events: Iterator[Event] | None = None) -> None:
        """Count the events of a batch in their order; `convict` is called at each crossing.

        `events`: those that are left, where one of the batch could not be counted.
        """
        by_kind, origin = self._by_kind, batch.origin << OFFSET_BITS
        special = self._special or self._reset
        latest = self._latest
        for event in batch.events if events is None else events:
            windows = by_kind.get(event.kind.name)
            if windows or special:
                if event.time > latest:
                    latest = event.time
                ref = origin + event.offset
                for plain in windows or ():
                    plain.count(event, ref, convict)
                if special:
                    self._count(event, ref, convict)
        self._latest = latest
        if latest - self._expired > MINUTE:
            self._expire(latest)
        if len(self) > self.capacity:
            self._evict()
        if not self.durable:
            for window in self.windows:
                window.dirty.clear()

    def _count(self, event: Event, ref: int, convict: Convict) -> None:
        """The rules that look at more than an event's kind."""
        asked: set[str] = set()  # of several entries of one rule the first that holds counts
        for tally, one in self._special.get(event.kind.name, ()):
            if tally.rule.name in asked or not counts(one, event.fields):
                continue
            asked.add(tally.rule.name)
            if isinstance(tally, Window):
                tally.count(event, ref, convict)
            else:
                tally.count(event, ref, convict, one.weight or 0)
        for reset in self._reset.get(event.kind.name, ()):
            if reset.tallies.pop(event.subject, None) is not None:
                reset.dirty.add(event.subject)

    def knock(self, subject: Subject, time: Micros, port: int, convict: Convict) -> None:
        """Somebody who is closed for tries again; only scores take notice."""
        for tally in self.windows:
            if isinstance(tally, Score) and not tally.rule.ban.outward:
                tally.knock(subject, time, port, convict)

    def take_shared(self) -> list[Shared]:
        """What was taken in since last asked by rules that hosts count by together."""
        taken = self._shared.copy()
        self._shared.clear()  # the same list: tallies hold on to it
        return taken

    def remembered(self, now: Micros) -> Iterator[Shared]:
        """What rules that hosts count by together remember after a restart, and could still count:
        for others to be told, who may never have heard it."""
        for window in self.windows:
            rule = window.rule
            if rule.shared:
                span = rule.within if rule.score is None else 32 * rule.score.span
                yield from window.remembered(now - span)

    def sentence(self, verdict: Verdict, convict: Convict) -> None:
        """Hosts have counted together; nothing comes of it where the rule holds the subject
        already, or is not shared here."""
        window = self._named(verdict.rule)
        if window is not None and window.rule.shared:
            window.sentence(verdict, convict)

    def keep_out(self, rule: str, subject: Subject, term: Term) -> None:
        """The same rule of another host holds a subject."""
        window = self._named(rule)
        if window is not None:
            window.keep_out(subject, term)

    def held(self, rule: str, subject: Subject) -> Term:
        """For how long a rule holds a subject."""
        window = self._named(rule)
        return _NONE if window is None else window.held.get(subject, _NONE)

    def _named(self, rule: str) -> Tally | None:
        return next((one for one in self.windows if one.rule.name == rule), None)

    def knows(self, rule: str) -> bool:
        """Whether there is such a rule, and it is switched on."""
        return self._named(rule) is not None

    def forget(self, subject: Subject, rule: str = "") -> None:
        """A person pardoned the subject: no rule, or not this one, remembers it."""
        for window in self.windows:
            if rule in ("", window.rule.name):
                window.forget(subject)

    def cut_off(self, subject: Subject, until: Micros, watched: Micros) -> list[Rule]:
        """A person cut a source off: as if every rule that could had done so. Those rules."""
        outward = [one for one in self.windows if one.rule.ban.outward]
        for window in outward:
            held = window.held.get(subject, _NONE)
            term = Term(max(until, held.until), max(watched, held.watched))
            window.hold(subject, term)
        return [one.rule for one in outward]

    def let_back(self, subject: Subject, now: Micros, watched: Micros) -> None:
        """A person let a source back: whoever cut it off watches it until then."""
        outward = [one for one in self.windows if one.rule.ban.outward]
        held = [one for one in outward if max(one.held.get(subject, _NONE)[:2]) > now]
        for window in held or outward:
            window.hold(subject, Term(now, watched))

    def free(self, spared: Callable[[Subject], str]) -> None:
        """Policy has changed: whom it would not cut off is held no longer, so that he is looked at
        at once should it change again. (Whom it spared all along is not on probation either.)"""
        for window in self.windows:
            if window.rule.ban.outward:
                cut = [one for one, term in window.held.items() if term.watched]
                for subject in [one for one in cut if spared(one)]:
                    window.forget(subject)

    def changes(self) -> Iterator[Change]:
        """What changed since the last call, for a checkpoint; one row per tally, however often."""
        for window in self.windows:
            dirty, part = sorted(window.dirty), window.part
            window.dirty.clear()  # the same set: `count` holds on to it
            for subject in dirty:
                yield Change(part, subject, window.tallies.get(subject))
                yield Change(f"held {window.rule.name}", subject, _term(window.held.get(subject)))

    def restore(self, change: Change) -> bool:
        """Take back one saved change; False if it belongs to no rule of this policy."""
        what, _space, rest = change.part.partition(" ")
        name = rest.partition(" ")[0]
        window = self._named(name)
        if window is None or change.value is None:
            return False
        subject = Subject(change.key)
        if what == "held" and len(change.value) in (8, _TERM.size):  # 8: as older versions wrote it
            window.held[subject] = Term(*_TERM.unpack(change.value.ljust(_TERM.size, b"\0")))
            return True
        if what != window.part.partition(" ")[0]:
            return False
        tally = window.relaid(change.value, change.part)
        if tally:
            window.tallies[subject] = tally
        return bool(tally)

    def take_over(self, old: Windows) -> None:
        """On reload: every count of a rule that is still there is kept."""
        for change in old.everything():
            self.restore(change)
        for window in self.windows:
            window.dirty.update(window.tallies)
            before = old._named(window.rule.name)
            if before is not None:
                window.last_verdict, window.verdicts = before.last_verdict, before.verdicts
        self._shared += old.take_shared()
        self.evicted = old.evicted
        self._latest, self._expired = old._latest, old._expired
        self.tide = old.tide

    def everything(self) -> Iterator[Change]:
        """The whole memory, as if all of it had changed."""
        for window in self.windows:
            for subject, tally in window.tallies.items():
                yield Change(window.part, subject, tally)
            for subject, term in window.held.items():
                yield Change(f"held {window.rule.name}", subject, _term(term))

    def _expire(self, latest: Micros) -> None:
        """Drop tallies that no event in order can complete any more. Coldest first, in order."""
        self._expired = latest
        for window in self.windows:
            horizon = latest - HOUR
            if window.rule.score is None:
                horizon -= window.rule.within
            while window.tallies:
                front = list(islice(window.tallies.items(), 1000))
                gone = [one for one, tally in front if window.newest(tally) < horizon]
                for subject in gone:
                    del window.tallies[subject]
                window.dirty.update(gone)
                if len(gone) < 1000:
                    break
            over = [one for one, term in window.held.items() if max(term[:2]) < horizon]
            for subject in over:
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


def _weight(one: Counted, defaults: Mapping[str, int]) -> int:
    return defaults.get(one.kind, 1) if one.weight is None else one.weight


def _term(term: Term | None) -> bytes | None:
    return None if term is None else _TERM.pack(*term)
