"""The core put together: a block of lines in, decisions out. `replay` and `run` both use it.

Touches nothing: no I/O, no clock; the same blocks give the same decisions, byte for byte, and it
does not matter where blocks were cut. Limits: decisions carry places of lines, not their text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from operator import length_hint
from typing import Protocol

from tidegate.chronicle.records import Knock, Pardon, Tap, Tide
from tidegate.daemon.drops import Drops
from tidegate.daemon.totals import Totals
from tidegate.decision import elsewhere
from tidegate.decision.abuse import EXEMPT_AFTER_UNBAN, Judge
from tidegate.decision.guards import Guards
from tidegate.detector.engine import Engine
from tidegate.evidence.aftermath import Aftermath
from tidegate.evidence.conditions import Evidence
from tidegate.evidence.record import GoodRecord
from tidegate.evidence.tally import NOT_CONVICTED, Convict
from tidegate.evidence.targets import Targets
from tidegate.evidence.windows import Windows
from tidegate.fleet.port import Closing
from tidegate.model import (
    Batch,
    Block,
    Change,
    Decision,
    Micros,
    Quarantined,
    Subject,
    Term,
    Verdict,
)
from tidegate.policy.guards import Level
from tidegate.policy.models import Policy


class Stage(Protocol):
    """A part of the core with a memory that outlives the process."""

    def changes(self) -> Iterable[Change]:
        """What has changed since last asked."""

    def restore(self, change: Change) -> bool:
        """Take back one change; False where it is not this stage's."""


