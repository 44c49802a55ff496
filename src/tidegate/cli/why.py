"""`tidegate why ADDRESS|GATE`: rule, count and the very lines behind a ban, a cut or a closing.

Touches the daemon through its control socket. Works for an address inside a banned network too.
Limits: lines as they were when the ban was decided, at most 20 a ban.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from tidegate.cli.common import as_json, client, doors, emit, local, socket_option
from tidegate.cli.confined import advice, heading, say
from tidegate.cli.whom import source_text, user_number
from tidegate.text import printable


@click.command(
    epilog="""\b
Examples:
  tidegate why 192.0.2.7
  tidegate why 2001:db8:1:2::99 --json
  tidegate why www-data             a user of this host, whose traffic is cut off
  tidegate why apache.stop          the gate of a guard: readings, and how the host looked
"""
)
@click.argument("address")
@socket_option
@as_json
def command(address: str, socket: str | None, as_json: bool) -> int:
    """Why ADDRESS (or a guard's GATE, or a user) is closed or cut off, was closed, or what is
    counted towards it."""
    answer = client(socket).get("/why", {"address": address, "user": user_number(address)})
    if as_json:
        emit(answer)
    elif "gates" in answer:
        from tidegate.cli.standing import show_why

        show_why(answer)
    else:
        _show(answer)
    return 0


def _show(answer: Mapping[str, Any]) -> None:
    for row in answer["banned"]:
        end = local(row["until"])
        click.echo(f"{row['subject']}: {doors(row['ports'])} closed until {end}.")
        _explain(row)
    for row in answer["quarantined"]:
        say(heading(row))
        _explain(row)
        if row.get("programs"):
            click.echo(f"  Its programs: {printable(row['programs'])}")
        say(advice(row))
    by_address = not answer["subject"].startswith(("uid:", "interface:"))
    if not answer["banned"] and not answer["quarantined"]:
        closed = "closed" if by_address else "cut off"
        click.echo(f"{source_text(answer['subject'])} is not {closed}.")
    if answer["protected"] and by_address:
        click.echo(f"  It can't be banned: {answer['protected']}.")
    if answer["spared_outward"] and not by_address:
        click.echo(f"  It can't be cut off: {answer['spared_outward']}.")
    for row in answer["tallies"]:
        together = " here; all hosts count together" if row.get("together") else ""
        towards = f"{row['count']} towards {row['rule']} ({row['stated']})"
        click.echo(f"  Counting: {towards}{together}.")
    _elsewhere(answer.get("fleet"))
    if answer["earlier"]:
        click.echo("Earlier:")
    for row in answer["earlier"]:
        who = f"rule {row['rule']}" if row["by"] == "rule" else printable(row["by"])
        lasts = row["action"] in ("ban", "quarantine")
        end = f" until {local(row['until'])}" if lasts else ""
        state = row["spared"] or row["state"]
        click.echo(f"  {local(row['time'])}  {row['action']} by {who}{end}: {state}")


def _elsewhere(told: Mapping[str, Any] | None) -> None:
    """The lines that other hosts of the fleet counted."""
    if told is None:
        return
    if not told["answered"]:
        click.echo("The other hosts could not be asked: see tidegate fleet status")
    if told["lines"]:
        click.echo("Counted by other hosts:")
    for line in told["lines"]:
        where = f"{printable(line['host'])} {printable(line['file'])}"
        click.echo(f"  {where} ({printable(line['rule'])}): {printable(line['line'])}")


def _explain(row: Mapping[str, Any]) -> None:
    if row["by"] == "rule":
        step = f", offence {row['step'] + 1}" if row["step"] else ""
        click.echo(f"  Rule {row['rule']}: {row['count']} counted, {row['reason']}{step}.")
    elif row["by"].startswith("fleet:"):
        note = f" ({printable(row['note'])})" if row["note"] else ""
        said = printable(row["reason"]).removeprefix("by ")
        click.echo(f"  By {said}{note}, at {local(row['time'])}.")
    else:
        said = f": {printable(row['note'])}" if row["note"] else ""
        click.echo(f"  By {printable(row['by'])} at {local(row['time'])}{said}.")
    for line in row["evidence"]:
        click.echo(f"  {printable(line['file'])}:{line['offset']}: {printable(line['line'])}")
    if row["action"] == "ban":
        click.echo(f"  To open: tidegate unban {row['subject']}")
