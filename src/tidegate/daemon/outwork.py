"""Does what people order about quarantine: cut a source off, let it back, free it for good.

Touches the watcher it is given. Let back means on probation; `trust` ends that too.
Limits: who may be cut off is for policy to say, also where a person asks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from tidegate import subject as subjects
from tidegate.control.call import Call
from tidegate.control.views import decision_view
from tidegate.daemon import asked, fleetview, outview
from tidegate.daemon.act import Actor, Result
from tidegate.daemon.confining import observes
from tidegate.daemon.fleeting import Fleeting
from tidegate.daemon.orders import by_hand, on_probation
from tidegate.daemon.pipeline import Pipeline
from tidegate.daemon.wiring import Wiring
from tidegate.ledger.port import Entry
from tidegate.model import HOUR, Decision, Micros, Subject
from tidegate.policy.durations import format_duration

_WHY = {
    "no [outward] in the policy": "there is no [outward] in the policy; see docs/outward.md",
    "no source of [outward]": "it is none of the sources that [outward] names in the policy: users"
    " of this host, single addresses (IPv6: a /64), a customer's whole network, interfaces",
    "busy": "policy leaves it alone (outward.busy)",
    "allowlist": "policy leaves it alone (allow.addresses)",
    "root": "the host itself would be",
}
"""Why somebody can't be cut off, so that a person knows where that is said."""


class Daemon(Protocol):
    """What the orders are carried out with: the watcher, as far as they need it."""

    pipeline: Pipeline
    actor: Actor
    wiring: Wiring
    fleeting: Fleeting

    def checkpoint(self, now: Micros) -> None:
        """Save now."""


def quarantine(watcher: Daemon, call: Call, now: Micros) -> tuple[int, object]:
    """Cut a source off for a while, by hand; then it is on probation for as long again."""
    subject, span = outview.source(watcher, call.body), asked.span(call.body, "1h")
    limit = watcher.pipeline.policy.limits.longest_ban
    if span > limit:
        raise asked.WrongError(f"for: at most {format_duration(limit)} (limits.longest-ban)")
    if watcher.wiring.observe:
        raise asked.WrongError("nobody is cut off here: the daemon only observes (--observe)")
    if observes(watcher.pipeline.policy):
        raise asked.WrongError(
            'nobody is cut off here: the policy only observes (mode, or outward.mode, is "observe")'
        )
    judge = watcher.pipeline.judge
    words = {"by": call.peer.label, "note": asked.note(call.body)}
    decisions = []
    if judge.allow.spared_outward(subject, now) == "exempt":  # the last word of a person holds
        judge.exempt(subject, 0)
        if any(one.subject == subject for one in watcher.wiring.ledger.allowed(now)):
            decisions.append(by_hand("disallow", subject, (), now, now, **words))
    if spared := judge.allow.spared_outward(subject, now):
        raise asked.WrongError(f"{subject} can't be cut off: {_WHY.get(spared, spared)}")
    until, watched = now + span, now + 2 * span
    cut = by_hand("quarantine", subject, (), now, until, **words)
    decisions.append(on_probation(cut, watched))
    status, answer = done(watcher, decisions, now)
    watcher.pipeline.cut_off(subject, until, watched, now)
    watcher.checkpoint(now)
    return status, answer


def release(watcher: Daemon, call: Call, now: Micros) -> tuple[int, object]:
    """Let a source back, on probation for as long as its rule would have it, or free it."""
    trust = call.body.get("trust") is True
    if call.body.get("all") is True:
        chosen = [
            entry
            for entry in outview.standing(watcher, now)
            if trust or _is_cut(entry.decision, now)
        ]
    else:
        subject = outview.source(watcher, call.body)
        chosen = [
            entry
            for entry in outview.standing(watcher, now, subject)
            if entry.decision.subject == subject
        ]
        if said := _nothing_to_do(watcher, subject, chosen, trust, now):
            return 200, {"v": 1, "results": [], "notes": [said]}
    words = {"by": call.peer.label, "note": asked.note(call.body)}
    decisions = []
    for entry in chosen:
        subject = entry.decision.subject
        watched = 0 if trust else now + _probation(entry.decision)
        watcher.pipeline.let_back(subject, now, watched)
        back = by_hand("release", subject, (), now, now, **words)
        decisions.append(on_probation(back, watched))
    return done(watcher, decisions, now)


def freed(watcher: Daemon, subject: Subject, by: str, note: str, now: Micros) -> list[Decision]:
    """What lets go of whoever a person unbans or allows, where that one is cut off or watched, or
    somebody inside it is."""
    wide = subjects.network(subject)
    found = []
    for entry in outview.standing(watcher, now, subject):
        own = subjects.network(entry.decision.subject)
        inside = wide is not None and own is not None and wide.holds(own)
        if entry.decision.subject == subject or inside:
            who = entry.decision.subject
            watcher.pipeline.let_back(who, now, 0)
            found.append(by_hand("release", who, (), now, now, by=by, note=note))
    return found


def leave_alone(
    watcher: Daemon, subject: Subject, until: Micros, by: str, note: str, now: Micros
) -> tuple[int, dict[str, Any]]:
    """A person unbans or allows a user or an interface, which no ban concerns: it is let go, and
    left alone until then."""
    if spared := watcher.pipeline.judge.allow.spared_lastingly(subject):
        raise asked.WrongError(f"{subject} is never cut off: {_WHY.get(spared, spared)}")
    watcher.pipeline.let_back(subject, now, 0)
    watcher.pipeline.judge.exempt(subject, until)
    reason = f"by hand; left alone for {format_duration(until - now)}"
    decision = by_hand("release", subject, (), now, now, by=by, note=note, reason=reason)
    return done(watcher, [decision], now)


def done(
    watcher: Daemon, decisions: Sequence[Decision], now: Micros, *, local: bool = True
) -> tuple[int, dict[str, Any]]:
    """Carry decisions of a person out, save, and say what became of each; unless `local`, all
    hosts of the fleet do the same.

    Saved before as well: if we die in between, whoever is let back is looked at again, and whoever
    is not yet cut off is not taken for one who is.
    """
    watcher.checkpoint(now)
    results = watcher.actor.act(decisions, now)
    watcher.checkpoint(now)
    answer: dict[str, Any] = {"v": 1, "results": [_result_view(one) for one in results]}
    if not local:
        watcher.fleeting.said(results)
        answer["fleet"] = fleetview.noted(watcher)
    return 200, answer


def _result_view(result: Result) -> dict[str, Any]:
    view = decision_view(result.decision)
    view["state"], view["detail"] = result.outcome.state, result.outcome.detail
    return view


def _nothing_to_do(
    watcher: Daemon, subject: Subject, chosen: Sequence[Entry], trust: bool, now: Micros
) -> str:
    """Why there is nothing to release, and what to type instead; "" if there is. No error: it is
    as it was wanted, and an order may be given twice."""
    if not chosen:
        around = [entry.decision.subject for entry in outview.standing(watcher, now, subject)]
        hint = f"; {around[0]} is: tidegate release {around[0]}" if around else ""
        return f"{subject} is neither cut off nor on probation{hint}"
    if not trust and not _is_cut(chosen[0].decision, now):
        return (
            f"{subject} is let back already, and on probation;"
            f" to end that too: tidegate release {subject} --trust"
        )
    return ""


def _is_cut(decision: Decision, now: Micros) -> bool:
    return decision.action == "quarantine" and decision.until > now


def _probation(decision: Decision) -> Micros:
    """For how long somebody is watched after a quarantine."""
    return max(decision.watched - decision.until, 0) or HOUR
