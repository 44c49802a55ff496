"""What others say of a guard's gates: keepers report what became of them, people give orders.

Touches nothing. A person outranks the guard: what they close stays closed until they say, what
they open is left alone for a while. Limits: a gate that a person opened is left alone until
`open` has held once, or for an hour.
"""

from __future__ import annotations

from typing import Literal

from tidegate.decision.guard import Guard
from tidegate.decision.rung import ALONE, FOREVER, SHUT
from tidegate.errors import OperatorError
from tidegate.model import GateReport, GuardVerb, Micros, Move
from tidegate.policy.durations import format_duration
from tidegate.policy.guards import ONCE, Restart

Order = Literal["close", "open", "hold", "resume"]

_LEFT = "it is left alone until its open condition holds, or for 1h"


def hear(guard: Guard, k: int, report: GateReport, now: Micros) -> list[Move]:
    """Take in a keeper's report of the k-th gate; what people have to know of it."""
    rung, gate = guard.rungs[k], guard.spec.steps[k].gate
    if isinstance(gate.terms, ONCE):
        return _fired(guard, k, report, now)
    if report.state == "closed":
        rung.refusals = 0
    elif report.state == "taken" and rung.state in SHUT:
        rung.happen("taken", now, now + ALONE)
        return [guard.move("open", k, now, f"a person opened it; {_LEFT}")._replace(by="person")]
    elif report.state == "away" and rung.happen("away", now, now + ALONE):
        absent = f"{gate.name} was not there to be closed"
        reason = f"{absent} (a person has stopped it); it stays as it is"
        return [guard.move("warn", k, now, reason)]
    elif report.state == "open" and rung.state == "away":
        rung.happen("over", now)
    elif report.state == "refused":
        return _refused(guard, k, report, now)
    return []


def _fired(guard: Guard, k: int, report: GateReport, now: Micros) -> list[Move]:
    """What is only fired failed: told at the first time, until it has gone well again."""
    rung, gate = guard.rungs[k], guard.spec.steps[k].gate
    if report.state == "open":
        rung.refusals = 0
    if report.state != "refused":
        return []
    rung.refusals += 1
    if rung.refusals > 1:
        return []
    done = "restarted" if isinstance(gate.terms, Restart) else "run"
    reason = f"{gate.name} could not be {done}: {report.detail or 'no reason given'}"
    return [guard.move("warn", k, now, reason)]


def _refused(guard: Guard, k: int, report: GateReport, now: Micros) -> list[Move]:
    rung, name = guard.rungs[k], guard.spec.steps[k].gate.name
    if rung.state != "closed":
        return []
    first = not rung.refusals
    wait = rung.refuse(now)
    if not first:
        return []
    last = k == len(guard.rungs) - 1
    after = "" if last else " the next step is tried at once;"
    reason = (
        f"{name} could not be closed: {report.detail or 'no reason given'};{after}"
        f" this one again in {format_duration(wait)}"
    )
    return [guard.move("warn", k, now, reason)]


def obey(
    guard: Guard, k: int, verb: Order, now: Micros, until: Micros, by: str, note: str
) -> list[Move]:
    """Carry out a person's order about the k-th gate; `until` 0: until they say otherwise.

    `open`: left alone until then (0: until `open` holds once, or for an hour). `hold`: the guard
    closes it no more; if it is closed, it opens as it would have. OperatorError where the gate has
    no closed state.
    """
    rung, gate = guard.rungs[k], guard.spec.steps[k].gate
    if verb in ("close", "open") and isinstance(gate.terms, ONCE):
        raise OperatorError(
            f"{gate.name} is run, not closed: there is nothing to {verb};"
            f" to keep it from running: tidegate hold {gate.name}"
        )
    spoken: GuardVerb = verb
    reason = ""
    if verb == "close":
        rung.happen("shut", now, until)
        why = guard.missed(k, now)
        reason = f"although {why}" if why else ""
    elif verb == "open":
        rung.happen("let", now, until or now + ALONE)
        rung.hold = max(rung.hold, until)  # who had it held before still does
        reason = _LEFT if not until else ""
    elif verb == "hold":
        rung.hold = until or FOREVER
    else:
        rung.hold = 0
        if rung.state == "person":  # the guard decides again: it closes at once where it must
            rung.happen("over", now)
            rung.since = 0
        elif rung.state in ("taken", "refused"):
            rung.happen("over", now)
    return [guard.move(spoken, k, now, reason)._replace(samples=(), by=by, note=note, until=until)]
