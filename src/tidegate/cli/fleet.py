"""`tidegate fleet`: many hosts as one machine. One file for each command, imported when called.

Touches nothing itself. Limits: a command stands in `PARTS` and in `fleet_NAME.py` beside this file.
"""

from __future__ import annotations

from importlib import import_module

import click

PARTS = {
    "acl": "Users for the engine, with no more rights than they need.",
    "init": "Found a fleet: this host is its desk and its first member.",
    "enroll": "At the desk: a token for a host. On that host: join with it.",
    "revoke": "A host is no member any more; all it caused is taken back.",
    "plan": "Which bans a policy would bring and take away, by what all hosts saw lately.",
    "publish": "One policy for all hosts; a few try it first; back by a word.",
    "status": "Every host: version, lag, clock, drift, spool, what was refused.",
}


class Parts(click.Group):
    """The commands of the fleet, imported when they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command, in the order people meet them."""
        return [*PARTS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a name."""
        if cmd_name not in PARTS:
            return None
        command: click.Command = import_module(f"tidegate.cli.fleet_{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands with one line each, without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(PARTS.items()))


@click.group(
    cls=Parts,
    epilog="""\b
Examples:
  sudo tidegate fleet init --engine unix:/run/redis/redis-server.sock
  sudo tidegate fleet enroll web2                  at the desk; prints what to type on web2
  sudo tidegate fleet revoke web2                  what it caused is taken back on all hosts
  sudo tidegate fleet publish /root/policy --canary 1%       one policy for all hosts
  tidegate fleet status                            how all of them are
""",
)
def command() -> None:
    """Many hosts as one machine, by a Redis or Valkey they share: they count together, and what one
    of them decides holds on all. Setting up, enrolling, what to do when: docs/fleet.md.
    """
