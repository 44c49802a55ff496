"""`tidegate open GATE`: open a guard's gate by hand; `--overdue`: what its daemon left closed.

Touches the daemon through its control socket; with `--overdue` and `--everything` the records of
what was closed, as root, and with the latter the nftables table.
Limits: gates that policy names; for an address there is `unban`.
"""

from __future__ import annotations

from pathlib import Path

import click

from tidegate.cli.common import as_json, config, emit, note, paths, socket_option
from tidegate.cli.gates import order
from tidegate.errors import GateError, OperatorError, WorldError
from tidegate.model import GateReport
from tidegate.policy.models import Paths
from tidegate.text import printable


@click.command(
    epilog="""\b
Examples:
  tidegate open apache --note "load is fine, I looked"
  tidegate open apache.stop && tidegate hold apache.stop     and leave it open
  sudo tidegate open --overdue                               after a crash, without the daemon
  sudo tidegate open --everything                            before Tidegate is removed
"""
)
@click.argument("gate", required=False)
@click.option("--overdue", is_flag=True, help="Open what should be open by now; needs no daemon.")
@click.option("--everything", is_flag=True, help="Open all, bans too; once the daemon is stopped.")
@note
@config
@socket_option
@as_json
def command(
    gate: str | None, overdue: bool, everything: bool, note: str, config: Path | None,
    socket: str | None, as_json: bool,
) -> int:  # fmt: skip
    """Open GATE (or every gate of a guard) now. Its guard may close it again when it must.

    With --overdue: open whatever was closed and whose time is over, as the timer does that is set
    beside each closing. It needs neither the daemon nor a policy that can be read.

    With --everything: open all that is closed, time or not, bans included. A daemon that runs
    closes again; `tidegate off` is what keeps it from that.
    """
    if (gate is not None) + overdue + everything != 1:
        raise OperatorError("expected one of GATE, --overdue and --everything")
    if gate is not None:
        return order("open", gate, note, socket, as_json)
    places = paths(config)
    reports = open_all(places) if everything else _overdue(places.gates)
    for one in reports:
        if as_json:
            emit({"v": 1, "gate": one.gate, "state": one.state, "detail": one.detail})
        else:
            click.echo(told(one))
    if not as_json and everything and not any(one.state == "refused" for one in reports):
        click.echo("Everything is open.")
    elif not as_json and not reports:
        click.echo("Nothing is overdue.")
    return 1 if any(one.state == "refused" for one in reports) else 0


def open_all(places: Paths) -> list[GateReport]:
    """Delete the tables, and put back whatever the records say is closed besides."""
    from tidegate.gate.nftables import delete_table

    try:
        delete_table()
    except GateError as error:
        raise WorldError(
            f"the kernel refused: {error}; nft delete table inet tidegate;"
            " nft delete table inet tidegate_outward"
        ) from error
    return _overdue(places.gates, everything=True)


def told(report: GateReport) -> str:
    """What became of a gate, as a line."""
    detail = f": {printable(report.detail)}" if report.detail else ""
    return f"{report.gate}: {report.state}{detail}"


def _overdue(folder: str, *, everything: bool = False) -> list[GateReport]:
    from tidegate.daemon.clock import now_micros
    from tidegate.gate.switches.overdue import open_overdue

    return open_overdue(Path(folder), now_micros(), everything=everything)
