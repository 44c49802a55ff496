"""The JSON shapes of the fleet: how the conversation is, its hosts, and what they say of a subject.

Touches the watcher that it is handed. Shapes are documented in docs/ledger.md.
Limits: what other hosts say is well formed and bounded by the fleet's process, and shown as theirs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from tidegate import subject as subjects
from tidegate.control.call import Call
from tidegate.daemon.fleeting import Fleeting, Later
from tidegate.daemon.pipeline import Pipeline
from tidegate.fleet.port import Quote, Report, Row
from tidegate.model import Micros, Subject
from tidegate.text import time_text, well_formed


class Daemon(Protocol):
    """The watcher, as far as it is shown here."""

    pipeline: Pipeline
    fleeting: Fleeting


def status(watcher: Daemon) -> dict[str, Any] | None:
    """How the conversation with the fleet is; None where policy has no `[fleet]`."""
    spec, fleeting = watcher.pipeline.policy.fleet, watcher.fleeting
    if spec is None:
        return None
    health = fleeting.fleet.health
    return {
        "state": "off" if fleeting.apart else health.state,
        "detail": well_formed(fleeting.fleet.trouble or health.detail),
        "host": well_formed(health.host),
        "engine": well_formed(health.engine) or ", ".join(spec.engines),
        "members": health.members,
        "skew": health.skew,
        "lag": health.lag,
        "spool": health.spool,
        "dropped": health.dropped,
        "refused": {well_formed(who): count for who, count in sorted(health.refused.items())},
        "digest": well_formed(health.digest),
        "said": health.said,
        "heard": health.heard,
        "standing": health.standing,
        "drift": health.drift,
        "decides": health.decides,
        "cost": health.cost,
        "troubles": [well_formed(one) for one in health.troubles],
        "rules": [rule.name for rule in watcher.pipeline.policy.rules if rule.shared],
    }


def hosts(watcher: Daemon, _call: Call, _now: Micros) -> tuple[int, object]:
    """The hosts of the fleet as they say they are; after a moment, when they are asked for."""

    def finish(rows: Sequence[Row] | None) -> dict[str, Any]:
        found = [_host(one) for one in rows or () if isinstance(one, Report)]
        return {
            "v": 1,
            "fleet": status(watcher),
            "answered": rows is not None,
            "hosts": sorted(found, key=lambda one: str(one["host"])),
        }

    number = watcher.fleeting.ask("hosts")
    return 200, finish(None) if number is None else Later(number, finish)


def why(watcher: Daemon, subject: Subject, answer: dict[str, Any]) -> object:
    """The answer about a subject, with the lines that other hosts counted; after a moment."""
    known = subjects.network(subject) is not None  # a user's number is another one elsewhere
    number = watcher.fleeting.ask("why", subject) if known else None
    if number is None:
        return answer

    def finish(rows: Sequence[Row] | None) -> dict[str, Any]:
        own = watcher.fleeting.fleet.health.host
        found = [one for one in rows or () if isinstance(one, Quote) and one.host != own]
        lines = [_line(one) for one in sorted(found, key=lambda one: (one.host, one.time))]
        return {**answer, "fleet": {"answered": rows is not None, "lines": lines}}

    return Later(number, finish)


def noted(watcher: Daemon) -> str:
    """What a person should know who has ordered something for all hosts; "": all hear it now."""
    if watcher.pipeline.policy.fleet is None:
        return ""
    if watcher.fleeting.apart:
        return f"on this host only: {watcher.fleeting.apart}"
    health = watcher.fleeting.fleet.health
    if health.state != "joined":
        return f"the other hosts hear of it later: {health.detail or 'the fleet is being joined'}"
    if not health.decides:
        return "on this host only: the desk lets it decide for no other"
    return ""


def _host(one: Report) -> dict[str, Any]:
    return {
        "host": well_formed(one.host),
        "member": one.member,
        "sent": time_text(one.sent) if one.sent else None,
        "version": well_formed(one.version),
        "policy": one.policy,
        "policy_hash": well_formed(one.policy_hash),
        "skew": one.skew,
        "lag": one.lag,
        "spool": one.spool,
        "drift": one.drift,
        "bans": one.bans,
        "digest": well_formed(one.digest),
        "trouble": well_formed(one.trouble),
        "more": _plain(one.more),
    }


def _plain(more: Mapping[str, Any]) -> dict[str, Any]:
    return {well_formed(str(name)): value for name, value in more.items()}


def _line(one: Quote) -> dict[str, Any]:
    return {
        "host": well_formed(one.host),
        "rule": well_formed(one.rule),
        "time": time_text(one.time),
        "file": well_formed(one.path),
        "line": well_formed(one.line),
    }
