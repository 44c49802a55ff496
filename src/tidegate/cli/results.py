"""Shows what became of an order: ban, unban, allow.

Touches standard output. Limits: one line a subject.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from tidegate.cli.common import emit, local, ports_text
from tidegate.text import printable


def show(answer: Mapping[str, Any], as_json: bool) -> int:
    """Print the results; exit code 1 if any was refused."""
    rows = answer.get("results", [])
    for row in rows:
        if as_json:
            emit(row)
            continue
        text = f"{row['action']} {row['subject']} (ports: {ports_text(row['ports'])})"
        if row["state"] == "applied":
            until = f" until {local(row['until'])}" if row["action"] in ("ban", "allow") else ""
            click.echo(f"{text}: done{until}")
        else:
            click.echo(f"{text}: {row['state']}: {printable(row['detail'])}", err=True)
    if not rows and not as_json:
        click.echo("Nothing is closed.")
    still = answer.get("still", [])
    for network in still:
        click.echo(
            f"{network} stays closed, and it is inside; to open: tidegate unban {network}", err=True
        )
    return int(bool(still) or any(row["state"] == "refused" for row in rows))
