"""What a guard's move says to people: subject and body of its notice, in plain English.

Touches nothing. Says what was closed, why, by which values, when it opens by itself, and how to
open it by hand. Limits: a move is what is wanted; of a gate that refuses a move of its own tells.
"""

from __future__ import annotations

from typing import NamedTuple

from tidegate.gate.switches.port import LEASE
from tidegate.model import SECOND, Move
from tidegate.policy.durations import format_duration
from tidegate.policy.guards import (
    Agent,
    Command,
    Freeze,
    GateSpec,
    GuardSpec,
    Halt,
    Haproxy,
    Keepalived,
    Properties,
    Refuse,
    Restart,
    Run,
    Service,
    Step,
    Terms,
    Throttle,
)
from tidegate.text import time_text

LONGEST_CAPTURE = 8 << 10


class Said(NamedTuple):
    """A notice, ready for `Notices.tell`. `about`: the gate or guard; `clear`: an all-clear."""

    subject: str
    text: str
    about: str
    clear: bool


def said(
    move: Move, guard: GuardSpec | None = None, capture: str = "", *, observed: bool = False
) -> Said:
    """What to tell of a move. `guard`: None where the policy has it no more; `capture`: what the
    host looked like before; `observed`: nothing was done."""
    step = _step(move, guard)
    clear = move.verb in ("open", "clear")
    about = move.gate or move.guard
    subject = _subject(move, step)
    if observed:
        subject = f"(observed only) {subject}"
    lines = [f"{_headline(move, step)}.", ""]
    if observed:
        lines += ["Nothing was done: it is only observed (mode observe).", ""]
    lines += [f"When: {time_text(move.time // SECOND * SECOND, None)}"]
    if move.reason:
        lines += [f"Why: {move.reason}"]
    if move.by != "guard":
        lines += [f"Who: {move.by}{f' ({move.note})' if move.note else ''}"]
    lines += _rule(move, guard)
    if not observed:
        lines += _outlook(move, guard)
    lines += _commands(move, step, observed)
    if capture:
        lines += ["", "What the host looked like:", "", capture[:LONGEST_CAPTURE]]
    return Said(subject, "\n".join(lines), about, clear)


def closed_text(terms: Terms) -> str:
    """What holds while such a gate is closed: `apache2.service is stopped`."""
    match terms:
        case Throttle(ports, rate, per):
            pace = f"{rate} new connections in {format_duration(per)} for each client"
            return f"{_ports(ports)} throttled to {pace}"
        case Refuse(ports):
            return f"{_ports(ports)} refusing new connections"
        case Haproxy(_, backend, server, weight):
            return f"HAProxy's {backend}/{server} {_share(weight)}"
        case Agent(listen, weight):
            return f"this host {_share(weight)} (HAProxy asks {listen})"
        case Keepalived(file, value):
            return f"keepalived's {file} is set to {value}"
        case Properties(unit, settings):
            return f"{unit} runs with {', '.join(f'{key}={value}' for key, value in settings)}"
        case Freeze(unit):
            return f"{unit} is frozen"
        case Service(service):
            return f"{service} is stopped"
        case Command(close):
            return f"{close[0]} has been run" if close else "the command has been run"
        case Restart(service):
            return f"{service} is restarted"
        case Run():
            return "its command is run"
        case Halt(uid, how):
            done = "stand still" if how == "freeze" else "get little processor time"
            return f"suspect programs of uid {uid} {done}"


def open_text(terms: Terms) -> str:
    """What holds once such a gate is open again: `apache2.service is started again`."""
    match terms:
        case Throttle(ports):
            return f"{_ports(ports)} throttled no longer"
        case Refuse(ports):
            return f"{_ports(ports)} taking connections again"
        case Haproxy(_, backend, server):
            return f"HAProxy's {backend}/{server} is in full service again"
        case Agent(listen):
            return f"this host is in full service again (HAProxy asks {listen})"
        case Keepalived(file):
            return f"keepalived's {file} is back at 0"
        case Properties(unit):
            return f"{unit} has its own limits back"
        case Freeze(unit):
            return f"{unit} runs on"
        case Service(service):
            return f"{service} is started again, if it was stopped by this guard"
        case Command(_, undo):
            return f"{undo[0]} has been run" if undo else "the command is over"
        case _:
            return "it is over"


