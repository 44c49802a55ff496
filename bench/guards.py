"""What guards cost, and how soon a verdict is an action: through the whole daemon.

Touches what `bench.live` touches. An action is seen by what it leaves: a port in the kernel's set,
or a file that a command made. Limits: root and nftables; how soon a reading is taken is its own
interval, a second for cheap ones, and is no part of the time from verdict to action.
"""

from __future__ import annotations

import statistics
import time
from datetime import datetime
from pathlib import Path

from bench import live, measure
from bench.path import Bench
from bench.report import Figure
from tidegate.control.client import Client

MOST_MS = 100.0
MOST_SHARE = 1.5  # percent of one core: cheap readings, dear ones, and the deciding together
FLIPPING = """
[reading.heat]
file = "{folder}/heat"
every = "1s"

[guard.kernel]
close = {{ when = "heat >= 10", at-least = "1s" }}
open = {{ when = "heat <= 2", at-least = "1s" }}
throttle = {{ ports = [80], rate = "20/m" }}
flaps = 60

[guard.command]
close = {{ when = "heat >= 10", at-least = "1s" }}
open = {{ when = "heat <= 2", at-least = "1s" }}
capture = false
flaps = 60
command = {{ close = ["touch", "{folder}/shut"], open = ["rm", "-f", "{folder}/shut"] }}
"""
USUAL = """
[guard.load]
close = "la1.core >= 50"
open = "la1.core <= 2"
throttle = { ports = [80, 443], rate = "20/m" }

[guard.memory]
close = "memavailable < 1% or psi.memory.full > 95%"
open = "memavailable > 20%"
throttle = { ports = [25], rate = "20/m" }

[guard.disk]
warn = "disk.available(/) < 1% or inodes.free(/) < 1% or disk.full-in(/) < 1m"

[guard.processes]
warn = "processes > 30000 or processes(state=zombie) > 5000"

[guard.network]
warn = "conntrack > 99% or listen.overflows > 1000000/s or interface.drops-in(lo) > 1000000/s"
"""


def guards(bench: Bench) -> list[Figure]:
    """Verdict to action for a gate in the kernel and for a command; CPU of a usual policy, idle."""
    turns = 5 if bench.sizes.runs == 1 else 20
    with live.stage() as host:
        bench.say(f"verdict to action, {turns} closings")
        path = host.policy(FLIPPING.format(folder=host.folder))
        _heat(host.folder, 1)
        host.start(path)
        times = [_flip(host) for _turn in range(turns)]
        host.stop()
    with live.stage() as host:
        seconds = 15 if bench.sizes.runs == 1 else 60
        bench.say(f"five guards at rest, {seconds} s")
        pid = host.start(host.policy(USUAL))
        time.sleep(12)  # rates and slopes have begun, and whatever a start costs is over
        before, began = measure.tree_cpu(pid), time.monotonic()
        time.sleep(seconds)
        share = (measure.tree_cpu(pid) - before) / (time.monotonic() - began) * 100
    return [
        _figure("the kernel's set", [kernel for kernel, _command in times]),
        _figure("a command done", [command for _kernel, command in times]),
        Figure(
            "guards", "five at rest, all processes", share, "% of a core", MOST_SHARE,
            "twelve readings, two of them dear",
        ),
    ]  # fmt: skip


def _figure(what: str, times: list[float]) -> Figure:
    note = f"{len(times)} closings, worst {max(times):.0f} ms"
    return Figure("guards", f"verdict to {what}", statistics.median(times), "ms", MOST_MS, note)


def _flip(host: live.Stage) -> tuple[float, float]:
    """One closing and its opening; milliseconds from the verdict until each gate was closed."""
    known = len(_history(host))
    _heat(host.folder, 11)
    shut = host.folder / "shut"
    _wait(shut.exists)
    made = shut.stat().st_mtime
    _wait(lambda: len([row for row in _history(host) if row["settled"]]) >= known + 2)
    fresh = [row for row in _history(host) if row["action"] == "close"][:2]
    decided = {row["rule"]: datetime.fromisoformat(row["time"]).timestamp() for row in fresh}
    settled = {row["rule"]: datetime.fromisoformat(row["settled"]).timestamp() for row in fresh}
    _heat(host.folder, 1)
    _wait(lambda: not shut.exists())
    _wait(lambda: len([row for row in _history(host) if row["settled"]]) >= known + 4)
    kernel = (settled["kernel"] - decided["kernel"]) * 1000
    return kernel, (made - decided["command"]) * 1000


def _history(host: live.Stage) -> list[dict[str, str]]:
    client = Client(str(host.folder / "run/watcher/control.sock"))
    return list(client.lines("/history", {"limit": "1000"}))


def _heat(folder: Path, value: int) -> None:
    fresh = folder / "heat.new"
    fresh.write_text(f"{value}\n")
    fresh.rename(folder / "heat")


def _wait(fact, seconds: float = 60.0) -> None:  # type: ignore[no-untyped-def]
    end = time.monotonic() + seconds
    while not fact():
        if time.monotonic() > end:
            raise TimeoutError("a gate did not move within a minute")
        time.sleep(0.01)
