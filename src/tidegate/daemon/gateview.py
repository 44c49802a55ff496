"""The JSON shapes of guards and gates: how each stands, who holds it, when it opens by itself.

Touches the watcher that it is handed, and reads its ledger. Shapes are documented in
docs/ledger.md. Limits: who held a gate is looked for among its last fifty moves.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from tidegate.control.views import decision_view
from tidegate.daemon.guarding import Guarding
from tidegate.daemon.moves import PREFIX, Spec, gates_of, spec_of, specs
from tidegate.daemon.notice_text import closed_text
from tidegate.daemon.orders import by_hand
from tidegate.daemon.pipeline import Pipeline
from tidegate.decision.guards import Stand
from tidegate.decision.rung import FOREVER
from tidegate.errors import GateError
from tidegate.evidence.conditions import told
from tidegate.ledger.port import Entry
from tidegate.model import SECOND, Micros, Subject
from tidegate.policy.durations import format_duration
from tidegate.policy.expressions import text_of
from tidegate.policy.guards import ONCE, GateSpec, GuardSpec, Restart, Trigger
from tidegate.text import time_text, well_formed

_MOVES = 50
_ALONE = ("taken", "away")


class Daemon(Protocol):
    """What is shown: the watcher, as far as it is needed here."""

    pipeline: Pipeline
    guarding: Guarding


def every(watcher: Daemon, now: Micros) -> list[dict[str, Any]]:
    """Every guard of the policy, and every rule of sysfence's that only runs something."""
    return [
        {
            "name": spec.name,
            "mode": spec.mode if isinstance(spec, Trigger) or spec.enabled else "disabled",
            "stated": stated(spec),
            "now": readings(watcher, spec, now),
            "gates": [gate_view(watcher, spec, gate, now) for gate in gates_of(spec)],
            "unknown": unknown(watcher, spec, now),
        }
        for spec in specs(watcher.pipeline.policy)
    ]


def stated(spec: Spec) -> str:
    """Its conditions in the administrator's words."""
    if isinstance(spec, Trigger):
        verb = "run" if spec.gate is not None else "log"
        once = spec.run_once if spec.gate is not None else spec.log_once
        return f"{verb} when {text_of(spec.when)}" + (", once at each crossing" if once else "")
    once = any(isinstance(gate.terms, Restart) for gate in spec.gates)
    parts = [("restart" if once else "close", spec.stated_close)]
    parts += [(step.gate.name, text_of(step.when)) for step in spec.steps if step.when is not None]
    parts += [("open", spec.stated_open), ("warn", spec.stated_warn)]
    return "; ".join(f"{what} when {text}" for what, text in parts if text)


def gate_view(watcher: Daemon, spec: Spec, gate: GateSpec, now: Micros) -> dict[str, Any]:
    """One gate: what it does, how it stands in the world, what its guard or a person wants."""
    report = watcher.guarding.states.get(gate.name)
    stand = watcher.pipeline.guards.stand(gate.name, now)
    wanted = gate.name in watcher.guarding.closed(now)
    would = gate.name in watcher.pipeline.guards.closed(now) or stand.state == "closed"
    state: str = report.state if report else ("closing" if wanted else "open")
    if state == "open" and stand.state in _ALONE:
        state = stand.state  # why it is open
    if isinstance(gate.terms, ONCE):
        state = {"closing": "running", "open": "ready"}.get(state, state)
        state = "given up" if stand.given_up else state
    return {
        "gate": gate.name,
        "what": type(gate.terms).__name__.lower(),
        "does": well_formed(closed_text(gate.terms)),
        "state": state,
        "wanted": "closed" if wanted else "open",
        "observed": "closed" if would and not wanted else "open",
        "since": time_text(report.since) if report and report.since else None,
        "detail": well_formed(report.detail) if report else "",
        "opens": opens(spec, stand) if wanted else "",
        "kept": well_formed(stand.kept),
        "left_alone": time_text(stand.until) if stand.state in _ALONE else None,
        "held": _held(watcher, spec, gate, stand) if stand.held else None,
        "fired": [time_text(one) for one in stand.fired],
        "at_most": gate.terms.most if isinstance(gate.terms, Restart) else None,
    }


def opens(spec: Spec, stand: Stand) -> str:
    """When a closed gate opens by itself, as the end of a sentence."""
    if stand.state == "person":
        return f"at {time_text(stand.until)}" if stand.until else "when a person opens it"
    if not isinstance(spec, GuardSpec):
        return ""
    if spec.stated_open:
        return f"when {spec.stated_open}"
    return f"once its condition has not held for {format_duration(spec.patience)}"


def closed(watcher: Daemon, now: Micros) -> Iterable[dict[str, Any]]:
    """Rows for `list`: the gates that are closed, with the shape of a ban and what they do."""
    for name, until in sorted(watcher.guarding.closed(now).items()):
        spec = spec_of(watcher.pipeline.policy, name)
        gate = next((one for one in gates_of(spec) if one.name == name), None) if spec else None
        if spec is None or gate is None:
            continue
        last = latest(watcher, name, "close")
        subject = Subject(PREFIX + name)
        decision = last.decision if last else by_hand(
            "close", subject, (), now, until, by="guard", rule=spec.name, reason="long ago"
        )  # fmt: skip
        shown = gate_view(watcher, spec, gate, now)
        yield {
            **decision_view(decision, now),
            "until": time_text(until),
            "left": max(0, (until - now) // SECOND),
            "gate": name,
            **{key: shown[key] for key in ("what", "does", "state", "since", "opens", "held")},
        }


def latest(watcher: Daemon, name: str, *actions: str) -> Entry | None:
    """The last of these moves with a gate, or with its whole guard."""
    entries = watcher.guarding.ledger.history(_MOVES, Subject(PREFIX + name))
    return next((one for one in entries if one.decision.action in actions), None)


def readings(watcher: Daemon, spec: Spec, now: Micros) -> list[str]:
    """What its readings are now, for people: `la1 11.2`."""
    known = watcher.pipeline.guards.known(spec.name, now)
    return [well_formed(told(one)) for one in known if one.value is not None]


def unknown(watcher: Daemon, spec: Spec, now: Micros) -> list[dict[str, str]]:
    """The readings that this guard would judge by, and that nobody can tell it."""
    return [
        {"reading": one.reading, "why": one.why}
        for one in watcher.pipeline.guards.unknown(spec.name, now)
    ]


def cut(watcher: Daemon) -> dict[str, dict[str, Any]]:
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


def _held(watcher: Daemon, spec: Spec, gate: GateSpec, stand: Stand) -> dict[str, Any]:
    """Who keeps the guard from it; `until` null: until they say otherwise."""
    entry = latest(watcher, gate.name, "hold", "open")
    until = None if stand.held >= FOREVER else time_text(stand.held)
    if entry is None:
        return {"by": "", "since": None, "until": until, "note": ""}
    said = entry.decision
    return {
        "by": well_formed(said.by),
        "since": time_text(said.time),
        "until": until,
        "note": well_formed(said.note),
    }
