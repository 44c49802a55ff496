"""Decisions of this host as all hosts may hear them, and convictions as the watcher hears them.

Touches nothing. Limits: what is only this host's own (a `uid:33`, something spared, observed or
taken over from another) is left out; no ban that is said lasts longer than all hosts remember.
"""

from __future__ import annotations

from tidegate.fleet import port
from tidegate.fleet.decisions import saying
from tidegate.fleet.decisions.decisions import Entry, Limits
from tidegate.fleet.fields import rounded
from tidegate.fleet.trust import cases
from tidegate.model import Decision, Micros

_SECOND_HAND = "fleet:"
_LONGEST = Limits().longest


def entry_of(decision: Decision, longest: Micros = _LONGEST) -> Entry | None:
    """What to say of a decision; None: nothing."""
    if decision.mode != "enforce" or decision.spared or decision.by.startswith(_SECOND_HAND):
        return None
    by_rule = decision.by == "rule"
    ports = tuple(sorted(set(decision.ports) - {0}))
    time = rounded(decision.time)
    if decision.action == "ban":
        until = min(decision.until, time + longest)
        if rounded(until) <= time:
            return None
    elif decision.action == "unban" and not by_rule:
        until = 0
    else:
        return None
    return Entry(
        "", "ban" if until else "unban", "", time, decision.subject, ports, until,
        decision.rule if by_rule else "", decision.by, note=decision.note,
    )  # fmt: skip


def proven(entry: Entry, conviction: cases.Conviction) -> Entry:
    """The same with what its claims say of it, as far as that finds room."""
    shares = conviction.shares
    if not shares or len(shares) > saying.MAX_SHARES or any(count <= 0 for _host, count in shares):
        return entry
    proof = conviction.proof if len(conviction.proof) <= saying.MAX_PROOF else ()
    return entry._replace(shares=shares, needed=max(1, conviction.needed), proof=proof)


def told(conviction: cases.Conviction) -> port.Conviction:
    """A conviction, as the watcher is told of it."""
    return port.Conviction(
        conviction.id, conviction.rule, conviction.subject, conviction.time, conviction.count,
        conviction.shares, conviction.first or conviction.time,
    )  # fmt: skip


def taken_back(fallen: cases.TakeBack, now: Micros) -> port.Opening:
    """What a conviction has caused is to be undone, since hosts that it needed were revoked."""
    hosts = ", ".join(fallen.hosts)
    return port.Opening(fallen.id, fallen.subject, (), fallen.rule, "revoked", hosts, "rule", now)
