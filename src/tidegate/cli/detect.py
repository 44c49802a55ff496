"""`tidegate detect`: which events are in these lines?

Touches nothing but to read the files and, before the first of them is read, to give up root.
Limits: it tells what each line says, not what would be done about it; that is `replay`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from tidegate.cli.common import as_json, config, emit, say, table
from tidegate.cli.recordings import opened, set_aside
from tidegate.daemon import garbage
from tidegate.daemon.build import Plan, plan
from tidegate.daemon.privilege import become_nobody
from tidegate.detector.budget import CpuBudget
from tidegate.errors import OperatorError
from tidegate.model import Event
from tidegate.text import time_text, well_formed


@click.command(
    epilog="""\b
Examples:
  tidegate detect /var/log/auth.log
  tidegate detect sshd --json < /var/log/auth.log
  journalctl -o export _COMM=sshd | tidegate detect sshd
  tidegate detect --line 'Invalid user x from 192.0.2.7'
  tail -n 3 /var/log/auth.log | tidegate detect --explain
"""
)
@click.argument("words", nargs=-1, metavar="[DETECTOR]... [FILE]...")
@click.option("--explain", is_flag=True, help="Of every line: what was tried, and how far it got.")
@click.option("--line", "lines", multiple=True, metavar="TEXT", help="Explain this line.")
@config
@as_json
def command(
    words: tuple[str, ...],
    explain: bool,
    lines: tuple[str, ...],
    config: Path | None,
    as_json: bool,
) -> int:
    """Show the events in FILE (default: standard input) that DETECTOR (default: every one) sees.

    DETECTOR is a pack such as sshd, or one detector such as exim.malware-data.
    """
    planned = plan(config, budget=CpuBudget())
    detectors, files = _sorted(words, planned)
    if lines and files:
        raise OperatorError(f"--line and a file ({files[0]}): expected one of them")
    recordings = [] if lines else opened(files or ["-"], lambda _path: "detect")
    engine = planned.engine(detectors)
    become_nobody()
    garbage.seldom()
    if explain or lines:
        from tidegate.cli import explain as telling

        blocks = telling.stated(lines) if lines else telling.recorded(recordings)
        telling.explain(planned, engine, detectors, blocks, as_json)
        return 0

    def rows() -> Iterator[dict[str, Any]]:
        for recording in recordings:
            line = 1
            for block in recording.blocks():
                done = 0
                batch = engine.detect(block, fields=True)
                for bad in batch.quarantined:
                    say(set_aside(recording.path, bad))
                for event in batch.events:
                    at = event.offset - block.offset
                    line += block.data.count(b"\n", done, at)
                    done = at
                    yield row_of(event, line, recording.path if len(recordings) > 1 else "")
                line += block.data.count(b"\n", done)

    if as_json:
        for row in rows():
            emit(row)
    else:
        listed = list(rows())
        titles = ("LINE", "TIME", "KIND", "CLASS", "SUBJECT", "COUNT", "DETECTOR")
        table(titles, [[str(row[title.lower()]) for title in titles] for row in listed],
              "No events.")  # fmt: skip
    sys.stdout.flush()
    return 0


def _sorted(words: tuple[str, ...], planned: Plan) -> tuple[tuple[str, ...], list[str]]:
    """Which words are detectors and which are files: a file that exists by a path is a file."""
    known = {pack.name for pack in planned.packs}
    known |= {one.name for pack in planned.packs for one in pack.detectors}
    detectors = tuple(word for word in words if word in known)
    return detectors, [word for word in words if word not in known]


def row_of(event: Event, line: int, path: str) -> dict[str, Any]:
    """An event as `--json` has it."""
    row: dict[str, Any] = {
        "v": 1,
        "line": line,
        "time": time_text(event.time),
        "kind": event.kind.name,
        "class": event.kind.klass,
        "weight": event.kind.weight,
        "subject": well_formed(event.subject),
        "count": event.count,
        "session": well_formed(event.session),
        "detector": event.kind.detector,
        "fields": {key: well_formed(value) for key, value in event.fields.items()},
    }
    return row | ({"file": path} if path else {})
