"""Carries decisions out: intend → apply → settle, and keeps the gate as it is wanted.

Touches the ledger and the gate it is given. Wanted state is what the ledger says stands now, plus
what a full disk kept out of it. Limits: a gate that refuses is tried again at every tick.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from typing import Literal, NamedTuple

from tidegate.errors import GateError, LedgerError
from tidegate.gate.port import Gate, Request
from tidegate.ledger.port import Entry, Ledger
from tidegate.model import Action, Ban, Decision, Micros, Outcome, Subject
from tidegate.policy.models import Policy

log = logging.getLogger("tidegate.watcher")

_UNWRITTEN_LIMIT = 10_000
_VERBS: dict[Action, Literal["ban", "unban", "allow", "disallow"]] = {
    "ban": "ban",
    "unban": "unban",
    "allow": "allow",
    "disallow": "disallow",
}


class Result(NamedTuple):
    """What became of one decision, for the person who asked for it."""

    decision: Decision
    outcome: Outcome


class Actor:
    """Between decisions and the world."""

    def __init__(self, ledger: Ledger, gate: Gate) -> None:
        self.ledger = ledger
        self.gate = gate
        self.applied = 0
        self.refused = 0
        self.repaired = 0
        self.out_of_step = ""  # why the gate may not be as wanted; "" while it is
        self._unwritten: list[Decision] = []
        self._unsettled: list[Outcome] = []

    def act(self, decisions: Sequence[Decision], now: Micros) -> list[Result]:
        """Write down, carry out, write down what became of it."""
        fresh = self._intend(decisions)
        outcomes = {one.id: Outcome(one.id, *_without_gate(one, now), now) for one in fresh}
        due = [one for one in fresh if outcomes[one.id].state == "applied"]
        outcomes.update(self._apply(due, now))
        if self.out_of_step:
            # Not settled: the next tick makes the gate as it is wanted, and settles then.
            outcomes_now = [outcomes[one.id] for one in fresh if one not in due]
        else:
            outcomes_now = list(outcomes.values())
        self._settle(outcomes_now)
        for one in fresh:
            self._tell(one, outcomes[one.id])
        return [Result(one, outcomes[one.id]) for one in fresh]

    def resume(self, policy: Policy, now: Micros) -> None:
        """After a start: open what no rule wants any more, then make the gate as it is wanted."""
        self._open_orphans(policy, now)
        self._reconcile("start", now)

    def reloaded(self, before: Policy, after: Policy, now: Micros) -> None:
        """After a reload: bans of removed rules open; the gate's own limits may have changed."""
        self._open_orphans(after, now)
        reload = getattr(self.gate, "reload", None)
        try:
            changed = bool(reload()) if reload is not None else before.allow != after.allow
        except GateError as error:
            self._lost(str(error))
            return
        if changed:
            self._reconcile("reload", now)

    def heed(self, now: Micros) -> None:
        """What the keeper said by itself: repair. Raises GateError if it is gone."""
        notices = getattr(self.gate, "notices", None)
        for notice in notices() if notices is not None else ():
            if notice in ("drift", "resync"):
                self._reconcile(notice, now)

    def tick(self, now: Micros) -> None:
        """Notice drift and repair it; write down what a full disk kept back."""
        if self._unwritten or self._unsettled:
            self._write_again()
        try:
            drifted = self.gate.drifted()
        except GateError as error:
            self._lost(str(error))
            drifted = True
        if drifted or self.out_of_step:
            self._reconcile("drift" if drifted and not self.out_of_step else "retry", now)

    def forget(self, now: Micros) -> None:
        """Keep the ledger within its bounds."""
        try:
            self.ledger.forget(now)
        except LedgerError as error:
            log.warning("ledger: %s", error)

    def wanted(self, now: Micros) -> list[Ban]:
        """Every ban that should stand now."""
        try:
            bans = self.ledger.wanted(now)
        except LedgerError:
            bans = []
        extra = [
            Ban(one.subject, one.ports, one.until)
            for one in self._unwritten
            if one.action == "ban" and one.mode == "enforce" and not one.spared and one.until > now
        ]
        return bans + extra

    def standing(self, now: Micros) -> list[Entry]:
        """The decisions behind the bans in force."""
        return self.ledger.standing(now)

    # -- the parts ------------------------------------------------------------------------------

    def _intend(self, decisions: Sequence[Decision]) -> list[Decision]:
        try:
            return self.ledger.intend(decisions)
        except LedgerError as error:
            log.warning("ledger: %s; the decision is carried out all the same", error)
            known = {one.id for one in self._unwritten}
            fresh = [one for one in decisions if one.id not in known]
            self._unwritten = (self._unwritten + fresh)[-_UNWRITTEN_LIMIT:]
            return fresh

    def _apply(self, due: Sequence[Decision], now: Micros) -> dict[str, Outcome]:
        if not due:
            return {}
        requests = [
            Request(_VERBS[one.action], one.subject, one.ports or _every(one), one.until)
            for one in due
        ]
        try:
            refusals = self.gate.apply(requests, now)
        except GateError as error:
            self._lost(str(error))
            return {one.id: Outcome(one.id, "refused", str(error), now) for one in due}
        self.applied += len(due) - len(refusals)
        self.refused += len(refusals)
        return {
            due[refusal.index].id: Outcome(due[refusal.index].id, "refused", refusal.reason, now)
            for refusal in refusals
        }

    def _settle(self, outcomes: Sequence[Outcome]) -> None:
        try:
            self.ledger.settle(outcomes)
        except LedgerError:
            self._unsettled = [*self._unsettled, *outcomes][-_UNWRITTEN_LIMIT:]

    def _write_again(self) -> None:
        try:
            self.ledger.intend(self._unwritten)
            self.ledger.settle(self._unsettled)
        except LedgerError:
            return
        self._unwritten, self._unsettled = [], []
        log.info("ledger: well again, everything kept back is written down")

    def _reconcile(self, why: str, now: Micros) -> None:
        try:
            bans, allows = self.wanted(now), self.ledger.allowed(now)
            refusals = self.gate.replace(bans, allows, now)
        except (GateError, LedgerError) as error:
            self._lost(str(error))
            return
        self.repaired += why != "start"
        self.refused += len(refusals)
        if self.out_of_step or why != "start" or bans:
            log.info("gate: %d bans in force (%s)", len(bans) - len(refusals), why)
        for refusal in refusals[:5]:
            log.warning("gate: %s refused: %s", bans[refusal.index].subject, refusal.reason)
        self.out_of_step = ""
        refused = {bans[one.index].subject: one.reason for one in refusals if one.index < len(bans)}
        try:
            unsettled = self.ledger.unsettled()
        except LedgerError:
            return
        self._settle([_settled(one, refused, now) for one in unsettled])

    def _lost(self, why: str) -> None:
        if not self.out_of_step:
            log.error("gate: %s; it is tried again every second", why)
        self.out_of_step = why

    def _open_orphans(self, policy: Policy, now: Micros) -> None:
        """Bans of rules that are gone or switched off open at once."""
        live = {rule.name for rule in policy.rules if rule.enabled and rule.mode == "enforce"}
        if policy.mode == "observe":
            live = set()
        try:
            orphans = [
                entry.decision
                for entry in self.ledger.standing(now)
                if entry.decision.by == "rule" and entry.decision.rule not in live
            ]
        except LedgerError as error:
            log.warning("ledger: %s", error)
            return
        self.act([opened(one, "reload", "its rule is gone", now) for one in orphans], now)

    def _tell(self, decision: Decision, outcome: Outcome) -> None:
        scope = "ports " + ",".join(map(str, decision.ports)) if decision.ports else "every port"
        log.info(
            "%s %s (%s) by %s: %s%s",
            decision.action, decision.subject, scope, decision.rule or decision.by,
            outcome.state, f": {outcome.detail}" if outcome.detail else "",
        )  # fmt: skip


