"""`tidegate fleet publish`: one policy for all hosts, tried by a few first, taken back by a word.

Touches what `fleet_press` touches. As root, for this host's key signs. Limits: a host that is
silent takes it when it is back.
"""

from __future__ import annotations

from pathlib import Path

import click

from tidegate.cli import fleet_access as access
from tidegate.cli.common import as_json, config, socket_option
from tidegate.cli.fleet_press import Press
from tidegate.errors import OperatorError
from tidegate.model import SECOND


def _share(_context: click.Context, _option: click.Parameter, text: str | None) -> float | None:
    """A share of the hosts in per cent."""
    if text is None:
        return None
    try:
        found = float(text.removesuffix("%"))
    except ValueError:
        found = 0.0
    if not text.endswith("%") or not 0 < found <= 100:
        raise click.BadParameter(f"expected a share such as 1%, found {text!r}")
    return found


def _seconds(_context: click.Context, _option: click.Parameter, text: str) -> int:
    """A duration in seconds."""
    from tidegate.policy.durations import parse_duration

    try:
        return max(1, parse_duration(text) // SECOND)
    except ValueError as expected:
        raise click.BadParameter(f"expected {expected}; found {text!r}") from expected


@click.command(
    epilog="""\b
Examples:
  sudo tidegate fleet publish /root/policy                 to all hosts at once
  sudo tidegate fleet publish /root/policy --canary 1%     one in a hundred tries it first
  sudo tidegate fleet publish /root/policy --canary 10% --trial 1h
  sudo tidegate fleet publish --back                       what held before holds again

Exit code 0: every host that reports has it; 1: not all, or canaries went back.
"""
)
@click.argument("folder", required=False, type=click.Path(path_type=Path), metavar="[DIR]")
@click.option(
    "--canary", callback=_share, metavar="SHARE", help="This share of the hosts tries it first."
)
@click.option(
    "--trial",
    callback=_seconds,
    metavar="DURATION",
    default="10m",
    show_default=True,
    help="How long they try it.",
)
@click.option("--back", is_flag=True, help="Publish again what held for all before.")
@click.option(
    "--wait",
    callback=_seconds,
    metavar="DURATION",
    default="1m",
    show_default=True,
    help="How long to wait for hosts.",
)
@config
@socket_option
@as_json
def command(
    folder: Path | None, canary: float | None, trial: int, back: bool, wait: int,
    config: Path | None, socket: str | None, as_json: bool,
) -> int:  # fmt: skip
    """Publish a git work tree to all hosts: tidegate.toml, policy.d, detectors, sysfence. Each host
    reads it below its own policy, whose keys go first.

    Checked before: what `tidegate check` refuses is not published. Canaries go back by themselves
    where the breaker trips, detectors break or more is wrong than before; then all do.
    """
    access.need_root("publish")
    if back == (folder is not None):
        raise OperatorError("expected either a work tree, such as /root/policy, or --back")
    if back and canary is not None:
        raise OperatorError("--back goes to all hosts at once; leave out --canary")
    desk = Press(config, socket, as_json)
    if back:
        return desk.all(desk.before(), "back", wait, back=True)
    assert folder is not None
    content, note = desk.prepared(folder)
    if canary is None:
        return desk.all(content, note, wait)
    return desk.tried(content, note, canary, trial, wait)
