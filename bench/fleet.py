"""What a fleet costs its engine and each host: whole hosts of a made-up fleet on real servers.

Touches processes it starts and folders in /tmp, all gone again; needs redis-server. Prints a table,
and the same as Markdown for docs/fleet-size.md. Limits: engine, hosts and load share this machine;
a run in which the hypervisor took more than 5 % of the processors away is printed as void.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any, NamedTuple

from bench import fleetagents, fleetengine, fleetload, fleetpage, fleettable
from bench.fleetagents import DRAIN, WARM, Result
from bench.fleetengine import Engines, Used, engines
from bench.fleettable import Cell, Figures
from tidegate.model import Subject


class Clock(NamedTuple):
    """Jiffies of all processors since boot, from /proc/stat: all, idle ones, stolen ones."""

    total: int
    idle: int
    stolen: int

    @classmethod
    def now(cls) -> Clock:
        """Until now."""
        fields = [int(one) for one in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        return cls(sum(fields), fields[3] + fields[4], fields[7])


def measured(cell: Cell, seconds: float, processes: int, seed: int) -> Figures:
    """One run."""
    plan = fleetload.Plan(cell.agents, seconds, cell.spread, seed=seed, min_hosts=cell.min_hosts)
    with engines(cell.primaries) as made, contextlib.ExitStack() as stack:
        pipes = [_crew(stack, plan, made, place, processes) for place in range(processes)]
        for pipe in pipes:
            _hear(pipe, 180)
        start = time.monotonic() + 0.3
        for pipe in pipes:
            pipe.send(start)
        time.sleep(start + WARM - time.monotonic())
        used, clock, began = made.used(), Clock.now(), time.time()
        time.sleep(start + seconds - time.monotonic())
        used, after = made.used().since(used), Clock.now()
        took = time.time() - began
        results: list[Result] = [_hear(pipe, DRAIN + 60) for pipe in pipes]
    return _figures(cell, plan, (began, took), used, (clock, after), results)


def _crew(
    stack: contextlib.ExitStack, plan: fleetload.Plan, made: Engines, place: int, processes: int
) -> Pipe:
    ours, theirs = multiprocessing.Pipe()
    mine = range(place, plan.agents, processes)
    process = multiprocessing.Process(
        target=fleetagents.serve, args=(plan, mine, made.route, theirs), daemon=True
    )
    process.start()
    stack.callback(process.join, 10)
    stack.callback(process.kill)
    theirs.close()
    return ours


def _hear(pipe: Pipe, seconds: float) -> Any:
    if not pipe.poll(seconds):
        raise TimeoutError("a process of hosts is silent")
    return pipe.recv()


def _figures(
    cell: Cell, plan: fleetload.Plan, window: tuple[float, float], used: Used,
    clocks: tuple[Clock, Clock], results: Sequence[Result],
) -> Figures:  # fmt: skip
    began, took = window
    crossed: dict[Subject, float] = {}
    for one in results:
        for subject, moment in one.crossed.items():
            crossed[subject] = min(moment, crossed.get(subject, moment))
    delays, missed = [], 0
    for subject, moment in crossed.items():
        if not began <= moment <= began + took or not fleetload.is_attacker(subject):
            continue
        closed = [one.closed.get(subject, [0, 0.0]) for one in results]
        if sum(count for count, _last in closed) < plan.agents:
            missed += 1
        else:
            delays.append((max(last for _count, last in closed) - moment) * 1000)
    delays.sort()
    before, after = clocks
    total = after.total - before.total
    busy = total - (after.idle - before.idle) - (after.stolen - before.stolen)
    processors = os.cpu_count() or 1
    hosts = sum(one.cpu for one in results) / (plan.seconds - WARM)
    everyone = busy / total * processors
    troubles: dict[str, int] = {}
    for one in results:
        for name, number in one.troubles.items():
            troubles[name] = troubles.get(name, 0) + number
    events = plan.rate * took
    return Figures(
        cell, (after.stolen - before.stolen) / total * 100,
        max(0.0, everyone - hosts - sum(used.cpu) / took) * 100,
        len(delays), missed, (_at(delays, 0.5), _at(delays, 0.99)),
        tuple(one / took * 100 for one in used.cpu), hosts * 100,
        used.taken / events, used.given / events,
        sum(one.verified for one in results), sum(one.looked for one in results),
        plan.seconds + DRAIN,
        max(one.late for one in results) * 1000, troubles,
    )  # fmt: skip


def _at(sorted_: Sequence[float], part: float) -> float:
    return sorted_[min(len(sorted_) - 1, int(part * len(sorted_)))] if sorted_ else float("nan")


def main() -> int:
    """Measure, print; ends with 1 where a run that counts misses what is promised."""
    options = _arguments()
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    missing = fleetengine.missing()
    if missing:
        print(missing)
        return 1
    print(fleettable.PREFACE.format(processors=os.cpu_count(), processes=options.processes))
    signing = fleettable.signing()
    found: list[Figures] = []
    for turn in range(options.runs):
        for cell in options.cells:
            if turn and cell not in options.again:
                continue
            try:
                found.append(measured(cell, options.seconds, options.processes, turn + 7))
            except (TimeoutError, OSError, AssertionError) as error:
                print(f"{cell.name}: not measured: {error}", flush=True)
                continue
            print(fleettable.line(found[-1]), flush=True)
    print("\n" + fleettable.text(found))
    print("\n" + fleettable.signatures(found, signing))
    print("\n" + fleetpage.arithmetic(found, signing))
    if options.page:
        fleetpage.write(options.page, found, signing)
    if options.json:
        options.json.write_text(json.dumps([one._asdict() for one in found], indent=1))
    return int(not found or any(fleettable.misses(one) for one in found if not one.void))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.fleet", description=__doc__)
    add = parser.add_argument
    add("--runs", type=int, default=3, help="of each of the largest (default 3)")
    add("--seconds", type=float, default=7, help="of load in each run (default 7)")
    add("--processes", type=int, default=2, help="processes that the hosts are in (default 2)")
    add(
        "--agents",
        type=int,
        nargs="*",
        default=[10, 100, 1000],
        help="hosts, the fewest first (10 100 1000)",
    )
    add("--spread", type=int, nargs="*", default=[3, 30], help="hosts that see an attacker (3 30)")
    add("--fewer", type=int, default=300, help="hosts where more of them see an attacker (300)")
    add("--clustered", type=int, default=100, help="hosts on 3 primaries with replicas (0: none)")
    add("--page", type=Path, help="put the figures into this page (docs/fleet-size.md)")
    add("--json", type=Path, help="write every figure there")
    options = parser.parse_args()
    largest = max(options.agents)
    options.cells = [Cell(number, options.spread[0]) for number in options.agents]
    fewer = min(options.fewer, largest)
    options.cells += [Cell(fewer, spread) for spread in options.spread[1:]]
    options.cells.append(Cell(min(100, largest), options.spread[0], min_hosts=2))
    if options.clustered:
        options.cells.append(Cell(options.clustered, options.spread[0], 3))
    dear = (one for one in options.cells if one.agents >= fewer or one.primaries > 1)
    options.again = [one for one in dear if one.min_hosts == 1]
    return options


if __name__ == "__main__":
    sys.exit(main())
