"""Guards' moves as the ledger keeps them: decisions about `gate:NAME`, readings for evidence.

Touches nothing. Their id is a hash of what was wanted when, by whom, so that two are two.
Limits: whether a move is carried out, and what becomes of it, is for `guarding` to say.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from tidegate.model import Decision, Evidence, Micros, Mode, Move, Subject
from tidegate.policy.guards import KERNEL, GateSpec, GuardSpec, Trigger
from tidegate.policy.models import Policy

Spec = GuardSpec | Trigger

PREFIX = "gate:"
"""Gates in the ledger: `gate:apache.stop`; a guard that only warns, `gate:apache`."""


def decision_of(move: Move, mode: Mode, now: Micros) -> Decision:
    """The decision that a move is."""
    told = f"{move.guard}\0{move.gate}\0{move.verb}\0{move.time}\0{move.by}\0{move.step}"
    until = move.until or now
    return Decision(
        id=hashlib.sha256(told.encode("utf-8", "surrogateescape")).hexdigest()[:16],
        time=move.time,
        action=move.verb,
        subject=Subject(PREFIX + (move.gate or move.guard)),
        rule=move.guard,
        ports=(),
        until=until,
        duration=max(0, until - move.time),
        count=0,
        step=move.step,
        mode=mode,
        reason=move.reason,
        by=move.by,
        note=move.note,
        evidence=tuple(_evidence(move)),
    )


def log_line(move: Move, mode: Mode) -> str:
    """A move in the daemon's log: `close apache.stop by guard apache: la1 11 (limit 10)`."""
    by = f"guard {move.guard}" if move.by == "guard" else move.by
    why = "; ".join(filter(None, (move.reason, move.note)))
    observed = " (observed only)" if mode == "observe" else ""
    return f"{move.verb} {move.gate or move.guard} by {by}{': ' if why else ''}{why}{observed}"


def specs(policy: Policy) -> tuple[Spec, ...]:
    """Every guard, and every rule of sysfence's that only runs or logs something."""
    return (*policy.guards, *policy.triggers)


def gates_of(spec: Spec) -> tuple[GateSpec, ...]:
    """Its gates, the most reversible first."""
    if isinstance(spec, GuardSpec):
        return spec.gates
    return () if spec.gate is None else (spec.gate,)


def spec_of(policy: Policy, name: str) -> Spec | None:
    """The guard of that name, or the one that a gate of that name belongs to."""
    for spec in specs(policy):
        if name == spec.name or any(name == gate.name for gate in gates_of(spec)):
            return spec
    return None


def kernel_gates(policy: Policy) -> frozenset[str]:
    """The names of those that are the kernel's."""
    return frozenset(gate.name for gate in policy.gates if isinstance(gate.terms, KERNEL))


def _evidence(move: Move) -> Iterable[Evidence]:
    """The readings behind a move, in the place where a ban has its lines."""
    for sample in move.samples:
        if sample.value is None:
            text = f"{sample.reading}: unknown ({sample.why})"
        else:
            of = f" of {sample.whole:g}" if sample.whole else ""
            text = f"{sample.reading} = {sample.value:g}{of}"
        yield Evidence(sample.time, "reading", 0, text)
