"""`tidegate guard`: try a condition on this host's readings now; list guards and their gates.

Touches /proc and whatever the readings of the condition touch (`try`), or the daemon through its
control socket (`list`). Limits: readings that are rates or slopes are looked at twice, a second
apart; how long something has held is not known from one look.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from tidegate.cli.common import as_json, client, config, emit, local, say, socket_option, table
from tidegate.text import printable


@click.group(
    epilog="""\b
Examples:
  tidegate guard try 'la1 >= 10 or la5 >= 6'
  tidegate guard list
"""
)
def command() -> None:
    """Guards: what closes when this host has too much to do, and opens when it has not."""


@command.command(
    "try",
    epilog="""\b
Examples:
  tidegate guard try 'la1 >= 10 or la5 >= 6'
  tidegate guard try 'disk.available("/var/spool") < 10% or disk.full-in("/var") < 1h'
  tidegate guard try 'up(smtp://192.0.2.2:25) < 1 for 30s' --json
""",
)
@click.argument("condition")
@config
@as_json
def try_(condition: str, config: Path | None, as_json: bool) -> int:
    """Take the readings that CONDITION names, now, and say whether it holds.

    Exit code 0: it was judged, whether it holds or not; 1: a reading could not be taken, so that it
    is unknown, and unknown never closes anything.
    """
    from tidegate.daemon.trial import tried

    verdict = tried(condition, config, tell=say)
    if as_json:
        emit(verdict.view())
    else:
        for line in verdict.lines():
            click.echo(line)
    return 1 if verdict.holds is None else 0


@command.command(
    "list", epilog="\b\nExamples:\n  tidegate guard list\n  tidegate guard list --json\n"
)
@socket_option
@as_json
def list_(socket: str | None, as_json: bool) -> int:
    """Every guard with its gates: what is closed, since when, and why."""
    answer = client(socket).get("/guards")
    if as_json:
        emit(answer)
        return 0
    click.echo(f"tide: {answer['tide']}")
    rows = [row for guard in answer["guards"] for row in _rows(guard)]
    table(
        ("GATE", "WHAT", "STATE", "SINCE", "GUARD"), rows,
        "No guards in this policy; see docs/guards.md, or: tidegate init",
    )  # fmt: skip
    for guard in answer["guards"]:
        for one in guard["unknown"]:
            click.echo(f"{guard['name']}: {_unknown(one)}")
    return 0


def _unknown(one: Mapping[str, str]) -> str:
    return f"{one['reading']} is unknown: {printable(one['why'])}"


def _rows(guard: Mapping[str, Any]) -> list[tuple[str, str, str, str, str]]:
    stated = f"{guard['name']}: {guard['stated']}"
    gates = guard["gates"] or [{"gate": "-", "what": "notifies", "state": "-", "since": None}]
    return [
        (
            gate["gate"],
            gate["what"],
            gate["state"] + (f": {gate['detail']}" if gate.get("detail") else ""),
            local(gate["since"]) if gate["since"] else "",
            stated if number == 0 else "",
        )
        for number, gate in enumerate(gates)
    ]


def show_why(answer: Mapping[str, Any]) -> None:
    """What `why GATE` prints: each gate's last moves with readings and what was captured."""
    for gate in answer["gates"]:
        since = f" since {local(gate['since'])}" if gate["since"] else ""
        click.echo(f"{gate['gate']} ({gate['what']}): {gate['state']}{since}.")
        if gate["detail"]:
            click.echo(f"  {printable(gate['detail'])}")
        if (cut := gate.get("cut")) and cut["packets"]:
            most = ", ".join(f"{one['subject']} ({one['packets']})" for one in cut["heaviest"])
            packets = f"{cut['packets']:,} packets of new connections cut or refused"
            click.echo(f"  {packets}" + (f"; most often {most}" if most else ""))
    for one in answer["unknown"]:
        click.echo(_unknown(one))
    for row in answer["moves"]:
        who = f"guard {row['rule']}" if row["by"] == "guard" else printable(row["by"])
        note = f" ({printable(row['note'])})" if row["note"] else ""
        click.echo(
            f"{local(row['time'])}  {row['action']} {row['subject'].removeprefix('gate:')}"
            f" by {who}{note}: {printable(row['reason'])} [{row['state']}]"
        )
        if row["detail"]:
            click.echo(f"  {printable(row['detail'])}")
        for line in row["evidence"]:
            click.echo(f"  {printable(line['line'])}")
        for line in (row["captured"] or "").splitlines():
            click.echo(f"  | {printable(line)}")
    if not answer["moves"]:
        click.echo("It has never moved.")
    if any(gate["state"] in ("closed", "closing") for gate in answer["gates"]):
        click.echo(f"To open: tidegate open {answer['name']}")
