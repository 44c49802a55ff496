"""`tidegate ban`: close for an address by hand.

Touches the daemon through its control socket. Limits: addresses and networks no wider than the
policy's widest prefix; never what is protected.
"""

from __future__ import annotations

import click

from tidegate.cli.common import as_json, client, here_only, note, read_ports, socket_option
from tidegate.cli.results import show


@click.command(
    epilog="""\b
Examples:
  tidegate ban 192.0.2.7 --for 1h
  tidegate ban 2001:db8:1:2::/64 --ports 25,465 --note "worm, ticket 4711"
  tidegate ban 192.0.2.7 --local    on this host alone, not on all of its fleet
"""
)
@click.argument("address")
@click.option("--for", "span", default="1h", show_default=True, help='How long: "90s", "1h", "7d".')
@click.option("--ports", default="", help="Only these ports, such as 25,465 (default: every port).")
@note
@here_only
@socket_option
@as_json
def command(
    address: str, span: str, ports: str, note: str, local: bool, socket: str | None, as_json: bool
) -> int:
    """Close for ADDRESS, an address or a network; it opens again by itself.

    A single IPv6 address stands for its /64; write ADDRESS/128 for the one alone. Where this host
    is in a fleet, all its hosts close; --local: this one alone.
    """
    body: dict[str, object] = {
        "subject": address,
        "for": span,
        "ports": read_ports(ports),
        "note": note,
    }
    if local:
        body["local"] = True
    return show(client(socket).post("/ban", body), as_json)
