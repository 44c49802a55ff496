"""`tidegate guard`: try a condition on this host's readings now; list guards and their gates.

Touches /proc and whatever the readings of the condition touch (`try`), or the daemon through its
control socket (`list`). Limits: readings that are rates or slopes are looked at twice, a second
apart; how long something has held is not known from one look.
"""

from __future__ import annotations

from pathlib import Path

import click

from tidegate.cli.common import as_json, client, config, emit, say, socket_option
from tidegate.cli.standing import show_guards


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
    """Every guard with its gates: what is closed, since when, who holds it, and when it opens."""
    answer = client(socket).get("/guards")
    if as_json:
        emit(answer)
        return 0
    show_guards(answer)
    return 0
