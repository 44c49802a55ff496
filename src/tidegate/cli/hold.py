"""`tidegate hold GATE`: the guard watches this gate, but does not act on it.

Touches the daemon through its control socket. Limits: gates that policy names.
"""

from __future__ import annotations

import click

from tidegate.cli.common import as_json, note, socket_option
from tidegate.cli.gates import order


@click.command(
    epilog="""\b
Examples:
  tidegate hold apache.stop --note "upgrade tonight"
  tidegate resume apache.stop
"""
)
@click.argument("gate")
@note
@socket_option
@as_json
def command(gate: str, note: str, socket: str | None, as_json: bool) -> int:
    """Leave GATE (or every gate of a guard) as it is, until `resume`.

    What its guard would have done is recorded. A gate that is closed now stays closed: to open it
    and keep it open, `tidegate open` and then `tidegate hold`.
    """
    return order("hold", gate, note, socket, as_json)
