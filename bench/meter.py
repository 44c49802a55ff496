"""What listening to all that leaves costs, and how soon a scanner is cut off: the whole daemon.

Touches the namespaces of `World` and a folder in /tmp, all removed again. Connections are begun by
raw packets from many addresses behind a router that runs Tidegate; a host behind it answers.
Limits: root and nftables; whoever sends runs on the same processors.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import shutil
import signal
import socket
import statistics
import struct
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from tests.kernel.daemon import Daemon, until
from tests.kernel.namespaces import HOST, INNER, World

from bench import measure
from bench.path import Bench
from bench.report import Figure

RATE = 10_000
MOST_SHARE = 2.0  # percent of one processor, all processes of ours but the packet path
MOST_MS = 1000.0
SENDERS, SERVERS = "198.18.0.0/15", "100.64.0.0/22"
MANY, TARGETS = 400, 40
POLICY = """
[outward]
mode = "enforce"
sources = ["198.18.0.0/15"]

[rule.outward-scan]
on = ["outward.scan", "outward.signature"]
at-least = 1
within = "1m"
quarantine = { ladder = ["10m"] }
"""


def meter(bench: Bench) -> list[Figure]:
    """CPU of meter and watcher at 10,000 new connections a second; scanner to quarantine."""
    quick = bench.sizes.runs == 1
    figures = []
    for name, sources, answered in (
        (f"{MANY} sources", MANY, True),
        ("one source", 1, True),
        ("nobody answers", MANY, False),
    ):
        seconds = 10 if quick else 30
        bench.say(f"meter: {RATE} connections a second, {name}, {seconds} s")
        figures.append(_cost(name, sources, answered, seconds))
    turns = 5 if quick else 40
    bench.say(f"meter: {turns} scanners, one after the other")
    figures += _latency(turns)
    return figures


@contextlib.contextmanager
def _stage() -> Iterator[tuple[World, Daemon]]:
    folder = Path(tempfile.mkdtemp(prefix="tidegate-bench-"))
    folder.chmod(0o755)
    world = World()
    daemon = Daemon(folder, world.host, POLICY)
    try:
        world.attacker.ip("route", "add", "local", SENDERS, "dev", "lo")
        world.host.ip("route", "add", SENDERS, "via", "192.0.2.7")
        world.attacker.ip("route", "add", SERVERS, "via", HOST)
        world.host.ip("route", "add", SERVERS, "via", INNER)
        world.inner.ip("route", "add", "local", SERVERS, "dev", "lo")
        # Every beginning is answered, however many there are.
        world.inner.run("sysctl", "-qw", "net.ipv4.tcp_syncookies=2")
        daemon.start()
        yield world, daemon
    finally:
        daemon.close()
        world.close()
        shutil.rmtree(folder, ignore_errors=True)


def _cost(name: str, sources: int, answered: bool, seconds: int) -> Figure:
    """What meter and watcher use more than at rest, where what else the watcher does costs, too."""
    with _stage() as (world, daemon):
        server = world.inner.listen(80) if answered else None
        crew = daemon.crew("keeper", "watcher", "meter")
        pids = [crew["meter"], crew["watcher"]]
        time.sleep(3)  # whatever a start costs is over
        rest = sum(_shares(pids, seconds / 2))
        sender = multiprocessing.Process(target=_send, args=(world, sources, seconds + 8))
        sender.start()
        try:
            time.sleep(6)  # the share has been found by then
            meter, watcher = _shares(pids, seconds)
        finally:
            if sender.is_alive() and sender.pid:
                os.kill(sender.pid, signal.SIGTERM)
            sender.join()
            if server is not None:
                server.close()
        told = daemon.ask("/status")["meter"]
    note = f"meter {meter:.1f}, watcher {watcher:.1f}, both at rest {rest:.1f}"
    note += f"; {told['share']:.1%} of sources heard, {told['loud']} in part, {told['lost']} lost"
    return Figure("meter", name, meter + watcher - rest, "% of a core", MOST_SHARE, note)


def _shares(pids: list[int], seconds: float) -> list[float]:
    """What each uses of one processor, in percent."""
    before, began = [measure.process_cpu(pid) for pid in pids], time.monotonic()
    time.sleep(seconds)
    took = time.monotonic() - began
    return [
        (measure.process_cpu(pid) - cpu) / took * 100 for pid, cpu in zip(pids, before, strict=True)
    ]


def _latency(turns: int) -> list[Figure]:
    times = []
    with _stage() as (world, daemon):
        for turn in range(turns):
            source = f"198.18.7.{turn + 1}"
            began = time.time()
            _scan(world, source)
            row = until("it is cut", lambda source=source: _settled(daemon, source))
            times.append((datetime.fromisoformat(row).timestamp() - began) * 1000)
    ordered = sorted(times)
    last = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    note = f"{turns} scanners, median {statistics.median(times):.0f} ms"
    return [Figure("meter", "first packet to quarantine, p99", last, "ms", MOST_MS, note)]


def _settled(daemon: Daemon, source: str) -> str:
    rows = [row for row in daemon.history() if row["subject"] == source and row["settled"]]
    return rows[0]["settled"] if rows else ""


def _scan(world: World, source: str) -> None:
    """Slammer's packets, 404 bytes to port 1434, for half a second at full speed."""
    data = struct.pack(">HHHH", 2000, 1434, 384, 0) + bytes(376)
    end = time.monotonic() + 0.5
    with world.attacker.inside(), socket.socket(socket.AF_INET, socket.SOCK_RAW, 255) as raw:
        while time.monotonic() < end:
            target = f"100.64.{random.randrange(4)}.{random.randrange(256)}"
            raw.sendto(_head(17, source, target, len(data)) + data, (target, 0))


def _head(protocol: int, source: str, target: str, length: int) -> bytes:
    first = struct.pack(">BBHHHBBH", 0x45, 0, 20 + length, 0, 0, 64, protocol, 0)
    return first + socket.inet_aton(source) + socket.inet_aton(target)


def _send(world: World, sources: int, seconds: float) -> None:
    """Begin `RATE` connections a second, the sources one after the other."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with world.attacker.inside():
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, 255)
    began, count = time.monotonic(), 0
    while (now := time.monotonic()) < began + seconds:
        while count < (now - began) * RATE:
            source = f"198.18.{1 + count % sources // 200}.{1 + count % sources % 200}"
            turn = count // sources
            target = f"100.64.{turn % TARGETS // 250}.{1 + turn % TARGETS % 250}"
            raw.sendto(_syn(source, target, 1024 + (count * 7 + turn) % 60_000), (target, 0))
            count += 1
        time.sleep(0.005)


def _syn(source: str, target: str, port: int) -> bytes:
    tcp = struct.pack(">HHIIHHHH", port, 80, 1, 0, 0x5002, 1000, 0, 0)
    ends = socket.inet_aton(source) + socket.inet_aton(target)
    total = sum(struct.unpack(">16H", ends + struct.pack(">HH", 6, 20) + tcp))
    total = (total >> 16) + (total & 0xFFFF)
    check = ~(total + (total >> 16)) & 0xFFFF
    return _head(6, source, target, 20) + tcp[:16] + struct.pack(">H", check) + tcp[18:]
