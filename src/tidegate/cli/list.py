"""`tidegate list`: what is closed now, and until when.

Touches the daemon through its control socket. Limits: what Tidegate closed; other tools' rules
are not its business.
"""

from __future__ import annotations

import click

from tidegate.cli.common import (
    as_json,
    client,
    emit,
    left_text,
    local,
    ports_text,
    socket_option,
    table,
)


@click.command(epilog="\b\nExamples:\n  tidegate list\n  tidegate list --json | jq .subject\n")
@socket_option
@as_json
def command(socket: str | None, as_json: bool) -> int:
    """Every ban in force: subject, ports, rule, time left."""
    rows = client(socket).lines("/list")
    if as_json:
        for row in rows:
            emit(row)
        return 0
    table(
        ("SUBJECT", "PORTS", "BY", "COUNT", "LEFT", "UNTIL"),
        (
            (
                row["subject"],
                ports_text(row["ports"]),
                row["rule"] or row["by"],
                str(row["count"] or "-"),
                left_text(row["left"]),
                local(row["until"]),
            )
            for row in rows
        ),
        "Nothing is closed.",
    )
    return 0
