"""The command line: one file per verb, each imported only when its verb is called.

Touches standard output and error. Exit codes: 0 done, 1 found something or not all done, 2 the
user's input is wrong, 3 the world refused. Limits: no verb needs root but `run`, `off` and `on`.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

import click

from tidegate import __version__
from tidegate.errors import TidegateError

VERBS = {
    "run": "The daemon: read, decide, close, and open again.",
    "init": "Look at this host, write a policy for what runs here, make it a service.",
    "check": "Are policy and detectors valid? Every example line is tried.",
    "detect": "Which events are in these lines?",
    "kinds": "Every kind of event that the packs tell of, and what it means.",
    "replay": "What would have been decided, on the log's own clock?",
    "status": "How the daemon is: sources, rules, gate, limits.",
    "list": "What is closed now, and until when.",
    "why": "Why an address is closed: the rule, the count, and the very lines.",
    "history": "Who did what, and when: machine or person.",
    "report": "What was done, and what it was good for.",
    "top": "Who floods now, in and out: source, program, port, packets a second.",
    "incident": "What happened, as a whole: list, show, note, feed, minutes closed.",
    "ban": "Close for an address by hand.",
    "unban": "Open for an address, forget what counted against it, leave it alone for an hour.",
    "allow": "Never close for an address, for a while.",
    "quarantine": "Cut a source off from what leaves, by hand.",
    "release": "Let a source back that was cut off, on probation.",
    "close": "Close a guard's gate by hand: throttle, drain or stop.",
    "open": "Open a guard's gate by hand.",
    "hold": "Leave a gate as it is: its guard watches, but does not act.",
    "resume": "Let the guard act on a gate again.",
    "guard": "Try a condition on this host's readings; list guards and gates.",
    "reload": "New policy in, nothing lost; a faulty one leaves the old one running.",
    "off": "Break glass: open everything now, until `on`.",
    "on": "End `off`: what should be closed is closed again.",
    "fleet": "Many hosts as one: found a fleet, enrol and revoke hosts, see how they are.",
    "harden": "What lets dropped programs run here, what is open and old; put it right, undo it.",
    "import": "Another program's configuration as policy: sysfence.",
    "manual": "Write the manual pages, made from this same help.",
}

MODULES = {"import": "imports"}
"""Where a verb is no name that a module can have."""

EPILOG = """\b
Examples:
  tidegate replay /var/log/exim4/mainlog     what would have been banned, and why
  sudo tidegate init --write                 a policy for what runs here
  sudo tidegate run                          protect this host
  tidegate why 192.0.2.7                     the very lines that led to a ban
  sudo tidegate off                          open everything now, whatever happens

Shell completion: eval "$(_TIDEGATE_COMPLETE=bash_source tidegate)" (or zsh_source, fish_source)."""


class Verbs(click.Group):
    """A group whose commands are imported when they are needed, so that --help is quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every verb, in the order people meet them."""
        return [*VERBS]  # `list` is the module of that verb here, once it was imported

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a verb."""
        if cmd_name not in VERBS:
            return None
        module = import_module(f"tidegate.cli.{MODULES.get(cmd_name, cmd_name)}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The verbs with one line each, without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does it, with a hint at the nearest verb."""
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(args[0], VERBS, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            ctx.fail(f"There is no command {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)


@click.command(cls=Verbs, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="tidegate")
def group() -> None:
    """Closes a gate when the tide of abuse rises, and opens it again when it falls."""


def main(args: list[str] | None = None) -> Any:
    """The entry point of the `tidegate` command."""
    try:
        code = group.main(args, prog_name="tidegate", standalone_mode=False)
    except TidegateError as error:
        for line in str(error).splitlines():
            click.echo(f"tidegate: {line}", err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read us had enough (`| head`): that is no fault.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    sys.exit(code if isinstance(code, int) else 0)
