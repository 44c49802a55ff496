"""Shows what became of an order: ban, unban, allow, quarantine, release.

Touches standard output. Limits: one line a subject.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from tidegate.cli.common import emit, local, ports_text
from tidegate.cli.whom import source_text
from tidegate.text import printable


def show(answer: Mapping[str, Any], as_json: bool, none: str = "Nothing is closed.") -> int:
    """Print the results; exit code 1 if any was refused."""
    rows = answer.get("results", [])
    for row in rows:
        if as_json:
            emit(row)
            continue
        text = _order(row)
        if row["state"] == "applied":
            click.echo(f"{text}: done{_until(row)}")
        else:
            click.echo(f"{text}: {row['state']}: {printable(row['detail'])}", err=True)
    notes = answer.get("notes", [])
    for said in notes:
        click.echo(printable(said), err=True)
    if not rows and not notes and not as_json:
        click.echo(none)
    if (said := answer.get("fleet")) and not as_json:
        click.echo(printable(said), err=True)
    still = answer.get("still", [])
    for network in still:
        click.echo(
            f"{network} stays closed, and it is inside; to open: tidegate unban {network}", err=True
        )
    return int(bool(still or notes) or any(row["state"] == "refused" for row in rows))


def _order(row: Mapping[str, Any]) -> str:
    if row["action"] in ("quarantine", "release"):
        return f"{row['action']} {source_text(row['subject'])}"
    return f"{row['action']} {row['subject']} (ports: {ports_text(row['ports'])})"


def _until(row: Mapping[str, Any]) -> str:
    watched = f"on probation until {local(row['watched'])}" if row.get("watched") else ""
    if row["action"] == "release":
        return f", {watched}" if watched else ""
    if row["action"] == "quarantine":
        return f" until {local(row['until'])}, then {watched or 'free'}"
    return f" until {local(row['until'])}" if row["action"] in ("ban", "allow") else ""
