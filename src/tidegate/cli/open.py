"""`tidegate open GATE`: open a guard's gate by hand; `--overdue`: what its daemon left closed.

Touches the daemon through its control socket; with `--overdue` the records of what was closed, as
root. Limits: gates that policy names; for an address there is `unban`.
"""

from __future__ import annotations

from pathlib import Path

import click

from tidegate.cli.common import as_json, config, emit, note, paths, socket_option
from tidegate.cli.gates import order
from tidegate.errors import OperatorError


@click.command(
    epilog="""\b
Examples:
  tidegate open apache --note "load is fine, I looked"
  tidegate open apache.stop && tidegate hold apache.stop     and leave it open
  sudo tidegate open --overdue                               after a crash, without the daemon
"""
)
@click.argument("gate", required=False)
@click.option("--overdue", is_flag=True, help="Open what should be open by now; needs no daemon.")
@note
@config
@socket_option
@as_json
def command(
    gate: str | None, overdue: bool, note: str, config: Path | None, socket: str | None,
    as_json: bool,
) -> int:  # fmt: skip
    """Open GATE (or every gate of a guard) now. Its guard may close it again when it must.

    With --overdue: open whatever was closed and whose time is over, as the timer does that is set
    beside each closing. It needs neither the daemon nor a policy that can be read.
    """
    if (gate is None) != overdue:
        raise OperatorError("expected either GATE or --overdue")
    if gate is not None:
        return order("open", gate, note, socket, as_json)
    from tidegate.daemon.clock import now_micros
    from tidegate.gate.switches.overdue import open_overdue

    reports = open_overdue(Path(paths(config).gates), now_micros())
    for one in reports:
        if as_json:
            emit({"v": 1, "gate": one.gate, "state": one.state, "detail": one.detail})
        else:
            click.echo(f"{one.gate}: {one.state}{': ' + one.detail if one.detail else ''}")
    if not reports and not as_json:
        click.echo("Nothing is overdue.")
    return 1 if any(one.state == "refused" for one in reports) else 0
