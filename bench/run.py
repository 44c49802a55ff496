"""`python -m bench.run`: every figure of the project, measured here and now, beside the others'.

Touches a folder in build/, build/rivals, and for live figures namespaces of its own. Costs are CPU
seconds of a process with its children. Limits: Debian, for the others' packages; live needs root.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench import (
    daemon,
    footprint,
    growth,
    guards,
    live,
    meter,
    outward,
    path,
    readings,
    report,
    rivals,
    tidegate,
)
from bench.report import Figure, Row

BUILD = Path(__file__).resolve().parent.parent / "build"
Section = Callable[[path.Bench, argparse.Namespace], tuple[list[Row], list[Figure]]]
KINDS = ("exim", "sshd", "journal")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.run", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the lines, one run")
    parser.add_argument("--only", action="append", metavar="NAME", help=", ".join(SECTIONS))
    parser.add_argument("--kind", action="append", choices=KINDS, help="path: only these logs")
    parser.add_argument("--share", action="append", type=float, help="path: only these shares")
    parser.add_argument("--no-rivals", action="store_true", help="without fail2ban and sshguard")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    found = parser.parse_args()
    unknown = set(found.only or ()) - SECTIONS.keys()
    if unknown:
        parser.error(f"--only: expected one of {', '.join(SECTIONS)}, not {', '.join(unknown)}")
    return found


def whole_path(bench: path.Bench, options: argparse.Namespace) -> tuple[list[Row], list[Figure]]:
    """exim, sshd and journal logs at several shares of abuse."""
    kinds = tuple(options.kind or KINDS)
    shares = tuple(options.share or path.SHARES)
    return path.measure_all(bench, kinds, shares)


def without_root(measured: Callable[[path.Bench], list[Figure]]) -> Section:
    """A section that needs only a folder."""
    return lambda bench, _options: ([], measured(bench))


def as_root(measured: Callable[[path.Bench], list[Figure]]) -> Section:
    """A section that needs namespaces; without them one figure that says why."""

    def section(bench: path.Bench, _options: argparse.Namespace) -> tuple[list[Row], list[Figure]]:
        if why := live.missing():
            return [], [Figure(measured.__name__, "all", None, "", None, why)]
        return [], measured(bench)

    return section


SECTIONS: dict[str, Section] = {
    "start": without_root(footprint.start_up),
    "latency": as_root(daemon.latency),
    "bans": as_root(daemon.new_bans),
    "restore": as_root(daemon.restore),
    "idle": as_root(footprint.memory),
    "tallies": without_root(footprint.tally_bytes),
    "run": as_root(daemon.run_beside_replay),
    "readings": as_root(readings.readings),
    "guards": as_root(guards.guards),
    "meter": as_root(meter.meter),
    "outward": as_root(outward.outward),
    "packs": without_root(growth.growth),
    "path": whole_path,
}


def say(line: str) -> None:
    """What is being measured now; at once, since it takes a while."""
    print(line, flush=True)


def main() -> int:
    """Measure, print, and end with 1 if a figure is missing or misses what is expected."""
    options = arguments()
    sizes = path.QUICK if options.quick else path.Sizes()
    versions = rivals.unpack()
    print(", ".join(f"{name} {version}" for name, version in versions.items()))
    print(
        f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}; {tidegate.missing() or 'ok'}"
    )
    rows: list[Row] = []
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="bench-", dir=BUILD) as folder:
        bench = path.Bench(Path(folder), sizes, not options.no_rivals, say)
        for name, section in SECTIONS.items():
            if not options.only or name in options.only:
                try:
                    more_rows, more_figures = section(bench, options)
                except (RuntimeError, TimeoutError, OSError, AssertionError) as error:
                    # One figure that can't be had must not lose the others.
                    more_rows, more_figures = [], [Figure(name, "", None, "", None, str(error))]
                rows += more_rows
                figures += more_figures
    for table in [report.path_table(rows)] * bool(rows) + [report.figure_table(figures)]:
        print(f"\n{table}")
    if options.json:
        plain = {"path": [row._asdict() for row in rows]}
        plain["figures"] = [{**one._asdict(), "verdict": one.verdict} for one in figures]
        options.json.write_text(json.dumps(plain, indent=1))
    return any(figure.verdict in ("MISS", "not measured") for figure in figures)


if __name__ == "__main__":
    sys.exit(main())
