"""`tidegate off`: break glass. Opens everything now, daemon running or not, until `on`.

Touches /etc/tidegate/off, written first, then the nftables table, deleted. Needs root.
Limits: this host; works with a broken policy and without the daemon.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import click

from tidegate.cli.common import as_json, config, emit, note, paths
from tidegate.errors import GateError, WorldError


@click.command(epilog="\b\nExamples:\n  sudo tidegate off --note 'customers locked out'\n")
@config
@note
@as_json
def command(config: Path | None, note: str, as_json: bool) -> int:
    """Open every gate now, and keep everything open, reboot included, until `tidegate on`."""
    path = Path(paths(config).off)
    text = f"{datetime.now(UTC).isoformat(timespec='seconds')} by {_who()} {note}".rstrip() + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        path.write_text(text)
        path.chmod(0o644)
    except OSError as error:
        raise WorldError(f"{path}: {error.strerror}; run it as root: sudo tidegate off") from error
    opened = _delete_table()
    if as_json:
        emit({"v": 1, "off": True, "file": str(path), "table_deleted": opened})
    else:
        click.echo("Everything is open, and stays open until: tidegate on")
        if not opened:
            click.echo("(There was no table of ours in the kernel.)")
    return 0


def _delete_table() -> bool:
    from tidegate.gate.nftables import delete_table

    try:
        return bool(delete_table())
    except GateError as error:
        raise WorldError(
            f"the switch is written, but the kernel refused: {error};"
            " as root: nft delete table inet tidegate"
        ) from error


def _who() -> str:
    return os.environ.get("SUDO_USER") or os.environ.get("USER") or f"uid {os.getuid()}"
