"""Keeps who is cut off, and who is on probation, in step between ledger and outward gate.

Touches the ledger and the gate it is given. The gate is told all of it each time: after a decision,
at a start, after drift, and every 30 s, so that nothing that was missed stays so.
Limits: while the ledger can't be read, those known last stay as they are.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Literal

from tidegate.daemon.backlog import Backlog
from tidegate.daemon.orders import by_hand
from tidegate.decision.allow import Allow
from tidegate.decision.outward import Sources
from tidegate.errors import GateError, LedgerError
from tidegate.gate.outward.port import OutwardState
from tidegate.gate.port import Gate, Refusal
from tidegate.ledger.port import Ledger
from tidegate.model import SECOND, Action, Confined, Decision, Micros, Outcome, Subject
from tidegate.policy.models import Policy

log = logging.getLogger("tidegate.watcher")

AGAIN_EVERY: Micros = 30 * SECOND
ACTIONS: frozenset[Action] = frozenset({"quarantine", "release"})


class Confining:
    """Between quarantines and the gate. `out_of_step`: why the gate may not be as wanted ("" while
    it is); `refusals`: whom it would not take, and why."""

    def __init__(self, ledger: Ledger, gate: Gate, backlog: Backlog) -> None:
        self.ledger = ledger
        self.gate = gate
        self.out_of_step = ""
        self.refusals: dict[Subject, str] = {}
        self._backlog = backlog
        self._governed = False  # whether policy has [outward]
        self._longest: Micros = 0
        self._orphaned: Policy | None = None  # its orphans could not be written down yet
        self._known: list[Confined] = []
        self._said: Micros = 0

    def govern(self, policy: Policy, now: Micros) -> None:
        """At a start and after a reload: let back whom this policy would not cut off, then have
        the gate as it is wanted."""
        was, self._governed = self._governed, policy.outward is not None
        self._longest = policy.limits.longest_ban
        self._release_orphans(policy, now)
        if self._governed or was:
            self.reconcile(now)

    def apply(self, due: Sequence[Decision], now: Micros) -> dict[str, Outcome]:
        """Carry out quarantines and releases, which are written down; what the gate refused."""
        refused: dict[Subject, str] = {}
        if due:
            self._confine(now, due)
            refused = {one.subject: self.out_of_step or self.refusals.get(one.subject, "")
                       for one in due}  # fmt: skip
        return {
            one.id: Outcome(one.id, "refused", refused[one.subject], now)
            for one in due
            if refused[one.subject] and (self.out_of_step or one.action == "quarantine")
        }

    def reconcile(self, now: Micros) -> None:
        """Have the gate as it is wanted, and settle what a crash or a lost gate left open."""
        self._confine(now)
        if self.out_of_step:
            return
        try:
            unsettled = [one for one in self.ledger.unsettled() if one.action in ACTIONS]
            self.ledger.settle([self._settled(one, now) for one in unsettled])
        except LedgerError:
            return  # said where the ledger is written; these are settled the next time

    def tick(self, now: Micros, drifted: bool) -> None:
        """Say it again when it is time, or may not hold."""
        if self._orphaned is not None:
            self._release_orphans(self._orphaned, now)
        if not self._governed or getattr(self.gate, "off", False):
            return
        if drifted or self.out_of_step or not 0 <= now - self._said < AGAIN_EVERY:
            self.reconcile(now)

    def wanted(self, now: Micros) -> list[Confined]:
        """Everybody who should be cut off or watched now."""
        try:
            found = self.ledger.quarantined(now)
        except LedgerError:
            found = [one for one in self._known if max(one.until, one.watched) > now]
        return self._backlog.confined(found, now)

    def cut_users(self, now: Micros) -> dict[int, Micros]:
        """The users of this host who are cut off by what the gate was last told, until when."""
        return {
            int(one.subject.removeprefix("uid:")): one.until
            for one in self._known
            if one.until > now and one.subject.startswith("uid:")
        }

    def state(self, now: Micros) -> OutwardState | None:
        """How the kernel's side stands; None without [outward]."""
        if not self._governed:
            return None
        told = getattr(self.gate, "outward_state", None)
        if told is None:
            return OutwardState("there is no outward gate here")
        try:
            found: OutwardState = told(now)
        except GateError as error:
            return OutwardState(str(error))
        return found._replace(why=found.why or self.out_of_step)

    # -- the parts ------------------------------------------------------------------------------

    def _confine(self, now: Micros, due: Sequence[Decision] = ()) -> None:
        wanted = self.wanted(now)
        latest = now + self._longest  # no end later than that is taken; it moves along with time
        told = [Confined(who, *(min(end, latest) for end in ends)) for who, *ends in wanted]
        confine = getattr(self.gate, "confine", None)
        try:
            if confine is None:
                raise GateError("there is no outward gate here")
            refusals: list[Refusal] = confine(told, now)
        except GateError as error:
            self._lost(str(error))
            return
        fresh = {wanted[one.index].subject: one.reason for one in refusals}
        for subject, reason in fresh.items():
            if self.refusals.get(subject) != reason and all(subject != one.subject for one in due):
                log.warning("outward: %s refused: %s", subject, reason)
        if self.out_of_step:
            log.info("outward: %d sources are cut off or watched, as wanted", len(wanted))
        self._known, self._said, self.refusals, self.out_of_step = wanted, now, fresh, ""

    def _settled(self, decision: Decision, now: Micros) -> Outcome:
        state, detail = without_gate(decision, now)
        reason = self.refusals.get(decision.subject)
        if state == "applied" and reason and decision.action == "quarantine":
            return Outcome(decision.id, "refused", reason, now)
        return Outcome(decision.id, state, detail, now)

    def _lost(self, why: str) -> None:
        if self.out_of_step != why:
            log.error("outward: %s; it is tried again every second", why)
        self.out_of_step = why

    def _release_orphans(self, policy: Policy, now: Micros) -> None:
        """Write down that those are let back whom no rule of this policy would have cut off."""
        self._orphaned = policy
        live = _live(policy)
        allow = Allow(policy.allow, policy.proxies, sources=Sources(policy.outward))
        try:
            while ends := [
                end
                for entry in self.ledger.standing(now, action="quarantine")
                if (end := _let_back(entry.decision, live, allow, now))
            ]:
                if not self.ledger.intend(ends):
                    break
                self.ledger.settle([Outcome(one.id, "applied", "", now) for one in ends])
                for one in ends:
                    log.info("release %s: %s", one.subject, one.reason)
            self._orphaned = None
        except LedgerError as error:
            log.warning("ledger: %s; whom policy spares now is let back when it is well", error)


