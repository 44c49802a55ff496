"""`tidegate quarantine`: cut a source off from what leaves, by hand.

Touches the daemon through its control socket. Limits: sources that the policy's [outward] names;
never root, and never whom policy leaves alone.
"""

from __future__ import annotations

import click

from tidegate.cli.common import as_json, client, note, socket_option
from tidegate.cli.results import show
from tidegate.cli.whom import user_number


@click.command(
    epilog="""\b
Examples:
  tidegate quarantine 192.0.2.7 --for 1h
  tidegate quarantine www-data --note "bot in /var/tmp"
  tidegate quarantine 198.51.100.0/28 --for 1d --note "customer told, ticket 4711"
"""
)
@click.argument("subject")
@click.option("--for", "span", default="1h", show_default=True, help='How long: "90s", "1h", "7d".')
@note
@socket_option
@as_json
def command(subject: str, span: str, note: str, socket: str | None, as_json: bool) -> int:
    """Keep in what SUBJECT sends: a user of this host, an address, a customer's network, an
    interface.

    Nothing that it begins gets out any more; answers to those who call it still do. It is let back
    by itself, then on probation for as long again: under a tighter cap, and one more offence cuts
    it off at once. Counts as an offence, so the next quarantine by a rule takes the next step.
    """
    body = {"subject": subject, "user": user_number(subject), "for": span, "note": note}
    return show(client(socket).post("/quarantine", body), as_json)
