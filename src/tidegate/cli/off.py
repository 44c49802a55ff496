"""`tidegate off`: break glass. Opens everything now, daemon running or not, until `on`.

Touches /etc/tidegate/off, written first, then the nftables tables, deleted, then whatever the
records say is closed besides (services, balancers), put back. Needs root.
Limits: this host; works with a broken policy and without the daemon.
"""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import click

from tidegate.cli.common import as_json, config, emit, note, paths
from tidegate.errors import GateError, WorldError
from tidegate.model import GateReport
from tidegate.text import printable


@click.command(epilog="\b\nExamples:\n  sudo tidegate off --note 'customers locked out'\n")
@config
@note
@as_json
def command(config: Path | None, note: str, as_json: bool) -> int:
    """Open every gate now, and keep everything open, reboot included, until `tidegate on`."""
    places = paths(config)
    path = Path(places.off)
    text = f"{datetime.now(UTC).isoformat(timespec='seconds')} by {_who()} {note}".rstrip() + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        path.touch(0o644)  # this alone is the switch; on a full disk there is room for no more
        with suppress(OSError):
            path.write_text(text)
    except OSError as error:
        raise WorldError(f"{path}: {error.strerror}; run it as root: sudo tidegate off") from error
    opened = _delete_table()
    gates = _open_gates(Path(places.gates))
    stuck = [one for one in gates if one.state == "refused"]
    if as_json:
        rows = [{"gate": one.gate, "state": one.state, "detail": one.detail} for one in gates]
        emit({"v": 1, "off": True, "file": str(path), "table_deleted": opened, "gates": rows})
        return 1 if stuck else 0
    if not stuck:
        click.echo("Everything is open, and stays open until: tidegate on")
    if not opened:
        click.echo("(There was no table of ours in the kernel.)")
    for one in gates:
        click.echo(f"{one.gate}: {one.state}{': ' + printable(one.detail) if one.detail else ''}")
    if stuck:
        click.echo("Not all of it could be opened; say `tidegate off` again.", err=True)
    return 1 if stuck else 0


def _open_gates(folder: Path) -> list[GateReport]:
    """Services, balancers and the rest, put back as they were; a daemon that runs does it."""
    from tidegate.daemon.clock import now_micros
    from tidegate.gate.switches.overdue import open_overdue

    return open_overdue(folder, now_micros(), everything=True)


def _delete_table() -> bool:
    from tidegate.gate.nftables import delete_table

    try:
        return bool(delete_table())
    except GateError as error:
        raise WorldError(
            f"the switch is written, but the kernel refused: {error};"
            " as root: nft delete table inet tidegate; nft delete table inet tidegate_outward"
        ) from error


def _who() -> str:
    return os.environ.get("SUDO_USER") or os.environ.get("USER") or f"uid {os.getuid()}"
