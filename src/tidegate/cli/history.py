"""`tidegate history`: who did what, and when.

Touches the daemon through its control socket. Limits: what the ledger still keeps (30 days).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any

import click

from tidegate.cli.common import (
    as_json,
    client,
    clock,
    emit,
    ports_text,
    put,
    socket_option,
    table,
)
from tidegate.cli.whom import source_text, user_number
from tidegate.text import printable

_NOTHING = "Nothing has happened yet."


@click.command(
    epilog="""\b
Examples:
  tidegate history --limit 20
  tidegate history 192.0.2.7 --json
  tidegate history www-data          a user of this host, whose traffic was cut off
  tidegate history apache.stop       a gate, or a guard with all its gates
"""
)
@click.argument("address", metavar="[ADDRESS|GATE]", required=False)
@click.option("--limit", default=100, show_default=True, help="How many, the newest first.")
@socket_option
@as_json
def command(address: str | None, limit: int, socket: str | None, as_json: bool) -> int:
    """Decisions, the newest first: by which rule or by which person, and what became of them."""
    query = {"limit": str(limit)}
    if address:
        query |= {"subject": address, "user": user_number(address)}
    rows = client(socket).lines("/history", query)
    if as_json:
        for row in rows:
            emit(row)
        return 0
    if sys.stdout.isatty():
        _lines(rows)
        return 0
    table(
        ("TIME", "ACTION", "SUBJECT", "PORTS", "BY", "STATE", "UNTIL", "NOTE"),
        (
            (
                clock(row["time"]),
                row["action"],
                source_text(row["subject"].removeprefix("gate:")),
                "-" if _portless(row) else ports_text(row["ports"]),
                row["rule"] if row["by"] in ("rule", "guard") else row["by"],
                row["spared"] or row["state"],
                "-" if _is_gate(row) and row["until"] <= row["time"] else clock(row["until"]),
                row["note"] or (row["reason"] if _is_gate(row) else ""),
            )
            for row in rows
        ),
        _NOTHING,
    )
    return 0


def _lines(rows: Iterable[Mapping[str, Any]]) -> None:
    """For a terminal: a decision is a sentence, broken between words."""
    empty = True
    for row in rows:
        empty = False
        ports, end = "", ""
        if not _portless(row):
            ports = f" (ports {ports_text(row['ports'])})" if row["action"] != "unban" else ""
        if row["until"] > row["time"]:
            end = f" until {clock(row['until'])}"
        if row.get("watched"):
            end += f", on probation until {clock(row['watched'])}"
        name = printable(source_text(row["subject"].removeprefix("gate:")))
        by = row["rule"] if row["by"] in ("rule", "guard") else row["by"]
        why = row["note"] or (row["reason"] if _is_gate(row) else "")
        put(
            f"{clock(row['time'])}  {row['action']} {name}{ports} by {printable(by)}{end}"
            + (f": {printable(why)}" if why else "")
            + f" [{printable(row['spared'] or row['state'])}]"
        )
    if empty:
        click.echo(_NOTHING)


def _is_gate(row: Mapping[str, Any]) -> bool:
    return bool(row["subject"].startswith("gate:"))


def _portless(row: Mapping[str, Any]) -> bool:
    return _is_gate(row) or row["action"] in ("quarantine", "release")