class Pipeline:
    """Detector, evidence and decision under one policy. `engines` by source name.

    `durable`: `changes` will be asked for (the daemon does, `replay` does not).
    """

    def __init__(
        self,
        policy: Policy,
        engines: Mapping[str, Engine],
        weights: Mapping[str, int],
        *,
        durable: bool = True,
    ) -> None:
        self.policy = policy
        self.engines = dict(engines)
        self.windows = Windows(policy.rules, dict(weights), policy.limits.subjects, durable=durable)
        self.record = GoodRecord(policy.limits.subjects)
        self.judge = Judge(policy)
        self.guards = Guards(policy, Evidence(policy))
        self.totals = Totals()
        self.aftermath = Aftermath()
        self.drops = Drops()
        self.targets = Targets() if durable else Targets(span=0)
        self.aims = True  # whether anybody will ask what was aimed at
        self.tap: Tap | None = None

    @property
    def tide(self) -> Level:
        """The host's tide, by which rules may tighten; whoever follows the guards sets it."""
        return self.windows.tide

    @tide.setter
    def tide(self, tide: Level) -> None:
        self.windows.tide = tide
        self._tell(Tide(tide))

    def feed(self, block: Block) -> tuple[list[Decision], Batch]:
        """Read one block; the decisions in the order of the lines that triggered them."""
        engine = self.engines[block.source]
        batch = engine.detect(block)
        decisions = self.weigh(batch)
        suspects = engine.proxies.suspects
        while suspects:
            self.judge.suspect_proxy(suspects.pop(), block.arrival)
        self.totals.add(batch)
        if self.windows.durable:  # nobody asks a recording what bans were good for: none was made
            for decision in decisions:
                self.aftermath.begin(decision)
            self.aftermath.tally(batch.events)
        if self.aims:
            self.targets.tally(batch.events, lambda event: engine.fields(block, event))
        return decisions, batch

    def weigh(self, batch: Batch) -> list[Decision]:
        """Count what a block held, whether just read or kept from earlier, and judge it."""
        if self.tap is not None:
            self.tap.note(batch, self.record.newest)
        decisions: list[Decision] = []

        def convict(verdict: Verdict, offset: int) -> Term:
            good = self.record.good(verdict.subject, verdict.time, offset, batch.successes)
            if not self.judge.convicts(verdict, good):
                return NOT_CONVICTED
            decision = self.judge.judge(verdict, good)
            decisions.append(decision)
            if self.policy.escalation:
                decisions.extend(self.judge.widen(decision, lambda network: self.record.good_in(
                    network, verdict.time, offset, batch.successes)))  # fmt: skip
            return self.judge.term(decision)

        self._count(batch, convict)
        self.record.tally(batch.successes)
        return decisions

    def knock(self, subject: Subject, port: int, now: Micros) -> list[Decision]:
        """Somebody who is closed for tries again (as the kernel saw); what is prolonged by it."""
        self._tell(Knock(now, subject, port))
        decisions: list[Decision] = []

        def convict(verdict: Verdict, _offset: int) -> Term:
            decision = self.judge.judge(verdict, self.record.good(subject, now, 0, {}))
            decisions.append(decision)
            return self.judge.term(decision)

        self.windows.knock(subject, now, port, convict)
        for decision in decisions:
            self.aftermath.begin(decision)
        return decisions

    def convicted(
        self,
        rule: str,
        subject: Subject,
        time: Micros,
        count: int,
        shares: Sequence[tuple[str, int]],
        identity: str,
    ) -> list[Decision]:
        """The hosts of the fleet have counted enough together. Nothing where this rule holds the
        subject already, does not count with others, or asks for more (a good record)."""
        decisions: list[Decision] = []

        def convict(verdict: Verdict, _offset: int) -> Term:
            good = self.record.good(subject, time, 0, {})
            if not self.judge.convicts(verdict, good):
                return NOT_CONVICTED
            decision = self.judge.judge(verdict, good)
            decisions.append(decision)
            decisions.extend(self.judge.widen(decision, lambda network: self.record.good_in(
                network, time, 0, {})))  # fmt: skip
            return self.judge.term(decision)

        verdict = Verdict(
            rule, subject, time, count, (), shares=tuple(shares), identity=identity
        )  # fmt: skip
        self.windows.sentence(verdict, convict)
        for decision in decisions:
            self.aftermath.begin(decision)
        return decisions

    def accept(self, told: Closing, now: Micros, identity: str = "") -> list[Decision]:
        """Another host has closed for somebody; `identity`: what to call that here. Nothing where
        it is an offence that this host has dealt with, and no worse one there."""
        ruled, until = told.by == "rule", told.until
        known = self.judge.escalations.standing(told.subject, told.ports) if ruled else 0
        known = max(known, self.held(told.rule, told.subject)) if ruled else 0
        again = told.time < known
        if again and until - known <= (until - told.time) // 2:  # its step is no higher than ours
            return []
        good = self.record.good(told.subject, now, 0, {})
        if ruled and "/" in told.subject:
            good = self.record.good_in(told.subject, now, 0, {})
        decision = self.judge.accept(
            elsewhere.closed(
                identity or told.id, told.host, told.rule, told.by, told.subject, told.ports,
                told.time, until, note=told.note, hosts=told.hosts,
            ),
            good, now, again=again,
        )  # fmt: skip
        if ruled and decision.spared != "good record":
            known_here = self.windows.knows(told.rule)
            if known_here:
                self.windows.keep_out(told.rule, told.subject, self.judge.term(decision))
            if not known_here or "/" in told.subject:
                self.judge.escalations.hold(told.subject, told.ports, decision.until)
        self.aftermath.begin(decision)
        return [decision]

    def held(self, rule: str, subject: Subject) -> Micros:
        """Until when a rule holds a subject; 0: it never did."""
        return self.windows.held(rule, subject).until

    def reopened(self, rule: str, subject: Subject, now: Micros) -> None:
        """What a rule held a subject for was said by somebody who is believed no longer."""
        self.windows.forget(subject, rule)
        self.judge.acquit(rule, subject)
        self.aftermath.opened(subject, now)

    def _tell(self, what: Knock | Pardon | Tide) -> None:
        if self.tap is not None:
            self.tap.also(what)

    def _count(self, batch: Batch, convict: Convict) -> None:
        """Count every event; one that can't be counted is set aside, and the rest goes on.

        A daemon that ended here would read the same line after every start, and end again.
        """
        left = iter(batch.events)
        while True:
            try:
                self.windows.tally(batch, convict, left)
                return
            except Exception as error:  # noqa: BLE001  (no line is poison, whatever it does)
                bad = batch.events[-length_hint(left) - 1]
                reason = f"{type(error).__name__}: {error}"
                batch.quarantined.append(Quarantined(bad.offset, bad.kind.detector, reason, b""))

    def pardon(self, subject: Subject, now: Micros, span: Micros = EXEMPT_AFTER_UNBAN) -> None:
        """A person unbanned the subject: nothing counts against it any more, for a while nothing
        comes of what will."""
        self._tell(Pardon(now, subject, span))
        self.windows.forget(subject)
        self.judge.pardon(subject, now, span)
        self.aftermath.opened(subject, now)

    def cut_off(self, subject: Subject, until: Micros, watched: Micros, now: Micros) -> None:
        """A person cut a source off: an offence like any other, the next step is due after it."""
        for rule in self.windows.cut_off(subject, until, watched):
            self.judge.ladder.climb(rule.name, subject, now, rule.forget)

    def let_back(self, subject: Subject, now: Micros, watched: Micros) -> None:
        """A person let a source back: on probation until then, or (0) with nothing against it."""
        if watched:
            self.windows.let_back(subject, now, watched)
        else:
            self.windows.forget(subject)
            self.judge.ladder.pardon(subject)

    def expire(self, now: Micros) -> None:
        """Drop what is over; called now and then with the current time."""
        self.record.expire(now)
        self.judge.expire(now)
        self.aftermath.expire(now)

    @property
    def _stages(self) -> tuple[Stage, ...]:
        """Whatever has a memory."""
        return self.windows, self.record, self.judge, self.guards, self.aftermath, self.drops

    def changes(self) -> Iterator[Change]:
        """What changed since the last call, for a checkpoint."""
        return chain.from_iterable(stage.changes() for stage in self._stages)

    def parts(self) -> set[str]:
        """The parts of memory that belong to somebody; all others may be dropped."""
        rules = [rule.name for rule in self.policy.rules]
        named = {f"{what} {rule}" for what in ("held", "offence") for rule in rules}
        windows = {window.part for window in self.windows.windows}
        fixed = {
            "success", "exempt", "breaker", "convicted", "course", "dropped", "held", "history",
        }  # fmt: skip
        guards = {f"guard {one.name}" for one in self.policy.guards}
        guards |= {f"trigger {one.name}" for one in self.policy.triggers}
        return fixed | named | windows | guards

    def restore(self, changes: Iterator[Change]) -> Sequence[Change]:
        """Take back saved memory; returns what belongs to nobody any more."""
        left = [one for one in changes if not any(stage.restore(one) for stage in self._stages)]
        self.aftermath.settle()
        self.windows.free(self.judge.allow.spared_lastingly)
        return left

    def take_over(self, old: Pipeline) -> None:
        """On reload: counts, good records, offences, open connections and totals are kept."""
        common = self.engines.keys() & old.engines.keys()
        for fresh, before in {(self.engines[name], old.engines[name]) for name in common}:
            fresh.take_over(before)
        self.windows.take_over(old.windows)
        self.record = old.record
        self.record.capacity = self.policy.limits.subjects
        self.judge.take_over(old.judge)
        self.windows.free(self.judge.allow.spared_lastingly)
        self.guards.take_over(old.guards)
        self.totals, self.targets = old.totals, old.targets
        self.aftermath, self.drops = old.aftermath, old.drops
        self.tap = old.tap
