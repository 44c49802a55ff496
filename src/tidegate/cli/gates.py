"""What `close`, `open`, `hold` and `resume` share: they order one thing of a gate, and show it.

Touches the daemon through its control socket. Limits: gates of guards only; for addresses there
are `ban` and `unban`.
"""

from __future__ import annotations

from typing import Any

import click

from tidegate.cli.common import client, emit, local, put
from tidegate.text import printable

DONE = {
    "close": "closed by hand",
    "open": "opened by hand",
    "hold": "held: its guard closes it no more",
    "resume": "left to its guard again",
}


def order(
    verb: str, gate: str, note: str, socket: str | None, as_json: bool, span: str = ""
) -> int:
    """Order it; the exit code."""
    body: dict[str, Any] = {"verb": verb, "gate": gate, "note": note}
    if span:
        body["for"] = span
    answer = client(socket).post("/gate", body)
    if as_json:
        emit(answer)
        return 0 if answer["moves"] else 1
    for move in answer["moves"]:
        click.echo(f"{move['gate']}: {DONE.get(move['action'], move['action'])}.")
        if move["action"] == "close":
            end = f"until {local(move['until'])}, or " if move["until"] else ""
            put(f"It stays so {end}until: tidegate open {move['gate']}", "  ")
        if move["reason"]:
            put(f"{printable(move['reason'])}.", "  ")
        if move["action"] == "open":
            put(f"To keep its guard from closing it: tidegate hold {move['gate']}", "  ")
        if move["action"] == "hold":
            click.echo(f"  To let the guard act again: tidegate resume {move['gate']}")
    if not answer["moves"]:
        click.echo(f"{printable(gate)}: nothing to do; see: tidegate guard list")
    return 0 if answer["moves"] else 1
