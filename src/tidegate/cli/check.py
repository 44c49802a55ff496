"""`tidegate check`: are policy and detectors valid?

Touches nothing but to read: policy, packs, and the sources as the watcher would open them.
Limits: a source that is missing now is a warning, since it may appear later. What is not about
this host (`tidegate check mx`) is a command of its own below this one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from tidegate.cli.common import as_json, config, emit, say
from tidegate.daemon.build import Plan, plan, prove
from tidegate.errors import OperatorError
from tidegate.policy.fleetreader import counting


class Checks(click.Group):
    """Checks the policy by itself; what else can be checked is imported when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """What else can be checked."""
        return ["mx"]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command that checks it."""
        if cmd_name != "mx":
            return None
        from tidegate.cli import check_mx

        return check_mx.command


@click.command(
    cls=Checks,
    invoke_without_command=True,
    epilog="""\b
Examples:
  tidegate check
  tidegate check --config new.toml --show
  tidegate check mx example.org
""",
)
@config
@click.option("--show", is_flag=True, help="Print what holds, with the file and line of each key.")
@as_json
@click.pass_context
def command(ctx: click.Context, config: Path | None, show: bool, as_json: bool) -> int:
    """Check policy and detectors, and try every example line of every detector."""
    if ctx.invoked_subcommand:
        return 0  # that command's own code counts
    try:
        checked = plan(config, thorough=True)
        prove(checked.packs, checked.loaded.policy.engine, "re")
    except OperatorError as error:
        if as_json:
            emit({"v": 1, "ok": False, "faults": str(error).splitlines()})
            return 2
        raise
    if show:
        _show(checked, as_json)
    troubles = _troubles(checked)
    if as_json:
        emit(_summary(checked) | {"warnings": troubles, "notes": list(checked.loaded.notes)})
    else:
        for note in checked.loaded.notes:
            say(f"note: {note}")
        for trouble in troubles:
            say(f"warning: {trouble}")
        for line in _together(checked):
            click.echo(line)
        summary = _summary(checked)
        guards = f" {summary['guards']} guards," if summary["guards"] else ""
        click.echo(
            f"ok: {summary['sources']} sources, {summary['rules']} rules,{guards}"
            f" {summary['detectors']} detectors with {summary['examples']} example lines"
            f" (policy {summary['policy']})"
        )
    return 0


def _show(checked: Plan, as_json: bool) -> None:
    loaded = checked.loaded
    for key, value in loaded.values.items():
        place = loaded.place(key)
        if as_json:
            emit({"v": 1, "key": key, "value": value, "place": place})
        else:
            click.echo(f"{key} = {_toml(value)}    # {place}")


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(k)} = {_toml(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(one) for one in value) + "]"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return str(value)


def _key(key: str) -> str:
    return key if key.replace("-", "").replace("_", "").isalnum() else f'"{key}"'


def _together(checked: Plan) -> Iterator[str]:
    """Who counts by which rules, where there is a fleet."""
    fleet, found = checked.loaded.policy.fleet, counting(checked.loaded.policy)
    if fleet is None:
        return
    if found.together:
        yield f"fleet: all hosts count together by {', '.join(found.together)}"
    else:
        yield "fleet: hosts count together by no rule; what one closes, all close"
    for name, why in found.alone:
        yield f"fleet: each host counts alone by {name}: {why}"


def _summary(checked: Plan) -> dict[str, object]:
    policy = checked.loaded.policy
    together = {} if policy.fleet is None else {"together": list(counting(policy).together)}
    detectors = [detector for pack in checked.packs for detector in pack.detectors]
    return {
        "v": 1,
        "ok": True,
        "policy": checked.loaded.policy.hash,
        "files": list(checked.loaded.policy.files),
        "sources": len(checked.sources),
        "rules": checked.loaded.policy.stated_rules,
        "guards": sum(one.enabled for one in policy.guards) + len(policy.triggers),
        "detectors": len(detectors),
        "examples": sum(len(one.match) + len(one.reject) for one in detectors),
        **together,
    }


def _troubles(checked: Plan) -> list[str]:
    """What each source would say to the watcher, and what this host lacks."""
    from tidegate.daemon import fleetless, try_outward, try_sources

    told = any(source.netflow is not None for source in checked.sources)
    lacks = try_outward.troubles(checked.loaded.policy.outward, told=told)
    apart = fleetless.hindrance(checked.loaded.policy)
    lacks += [f"fleet: this host counts and decides alone: {apart}"] if apart else []
    return [*try_sources.troubles(checked), *lacks]
