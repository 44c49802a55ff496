"""`tidegate resume GATE`: its guard acts on it again.

Touches the daemon through its control socket. Limits: gates that policy names.
"""

from __future__ import annotations

import click

from tidegate.cli.common import as_json, note, socket_option
from tidegate.cli.gates import order


@click.command(epilog="\b\nExamples:\n  tidegate resume apache.stop\n")
@click.argument("gate")
@note
@socket_option
@as_json
def command(gate: str, note: str, socket: str | None, as_json: bool) -> int:
    """End `hold`, and what a person closed or opened: the guard of GATE decides again."""
    return order("resume", gate, note, socket, as_json)