def without_gate(
    decision: Decision, now: Micros
) -> tuple[Literal["applied", "skipped", "observed", "spared"], str]:
    """What becomes of a decision as far as no gate is asked; "applied": one has to be."""
    if decision.spared:
        return "spared", decision.spared
    if decision.mode == "observe":
        return "observed", ""
    end = max(decision.until, decision.watched)
    if decision.action in ("ban", "allow", "quarantine") and end <= now:
        return "skipped", "already over"
    return "applied", ""


def observes(policy: Policy) -> bool:
    """Whether nothing that leaves is dropped under this policy, whoever asks for it."""
    return "observe" in (policy.mode, policy.outward.mode if policy.outward else "")


def _live(policy: Policy) -> set[str] | None:
    """The rules that cut off for real; None: nobody does, not even a person."""
    if observes(policy):
        return None
    rules = (one for one in policy.rules if one.enabled and one.ban.outward)
    return {one.name for one in rules if one.mode == "enforce"}


def _let_back(
    decision: Decision, live: set[str] | None, allow: Allow, now: Micros
) -> Decision | None:
    """What undoes a quarantine that this policy would not make; None where it would."""
    reason = allow.spared_lastingly(decision.subject)
    if live is None:
        reason = reason or "the policy only observes"
    elif not reason and decision.by == "rule" and decision.rule not in live:
        reason = "its rule is gone"
    if not reason:
        return None
    rule = decision.rule if decision.by == "rule" else ""
    return by_hand("release", decision.subject, (), now, now, by="reload", reason=reason, rule=rule)
