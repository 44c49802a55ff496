"""Opens what should have been open by now: for whoever is left when the service keeper is gone.

Touches what records name (see `record`), through the kinds. Called by the dead man, by a timer of
systemd, by `tidegate open --overdue` and `tidegate off`; needs no policy.
Limits: where a service keeper is at work, it is left a while to do it itself.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from tidegate.errors import GateError
from tidegate.gate.switches import timer
from tidegate.gate.switches.kinds import Kind, Runner, Tools
from tidegate.gate.switches.pool import Pool
from tidegate.gate.switches.record import Record, Records, overdue
from tidegate.gate.switches.registry import kinds
from tidegate.gate.switches.switch import COMES, Switch
from tidegate.model import MINUTE, SECOND, GateReport, Micros
from tidegate.policy.guards import GateSpec

T = TypeVar("T")

GRACE: Micros = 2 * MINUTE
"""How long a service keeper that is at work may be late with an opening."""
_ITS_TURN = 10.0
_FIRST_PAUSE, _LAST_PAUSE = 0.1, 2.0


def open_overdue(
    folder: Path,
    now: Micros,
    *,
    everything: bool = False,
    tools: Callable[[Runner], Tools] = Tools,
    told: Callable[[str], None] = lambda _line: None,
) -> list[GateReport]:
    """Undo each record that is past its deadline, or all (`everything`). What became of each:
    `open`, `taken`, or `refused` (its record stays; say it again). Raises GateError where the
    records can't be read."""
    if not folder.is_dir():
        return []
    records = Records(folder, told)
    try:
        alone = records.lock()
        if not alone and everything:  # it sees the off-file within a second
            _until(lambda: not records.read(), _ITS_TURN)
        late = GRACE if not alone else 0
        due = [one for one in records.read() if everything or overdue(one, now, late)]
        return open_these(due, records, tools, told) if due else []
    finally:
        records.unlock()


def open_these(
    due: list[Record],
    records: Records,
    tools: Callable[[Runner], Tools],
    told: Callable[[str], None],
) -> list[GateReport]:
    """Undo these, all at the same time: one that hangs holds up nobody."""
    pool = _patiently(lambda: Pool(told, size=min(len(due), 3)))
    made = replace(tools(pool), leases=records.folder / "agents")
    known = kinds(made)
    reports: dict[str, GateReport] = {}

    def undo(record: Record) -> None:
        def kind_of(one: Record) -> Kind | None:
            return known.get(type(one.terms))

        def report(found: GateReport) -> None:
            reports[found.gate] = found

        spec = GateSpec(record.gate, record.terms)
        switch = Switch(spec, kind_of(record), records, report, _clock, record, kind_of)
        switch.want(0)
        wait, patience = switch.step(), time.monotonic() + COMES / SECOND + 1
        # It runs, but was told to stop a moment ago: nobody comes after us to start it again.
        while switch.closed and _stands(reports, record) and time.monotonic() < patience:
            time.sleep(wait / SECOND)
            wait = switch.step()
        reports.setdefault(record.gate, GateReport(record.gate, "open", _clock()))

    threads = [threading.Thread(target=undo, args=(one,), name=one.gate) for one in due]
    try:
        for thread in threads:
            _patiently(thread.start)
        for thread in threads:
            thread.join()
        if made.systemd and not records.read():
            timer.stop(made)
    finally:
        pool.close()
    for one in due:
        failed = GateReport(one.gate, "refused", _clock(), "opening it failed unexpectedly")
        reports.setdefault(one.gate, failed)
    return [reports[one.gate] for one in due]


def _stands(reports: Mapping[str, GateReport], record: Record) -> bool:
    found = reports.get(record.gate)
    return found is None or found.state == "open"


def _patiently(make: Callable[[], T]) -> T:
    """Until no fork is refused any more: there is nobody else left to do it."""
    pause = _FIRST_PAUSE
    while True:
        try:
            return make()
        except (BlockingIOError, RuntimeError):  # a process or a thread too many
            time.sleep(pause)
            pause = min(pause * 2, _LAST_PAUSE)


def _until(true: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.2)


def _clock() -> Micros:
    return time.time_ns() // 1000


def main(words: list[str]) -> int:
    """`python -m tidegate.gate.switches.overdue FOLDER`: what the timer of systemd runs. It needs
    neither policy nor command line, which may be what is broken."""

    def told(line: str) -> None:
        print(f"tidegate: {line}", file=sys.stderr)

    try:
        found = open_overdue(Path(words[0]), _clock(), told=told)
    except GateError as error:
        told(str(error))
        return error.exit_code
    for one in found:
        told(f"{one.gate}: {one.state}" + (f": {one.detail}" if one.detail else ""))
    return 3 if any(one.state == "refused" for one in found) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
