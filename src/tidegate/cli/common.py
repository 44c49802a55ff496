"""What several verbs share: options, output as table or JSON, talking to the daemon.

Touches standard output and error, and the control socket. `--json` goes to standard output alone;
notes and progress go to standard error. Limits: tables are as wide as the terminal.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from tidegate.control.client import Client
from tidegate.errors import OperatorError, PolicyError
from tidegate.policy.loader import load, salvaged
from tidegate.policy.models import Paths
from tidegate.text import printable

Function = TypeVar("Function", bound=Callable[..., Any])

_COMMAND = re.compile(r"tidegate [a-z]+ [\w.:/-]+")

SOCKET = "watcher/control.sock"
"""Where the control socket stands below the run folder."""

as_json = click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
config = click.option(
    "--config",
    "-c",
    type=click.Path(path_type=Path, readable=False),  # the reader of policies says it better
    help="Policy file (default /etc/tidegate/tidegate.toml, else the shipped policy).",
)
note = click.option("--note", default="", help="Why; kept in the history.")

here_only = click.option("--local", is_flag=True, help="On this host alone, not on its fleet.")


def socket_option(function: Function) -> Function:
    """The `--socket` option, with the policy's own place as its default."""
    return click.option(
        "--socket",
        envvar="TIDEGATE_SOCKET",
        type=click.Path(),
        help="Control socket (default /run/tidegate/watcher/control.sock).",
    )(function)


def paths(policy: Path | None = None) -> Paths:
    """The paths of the policy, also of a faulty one."""
    try:
        return load(policy).policy.paths
    except PolicyError:
        return salvaged(policy)


def client(socket: str | None) -> Client:
    """A client of the running daemon."""
    return Client(socket or os.path.join(paths().run, SOCKET))


def emit(row: Mapping[str, Any]) -> None:
    """One JSON object on one line."""
    sys.stdout.write(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n")


def say(text: str) -> None:
    """A line for people, on standard error."""
    click.echo(text, err=True)


def table(title: Sequence[str], rows: Iterable[Sequence[str]], empty: str) -> None:
    """A table on standard output; hostile text is made printable, never dropped.

    Into a pipe the columns are parted by tabs and never cut, so that `awk` and `grep` see all.
    """
    found = [[printable(cell) for cell in row] for row in rows]
    if not found:
        click.echo(empty)
        return
    if not sys.stdout.isatty():
        for row in [list(title), *found]:
            click.echo("\t".join(row))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, header_style="bold", pad_edge=False)
    for name in title:
        drawn.add_column(name, overflow="fold")
    for row in found:
        drawn.add_row(*(Text(cell) for cell in row))
    Console(highlight=False).print(drawn)


def ports_text(ports: Sequence[int]) -> str:
    """A scope for people: `25,465`, or `all`."""
    return ",".join(map(str, ports)) if ports else "all"


def doors(ports: Sequence[int]) -> str:
    """A scope in a sentence: `port 25 is`, `ports 25,465 are`, `every port is`."""
    if not ports:
        return "every port is"
    return f"port {ports[0]} is" if len(ports) == 1 else f"ports {ports_text(ports)} are"


def read_ports(text: str) -> list[int]:
    """Ports from `25,465`; OperatorError says what was expected."""
    try:
        found = [int(part) for part in text.split(",") if part]
    except ValueError:
        found = [0]
    if not all(1 <= port <= 65535 for port in found):
        raise OperatorError(f"--ports: expected numbers such as 25,465; found {text!r}")
    return found


def local(moment: str) -> str:
    """A moment of the daemon's answers, for people: this host's clock, to the second."""
    return datetime.fromisoformat(moment).astimezone().isoformat(" ", "seconds")


def clock(moment: str) -> str:
    """A moment in a table: into a pipe as `local`; on a terminal as short as the day allows."""
    if not sys.stdout.isatty():
        return local(moment)
    there = datetime.fromisoformat(moment).astimezone()
    same = there.date() == datetime.now().astimezone().date()
    return f"{there:%H:%M:%S}" if same else f"{there:%Y-%m-%d %H:%M}"


def ago(moment: str) -> str:
    """How long ago that was, in its two largest units."""
    there = datetime.fromisoformat(moment)
    return left_text(max(0, int((datetime.now(there.tzinfo) - there).total_seconds())))


def put(text: str, indent: str = "") -> None:
    """A line for people: on a terminal broken between words, with its indent; else one line."""
    if not sys.stdout.isatty():
        click.echo(indent + text)
        return
    whole = _COMMAND.sub(lambda found: found[0].replace(" ", "\u00a0"), text)  # to be copied
    width = min(max(shutil.get_terminal_size().columns, 40), 120)
    for line in textwrap.wrap(
        whole, width, initial_indent=indent, subsequent_indent=indent + "  ",
        break_on_hyphens=False, break_long_words=False,
    ) or [indent]:  # fmt: skip
        click.echo(line.replace("\u00a0", " "))


def left_text(seconds: int) -> str:
    """A remaining time in its two largest units: `1d 3h`, `9m 58s`."""
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        number, seconds = divmod(seconds, size)
        if number or (unit == "s" and not parts):
            parts.append(f"{number}{unit}")
    return " ".join(parts[:2])
