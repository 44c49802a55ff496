"""Carries decisions out: intend → apply → settle, and keeps the gate as it is wanted.

Touches the ledger and the gate it is given. Wanted state is what the ledger says stands now, plus
what a full disk kept out of it. Limits: a gate that refuses is tried again at every tick.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from typing import Literal, NamedTuple

from tidegate.daemon.backlog import Backlog
from tidegate.daemon.confining import ACTIONS, Confining, without_gate
from tidegate.daemon.orders import by_hand, opened
from tidegate.errors import GateError, LedgerError
from tidegate.gate.port import Gate, Request
from tidegate.ledger.port import AT_ONCE, Entry, Ledger
from tidegate.model import Action, Ban, Decision, Micros, Outcome, Subject
from tidegate.policy.models import Policy

log = logging.getLogger("tidegate.watcher")

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
        self._backlog = Backlog()
        self.confining = Confining(ledger, gate, self._backlog)
        self._orphaned: Policy | None = None  # bans of rules that it lacks could not be opened yet

    def act(self, decisions: Sequence[Decision], now: Micros) -> list[Result]:
        """Write down, carry out, write down what became of it."""
        fresh = self._intend(decisions)
        outcomes = {one.id: Outcome(one.id, *without_gate(one, now), now) for one in fresh}
        due = [one for one in fresh if outcomes[one.id].state == "applied"]
        outward = [one for one in due if one.action in ACTIONS]
        inward = [one for one in due if one.action not in ACTIONS]
        outcomes.update(self.confining.apply(outward, now))
        outcomes.update(self._apply(inward, now))
        # Not settled: the next tick makes the gate as it is wanted, and settles then.
        open_ = {one.id for one in inward} if self.out_of_step else set()
        open_ |= {one.id for one in outward} if self.confining.out_of_step else set()
        self._settle([one for one in outcomes.values() if one.id not in open_])
        for one in fresh:
            self._tell(one, outcomes[one.id])
        return [Result(one, outcomes[one.id]) for one in fresh]

    def undo(self, ends: Sequence[Decision], now: Micros) -> None:
        """Write down undoings that are not of everything, then make the gate as it is wanted, since
        somebody else may want the very same closed. Raises LedgerError; then nothing is undone."""
        fresh = self.ledger.intend(ends)
        if fresh:
            self._reconcile("opened", now)
        for one in fresh:
            log.info("unban %s by %s: %s", one.subject, one.by, one.reason)

    def resume(self, policy: Policy, now: Micros) -> None:
        """After a start: open what no rule wants any more, then make the gate as it is wanted."""
        self._open_orphans(policy, now)
        self._open_theirs(policy, now)
        self._reconcile("start", now)
        self.confining.govern(policy, now)

    def reload(self, before: Policy, after: Policy) -> bool:
        """Have the gate read its own limits anew; whether it has to be made as wanted after that.

        Raises GateError if they are faulty: then it keeps to the old ones.
        """
        reload = getattr(self.gate, "reload", None)
        return bool(reload()) if reload is not None else before.allow != after.allow

    def reloaded(self, after: Policy, changed: bool, now: Micros) -> None:
        """After a reload: bans of removed rules open; the gate's own limits may have changed."""
        orphans = self._open_orphans(after, now)
        if self._open_theirs(after, now) or orphans or changed:
            self._reconcile("reload", now)
        self.confining.govern(after, now)

    def heed(self, now: Micros) -> None:
        """What the keeper said by itself: repair. Raises GateError if it is gone."""
        notices = getattr(self.gate, "notices", None)
        for notice in notices() if notices is not None else ():
            if notice in ("drift", "resync"):
                self._reconcile(notice, now)

    def tick(self, now: Micros) -> None:
        """Notice drift and repair it; write down what a full disk kept back."""
        if self._backlog:
            self._backlog.write(self.ledger)
        if self._orphaned is not None and self._open_orphans(self._orphaned, now):
            self._reconcile("reload", now)
        try:
            drifted = self.gate.drifted()
        except GateError as error:
            self._lost(str(error))
            drifted = True
        if drifted or self.out_of_step:
            self._reconcile("drift" if drifted and not self.out_of_step else "retry", now)
        self.confining.tick(now, False)

    def forget(self, now: Micros, parts: Collection[str]) -> bool:
        """Keep the ledger within its bounds; `parts` of memory are known. Whether there is more."""
        try:
            return self.ledger.forget(now, parts) >= AT_ONCE
        except LedgerError as error:
            log.warning("ledger: %s", error)
            return False

    def wanted(self, now: Micros) -> list[Ban]:
        """Every ban that should stand now. Raises LedgerError where nobody can know."""
        return self._backlog.over("ban", self.ledger.wanted(now), now)

    def in_force(self, now: Micros) -> int | None:
        """How many bans should stand now; None while the ledger can't be read."""
        try:
            return len(self.wanted(now))
        except LedgerError:
            return None

    def standing(self, now: Micros, subject: Subject | None = None) -> list[Entry]:
        """The decisions behind the bans in force, about one subject if given."""
        return self.ledger.standing(now, subject)

    # -- the parts ------------------------------------------------------------------------------

    def _intend(self, decisions: Sequence[Decision]) -> list[Decision]:
        try:
            return self.ledger.intend(decisions)
        except LedgerError as error:
            log.warning("ledger: %s; the decision is carried out all the same", error)
            return self._backlog.keep(decisions)

    def _apply(self, due: Sequence[Decision], now: Micros) -> dict[str, Outcome]:
        if not due:
            return {}
        ends = self._ends([one.subject for one in due if one.action == "ban"], now)
        requests, owners = [], []
        for one in due:
            if one.action == "allow":  # it undoes what is closed, also after its own end
                requests.append(Request("unban", one.subject, None, now))
                owners.append(one)
            until = max(one.until, ends.get((one.subject, one.ports), 0))
            ports = None if one.action == "unban" and not one.ports else one.ports
            requests.append(Request(_VERBS[one.action], one.subject, ports, until))
            owners.append(one)
        try:
            refusals = self.gate.apply(requests, now)
        except GateError as error:
            self._lost(str(error))
            return {one.id: Outcome(one.id, "refused", str(error), now) for one in due}
        self.applied += len(due) - len(refusals)
        self.refused += len(refusals)
        return {
            owners[index].id: Outcome(owners[index].id, "refused", reason, now)
            for index, reason in refusals
        }

    def _ends(
        self, subjects: Sequence[Subject], now: Micros
    ) -> dict[tuple[Subject, tuple[int, ...]], Micros]:
        """When their bans end, by the ledger: a second ban never shortens the first."""
        try:
            bans = self.ledger.wanted(now, subjects) if subjects else []
        except LedgerError:
            bans = []
        bans = self._backlog.over("ban", bans, now)
        return {(ban.subject, ban.ports): ban.until for ban in bans}

    def _settle(self, outcomes: Sequence[Outcome]) -> None:
        try:
            self.ledger.settle(outcomes)
        except LedgerError:
            self._backlog.keep_outcomes(outcomes)

    def _reconcile(self, why: str, now: Micros) -> None:
        try:
            bans = self.wanted(now)
            allows = self._backlog.over("allow", self.ledger.allowed(now), now)
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
        self.confining.tick(now, True)  # what struck the one table may have struck the other
        refused = {bans[one.index].subject: one.reason for one in refusals if one.index < len(bans)}
        try:
            unsettled = [one for one in self.ledger.unsettled() if one.action in _VERBS]
        except LedgerError:
            return
        self._settle([_settled(one, refused, now) for one in unsettled])

    def _lost(self, why: str) -> None:
        if not self.out_of_step:
            log.error("gate: %s; it is tried again every second", why)
        self.out_of_step = why

    def _open_orphans(self, policy: Policy, now: Micros) -> bool:
        """Write down that bans of rules that are gone or switched off are over.

        Whether there were any: then the gate has to be made as wanted, since another rule may
        still want the very same closed.
        """
        live = {rule.name for rule in policy.rules if rule.enabled and rule.mode == "enforce"}
        if policy.mode == "observe":
            live = set()
        self._orphaned, found = policy, False
        try:
            # Again, because behind the longest ban of a subject another orphan may stand.
            while not self.ledger.ruling(now) <= live and (
                orphans := [
                    entry.decision
                    for entry in self.ledger.standing(now)
                    if entry.decision.by == "rule" and entry.decision.rule not in live
                ]
            ):
                ends = [opened(one, "reload", "its rule is gone", now) for one in orphans]
                if not self.ledger.intend(ends):
                    break
                found = True
                for one in ends:
                    log.info("unban %s: rule %s is gone", one.subject, one.rule)
            self._orphaned = None
        except LedgerError as error:
            log.warning("ledger: %s; bans of removed rules open when it is well again", error)
        return found

    def _open_theirs(self, policy: Policy, now: Micros) -> bool:
        """The same for what other hosts of the fleet have closed, where policy takes none of it."""
        if policy.mode != "observe" and (policy.fleet is None or policy.fleet.bans):
            return False
        found = False
        try:
            while ends := [
                by_hand(
                    "unban", one.subject, one.ports, now, now, by=one.by, rule=one.rule,
                    reason="policy takes no bans of other hosts",
                )
                for one in (entry.decision for entry in self.ledger.standing(now))
                if one.by.startswith("fleet:")
            ]:  # fmt: skip
                found = True
                if not self.ledger.intend(ends):
                    break
        except LedgerError as error:
            log.warning("ledger: %s; what other hosts closed ends by itself", error)
        return found

    def _tell(self, decision: Decision, outcome: Outcome) -> None:
        scope = "ports " + ",".join(map(str, decision.ports)) if decision.ports else "every port"
        log.info(
            "%s %s (%s) by %s: %s%s",
            decision.action, decision.subject, scope, _whose(decision),
            outcome.state, f": {outcome.detail}" if outcome.detail else "",
        )  # fmt: skip


def _whose(decision: Decision) -> str:
    """Who decided: a rule, a person; of other hosts of the fleet also which."""
    theirs = decision.rule and decision.by.startswith("fleet:")
    return f"{decision.rule} ({decision.by})" if theirs else decision.rule or decision.by


def _settled(decision: Decision, refused: dict[Subject, str], now: Micros) -> Outcome:
    state, detail = without_gate(decision, now)
    if state == "applied" and decision.subject in refused:
        return Outcome(decision.id, "refused", refused[decision.subject], now)
    return Outcome(decision.id, state, detail, now)
