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
    """Keep the guard from closing GATE (or any gate of a guard), until `resume`.

    A gate that is closed now opens as it would have: when its guard sees calm. To open it at once
    and keep it open, `tidegate open` and then `tidegate hold`. A restart is not done while held.
    """
    return order("hold", gate, note, socket, as_json)
