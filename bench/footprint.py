"""How large and how quick to start: resident sets, bytes for each tally, start-up, `--help`.

Touches the folder it is given, and for the idle daemon what `bench.live` touches. Limits: peak
memory of a replay counts everything that grows with the subjects, not the tallies alone.
"""

from __future__ import annotations

import time
from pathlib import Path

from bench import live, measure, tidegate
from bench.path import Bench
from bench.report import Figure

WIDE = """
[rule.viruses]
on = ["exim.malware"]
more-than = 9999
within = "7d"
ban = { ports = [25] }

[limits]
subjects = 2000000
"""


def memory(bench: Bench) -> list[Figure]:
    """Resident sets of an idle daemon with all packs; bytes for each tally."""
    bench.say("memory of the idle daemon")
    with live.stage() as host:
        pid = host.start(host.policy(tidegate.POLICY + '[source.all]\nfile = "LOG"\n'))
        measure.wait_idle(pid)
        master, *children = measure.descendants(pid)
        sizes = [measure.resident_set(child) / 1e6 for child in children]
        shared = sum(map(measure.resident, (master, *children))) / 1e6
    note = f"{' + '.join(f'{size:.0f}' for size in sizes)}; the three share: {shared:.0f} MB in all"
    return [Figure("memory", "idle, keeper and watcher, resident", sum(sizes), "MB", 80, note)]


def tally_bytes(bench: Bench) -> list[Figure]:
    """Peak memory of a replay with many subjects less one with few, by subject; six events each."""
    bench.say("memory of tallies")
    subjects = 1_000_000 if bench.sizes.runs > 1 else 100_000
    peaks = []
    for count in (1000, subjects):
        path = bench.folder / "subjects.log"
        _six_each(path, subjects, count)
        configuration = bench.folder / "wide.toml"
        configuration.write_text(WIDE)
        peaks.append(tidegate.replay(path, configuration).peak)
        path.unlink()
    each = (peaks[1] - peaks[0]) / subjects
    name = f"for each rule and subject with 6 events, {subjects:,} subjects"
    return [Figure("memory", name, each, "bytes", 400)]


def _six_each(path: Path, subjects: int, distinct: int) -> None:
    """Six lines for each subject, in six rounds; `distinct` of them differ."""
    moment = int(time.time()) - 6 * 3600
    stamps = [time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment + n)) for n in range(21600)]
    tail = "F=<a@example.com> rejected after DATA: This message contains a virus (Sobig.F)\n"
    with path.open("w", buffering=1 << 20) as file:
        for turn in range(6):
            for number in range(subjects):
                stamp = stamps[turn * 3600 + number * 3600 // subjects]
                who = number % distinct
                address = f"10.{who >> 16}.{who >> 8 & 255}.{who & 255}"
                file.write(f"{stamp} H=(x) [{address}] {tail}")


def start_up(bench: Bench) -> list[Figure]:
    """`replay` of an empty file with every pack; `--help`."""
    bench.say("start-up")
    empty = bench.folder / "empty.log"
    empty.touch()
    configuration = tidegate.policy(bench.folder)
    first = tidegate.replay(empty, configuration)  # compiles what Python caches
    cpu = measure.median(lambda: tidegate.replay(empty, configuration).cpu, 5)
    help_wall = measure.median(lambda: measure.command([str(tidegate.COMMAND), "--help"]).wall, 11)
    return [
        Figure("start", "replay of an empty file", cpu, "CPU s", 1, f"{first.cpu:.2f} the first"),
        Figure("start", "tidegate --help", help_wall * 1000, "ms", 150, "wall"),
    ]
