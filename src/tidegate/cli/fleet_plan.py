"""`tidegate fleet plan`: which bans a policy would bring and take away, by what was seen lately.

Touches the kept events of this host, and in a fleet the engine, by which the others send theirs;
then gives up root before any of it is read. Limits: what was kept, at most a day; who was closed
for before that, and offences of earlier days, are not known to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from tidegate.cli import plan_view as view
from tidegate.cli.common import as_json, config, emit, put, say
from tidegate.daemon.blindness import blind
from tidegate.daemon.build import Plan, plan
from tidegate.daemon.comparison import Comparison, compare
from tidegate.daemon.forecast import Seen, forecast
from tidegate.daemon.privilege import become_nobody
from tidegate.daemon.proposal import proposed
from tidegate.decision.allow import Surroundings
from tidegate.errors import OperatorError, WorldError
from tidegate.model import DAY, MINUTE, SECOND, Micros, Subject
from tidegate.policy.durations import parse_duration
from tidegate.policy.values import size


@click.command(
    epilog="""\b
Examples:
  sudo tidegate fleet plan /srv/policy              over what all hosts have seen in the last day
  sudo tidegate fleet plan --own new.toml           over what this host has seen
  sudo tidegate fleet plan --json . | jq 'select(.what == "appears")'

Exit code 1: something was left out; it is said what.
"""
)
@click.argument("tree", metavar="DIR", type=click.Path(exists=True, path_type=Path))
@click.option("--own", is_flag=True, help="Only what this host has seen; ask no others.")
@click.option("--since", default="24h", show_default=True, help="How far back.")
@click.option("--wait", default="20s", show_default=True, help="For a host that sends nothing.")
@click.option(
    "--most", default="64MiB", show_default=True, help="Events of all hosts together, compressed."
)
@config
@as_json
def command(
    tree: Path, own: bool, since: str, wait: str, most: str, config: Path | None, as_json: bool
) -> int:
    """Judge kept events by the policy in use and by the one in DIR; show what would be different.

    DIR: a folder with tidegate.toml, policy.d/ and detectors/, as for `publish`, or a single policy
    file. Nothing is changed anywhere, and nobody is closed for.
    """
    from tidegate.daemon.clock import now_micros

    span, patience, room = _span("--since", since), _span("--wait", wait), _size(most)
    current = plan(config)
    wanted = proposed(config, tree, current)
    now = now_micros()
    hosts, notes, members = _gathered(current, now - span, own, patience, room)
    here = _here(members)
    become_nobody()
    ticking = view.Ticking()
    for host in hosts:
        host.tick = ticking.tick
    before = forecast(current, current, hosts, here)
    found = compare(before, forecast(wanted, current, hosts, here))
    ticking.done()
    heads = [head for host in hosts for head in host.heads()]
    gaps = blind(wanted, current, heads)
    notes += [f"{host.host}: {one}" for host in hosts for one in host.left_out]
    if as_json:
        for row in found.rows:
            emit(view.row(row, len(hosts)))
        emit(view.summary(found, hosts, gaps, notes, (current, wanted)))
    else:
        _show(found, hosts)
        for line in view.gaps(gaps):
            say(f"NOTE  {line}")
        for line in view.others(hosts, current):
            say(f"NOTE  {line}")
        for note in notes:
            say(f"LEFT OUT  {note}")
    return int(bool(notes))


def _show(found: Comparison, hosts: Sequence[Seen]) -> None:
    for line in view.head(found, hosts):
        put(line)
    view.table(found, len(hosts))


def _gathered(
    current: Plan, since: Micros, own: bool, wait: Micros, most: int
) -> tuple[list[Seen], list[str], tuple[Subject, ...]]:
    """What hosts have kept since then, what is missing, and where members are."""
    from tidegate.chronicle.store import read
    from tidegate.daemon.chronicling import folder

    policy = current.loaded.policy
    if not folder(policy).is_dir() and (own or policy.fleet is None):
        raise OperatorError(
            f"{folder(policy)}: no events are kept yet; tidegate run does, from its next start on"
        )
    name = "this host"
    try:
        mine = Seen(name, list(read(folder(policy), since)))
    except PermissionError as error:
        raise WorldError(
            f"{error.filename}: {error.strerror}; run: sudo tidegate fleet plan …"
        ) from error
    if own or policy.fleet is None:
        return [mine], [], ()
    from tidegate.cli.plan_gather import gather

    return gather(policy, mine, since, wait, most)


def _here(members: Sequence[Subject]) -> Surroundings:
    """What of this host, and whom of its fleet, nobody closes for."""
    from tidegate.daemon.host import ourselves, protected

    fleet = ((one, "member of the fleet") for one in members)
    return Surroundings((*protected(), *ourselves(), *fleet))


def _span(option: str, text: str) -> Micros:
    try:
        found = parse_duration(text)
    except ValueError as error:
        raise OperatorError(f"{option}: expected {error}; found {text!r}") from error
    return min(max(found, SECOND if option == "--wait" else MINUTE), 2 * DAY)


def _size(text: str) -> int:
    try:
        return size(text)
    except ValueError as error:
        raise OperatorError(f"--most: expected {error}; found {text!r}") from error
