"""`tidegate harden`: how this host is set against dropped programs, and what to do about it.

Touches what `tidegate.posture` touches: reads mounts, processes, ports, apt's lists and web trees;
with `--apply` and `--undo` it changes mounts and fstab, as root. Limits: talks to no daemon.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tidegate.cli.common import as_json, config, emit, paths, put, say
from tidegate.errors import OperatorError, WorldError

if TYPE_CHECKING:
    from tidegate.posture.host import Host
    from tidegate.posture.record import Records

_REDRAW = 0.1


@click.command(
    epilog="""\b
Examples:
  sudo tidegate harden                   what is open, what runs from /tmp, what is old
  sudo tidegate harden --plan            the diff of fstab and the commands; changes nothing
  sudo tidegate harden --apply           does it: live mounts, and fstab for the next boot
  sudo tidegate harden --apply --only /tmp --only /var/tmp
  sudo tidegate harden --undo            mounts and fstab as they were, byte for byte
  sudo tidegate harden --evidence 4711   keep a suspect's file and facts before it is killed
  sudo tidegate harden --json            one object for each thing that was found

Exit code 0: nothing found, or all done; 1: something found, or something to be done (--plan).
"""
)
@click.option("--plan", "verb", flag_value="plan", help="Show exactly what --apply would change.")
@click.option("--apply", "verb", flag_value="apply", help="Change it, now and for the next boot.")
@click.option("--undo", "verb", flag_value="undo", help="Put back what --apply changed.")
@click.option("--only", multiple=True, metavar="PATH", help="This place only; may be repeated.")
@click.option("--tmpfs", is_flag=True, help="From the next boot on, /tmp in memory (tmpfs).")
@click.option(
    "--keep-files", is_flag=True, help="With --undo: mounts only; leave fstab as it is now."
)
@click.option(
    "--evidence", "pids", multiple=True, type=click.IntRange(1), metavar="PID",
    help="Keep what this process is and runs, and a copy of its file; may be repeated.",
)  # fmt: skip
@config
@as_json
def command(
    verb: str | None, only: tuple[str, ...], tmpfs: bool, keep_files: bool, pids: tuple[int, ...],
    config: Path | None, as_json: bool,
) -> int:  # fmt: skip
    """Compare this host with what keeps dropped programs from running, and put it right.

    /tmp, /var/tmp, /dev/shm and /run/lock should be mounted noexec, nosuid and nodev, now and after
    the next boot. Also tells of programs that run from there, databases that others can reach,
    security updates that wait, and old Joomla and WordPress.
    """
    from tidegate.posture.record import Records

    if keep_files and verb != "undo":
        raise OperatorError("--keep-files: expected together with --undo")
    if tmpfs and verb not in ("plan", "apply"):
        raise OperatorError("--tmpfs: expected together with --plan or --apply")
    if pids and (verb or only):
        raise OperatorError("--evidence: expected without --plan, --apply, --undo and --only")
    if pids:
        return _keep(Path(paths(config).gates) / "evidence", pids, as_json)
    host = _host(only)
    records = Records(Path(paths(config).gates) / "posture")
    if verb == "plan":
        return _plan(host, tmpfs, as_json)
    if verb == "apply":
        return _apply(host, records, tmpfs, as_json)
    if verb == "undo":
        return _undo(host, records, keep_files, as_json)
    return _look(host, as_json)


def _host(only: tuple[str, ...]) -> Host:
    from tidegate.posture.host import Host

    host = Host()
    known = [one.path for one in host.places]
    for path in only:
        if path.rstrip("/") not in known:
            raise OperatorError(f"--only: expected one of {', '.join(known)}; found {path!r}")
    wanted = {one.rstrip("/") for one in only} or set(known)
    return replace(host, places=tuple(one for one in host.places if one.path in wanted))


def _look(host: Host, as_json: bool) -> int:
    from tidegate.posture import telling
    from tidegate.posture.survey import look

    with _progress() as tell:
        found = look(host, datetime.now(UTC), tell)
    if as_json:
        for row in telling.rows(found):
            emit(row)
    else:
        for section in telling.sections(found):
            click.echo(section.title)
            for line in section.lines:
                put(line, "  ")
        if any(not one.well for one in found.verdicts):
            put("To see what would be changed: tidegate harden --plan")
    if os.geteuid():
        say("Not root: programs and sockets of other users are not seen.")
    return 0 if found.well else 1


def _plan(host: Host, tmpfs: bool, as_json: bool) -> int:
    from tidegate.posture import telling
    from tidegate.posture.judge import judge, table
    from tidegate.posture.plan import plan

    known = table(host)
    made = plan(host, known, judge(host, known), tmpfs=tmpfs)
    if as_json:
        _emit(telling.plan_rows(made))
        return int(bool(made))
    if not made:
        click.echo("Nothing to change: mounts and fstab are well.")
        return 0
    for line in telling.plan_lines(made):
        click.echo(line)
    _say_limits()
    return 1


def _apply(host: Host, records: Records, tmpfs: bool, as_json: bool) -> int:
    from tidegate.posture import telling
    from tidegate.posture.apply import apply

    _need_root("--apply")
    made = apply(host, records, say, tmpfs=tmpfs)
    if as_json:
        _emit(telling.plan_rows(made))
    elif made:
        click.echo("Done, now and for the next boot. To take it back: tidegate harden --undo")
        _say_limits()
    else:
        click.echo("Nothing to change: mounts and fstab are well.")
    return 0


def _undo(host: Host, records: Records, keep_files: bool, as_json: bool) -> int:
    from tidegate.posture.undo import undo

    _need_root("--undo")
    record = undo(host, records, say, keep=keep_files)
    if as_json:
        emit({"v": 1, "what": "undo", "applied": record.time if record else None})
    elif record is None:
        click.echo("Nothing to undo: tidegate harden --apply has changed nothing here.")
    elif keep_files:
        click.echo("The mounts are as they were before; the files are as you left them.")
    else:
        click.echo("Mounts and files are as they were before.")
    return 0


def _keep(folder: Path, pids: tuple[int, ...], as_json: bool) -> int:
    from tidegate.posture.evidence import Evidence
    from tidegate.text import printable

    _need_root("--evidence")
    evidence = Evidence(folder)
    for pid in pids:
        kept = evidence.keep(pid)
        if as_json:
            emit({
                "v": 1, "what": "evidence", "pid": pid, "record": str(kept.record),
                "sha256": kept.hash or None, "not_copied": kept.copy,
            })  # fmt: skip
            continue
        click.echo(f"{pid}: {kept.record}")
        if kept.copy:
            put(f"its file {printable(kept.copy)}", "  ")
        else:
            put(f"its file, without the right to run it: {folder}/{kept.hash}.bin", "  ")
    return 0


def _say_limits() -> None:
    from tidegate.posture.telling import BREAKS, LIMITS

    for line in (*LIMITS, *BREAKS):
        say(line)


def _need_root(what: str) -> None:
    if os.geteuid():
        raise WorldError(f"{what} needs root: sudo tidegate harden {what}")


def _emit(rows: Iterable[dict[str, Any]]) -> None:
    for row in rows:
        emit(row)


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """Yields a function that is told how far it has come; shown on a terminal alone."""
    if not sys.stderr.isatty():
        yield lambda _text: None
        return
    from rich.console import Console

    with Console(stderr=True).status("looking") as status:
        last = 0.0

        def tell(text: str) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last > _REDRAW:
                last = now
                status.update(text)

        yield tell
