"""What is measured of the running daemon: cost beside `replay`, latency, new bans, restoring.

Touches what `bench.live` touches. CPU seconds are those of master, keeper, watcher and whatever
they start. Limits: root and nftables; without them every figure here is `not measured`.
"""

from __future__ import annotations

import ipaddress
import os
import shutil
import statistics
import subprocess
import time
from pathlib import Path

from bench import live, logs, measure, tidegate
from bench.logs import Shape
from bench.path import Bench, title
from bench.report import Figure, ratio

RULE = """
[source.exim]
file = "LOG"
detectors = ["exim"]

[rule.virus-senders]
on = ["exim.malware"]
more-than = 15
within = "5m"
ban = { ports = [25] }
"""
ONE = RULE.replace("more-than = 15", "more-than = 0")
NOTHING = '[source.exim]\nfile = "LOG"\nstart = "beginning"\n'


def run_beside_replay(bench: Bench) -> list[Figure]:
    """`run` catching up on a log, with its ledger and the kernel, as a part of `replay`'s cost."""
    figures = []
    for shape in (Shape("exim", 0.02, True), Shape("exim", 1.0, False)):
        bench.say(f"run beside replay: {title(shape)}")
        costs: dict[str, list[float]] = {"run": [], "replay": []}
        for size in bench.sizes.own:
            path = bench.folder / "run.log"
            logs.write(path, shape, size, end=int(time.time()))
            configuration = tidegate.policy(bench.folder)
            costs["replay"].append(
                measure.median(lambda p=path, c=configuration: tidegate.replay(p, c).cpu, 3)  # type: ignore[misc]
            )
            costs["run"].append(measure.median(lambda p=path, n=size: _catch_up(p, n), 3))  # type: ignore[misc]
            path.unlink()
        million = (bench.sizes.own[1] - bench.sizes.own[0]) / 1e6
        live_cost, dry = ((large - small) / million for small, large in costs.values())
        note = f"{live_cost:.2f} / {dry:.2f} CPU s per million lines"
        part = ratio(live_cost, dry)
        figures.append(Figure("run", f"{title(shape)}, part of replay", part, "", 1.5, note))
    return figures


def _catch_up(log: Path, lines: int) -> float:
    """CPU seconds of a daemon's life in which it reads one whole log that is there at its start."""
    with live.stage() as host:
        shutil.copyfile(log, host.log)
        os.utime(host.log)
        pid = host.start(host.policy(tidegate.POLICY + NOTHING))
        spent = measure.wait_idle(pid, limit=600)
        read = host.status()["lines"]
        assert read >= lines, f"only {read} of {lines} lines were read"
        return spent


def latency(bench: Bench) -> list[Figure]:
    """From the write of the sixteenth line to the first dropped packet, each from a new address."""
    samples = 300 if bench.sizes.runs > 1 else 50
    bench.say(f"latency: {samples} addresses")
    times = []
    with live.stage() as host, host.log.open("a") as log:
        host.start(host.policy(RULE))
        receiver = host.receiver()
        for number in range(samples):
            address = f"198.18.{number >> 8}.{number & 255}"
            log.writelines(live.virus(address, turn) for turn in range(15))
            log.flush()
            time.sleep(0.03)
            with host.sender(address) as sender:
                line = live.virus(address, 15)
                log.write(line)
                before = time.monotonic()
                log.flush()
                times.append(live.first_drop(sender, receiver, before) * 1000)
        receiver.close()
    times.sort()
    note = f"{samples} samples, worst {times[-1]:.1f} ms"
    at = [times[min(samples - 1, int(samples * part))] for part in (0.5, 0.99)]
    return [
        Figure("latency", "line to first dropped packet, p50", at[0], "ms", 5, note),
        Figure("latency", "line to first dropped packet, p99", at[1], "ms", 20),
    ]


