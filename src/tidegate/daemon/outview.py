"""The JSON shapes of quarantine and probation: who is cut off, until when, and what then.

Touches the watcher that it is handed: its policy, its ledger, and its gate's counters. Shapes are
documented in docs/ledger.md. Limits: of whom the caps kept back, the ten that lost most.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from tidegate import subject as subjects
from tidegate.control.call import Call
from tidegate.control.views import entry_view
from tidegate.daemon import asked
from tidegate.daemon.act import Actor
from tidegate.daemon.guarding import Guarding
from tidegate.daemon.halting import told
from tidegate.daemon.pipeline import Pipeline
from tidegate.decision.ladder import step
from tidegate.ledger.port import Entry
from tidegate.model import SECOND, Decision, Micros, Subject
from tidegate.policy.durations import format_duration
from tidegate.text import time_text, well_formed

MOST = 10
LONGEST_LIST = 10_000
_USER = re.compile(r"uid:[0-9]{1,10}", re.ASCII)


class Daemon(Protocol):
    """What is shown: the watcher, as far as it is needed here."""

    pipeline: Pipeline
    actor: Actor


class Halting(Daemon, Protocol):
    """The same, with what became of programs of who is cut off."""

    guarding: Guarding


def named(watcher: Daemon, given: object, user: object = "") -> Subject | None:
    """The source that a person means: an address, a network, `uid:N`, an interface of `[outward]`,
    or a user's name, whose number (`user`) the one who asks has looked up. None: nothing of these.
    """
    if not isinstance(given, str):
        return None
    found = subjects.parse(given)
    spec = watcher.pipeline.policy.outward
    if found is None and spec is not None and given in spec.interfaces:
        found = Subject(f"interface:{given}")
    if found is None and isinstance(user, str) and _USER.fullmatch(user):
        found = Subject(user)
    return found


def source(watcher: Daemon, body: Mapping[str, object]) -> Subject:
    """The same from an order. Raises WrongError."""
    given = body.get("subject")
    found = named(watcher, given, body.get("user", ""))
    if found is None:
        raise asked.WrongError(
            "expected an address, a network, a user or an interface,"
            f" such as 192.0.2.7, www-data or lan0; found {given!r}"
        )
    return found


def standing(watcher: Daemon, now: Micros, subject: Subject | None = None) -> list[Entry]:
    """The decisions behind who is cut off or on probation now."""
    return watcher.actor.ledger.standing(now, subject, "quarantine")


def rows(watcher: Halting, now: Micros) -> Iterator[dict[str, Any]]:
    """Rows for `list`: the shape of a ban, with how each of them stands."""
    for entry in standing(watcher, now):
        yield row(watcher, entry, now)


def row(watcher: Halting, entry: Entry, now: Micros) -> dict[str, Any]:
    """One who is cut off, or on probation: the decision that says so, and what comes next."""
    decision = entry.decision
    cut = decision.action == "quarantine" and decision.until > now
    end = decision.until if cut else decision.watched
    view = entry_view(entry)
    evidence = view.pop("evidence")
    return {
        **view,
        "left": max(0, (end - now) // SECOND),
        "confined": "cut off" if cut else "on probation",
        "next": _next(watcher, decision),
        "programs": told(watcher.guarding.states, decision.subject) if cut else None,
        "evidence": evidence,
    }


def _next(watcher: Daemon, decision: Decision) -> str | None:
    """For how long it is cut off the next time, where its rule is known."""
    rule = watcher.pipeline.policy.rule(decision.rule)
    if rule is None:
        return None
    span = step(rule.ban.ladder, decision.step + 1)
    return format_duration(min(span, watcher.pipeline.policy.limits.longest_ban))


def sources(watcher: Daemon, call: Call, now: Micros) -> tuple[int, Iterator[object]]:
    """Every source that is kept back: cut off, on probation, or capped within the last minutes. By
    how many packets the caps took from each, the most first."""
    limit = asked.number(call.query.get("limit", "20"), LONGEST_LIST)
    state = watcher.actor.confining.state(now)
    found: dict[Subject, dict[str, Any]] = {}

    def at(subject: Subject) -> dict[str, Any]:
        if subject not in found:
            empty = {"confined": None, "until": None, "by": "", "packets": 0}
            found[subject] = {"v": 1, "subject": well_formed(subject), **empty, "capped": []}
        return found[subject]

    for entry in standing(watcher, now):
        decision = entry.decision
        cut = decision.action == "quarantine" and decision.until > now
        at(decision.subject).update(
            confined="cut off" if cut else "on probation",
            until=time_text(decision.until if cut else decision.watched),
            by=well_formed(decision.rule or decision.by),
        )
    for one in state.capped if state is not None else ():
        view = at(one.subject)
        view["packets"] += one.packets
        view["capped"].append(
            {"what": well_formed(one.what), "packets": one.packets, "bytes": one.bytes}
        )
    order = sorted(found, key=lambda one: (-found[one]["packets"], one))
    return 200, iter([found[one] for one in order[:limit]])


def status(watcher: Daemon, now: Micros) -> dict[str, Any] | None:
    """How the outward side is: who is cut off, capped, filtered. None without `[outward]`."""
    spec, state = watcher.pipeline.policy.outward, watcher.actor.confining.state(now)
    if spec is None or state is None:
        return None
    wanted = watcher.actor.confining.wanted(now)
    cut = sum(one.until > now for one in wanted)
    capped = sorted(state.capped, key=lambda one: (-one.packets, one.subject, one.what))
    return {
        "mode": spec.mode,
        "state": well_formed(state.why) or "ok",
        "cut_off": cut,
        "on_probation": len(wanted) - cut,
        "refused": {
            well_formed(who): well_formed(why)
            for who, why in sorted(watcher.actor.confining.refusals.items())
        },
        "capped": len({one.subject for one in capped}),
        "most_capped": [
            {"subject": well_formed(one.subject), "what": well_formed(one.what),
             "packets": one.packets, "bytes": one.bytes}
            for one in capped[:MOST]
        ],
        "filters": [
            {"name": well_formed(one.name), "packets": one.packets, "bytes": one.bytes}
            for one in state.filtered
        ],
    }  # fmt: skip
