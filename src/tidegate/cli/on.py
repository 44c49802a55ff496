"""`tidegate on`: end `off`.

Touches /etc/tidegate/off, which it removes. The daemon notices within a second and closes again
what should be closed. Limits: needs root; what ended meanwhile stays open.
"""

from __future__ import annotations

from pathlib import Path

import click

from tidegate.cli.common import as_json, config, emit, paths
from tidegate.errors import WorldError


@click.command(epilog="\b\nExamples:\n  sudo tidegate on\n")
@config
@as_json
def command(config: Path | None, as_json: bool) -> int:
    """Let the daemon act again: what should be closed now is closed within a second."""
    path = Path(paths(config).off)
    try:
        path.unlink()
        was_off = True
    except FileNotFoundError:
        was_off = False
    except OSError as error:
        raise WorldError(f"{path}: {error.strerror}; run it as root: sudo tidegate on") from error
    if as_json:
        emit({"v": 1, "off": False, "was_off": was_off})
    else:
        click.echo("On: what should be closed is closed again." if was_off else "It was not off.")
    return 0
