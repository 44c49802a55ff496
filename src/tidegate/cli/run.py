"""`tidegate run`: the daemon, in the foreground.

Touches everything: logs to read, the ledger, the firewall through the keeper. Needs root to close.
Limits: one daemon a host (and network namespace).
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import click

from tidegate.cli.common import config


@click.command(
    epilog="""\b
Examples:
  sudo tidegate run                    protect this host
  sudo tidegate run --observe          decide and record, touch nothing
  sudo systemctl start tidegate        the same as a service
"""
)
@config
@click.option("--observe", is_flag=True, help="Decide and record, close nothing.")
@click.option("--verbose", "-v", is_flag=True, help="Say more on standard error.")
def command(config: Path | None, observe: bool, verbose: bool) -> int:
    """Read what the sources write, decide who does harm, close, and open again by itself."""
    # The journal and every supervisor put a time of their own before each line.
    stamp = "" if os.environ.get("JOURNAL_STREAM") else "%(asctime)s "
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO,
        format=f"{stamp}%(name)s: %(message)s",
        stream=sys.stderr,
    )
    from tidegate.daemon.start import start

    return start(config, observe=observe)