def new_bans(bench: Bench) -> list[Figure]:
    """10,000 addresses convicted by one write: until the packets of the last are dropped."""
    bench.say("10,000 new bans")
    with live.stage() as host:
        pid = host.start(host.policy(ONE))
        measure.wait_idle(pid)
        addresses = [f"198.18.{number >> 8}.{number & 255}" for number in range(10_000)]
        text = "".join(live.virus(address, 0) for address in addresses).encode()
        receiver, spent = host.receiver(), measure.tree_cpu(pid)
        with host.sender(addresses[-1]) as sender, host.log.open("ab", buffering=0) as log:
            before = time.monotonic()
            log.write(text)
            seconds = live.first_drop(sender, receiver, before)
        receiver.close()
        spent = measure.wait_idle(pid) - spent
        held = _elements(host)
        assert held >= 10_000, f"only {held} addresses are in the kernel"
    note = f"{spent:.2f} CPU s; fail2ban once took 179 s"
    return [Figure("bans", "10,000 new ones in force", seconds, "s", 1, note)]


def _elements(host: live.Stage) -> int:
    listed = host.host.run("nft", "list", "table", "inet", "tidegate")
    return sum(listed.count(f" 198.{half}.") for half in (18, 19))


def restore(bench: Bench) -> list[Figure]:
    """Start with a ledger that holds 100,000 bans, beside a bare `nft -f` of as many elements."""
    count = 100_000
    bench.say(f"{count:,} bans restored")
    addresses = [str(ipaddress.ip_address(0xC6120000 + number)) for number in range(count)]
    with live.stage() as host:
        configuration = host.policy(ONE)
        empty = statistics.median(_start_cost(host, configuration)[0] for _ in range(3))
        _fill_ledger(host, addresses)
        costs, waits = zip(
            *(_start_cost(host, configuration, count) for _ in range(3)), strict=True
        )
        own = statistics.median(costs) - empty
        bare = _bare(host, addresses)
    note = f"{own:.2f} / {bare:.2f} CPU s; ready after {statistics.median(waits):.1f} s"
    return [Figure("restore", "100,000 bans, part of bare nft -f", own / bare, "", 3, note)]


def _start_cost(host: live.Stage, configuration: Path, bans: int = 0) -> tuple[float, float]:
    """CPU seconds until the daemon is idle, and the seconds until it said that it is ready."""
    before = time.monotonic()
    pid = host.start(configuration)
    waited = time.monotonic() - before
    spent = measure.wait_idle(pid)
    held = host.status()["bans"]
    assert held >= bans, f"{held} bans in force instead of {bans}"
    host.stop()
    return spent, waited


def _fill_ledger(host: live.Stage, addresses: list[str]) -> None:
    """As a daemon would have left it: decided and applied a moment ago, for a day."""
    from tidegate.ledger.sqlite import SqliteLedger
    from tidegate.model import DAY, Decision, Outcome, Subject

    now = time.time_ns() // 1000
    path = str(host.folder / "state/ledger.sqlite")
    ledger = SqliteLedger(path)
    for start in range(0, len(addresses), 5000):
        decisions = [
            Decision(
                id=f"bench-{address}",
                time=now,
                action="ban",
                subject=Subject(address),
                rule="virus-senders",
                ports=(25,),
                until=now + DAY,
                duration=DAY,
                count=1,
                step=0,
                mode="enforce",
                reason="1 in 5m",
            )
            for address in addresses[start : start + 5000]
        ]
        ledger.intend(decisions)
        ledger.settle([Outcome(one.id, "applied", "", now) for one in decisions])
    ledger.close()


def _bare(host: live.Stage, addresses: list[str]) -> float:
    """CPU seconds of `nft -f` for one set with as many timed elements, in a table of its own."""
    elements = ", ".join(f"{address} timeout 86400s" for address in addresses)
    file = host.folder / "bare.nft"
    file.write_text(
        "table inet bare {\n set held { type ipv4_addr; flags timeout; size 131072; }\n}\n"
        f"add element inet bare held {{ {elements} }}\n"
    )

    def once() -> float:
        with host.host.inside():
            spent = measure.command(["nft", "-f", str(file)]).cpu
            subprocess.run(["nft", "delete", "table", "inet", "bare"], check=True)
        return spent

    return measure.median(once, 3)
