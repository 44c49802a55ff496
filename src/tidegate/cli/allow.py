"""`tidegate allow`: never close for an address, for a while.

Touches the daemon through its control socket. Limits: for good belongs into the policy's [allow].
"""

from __future__ import annotations

import click

from tidegate.cli.common import as_json, client, note, socket_option
from tidegate.cli.results import show
from tidegate.cli.whom import user_number


@click.command(
    epilog="""\b
Examples:
  tidegate allow 192.0.2.7 --for 1d
  tidegate allow 192.0.2.0/28 --for 2h --note "migration"
"""
)
@click.argument("address")
@click.option("--for", "span", default="1d", show_default=True, help='How long: "2h", "1d".')
@note
@socket_option
@as_json
def command(address: str, span: str, note: str, socket: str | None, as_json: bool) -> int:
    """Never close for ADDRESS until the time is over; opens for it now if it is closed.

    Where it is cut off as a source, or is on probation, it is freed and not cut off until then; a
    user's name works for that, too. The caps of [outward] hold for it all the same.
    """
    body = {"subject": address, "user": user_number(address), "for": span, "note": note}
    return show(client(socket).post("/allow", body), as_json)
