"""Answers what people ask of guards and gates, and does what they order with them.

Touches the watcher it is given. Limits: the last twenty moves of a gate; captures of 64 KiB each.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol, get_args

from tidegate.control.call import Call
from tidegate.control.views import entry_view
from tidegate.daemon import asked, gateview
from tidegate.daemon.gateview import gate_view
from tidegate.daemon.guarding import Guarding
from tidegate.daemon.moves import PREFIX, Spec, gates_of, spec_of, specs
from tidegate.daemon.pipeline import Pipeline
from tidegate.daemon.wiring import Wiring
from tidegate.errors import OperatorError
from tidegate.ledger.port import Entry
from tidegate.model import Micros, Subject
from tidegate.policy.guards import KERNEL
from tidegate.text import time_text

Verb = Literal["close", "open", "hold", "resume"]
_MOVES = 20


class Daemon(Protocol):
    """What the answers are made from: the watcher, as far as they need it."""

    pipeline: Pipeline
    guarding: Guarding
    wiring: Wiring

    def checkpoint(self, now: Micros) -> None:
        """Save now."""


def guards(watcher: Daemon, _call: Call, now: Micros) -> tuple[int, object]:
    """Every guard with its gates, and the host's tide."""
    return 200, {
        "v": 1,
        "tide": watcher.pipeline.guards.tide(now),
        "guards": gateview.every(watcher, now),
    }


def order(watcher: Daemon, call: Call, now: Micros) -> tuple[int, object]:
    """Close, open, hold or resume a gate, or every gate of a guard."""
    verb = asked.choice("verb", str(call.body.get("verb", "")), get_args(Verb))
    name = str(call.body.get("gate", ""))
    spec = _known(watcher, name)
    if verb == "close" and name == spec.name and len(gates_of(spec)) > 1:
        gates = ", ".join(gate.name for gate in gates_of(spec))
        raise asked.WrongError(f"guard {name} has several gates; name one of: {gates}")
    if verb == "close" and watcher.wiring.observe:
        raise asked.WrongError("nothing is closed here: the daemon only observes (--observe)")
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
    gates = [gate for gate in gates_of(spec) if name in (spec.name, gate.name)]
    ledger = watcher.guarding.ledger
    cut = gateview.cut(watcher) if any(isinstance(gate.terms, KERNEL) for gate in gates) else {}
    moves = []
    for entry in history(watcher, name, _MOVES):
        captured = ledger.captured(entry.decision.id)
        moves.append({**entry_view(entry), "captured": captured[1] if captured else None})
    return {
        "v": 1,
        "name": name,
        "guard": spec.name,
        "stated": gateview.stated(spec),
        "now": gateview.readings(watcher, spec, now),
        "gates": [
            {**gate_view(watcher, spec, gate, now), **cut.get(gate.name, {})} for gate in gates
        ],
        "unknown": gateview.unknown(watcher, spec, now),
        "moves": moves,
    }


def history(watcher: Daemon, name: str, limit: int) -> list[Entry]:
    """The last moves of a gate, or of a guard and all its gates, the newest first; a gate that has
    left the policy is found by its own name."""
    spec = spec_of(watcher.pipeline.policy, name)
    own = [gate.name for gate in gates_of(spec)] if spec and spec.name == name else []
    ledger = watcher.guarding.ledger
    entries = [
        entry
        for gate in dict.fromkeys([*own, name])
        for entry in ledger.history(limit, Subject(PREFIX + gate))
    ]
    entries.sort(key=lambda entry: entry.decision.time, reverse=True)
    return entries[:limit]


def names_gate(watcher: Daemon, name: str) -> bool:
    """Whether a guard or a gate has this name."""
    return spec_of(watcher.pipeline.policy, name) is not None


def known(watcher: Daemon) -> str:
    """The gates that there are, for people who look for one."""
    policy = watcher.pipeline.policy
    names = [gate.name for spec in specs(policy) for gate in gates_of(spec)]
    return ", ".join(names) or "none in this policy"


def subject(watcher: Daemon, given: str) -> Subject:
    """An address or a network; who mistyped a gate's name is told which there are."""
    try:
        return asked.subject(given)
    except asked.WrongError as wrong:
        if not watcher.pipeline.policy.guarded:
            raise
        raise asked.WrongError(f"{wrong}; or a gate: {known(watcher)}") from wrong


def _known(watcher: Daemon, name: str) -> Spec:
    spec = spec_of(watcher.pipeline.policy, name)
    if spec is None:
        raise asked.WrongError(f"there is no gate {name!r}; gates: {known(watcher)}")
    return spec