def _ports(ports: tuple[int, ...]) -> str:
    text = ",".join(map(str, ports))
    return f"port {text} is" if len(ports) == 1 else f"ports {text} are"


def _share(weight: int) -> str:
    return f"has {weight} % of its weight" if weight else "is drained"


def _step(move: Move, guard: GuardSpec | None) -> Step | None:
    if guard is None:
        return None
    return next((step for step in guard.steps if step.gate.name == move.gate), None)


def _gate(step: Step | None) -> GateSpec | None:
    return None if step is None else step.gate


def _headline(move: Move, step: Step | None) -> str:
    """What happened, as a sentence without its full stop."""
    gate = _gate(step)
    name = move.gate or move.guard
    match move.verb:
        case "close":
            return f"{name} closes" + (f": {closed_text(gate.terms)}" if gate else "")
        case "open":
            return f"{name} opens" + (f": {open_text(gate.terms)}" if gate else "")
        case "fire":
            return f"{name}: {closed_text(gate.terms)}" if gate else f"{name} is run"
        case "give-up":
            return f"{name} is given up, and needs you"
        case "warn" if move.gate:
            return f"{name} needs a look"
        case "warn":
            return f"{name} warns; nothing was closed for that"
        case "clear":
            return f"{name}: all clear"
        case "hold":
            return f"{name} is held: its guard closes it no more"
        case _:
            return f"{name} is its guard's again"


def _subject(move: Move, step: Step | None) -> str:
    """The headline with the reason, so that it can be read without opening it."""
    headline = _headline(move, step)
    if move.verb == "warn":
        return f"warning: {move.reason}" if move.gate else f"warning of {move.guard}: {move.reason}"
    return f"{headline} ({move.reason})" if move.reason else headline


def _rule(move: Move, guard: GuardSpec | None) -> list[str]:
    """The words of the policy that led to it."""
    if guard is None or move.by != "guard":
        return []
    if move.verb in ("warn", "clear") and not move.gate and guard.stated_warn:
        return [f"Rule: guard {guard.name} warns when {guard.stated_warn}"]
    if move.verb in ("close", "fire", "give-up") and guard.stated_close:
        return [f"Rule: guard {guard.name} closes when {guard.stated_close}"]
    return []


def _outlook(move: Move, guard: GuardSpec | None) -> list[str]:
    """When a closing ends by itself."""
    if move.verb != "close":
        return []
    if move.until:
        ends = f"at {time_text(move.until // SECOND * SECOND, None)}"
    elif move.by != "guard":
        return ["", "It stays closed until somebody opens it or gives it back to its guard."]
    elif guard is not None and guard.stated_open:
        ends = f"as soon as {guard.stated_open}"
    elif guard is not None:
        ends = f"once what closed it has been over for {format_duration(guard.patience)}"
    else:
        ends = "as soon as its guard says so"
    least = ""
    if guard is not None and not move.until and guard.least_closed:
        least = f", {format_duration(guard.least_closed)} from now at the earliest"
    return [
        "",
        f"It opens by itself {ends}{least};",
        f"and within {format_duration(LEASE)} should tidegate itself be gone.",
    ]


def _commands(move: Move, step: Step | None, observed: bool) -> list[str]:
    """What to type next."""
    once = step is not None and isinstance(step.gate.terms, Restart | Run)
    rows: list[tuple[str, str]] = []
    if observed:
        pass
    elif move.verb == "close":
        rows += [("Open it now", f"tidegate open {move.gate}")]
        if move.by != "guard":
            rows += [("Give it back to its guard", f"tidegate resume {move.gate}")]
    elif move.verb == "hold":
        rows += [("Give it back to its guard", f"tidegate resume {move.gate}")]
    elif move.verb == "give-up" or (move.verb == "fire" and once):
        rows += [("Keep the guard from it", f"tidegate hold {move.gate}")]
    rows += [("See more", f"tidegate why {move.gate or move.guard}")]
    width = max(len(label) for label, _command in rows) + 1
    return ["", *(f"{label + ':':<{width}}  {command}" for label, command in rows)]
