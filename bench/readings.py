"""What the sampler costs: CPU seconds each second, and the dearest readings one by one.

Touches a tmpfs that it mounts (50,000 messages in a spool), 400 processes and 200 connections that
it starts, and ends them all. `python -m bench.readings`, or `bench.run --only readings`.
Limits: needs root for the tmpfs; the cost of the watcher, which takes the samples in, is not in it.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import string
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from bench.path import Bench
from bench.report import Figure, figure_table
from tidegate.model import SECOND
from tidegate.policy.models import Policy
from tidegate.policy.needs import source_of
from tidegate.policy.readings import CATALOGUE
from tidegate.source.readings import queue
from tidegate.source.readings.catalogue import Catalogue
from tidegate.source.readings.remote import RemoteReadings
from tidegate.source.readings.sampler import serve

PROCESSES, MESSAGES, CONNECTIONS = 400, 50_000, 200
CHEAP_MOST, COSTLY_MOST = 0.5, 1.0  # percent of one core
LETTERS = string.digits + string.ascii_letters


def spool(folder: Path) -> None:
    """Exim's queue, split: a header and a data file for each message."""
    for number in range(MESSAGES):
        letter = LETTERS[number % 62]
        place = folder / "input" / letter
        if number < 62:
            place.mkdir(parents=True)
        for end in "HD":
            os.close(os.open(place / f"1qXyz{letter}-{number:06d}-0A-{end}", os.O_CREAT, 0o600))


@contextlib.contextmanager
def stage(folder: Path) -> Iterator[tuple[Path, int]]:
    """A busy mail host: where its spool is, and a port that answers."""
    place = folder / "spool"
    place.mkdir()
    with contextlib.ExitStack() as stack:
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "nr_inodes=200k", "tidegate", place], check=True
        )
        stack.callback(subprocess.run, ["umount", place], check=True)
        spool(place)
        for _ in range(PROCESSES):
            process = subprocess.Popen(["sleep", "3600"], user=33, group=33)
            stack.callback(process.wait)
            stack.callback(process.kill)
        (folder / "daemon.pid").write_text(str(os.getpid()))
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=1024))
        port = server.getsockname()[1]
        for _ in range(CONNECTIONS):
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        yield place, port


def cheap() -> list[str]:
    """Every reading that costs microseconds, of two paths and one device."""
    found = []
    for one in CATALOGUE.values():
        if one.cost == "cheap":
            arguments = {"PATH": ["(/)", "(/tmp)"], "DEVICE": ["(lo)"]}.get(one.argument, [""])
            found += [one.name + argument for argument in arguments]
    return found


def costly(folder: Path, port: int) -> list[str]:
    """Queue, processes, units, connections and probes, as a mail host would want them."""
    unit = folder / "daemon.pid"
    return [
        "queue(exim)", "processes", "processes(user=www-data)", "processes(state=zombie)",
        "processes(user=www-data,state=running)", f"unit.cpu({unit})", f"unit.memory({unit})",
        f"unit.processes({unit})", "connections", f"connections({port})", "rtt(127.0.0.1)",
        f"up(tcp://127.0.0.1:{port})", f"latency(tcp://127.0.0.1:{port})",
    ]  # fmt: skip


@contextlib.contextmanager
def sampler(place: Path) -> Iterator[tuple[int, RemoteReadings]]:
    """A sampler in a process of its own; its number, and our end of it."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        ours.close()
        queue._exim = lambda _named: str(place)
        with contextlib.suppress(BaseException):
            serve(theirs, Policy)
        os._exit(0)
    theirs.close()
    readings = RemoteReadings(ours)
    try:
        yield pid, readings
    finally:
        readings.close()
        os.waitpid(pid, 0)


def cpu_of(pid: int) -> float:
    """CPU seconds of a process with all its threads, exact (clock_getcpuclockid(3))."""
    return time.clock_gettime((~pid << 3) | 2)


def cost(pid: int, readings: RemoteReadings, wanted: Mapping[str, int], seconds: float) -> float:
    """Percent of one core that it uses, after two seconds to begin with."""
    readings.want(wanted)
    heard: dict[str, float | None] = {}
    poll = select.poll()
    poll.register(readings.fileno(), select.POLLIN)
    began, before = 0.0, 0.0
    start = time.monotonic()
    while True:
        if poll.poll(100):
            heard |= {one.reading: one.value for one in readings.take()}
        now = time.monotonic()
        if not began and now - start > 2:
            began, before = now, cpu_of(pid)
        if began and now - began >= seconds:
            break
    missing = {source_of(name) for name in wanted} - heard.keys()
    if missing:
        raise RuntimeError(f"no sample of {', '.join(sorted(missing))}")
    return (cpu_of(pid) - before) / (now - began) * 100


def each(names: list[str]) -> list[tuple[float, str]]:
    """CPU milliseconds that each takes by itself, the dearest first."""
    catalogue, found, look = Catalogue(), [], 0
    for name in names:
        taker = catalogue.taker(name)
        taker.attempt(0)
        before = time.process_time()
        for _turn in range(3):
            taker.attempt(look := look + 1)  # of a look of its own: nothing is shared
        found.append(((time.process_time() - before) / 3 * 1000, name))
    return sorted(found, reverse=True)


def readings(bench: Bench) -> list[Figure]:
    """Cheap readings each second; those that walk or ask each ten seconds."""
    seconds = 10 if bench.sizes.runs == 1 else 40
    with stage(bench.folder) as (place, port):
        few, many = cheap(), costly(bench.folder, port)
        bench.say(f"{len(few)} cheap readings each second, for {seconds} s")
        with sampler(place) as (pid, far):
            share = cost(pid, far, dict.fromkeys(few, SECOND), seconds)
        bench.say(f"{len(many)} costly readings each ten seconds, for {seconds} s")
        with sampler(place) as (pid, far):
            walk = cost(pid, far, dict.fromkeys(many, 10 * SECOND), seconds)
        real = queue._exim
        queue._exim = lambda _named: str(place)
        dearest = ", ".join(
            f"{name.partition('(')[0]} {spent:.0f}" for spent, name in each(many)[:4]
        )
        queue._exim = real
    note = f"{PROCESSES} processes, {MESSAGES:,} messages; alone, in CPU ms: {dearest}"
    return [
        Figure("readings", f"{len(few)} cheap ones, each second", share, "% core", CHEAP_MOST),
        Figure(
            "readings", f"{len(many)} costly ones, each 10 s", walk, "% core", COSTLY_MOST, note
        ),
    ]


def main() -> int:
    """Measure and print; 1 where a figure is above what is expected."""
    from bench.path import Sizes

    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        os.chmod(folder, 0o755)
        found = readings(Bench(Path(folder), Sizes(), False, lambda line: print(line, flush=True)))
    print(figure_table(found))
    return any(one.verdict == "MISS" for one in found)


if __name__ == "__main__":
    sys.exit(main())
