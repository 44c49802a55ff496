"""`tidegate fleet status`: every host of the fleet, the worst first.

Touches the daemon through its control socket, which asks the engine. Limits: what each host has
reported in the last seconds; whoever is silent is shown by the last it said.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime

import click

from tidegate.cli import fleet_view as view
from tidegate.cli.common import as_json, client, emit, put, socket_option, table
from tidegate.errors import OperatorError

_MOST = 20


@click.command(
    epilog="""\b
Examples:
  tidegate fleet status
  tidegate fleet status --all
  tidegate fleet status --json | jq '.hosts[] | select(.drift > 0).host'

Exit code 0: joined, and every host is well; 1: something is not.
"""
)
@click.option("--all", "everything", is_flag=True, help=f"Every host, not the {_MOST} worst.")
@socket_option
@as_json
def command(everything: bool, socket: str | None, as_json: bool) -> int:
    """Hosts with version, policy, lag and clock, what they drift and spool, and what was refused.

    SEEN: when it last reported. LAG: from a crossing in the engine until it was heard there. CLOCK:
    against the engine's. DRIFT: bans that it wants and the fleet does not, or the other way. SPOOL:
    what waits there for the engine. REFUSED: messages in its name that this host did not believe.
    """
    answer = client(socket).get("/fleet")
    if as_json:
        emit(answer)
    if answer["fleet"] is None:
        raise OperatorError(
            "this host is in no fleet: its policy has no [fleet]; tidegate fleet --help"
        )
    found = view.rows(answer, datetime.now(UTC))
    if not as_json:
        for line in view.head(answer, found):
            put(line)
        if not sys.stdout.isatty():
            table(view.TITLE, (one.cells for one in found), "No host has reported.")
        else:
            for line in view.body(found, 0 if everything else _MOST) if found else ():
                click.echo(line)
        for line in view.refused(answer):
            put(line)
    joined = answer["fleet"]["state"] == "joined" and answer["answered"]
    return 0 if joined and not any(one.ill for one in found) else 1
