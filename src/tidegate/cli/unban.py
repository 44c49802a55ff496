"""`tidegate unban`: open for an address, and forget what counted against it.

Touches the daemon through its control socket. Limits: the subject is left alone for an hour; a
network that holds it stays closed and is named.
"""

from __future__ import annotations

import click

from tidegate.cli.common import as_json, client, here_only, note, socket_option
from tidegate.cli.results import show
from tidegate.cli.whom import user_number
from tidegate.errors import OperatorError


@click.command(
    epilog="""\b
Examples:
  tidegate unban 192.0.2.7 --note "customer called"
  tidegate unban --all
  tidegate unban 192.0.2.7 --local  on this host alone; the others of its fleet stay closed
"""
)
@click.argument("address", required=False)
@click.option("--all", "everything", is_flag=True, help="Open for everybody who is banned.")
@note
@here_only
@socket_option
@as_json
def command(
    address: str | None, everything: bool, note: str, local: bool, socket: str | None, as_json: bool
) -> int:
    """Open for ADDRESS at once, forget its offences, and leave it alone for an hour.

    Where it is cut off or on probation as a source, it is freed from that too. --all: bans only.
    Where this host is in a fleet, all its hosts do the same; --local: this one alone.
    """
    if (address is None) != everything:
        raise OperatorError("expected either ADDRESS or --all")
    body: dict[str, object] = (
        {"all": True, "note": note}
        if everything
        else {"subject": address, "user": user_number(address), "note": note}
    )
    if local:
        body["local"] = True
    return show(client(socket).post("/unban", body), as_json)
