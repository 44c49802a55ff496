"""Turns a verdict into a decision: allowlist, breaker, ladder, in this order.

Touches nothing. The same verdicts in the same order give the same decisions, byte for byte.
Limits: bans and quarantines only; what a gate refuses is none of its business.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

from tidegate.decision.allow import Allow, Surroundings
from tidegate.decision.breaker import FAST, Breaker
from tidegate.decision.elsewhere import FLEET, counted_by
from tidegate.decision.escalation import Escalations
from tidegate.decision.ladder import Ladder, step
from tidegate.decision.outward import Sources
from tidegate.model import DAY, HOUR, Change, Decision, Micros, Mode, Subject, Term, Verdict
from tidegate.policy.guards import Level
from tidegate.policy.models import Policy, Rule

MOST_EXEMPT = 100_000
EXEMPT_AFTER_UNBAN: Micros = HOUR


class Note(NamedTuple):
    """Something a person should read: a returned value, like every effect."""

    time: Micros
    level: Literal["info", "warning"]
    text: str


class Judge:
    """Decides what to do about verdicts under one policy."""

    def __init__(self, policy: Policy, capacity: int | None = None) -> None:
        self._policy = policy
        self._rules = {rule.name: rule for rule in policy.rules}
        self._reasons = {
            rule.name: f"{rule.stated}: {', '.join(rule.kinds)}" for rule in policy.rules
        }
        self.allow = Allow(policy.allow, policy.proxies, sources=Sources(policy.outward))
        self.escalations = Escalations(policy.escalation)
        self.ladder = Ladder(capacity or policy.limits.subjects)
        self.breaker = Breaker()
        self.notes: list[Note] = []
        self._fast: set[str] = set()
        self._exempt_dirty: set[Subject] = set()
        self._saved_trip: Micros = 0

    def judge(self, verdict: Verdict, good: bool) -> Decision:
        """The decision about one verdict; `good`: the subject succeeded in the last 30 days."""
        rule = self._rules[verdict.rule]
        time, subject, outward = verdict.time, verdict.subject, rule.ban.outward
        if outward:
            spared = self.allow.spared_outward(subject, time)
        else:
            spared = self.allow.spared(subject, time, good)
        before = 0
        if not spared and not verdict.knocked:  # whose sender can be forged; it starts nothing
            spared = self._broken(rule.name, time, good)
        if verdict.release:  # a score says itself when it will have faded
            duration = verdict.release - time
        else:
            if not spared:
                before = self.ladder.climb(rule.name, subject, time, rule.forget)
                before = self._slowed(rule.name, time, before)
            duration = step(rule.ban.ladder, before)
        duration = min(duration, self._policy.limits.longest_ban)
        reason = self._reasons[rule.name]
        if verdict.watched:
            reason = f"one more on probation; {reason}"
        elif verdict.knocked:
            reason = f"it still tries (port {verdict.knocked}); {reason}"
        elif verdict.shares:
            reason = f"{counted_by(verdict.shares)}; {reason}"
        elif verdict.tide:
            reason = f"{_tightened(rule, verdict.tide)} at tide {verdict.tide}; else {reason}"
        return Decision(
            id=_identity(verdict),
            time=time,
            action="quarantine" if outward else "ban",
            subject=subject,
            rule=rule.name,
            ports=rule.ban.ports,
            until=time + duration,
            duration=duration,
            count=verdict.count,
            step=min(before, len(rule.ban.ladder) - 1),
            mode=self._mode(rule),
            reason=reason,
            spared=spared,
            refs=verdict.refs,
            collateral=good,
            watched=self._watched(rule, time + duration, before) if outward and not spared else 0,
        )

    def accept(self, told: Decision, good: bool, now: Micros, *, again: bool = False) -> Decision:
        """What comes here of a closing by another host's rule, or by a person there. `again`: of an
        offence that is known already, so that it counts as no other."""
        ruled = told.by.startswith(FLEET)
        rule = self._rules.get(told.rule)  # a person has none
        most, before = self._policy.limits.longest_ban, 0
        spared = self.allow.spared(told.subject, max(told.time, now), good)
        if not spared and ruled:
            spared = self._hurts(told, rule, good, now)
        if ruled and not spared and not again:
            spared = self._broken(told.rule, told.time, good)
        if rule is not None and not spared and not again:
            # An offence like any other, so that the next one here takes the next step.
            before = self.ladder.climb(rule.name, told.subject, told.time, rule.forget)
            if not self._slowed(rule.name, told.time, 1):
                most = min(most, step(rule.ban.ladder, 0))
        modes = [self._policy.mode, *([] if rule is None else [rule.mode])]
        duration = min(told.duration, most)
        return replace(
            told,
            until=told.time + duration,
            duration=duration,
            step=0 if rule is None else min(before, len(rule.ban.ladder) - 1),
            mode="observe" if "observe" in modes else "enforce",
            spared=spared,
            collateral=good and ruled,
        )

    def _hurts(self, told: Decision, rule: Rule | None, good: bool, now: Micros) -> str:
        """Why another host's word does not do: a rule that nobody here has asks nothing of a good
        record, and a whole network is not closed where that hurts anybody, as by our own rules."""
        network = "/" in told.subject
        if network and self.allow.pardons(told.subject, now):
            return "exempt"
        asks = network or rule is None or rule.good_record != "ignore"
        return "good record" if good and asks else ""

    def acquit(self, rule: str, subject: Subject) -> None:
        """An offence was none: whoever said so is believed no longer."""
        self.ladder.descend(rule, subject)
        self.escalations.pardon(subject)

    def _broken(self, rule: str, time: Micros, good: bool) -> str:
        """Note a would-be ban; why the breaker spares the subject, if it does."""
        spare, tripped = self.breaker.spares(time, good)
        if tripped:
            self._note(
                time,
                "20 % or more of the last would-be bans hit subjects that succeeded in the last"
                " 30 days: subjects with a good record are spared for 15 minutes."
                f" Look at rule {rule} and at: tidegate history",
            )
        return "good record" if spare else ""

    def _mode(self, rule: Rule) -> Mode:
        modes = [rule.mode, self._policy.mode]
        if rule.ban.outward and self._policy.outward is not None:
            modes.append(self._policy.outward.mode)
        return "observe" if "observe" in modes else "enforce"

    def _watched(self, rule: Rule, until: Micros, before: int) -> Micros:
        """Until when somebody is on probation who is let go then: as long as the next step."""
        following = step(rule.ban.ladder, before + 1)
        return until + min(following, self._policy.limits.longest_ban)

    def widen(self, decision: Decision, good_in: Callable[[Subject], bool]) -> Iterator[Decision]:
        """The closings of whole networks that a decision makes due, one level after the other.

        `good_in`: whether anybody in a network has a good record.
        """

        if decision.action != "ban":  # whose neighbours do the same is cut off by itself
            return

        def hurts(network: Subject) -> bool:
            return good_in(network) or self.allow.pardons(network, decision.time)

        wider = self.escalations.due(decision, hurts)
        while wider is not None:
            spared = self.allow.spared(wider.subject, wider.time, False)
            wider = replace(wider, spared=spared)
            yield wider
            wider = None if spared else self.escalations.due(wider, hurts)

    def convicts(self, verdict: Verdict, good: bool) -> bool:
        """Whether the rule's condition holds for somebody with such a record, too."""
        terms = self._rules[verdict.rule].good_record
        return not good or terms == "ignore" or (terms == "double" and verdict.twice)

    def term(self, decision: Decision) -> Term:
        """How long the rule holds the subject for a decision, and watches it after that."""
        rule = self._rules[decision.rule]
        until, most = decision.until, decision.until + min(decision.duration, DAY)
        if not (rule.probation or rule.ban.outward) or decision.spared:
            return Term(until, 0, most)
        return Term(until, self._watched(rule, until, decision.step), most)

    def look(self, surroundings: Surroundings) -> None:
        """Take in what the host looks like now."""
        self.allow.look(surroundings)

    def suspect_proxy(self, who: Subject, time: Micros) -> None:
        """Say that somebody passes on the requests of many without being declared as a proxy."""
        self._note(
            time,
            f"{who} passes on requests of many addresses: if it is your proxy or CDN, declare it"
            " (proxies.addresses), else its visitors are blamed together",
        )

    def pardon(self, subject: Subject, now: Micros, span: Micros = EXEMPT_AFTER_UNBAN) -> None:
        """A person unbanned the subject: forget its offences and leave it alone for a while."""
        self.ladder.pardon(subject)
        self.escalations.pardon(subject)
        self.exempt(subject, now + span)

    def exempt(self, subject: Subject, until: Micros) -> None:
        """Leave a subject alone until a time (0: no longer)."""
        if until:
            self.allow.exempt[subject] = until
            if len(self.allow.exempt) > MOST_EXEMPT:
                self.exempt(next(iter(self.allow.exempt)), 0)
        else:
            self.allow.exempt.pop(subject, None)
        self._exempt_dirty.add(subject)

    def expire(self, now: Micros) -> None:
        """Drop exemptions that are over."""
        for subject in [one for one, until in self.allow.exempt.items() if until + DAY < now]:
            self.exempt(subject, 0)
        self.escalations.expire(now)

    def changes(self) -> Iterator[Change]:
        """What changed since the last call, for a checkpoint."""
        yield from self.ladder.changes()
        yield from self.escalations.changes()
        dirty, self._exempt_dirty = self._exempt_dirty, set()
        for subject in sorted(dirty):
            until = self.allow.exempt.get(subject)
            yield Change("exempt", subject, until.to_bytes(8) if until else None)
        if self.breaker.tripped_until != self._saved_trip:
            self._saved_trip = self.breaker.tripped_until
            yield Change("breaker", "tripped", self._saved_trip.to_bytes(8))

    def restore(self, change: Change) -> bool:
        """Take back one saved change; False if it is not ours."""
        if change.value is None:
            return False
        if change.part == "exempt":
            self.allow.exempt[Subject(change.key)] = int.from_bytes(change.value[:8])
            return True
        if change.part == "breaker":
            self._saved_trip = int.from_bytes(change.value[:8])
            self.breaker.restore(self._saved_trip)
            return True
        return self.ladder.restore(change) or self.escalations.restore(change)

    def take_over(self, old: Judge) -> None:
        """On reload: offences, exemptions, breaker and surroundings are kept."""
        self.ladder, self.breaker, self._saved_trip = old.ladder, old.breaker, old._saved_trip
        self.escalations.take_over(old.escalations)
        self.ladder.capacity = self._policy.limits.subjects
        self.allow.exempt, self._exempt_dirty = old.allow.exempt, old._exempt_dirty
        self.allow.look(old.allow.surroundings)

    def take_notes(self) -> Sequence[Note]:
        """The notes since the last call."""
        notes, self.notes = self.notes, []
        return notes

    def _slowed(self, rule: str, time: Micros, before: int) -> int:
        if not self.breaker.fast(rule, time):
            self._fast.discard(rule)
            return before
        if rule not in self._fast:
            self._fast.add(rule)
            self._note(
                time,
                f"rule {rule} bans more than {FAST} subjects a minute: only the first step of its"
                " ladder is taken until it calms down",
            )
        return 0

    def _note(self, time: Micros, text: str) -> None:
        self.notes.append(Note(time, "warning", text))


def _tightened(rule: Rule, tide: Level) -> str:
    number = rule.threshold_at(tide)
    over = rule.score is not None and rule.score.over
    return f"{'more than ' if over else ''}{number} {'is' if number == 1 else 'are'} enough"


def _identity(verdict: Verdict) -> str:
    if verdict.identity:
        return verdict.identity
    last = verdict.refs[-1]
    told = f"{verdict.rule}\0{verdict.subject}\0{last.time}\0{last.offset}"
    return hashlib.sha256(told.encode("utf-8", "surrogateescape")).hexdigest()[:16]