def opened(ban: Decision, by: str, why: str, now: Micros) -> Decision:
    """The decision that undoes a ban."""
    return by_hand("unban", ban.subject, ban.ports, now, now, by=by, reason=why, rule=ban.rule)


def by_hand(
    action: Action,
    subject: Subject,
    ports: tuple[int, ...],
    now: Micros,
    until: Micros,
    *,
    by: str,
    reason: str = "",
    note: str = "",
    rule: str = "",
) -> Decision:
    """A decision that no rule took: a person's, or the daemon's own."""
    told = f"{action}\0{subject}\0{ports}\0{now}\0{by}"
    return Decision(
        id=hashlib.sha256(told.encode("utf-8", "surrogateescape")).hexdigest()[:16],
        time=now,
        action=action,
        subject=subject,
        rule=rule,
        ports=ports,
        until=until,
        duration=max(0, until - now),
        count=0,
        step=0,
        mode="enforce",
        reason=reason or "by hand",
        by=by,
        note=note,
    )


def _every(decision: Decision) -> tuple[int, ...] | None:
    """No ports means everything; to open, that is every scope."""
    return None if decision.action == "unban" else ()


def _without_gate(
    decision: Decision, now: Micros
) -> tuple[Literal["applied", "skipped", "observed", "spared"], str]:
    if decision.spared:
        return "spared", decision.spared
    if decision.mode == "observe":
        return "observed", ""
    if decision.action in ("ban", "allow") and decision.until <= now:
        return "skipped", "already over"
    return "applied", ""


def _settled(decision: Decision, refused: dict[Subject, str], now: Micros) -> Outcome:
    state, detail = _without_gate(decision, now)
    if state == "applied" and decision.subject in refused:
        return Outcome(decision.id, "refused", refused[decision.subject], now)
    return Outcome(decision.id, state, detail, now)
