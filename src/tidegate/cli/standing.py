"""How guards and their gates stand, in words for a terminal: for `guard list`, `list`, `why`.

Touches standard output. What to do next stands with what it is about, and last where it matters.
Limits: of a gate's moves, the last twenty; how the host looked, of the newest of them alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import click

from tidegate.cli.common import ago, clock, local, put, table
from tidegate.text import printable

_RUN = ("ready", "running", "given up")
_SHUT = ("closed", "closing")
_WORDS = {
    "away": "left as it is: a person had stopped it",
    "taken": "left alone: a person opened it",
    "refused": "refused",
    "given up": "given up, and needs you",
}


def show_guards(answer: Mapping[str, Any]) -> None:
    """What `guard list` prints."""
    click.echo(f"tide: {answer['tide']}")
    if not answer["guards"]:
        click.echo("No guards in this policy; see docs/guards.md, or: tidegate init")
    for guard in answer["guards"]:
        click.echo("")
        mode = f" ({guard['mode']})" if guard["mode"] != "enforce" else ""
        put(f"{guard['name']}{mode}: {printable(guard['stated'])}")
        show_readings(guard)
        for gate in guard["gates"]:
            _gate(gate, "  ")
        if not guard["gates"]:
            click.echo("  only tells; it has no gate")


def show_readings(guard: Mapping[str, Any]) -> None:
    """What a guard's readings are now."""
    if guard["now"]:
        put(f"now: {', '.join(map(printable, guard['now']))}", "  ")
    for one in guard["unknown"]:
        put(f"{one['reading']} is unknown: {printable(one['why'])}", "  ")


def _gate(gate: Mapping[str, Any], indent: str = "") -> None:
    """One gate: how it stands, and below it what there is to know of that."""
    state, name = gate["state"], gate["gate"]
    said = f"{name}: {_WORDS.get(state, state)}"
    shut = state in _SHUT and gate["wanted"] == "closed"
    if shut and gate["since"]:
        said += f" for {ago(gate['since'])} (since {local(gate['since'])})"
    if not shut and gate["detail"]:
        said += f": {printable(gate['detail'])}"
    put(said, indent)
    for line in _about(gate, shut=shut):
        put(line, indent + "  ")


def _about(gate: Mapping[str, Any], *, shut: bool) -> Iterable[str]:
    """What there is to know of how a gate stands, a line each."""
    if shut:
        detail = f" ({printable(gate['detail'])})" if gate["detail"] else ""
        yield f"{printable(gate['does'])}{detail}; opens {_moment(gate['opens'])}"
    state = gate["state"]
    if gate["observed"] == "closed":
        yield "its guard would have closed it; it only observes: nothing was done"
    if gate["kept"]:
        yield f"its guard would close it, but {printable(gate['kept'])}"
    if gate["left_alone"]:
        yield f"its guard decides again at {local(gate['left_alone'])}, or when all is calm"
    if gate["at_most"] and gate["fired"]:
        often = f"{len(gate['fired'])} of {gate['at_most']} times"
        yield f"restarted {often}, the last time {ago(gate['fired'][-1])} ago"
    if held := gate["held"]:
        by = f" by {printable(held['by'])}" if held["by"] else ""
        since = f" since {local(held['since'])}" if held["since"] else ""
        note = f": {printable(held['note'])}" if held["note"] else ""
        yield f"held{by}{since}{note}"
        end = f" {local(held['until'])}, or until" if held["until"] else ""
        does = "does not run it" if state in _RUN else "closes it no more"
        yield f"its guard {does} until{end}: tidegate resume {gate['gate']}"


def closed_rows(rows: Iterable[Mapping[str, Any]]) -> None:
    """The table of closed gates that `list` prints below the bans."""
    table(
        ("GATE", "WHAT", "BY", "SINCE", "OPENS"),
        [
            (
                row["gate"],
                row["does"],
                row["rule"] if row["by"] == "guard" else row["by"],
                clock(row["since"] or row["time"]),
                _moment(row["opens"], clock),
            )
            for row in rows
        ],
        "",
    )


def show_why(answer: Mapping[str, Any]) -> None:
    """What `why GATE` prints: how it stands, its last moves with readings, and what to do."""
    for gate in answer["gates"]:
        _gate(gate)
        if (cut := gate.get("cut")) and cut["packets"]:
            most = ", ".join(f"{one['subject']} ({one['packets']})" for one in cut["heaviest"])
            packets = f"{cut['packets']:,} packets of new connections cut or refused"
            put(packets + (f"; most often {most}" if most else ""), "  ")
    put(f"guard {answer['guard']}: {printable(answer['stated'])}")
    show_readings(answer)
    click.echo("")
    captured = False
    for row in answer["moves"]:
        _move(row)
        if row["captured"] and not captured:
            captured = True
            click.echo("  what the host looked like:")
            for line in row["captured"].splitlines():
                click.echo(f"  | {printable(line)}")
    if not answer["moves"]:
        click.echo("It has never moved.")
    elif sum(bool(row["captured"]) for row in answer["moves"]) > 1:
        put(f"What the host looked like earlier: tidegate why {answer['name']} --json")
    for line in _next(answer["gates"]):
        click.echo(line)


def _move(row: Mapping[str, Any]) -> None:
    who = f"guard {row['rule']}" if row["by"] == "guard" else printable(row["by"])
    note = f" ({printable(row['note'])})" if row["note"] else ""
    why = f": {printable(row['reason'])}" if row["reason"] else ""
    name = row["subject"].removeprefix("gate:")
    put(f"{local(row['time'])}  {row['action']} {name} by {who}{note}{why} [{row['state']}]")
    if row["detail"]:
        put(printable(row["detail"]), "  ")
    for line in row["evidence"]:
        put(printable(line["line"]), "  ")


def _next(gates: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    """What to type next."""
    for gate in gates:
        name = gate["gate"]
        if gate["state"] in _SHUT:
            yield f"To open: tidegate open {name}"
        if gate["held"] or gate["left_alone"]:
            yield f"To let its guard act again: tidegate resume {name}"
        elif gate["state"] in _SHUT:
            yield f"To keep its guard from closing it again: tidegate hold {name}"
        if gate["state"] == "given up":
            yield f"It is left to you. To keep its guard from trying again: tidegate hold {name}"


def _moment(opens: str, shown: Callable[[str], str] = local) -> str:
    """`at 2026-…` with this host's clock."""
    return f"at {shown(opens[3:])}" if opens.startswith("at ") else printable(opens)
