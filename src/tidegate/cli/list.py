"""`tidegate list`: what is closed now, and until when; with `--by` what is under attack.

Touches the daemon through its control socket. Limits: what Tidegate closed; other tools' rules
are not its business.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import click

from tidegate.cli.common import (
    as_json,
    client,
    clock,
    emit,
    left_text,
    ports_text,
    socket_option,
    table,
)
from tidegate.cli.confined import confined_rows
from tidegate.cli.standing import closed_rows
from tidegate.cli.targets import BY, TITLE, cells
from tidegate.cli.whom import source_text


@click.command(
    epilog="""\b
Examples:
  tidegate list
  tidegate list --json | jq .subject
  tidegate list --by target          what is under attack, of every sort
  tidegate list --by page --limit 5
  tidegate list --by source          whose packets are kept back, by which caps
"""
)
@click.option(
    "--by",
    type=click.Choice((*BY, "source")),
    help="What is under attack, instead of who is closed; or (source) whose packets are kept back.",
)
@click.option(
    "--limit",
    type=click.IntRange(1, 1000),
    default=20,
    show_default=True,
    help="With --by: how many, the heaviest first.",
)
@socket_option
@as_json
def command(by: str | None, limit: int, socket: str | None, as_json: bool) -> int:
    """Every ban in force: subject, ports, rule, time left; every source that is cut off or on
    probation; and every gate that is closed.

    With --by: sites, pages, mailboxes, accounts, ports or services that were abused within the last
    ten minutes, with rates. An event counts for everything that its line names. --by source: who is
    cut off, on probation or capped, and how many packets of each the kernel's caps kept back.
    """
    if by == "source":
        return _sources(limit, socket, as_json)
    if by:
        return _targets(by, limit, socket, as_json)
    rows = client(socket).lines("/list")
    if as_json:
        for row in rows:
            emit(row)
        return 0
    found = list(rows)
    gates = [row for row in found if "gate" in row]
    confined = [row for row in found if "confined" in row]
    bans = [row for row in found if "gate" not in row and "confined" not in row]
    if bans or not (gates or confined):
        _bans(bans)
    if confined:
        click.echo("\n" * bool(bans), nl=False)
        confined_rows(confined)
    if gates:
        click.echo("\n" * bool(bans or confined), nl=False)
        closed_rows(gates)
    return 0


def _bans(rows: Iterable[Mapping[str, Any]]) -> None:
    table(
        ("SUBJECT", "PORTS", "BY", "COUNT", "LEFT", "UNTIL"),
        (
            (
                row["subject"],
                ports_text(row["ports"]),
                row["by"] if row["by"].startswith("fleet:") else row["rule"] or row["by"],
                str(row["count"] or "-"),
                left_text(row["left"]),
                clock(row["until"]),
            )
            for row in rows
        ),
        "Nothing is closed.",
    )


def _sources(limit: int, socket: str | None, as_json: bool) -> int:
    rows = client(socket).lines("/sources", {"limit": str(limit)})
    if as_json:
        for row in rows:
            emit(row)
        return 0
    table(
        ("SOURCE", "KEPT BACK", "BY CAP", "IS", "BY", "UNTIL"),
        (
            (
                source_text(row["subject"]),
                f"{row['packets']:,}",
                ", ".join(f"{one['what']} {one['packets']:,}" for one in row["capped"]) or "-",
                row["confined"] or "capped",
                row["by"] or "-",
                clock(row["until"]) if row["until"] else "-",
            )
            for row in rows
        ),
        "Nobody's packets are kept back.",
    )
    return 0


def _targets(by: str, limit: int, socket: str | None, as_json: bool) -> int:
    rows = client(socket).lines("/targets", {"by": by, "limit": str(limit)})
    if as_json:
        for row in rows:
            emit(row)
        return 0
    table(TITLE, map(cells, rows), "No abuse within the last ten minutes.")
    return 0
