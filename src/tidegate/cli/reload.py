"""`tidegate reload`: new policy and detectors in, nothing lost.

Touches the daemon through its control socket. Limits: a faulty policy leaves the old one running;
the faults are printed as `tidegate check` would.
"""

from __future__ import annotations

import click

from tidegate.cli.common import as_json, client, emit, socket_option


@click.command(epilog="\b\nExamples:\n  tidegate check && tidegate reload\n")
@socket_option
@as_json
def command(socket: str | None, as_json: bool) -> int:
    """Read policy and detectors again, keeping every count, position and ban."""
    answer = client(socket).post("/reload", {})
    if as_json:
        emit(answer)
    else:
        click.echo(f"reloaded: policy {answer['policy']}")
    return 0
