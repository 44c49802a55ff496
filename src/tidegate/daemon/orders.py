"""Decisions that no rule took: a person's, and the daemon's own.

Touches nothing. Their id is a hash of who wanted what when, so that two orders are two decisions.
Limits: whether they may be carried out is for the answerer and the keeper to say.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

from tidegate.model import Action, Decision, Micros, Subject


def opened(ban: Decision, by: str, why: str, now: Micros) -> Decision:
    """The decision that undoes a ban."""
    return by_hand("unban", ban.subject, ban.ports, now, now, by=by, reason=why, rule=ban.rule)


def on_probation(decision: Decision, watched: Micros) -> Decision:
    """The same decision, with the source under a tighter cap until then."""
    return replace(decision, watched=watched)


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
    told = f"{action}\0{subject}\0{ports}\0{now}\0{by}\0{rule}"
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
