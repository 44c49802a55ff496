"""`tidegate init`: look at this host, propose a policy for what runs here, make it a service.

Touches nothing but to read, until `--write` (or a yes at the prompt) writes the policy, `--enable`
installs and starts the service, or `--disable` ends it and opens everything. Limits: what the packs
know; a policy that is there is added to, never taken from, unless `--fresh` says so.
"""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Iterator
from difflib import unified_diff
from importlib import resources
from pathlib import Path
from typing import Any

import click

from tidegate.cli.common import as_json, client, emit, paths, say, table
from tidegate.daemon import service
from tidegate.daemon.draft import Draft, draft
from tidegate.daemon.survey import Survey, booted, survey
from tidegate.detector.pack import Pack, load_packs
from tidegate.errors import ControlError, OperatorError, WorldError
from tidegate.policy.loader import DEFAULT, SHIPPED, cross_check, read

_KEPT = ".before-init"


@click.command(
    epilog="""\b
Examples:
  tidegate init                          what is here, and the policy that would be written
  sudo tidegate init --write             write it to /etc/tidegate/tidegate.toml
  sudo tidegate init --write --observe   the same, but decide and record only
  sudo tidegate init --enable            start now and at every boot
  sudo tidegate init --disable           stop, open everything; policy and ledger stay
"""
)
@click.option("--write", is_flag=True, help="Write the policy, without asking.")
@click.option("--output", "-o", metavar="FILE", type=click.Path(path_type=Path),
              help="The policy to write (default /etc/tidegate/tidegate.toml).")  # fmt: skip
