"""`tidegate release`: let a source back that was cut off.

Touches the daemon through its control socket. Limits: it comes back on probation, unless --trust
says that it is clean.
"""

from __future__ import annotations

import click

from tidegate.cli.common import as_json, client, note, socket_option
from tidegate.cli.results import show
from tidegate.cli.whom import user_number
from tidegate.errors import OperatorError


@click.command(
    epilog="""\b
Examples:
  tidegate release 192.0.2.7 --note "patched, they say"
  tidegate release www-data --trust --note "reinstalled"
  tidegate release --all
"""
)
@click.argument("subject", required=False)
@click.option("--all", "everything", is_flag=True, help="Everybody who is cut off.")
@click.option(
    "--trust",
    is_flag=True,
    help="Without probation, and what counted against it is forgotten: it is clean.",
)
@note
@socket_option
@as_json
def command(
    subject: str | None,
    everything: bool,
    trust: bool,
    note: str,
    socket: str | None,
    as_json: bool,
) -> int:
    """Let SUBJECT back now, on probation: under a tighter cap, and one more offence cuts it off
    again at once, for the next step of the ladder, without anybody having to see it.

    To leave an address or a user alone for a while, whatever it does: tidegate allow.
    """
    if (subject is None) != everything:
        raise OperatorError("expected either SUBJECT or --all")
    body: dict[str, object] = {"trust": trust, "note": note}
    if subject is None:
        body["all"] = True
    else:
        body |= {"subject": subject, "user": user_number(subject)}
    return show(client(socket).post("/release", body), as_json, "Nobody is cut off.")
