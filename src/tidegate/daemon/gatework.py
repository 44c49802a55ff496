"""Answers what people ask of guards and gates, and does what they order with them.

Touches the watcher it is given. Limits: the last twenty moves of a gate; captures of 64 KiB each.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, Protocol, get_args

from tidegate.control.call import Call
from tidegate.control.views import decision_view, entry_view
from tidegate.daemon import asked
from tidegate.daemon.guarding import PREFIX, Guarding, spec_of
from tidegate.daemon.pipeline import Pipeline
from tidegate.errors import GateError, OperatorError
from tidegate.model import Micros, Subject
from tidegate.policy.guards import KERNEL, GateSpec, GuardSpec
from tidegate.text import time_text

Verb = Literal["close", "open", "hold", "resume"]
_MOVES = 20


class Daemon(Protocol):
    """What the answers are made from: the watcher, as far as they need it."""

    pipeline: Pipeline
    guarding: Guarding

    def checkpoint(self, now: Micros) -> None:
        """Save now."""


def guards(watcher: Daemon, _call: Call, now: Micros) -> tuple[int, object]:
    """Every guard with its gates, and the host's tide."""
    policy = watcher.pipeline.policy
    return 200, {
        "v": 1,
        "tide": watcher.pipeline.guards.tide(now),
        "guards": [
            {
                "name": guard.name,
                "mode": guard.mode if guard.enabled else "disabled",
                "stated": stated(guard),
                "gates": [_gate(watcher, gate, now) for gate in guard.gates],
                "unknown": _unknown(watcher, guard, now),
            }
            for guard in policy.guards
        ],
    }


def order(watcher: Daemon, call: Call, now: Micros) -> tuple[int, object]:
    """Close, open, hold or resume a gate, or every gate of a guard."""
    verb = asked.choice("verb", str(call.body.get("verb", "")), get_args(Verb))
    name = str(call.body.get("gate", ""))
    spec = _known(watcher, name)
    if verb == "close" and name == spec.name and len(spec.gates) > 1:
        gates = ", ".join(gate.name for gate in spec.gates)
        raise asked.WrongError(f"guard {name} has several gates; name one of: {gates}")
    until = now + asked.span(call.body, "1h") if verb == "close" else 0
    try:
        moves = watcher.guarding.order(
            verb,  # type: ignore[arg-type]  # checked above
            name, now, until, call.peer.label, asked.note(call.body),
        )  # fmt: skip
    except OperatorError as error:
        raise asked.WrongError(str(error)) from error
    watcher.checkpoint(now)
    return 200, {
        "v": 1,
        "moves": [
            {
                "gate": move.gate or move.guard,
                "action": move.verb,
                "until": time_text(move.until) if move.until else None,
                "reason": move.reason,
            }
            for move in moves
        ],
    }


def why(watcher: Daemon, name: str, now: Micros) -> dict[str, Any]:
    """Why a gate, or a guard's every gate, is as it is: its last moves, newest first."""
    spec = _known(watcher, name)
    gates = [gate for gate in spec.gates if name in (spec.name, gate.name)]
    ledger = watcher.guarding.ledger
    subjects = dict.fromkeys([*(gate.name for gate in gates), name])
    entries = [
        entry for subject in subjects for entry in ledger.history(_MOVES, Subject(PREFIX + subject))
    ]
    entries.sort(key=lambda entry: entry.decision.time, reverse=True)
    cut = _cut(watcher) if any(isinstance(gate.terms, KERNEL) for gate in gates) else {}
    moves = []
    for entry in entries[:_MOVES]:
        captured = ledger.captured(entry.decision.id)
        moves.append({**entry_view(entry), "captured": captured[1] if captured else None})
    return {
        "v": 1,
        "name": name,
        "stated": stated(spec),
        "gates": [{**_gate(watcher, gate, now), **cut.get(gate.name, {})} for gate in gates],
        "unknown": _unknown(watcher, spec, now),
        "moves": moves,
    }


def names_gate(watcher: Daemon, name: str) -> bool:
    """Whether a guard or a gate has this name."""
    return spec_of(watcher.pipeline.policy, name) is not None


def stated(guard: GuardSpec) -> str:
    """Its conditions in the administrator's words."""
    parts = (
        ("close", guard.stated_close),
        ("open", guard.stated_open),
        ("warn", guard.stated_warn),
    )
    return "; ".join(f"{verb} when {text}" for verb, text in parts if text)


def closed(watcher: Daemon, now: Micros) -> Iterable[dict[str, Any]]:
    """Rows for `list`: the gates that are closed, like bans."""
    for name, until in sorted(watcher.pipeline.guards.closed(now).items()):
        spec = spec_of(watcher.pipeline.policy, name)
        entries = watcher.guarding.ledger.history(_MOVES, Subject(PREFIX + name))
        last = next((one for one in entries if one.decision.action == "close"), None)
        if last is None or spec is None:
            continue
        yield {**decision_view(last.decision, now), "until": time_text(until), "state": last.state}


def _known(watcher: Daemon, name: str) -> GuardSpec:
    spec = spec_of(watcher.pipeline.policy, name)
    if spec is None:
        guards = watcher.pipeline.policy.guards
        known = [gate.name for guard in guards for gate in guard.gates] or ["none in this policy"]
        raise asked.WrongError(f"there is no gate {name!r}; gates: {', '.join(known)}")
    return spec


def _gate(watcher: Daemon, gate: GateSpec, now: Micros) -> dict[str, Any]:
    report = watcher.guarding.states.get(gate.name)
    wanted = gate.name in watcher.pipeline.guards.closed(now)
    state = report.state if report else ("closing" if wanted else "open")
    return {
        "gate": gate.name,
        "what": type(gate.terms).__name__.lower(),
        "state": state,
        "wanted": "closed" if wanted else "open",
        "since": time_text(report.since) if report and report.since else None,
        "detail": report.detail if report else "",
    }


def _unknown(watcher: Daemon, guard: GuardSpec, now: Micros) -> list[dict[str, str]]:
    """The readings that this guard would judge by, and that nobody can tell it."""
    return [
        {"reading": one.reading, "why": one.why}
        for one in watcher.pipeline.guards.unknown(guard.name, now)
    ]


def _cut(watcher: Daemon) -> dict[str, dict[str, Any]]:
    """What each gate of the kernel has cut or refused since it was put in, and whom most."""
    try:
        told = watcher.guarding.gate.throttled()
    except GateError:
        return {}  # the state of the gate says so
    return {
        one.gate: {
            "cut": {
                "packets": one.packets,
                "bytes": one.bytes,
                "heaviest": [{"subject": who, "packets": count} for who, count in one.heaviest],
            }
        }
        for one in told
    }