@click.option("--observe", is_flag=True, help='Let it say mode = "observe": close nothing.')
@click.option("--fresh", is_flag=True, help="Of the present policy keep mode and [allow] only.")
@click.option("--enable", is_flag=True, help="Install the service, start it now and at boot.")
@click.option("--disable", is_flag=True, help="Stop the service for good and open everything.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, do nothing.")
@as_json
def command(
    write: bool,
    output: Path | None,
    observe: bool,
    fresh: bool,
    enable: bool,
    disable: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Look at this host and propose a policy for what runs here; nothing is written unasked."""
    if enable and disable:
        raise OperatorError("--enable and --disable: expected one of them")
    if (enable or disable) and os.geteuid() != 0 and not dry_run:
        raise WorldError("a service is root's: run it as root (sudo), or look with --dry-run")
    target = output or DEFAULT
    if write or observe or fresh or not (enable or disable):
        _policy(target, write, observe, fresh, dry_run, as_json)
    if disable:
        return _disable(dry_run, as_json)
    return _enable(target, write, dry_run, as_json) if enable else 0


# -- the policy -----------------------------------------------------------------------------------


def _policy(
    target: Path, write: bool, observe: bool, fresh: bool, dry_run: bool, as_json: bool
) -> None:
    found, made, before = _drafted(target, observe, fresh)
    changed = made.text != before
    view = _view(found, made, target, changed)
    if as_json:
        written = write and changed and not dry_run and _write(target, before, made.text)
        view |= {"written": written, "diff": "".join(_diff(target, before, made.text))}
        emit(view | {"policy": made.text, "warnings": _warnings(target, made) if written else []})
        return
    _tell(found, made)
    if not changed:
        click.echo(f"\n{target}: there is nothing to add.")
        return
    click.echo("")
    click.echo("".join(_diff(target, before, made.text)), nl=False)
    if dry_run:
        say("Nothing was written (--dry-run).")
        return
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    if not write and not (terminal and click.confirm(f"\nWrite {target}?", default=False)):
        say(f"Nothing was written. To write it: {_again(target, observe, fresh)}")
        return
    _write(target, before, made.text)
    kept = f"; what was there is in {target}{_KEPT}" if before else ""
    say(f"{target} is written{kept}. Is it right? tidegate check")
    for warning in _warnings(target, made):
        say(f"warning: {warning}")


def _drafted(target: Path, observe: bool, fresh: bool) -> tuple[Survey, Draft, str]:
    """What is here, and the policy for it, proved to be valid, beside what stands there now."""
    folder = Path(paths(target).detectors)
    packs = load_packs(sorted(folder.glob("*.toml")) if folder.is_dir() else [])
    text = resources.files("tidegate.policy").joinpath("shipped.toml").read_text("utf-8")
    kinds, names = _known(packs)
    shipped = cross_check(read([(SHIPPED, text)]), kinds, names).policy
    try:
        before = target.read_text("utf-8")
    except FileNotFoundError:
        before = ""
    except (OSError, UnicodeDecodeError) as error:
        raise OperatorError(f"{target}: can't be read as a policy: {error}") from error
    found = survey(packs, shipped, time.time_ns() // 1000)
    made = draft(found, shipped, text, before, observe=observe, fresh=fresh)
    cross_check(read([(str(target), made.text)]), kinds, names)
    return found, made, before


def _known(packs: tuple[Pack, ...]) -> tuple[list[str], list[str]]:
    detectors = [one for pack in packs for one in pack.detectors]
    names = {pack.name for pack in packs} | {one.name for one in detectors}
    return sorted({one.kind.name for one in detectors}), sorted(names)


def _write(target: Path, before: str, text: str) -> bool:
    real = Path(os.path.realpath(target))  # a link to the policy stays a link
    if before:
        service.write_file(real.with_name(real.name + _KEPT), before)
    service.write_file(real, text)
    return True


def _warnings(target: Path, made: Draft) -> list[str]:
    """What the daemon would meet with under the written policy."""
    from tidegate import subject as subjects
    from tidegate.daemon.build import plan
    from tidegate.daemon.try_sources import troubles
    from tidegate.prefixes import PrefixSet

    planned = plan(target)
    holds = PrefixSet(planned.loaded.policy.allow).holds
    missing = [
        f"{one} is not allowed: {planned.loaded.places.get('allow.addresses', 'policy.d')} says"
        " something else"
        for one, _why in made.allowed
        if (network := subjects.network(one)) is not None and not holds(network)
    ]
    return [*missing, *troubles(planned)]


def _diff(target: Path, before: str, text: str) -> Iterator[str]:
    old = str(target) if before else "/dev/null"
    lines = (before.splitlines(keepends=True), text.splitlines(keepends=True))
    for line in unified_diff(*lines, old, str(target)):
        yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"


def _again(target: Path, observe: bool, fresh: bool) -> str:
    words = ["tidegate", "init", "--write"]
    words += ["--observe"] * observe + ["--fresh"] * fresh
    words += ["--output", str(target)] if target != DEFAULT else []
    return shlex.join(words if os.access(target.parent, os.W_OK) else ["sudo", *words])


def _view(found: Survey, made: Draft, target: Path, changed: bool) -> dict[str, Any]:
    from_where = {pack: source for source in made.sources for pack in source.detectors}
    return {
        "v": 1,
        "file": str(target),
        "changed": changed,
        "services": [
            {
                "pack": one.pack,
                "because": list(one.because),
                "running": one.running,
                "ports": list(one.ports),
                "logs": [log.path for log in one.logs],
                "source": from_where[one.pack].name if one.pack in from_where else None,
                "reads": _reads(from_where[one.pack].files) if one.pack in from_where else [],
            }
            for one in found.services
        ],
        "journal": found.journal,
        "init": found.booted,
        "sources": [source.name for source in made.sources],
        "rules": list(made.rules),
        "guards": list(made.guards),
        "allow": [{"subject": one, "why": why} for one, why in made.allowed],
        "not_allowed": [{"subject": one.subject, "why": one.why}
                        for one in (*found.people, *found.networks) if not one.sure],
        "protected": [{"subject": one, "why": why} for one, why in found.protected],
    }  # fmt: skip


def _reads(files: tuple[str, ...]) -> list[str]:
    return list(files) or ["journal"]


def _tell(found: Survey, made: Draft) -> None:
    from_where = {pack: source for source in made.sources for pack in source.detectors}
    silent = {one.pack for one in made.silent}
    rows = []
    for one in found.services:
        source = from_where.get(one.pack)
        reads = ", ".join(_reads(source.files)) if source else "read already"
        if one.pack in silent:
            reads = "no log found"
        elif one.pack in made.idle:
            reads = "no rule counts it"
        rows.append([one.pack, one.because[0], reads])
    table(("SERVICE", "BECAUSE", "READ FROM"), rows, "No service that the packs know is here.")
    safe = ", ".join(f"{one} ({why})" for one, why in found.protected if why != "own address")
    if made.guards:
        names = ", ".join(made.guards)
        click.echo(f"Guards against high load, off until you switch them on: {names}.")
    click.echo(f"Never closed for anyway: own addresses{f', {safe}' if safe else ''}.")


# -- the service ----------------------------------------------------------------------------------


def _enable(target: Path, write: bool, dry_run: bool, as_json: bool) -> int:
    if not target.exists() and not (write and dry_run):
        raise OperatorError(f"{target}: no policy yet; write one: tidegate init --write --enable")
    options = () if target == DEFAULT else ("--config", str(target.absolute()))
    command = service.this_command()
    steps = service.enabling(booted(), command, options)
    if not steps:
        what = shlex.join([*command, "run", *options])
        said = "nothing that we know starts services here; make the system users tidegate and"
        said += f" tidegate-watch, and let what starts yours run, as root: {what}"
        _said("unknown", said, as_json)
        return 1
    for step in steps:
        _carry_out(step, dry_run, as_json)
    if not dry_run and not as_json:
        click.echo("How it is: tidegate status")
    return 0


def _disable(dry_run: bool, as_json: bool) -> int:
    for step in service.disabling(booted()):
        _carry_out(step, dry_run, as_json)
    if dry_run:
        return 0
    try:
        client(None).get("/status")
    except ControlError:
        if not as_json:
            click.echo("Policy and ledger stay. Nothing is closed.")
        return 0
    said = "a daemon still runs, started by hand, and closes again; end it, or: tidegate off"
    _said("running", said, as_json)
    return 1


def _carry_out(step: service.Step, dry_run: bool, as_json: bool) -> None:
    """Do a step, or say that it is done or would be; and what its program said."""
    if step.done or dry_run:
        _said("nothing to do" if step.done else "would", step.what, as_json)
        return
    said = service.carry_out(step) if step.path or step.words else _open()
    _said("done", step.what, as_json)
    for line in said.splitlines() if not as_json else ():
        say(f"  {line}")


def _open() -> str:
    from tidegate.cli.open import open_all, told

    found = open_all(paths())
    if any(one.state == "refused" for one in found):
        lines = "\n".join(map(told, found))
        raise WorldError(f"not all could be opened:\n{lines}\nagain: tidegate open --everything")
    return "\n".join(map(told, found)) or "(no gate was closed)"


def _said(state: str, what: str, as_json: bool) -> None:
    if as_json:
        emit({"v": 1, "step": what, "state": state})
    else:
        click.echo(f"{state}: {what}")
