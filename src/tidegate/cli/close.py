"""`tidegate close GATE`: close a guard's gate by hand.

Touches the daemon through its control socket. Limits: gates that policy names; for an address
there is `ban`.
"""

from __future__ import annotations

import click

from tidegate.cli.common import as_json, note, socket_option
from tidegate.cli.gates import order


@click.command(
    epilog="""\b
Examples:
  tidegate close apache.throttle --for 30m --note "crawler, ticket 4711"
  tidegate guard list               which gates there are
"""
)
@click.argument("gate")
@click.option("--for", "span", default="1h", show_default=True, help='How long: "90s", "1h", "7d".')
@note
@socket_option
@as_json
def command(gate: str, span: str, note: str, socket: str | None, as_json: bool) -> int:
    """Close GATE now: throttle, drain, stop, whatever policy says of it; it opens again by itself.

    What a person closed no guard opens before its time.
    """
    return order("close", gate, note, socket, as_json, span)
