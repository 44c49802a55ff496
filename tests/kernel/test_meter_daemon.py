"""The whole daemon behind which somebody scans: cut off at once, explained, heard again after deaths."""

from __future__ import annotations

import os
import random
import re
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from tests.kernel.daemon import Daemon, until
from tests.kernel.namespaces import ALIVE, INNER, World

pytestmark = pytest.mark.kernel

ONE, TWO, THREE = "192.0.2.7", "192.0.2.8", "192.0.2.9"
SERVERS = "100.64.0.0/16"
NOBODY = 65534
POLICY = """
[outward]
mode = "enforce"
sources = ["uids", "192.0.2.0/24"]

[rule.outward-scan]
on = ["outward.scan", "outward.signature"]
at-least = 1
within = "1m"
quarantine = { ladder = ["10m", "1h"] }
"""
CAPABILITIES = {"NET_ADMIN": 12, "SYS_PTRACE": 19, "DAC_READ_SEARCH": 2}


@pytest.fixture
def daemon(world: World, public_folder: Path) -> Iterator[Callable[..., Daemon]]:
    """A daemon on the router; behind it a network in which nobody answers."""
    world.attacker.ip("route", "add", SERVERS, "via", "192.0.2.1")
    world.host.ip("route", "add", SERVERS, "via", INNER)
    world.inner.ip("route", "add", "blackhole", SERVERS)
    with ExitStack() as stack:

        def make(policy: str = POLICY) -> Daemon:
            made = Daemon(public_folder, world.host, policy)
            stack.callback(made.close)
            return made

        yield make


def scan(world: World, source: str, seconds: float = 0.5) -> float:
    """Packets of a worm to random addresses, at full speed; when it began."""
    began, end = time.time(), time.monotonic() + seconds
    data = struct.pack(">HHHH", 2000, 1434, 384, 0) + bytes(376)
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(data), 0, 0, 64, 17, 0)
    chance = random.Random(1)
    with world.attacker.inside(), socket.socket(socket.AF_INET, socket.SOCK_RAW, 255) as raw:
        while time.monotonic() < end:
            target = f"100.64.{chance.randrange(256)}.{chance.randrange(256)}"
            ends = socket.inet_aton(source) + socket.inet_aton(target)
            raw.sendto(head + ends + data, (target, 0))
    return began


def cut(daemon: Daemon, subject: str, count: int = 1) -> Any:
    """The newest quarantine of a source, once it is carried out."""

    def found() -> Any:
        rows = [
            row
            for row in daemon.history()
            if (row["subject"], row["action"], row["state"]) == (subject, "quarantine", "applied")
        ]
        return rows[-1] if len(rows) >= count else None

    return until(f"{subject} is cut off", found)


def test_a_scanner_is_cut_off_within_a_second_and_the_neighbour_is_not(
    world: World, daemon: Callable[..., Daemon]
) -> None:
    here = daemon().start()
    with world.inner.listen(25):
        began = scan(world, ONE)
        row = cut(here, ONE)
        took = datetime.fromisoformat(row["settled"]).timestamp() - began
        assert took < 5.0  # a second, with slack for a machine that has other things to do
        assert world.attacker.cut_off(INNER, 25, ONE)
        assert world.attacker.reaches(INNER, 25, TWO)
    (evidence,) = row["evidence"]
    assert evidence["file"] == "outward"
    assert re.search(r" tidegate outward: scan 192\.0\.2\.7: .*:1434/udp", evidence["line"])
    assert evidence["line"] in here.verb("why", ONE).stdout
    assert {row["subject"] for row in here.history()} == {ONE}
    status = here.ask("/status")
    assert status["meter"]["findings"] >= 1
    assert status["meter"]["lost"] == 0
    (outward,) = [one for one in status["sources"] if one["name"] == "outward"]
    assert (outward["state"], outward["detail"]) == ("ok", "")
    assert re.search(r"^meter    all sources heard, \d+ events; ", here.verb("status").stdout, re.M)


def test_who_only_observes_decides_the_same_and_cuts_nobody_off(
    world: World, daemon: Callable[..., Daemon]
) -> None:
    world.host.nft(
        "table inet other { chain f { type filter hook forward priority 0; ct state new counter; }; }"
    )
    here = daemon().start("--observe")
    scan(world, ONE)
    row = until("the decision", here.history)[0]
    assert (row["subject"], row["action"], row["state"]) == (ONE, "quarantine", "observed")
    assert here.said().count("no caps are put in") == 1
    with world.inner.listen(25):
        assert world.attacker.reaches(INNER, 25, ONE)


def test_a_slow_scanner_is_seen_by_what_does_not_answer(
    world: World, daemon: Callable[..., Daemon]
) -> None:
    here = daemon().start()
    for host in range(12):
        world.attacker.send(f"100.64.7.{host + 1}", 1434, ONE, b"x")
        time.sleep(0.02)
    line = cut(here, ONE)["evidence"][0]["line"]
    assert "did not answer" in line


SLAMMER = """
[outward.filter.slammer]
protocol = "udp"
port = 1434
length = 404
"""


def test_a_worm_that_a_filter_knows_is_named(world: World, daemon: Callable[..., Daemon]) -> None:
    here = daemon(POLICY + SLAMMER).start()
    scan(world, ONE)
    line = cut(here, ONE)["evidence"][0]["line"]
    assert " tidegate outward: signature slammer 192.0.2.7: " in line
    assert here.ask("/status")["outward"]["filters"][0]["packets"] > 100


def test_behind_an_interface_all_are_one(world: World, daemon: Callable[..., Daemon]) -> None:
    here = daemon(POLICY.replace('"192.0.2.0/24"', '"to-attacker"')).start()
    scan(world, ONE)
    cut(here, "interface:to-attacker")
    with world.inner.listen(25):
        assert world.attacker.cut_off(INNER, 25, TWO)


def test_a_user_s_scan_names_the_program(world: World, daemon: Callable[..., Daemon]) -> None:
    here = daemon().start()
    script = (
        "import socket, time\n"
        "s = socket.socket(type=socket.SOCK_DGRAM)\n"
        "for n in range(3000):\n"
        "    try: s.sendto(b'x', (f'100.64.{n % 200}.{n // 200 + 1}', 1434))\n"
        "    except OSError: pass\n"
        "time.sleep(30)\n"
    )
    words = ["setpriv", f"--reuid={NOBODY}", "--clear-groups", sys.executable, "-c", script]
    with world.host.inside():
        process = subprocess.Popen(words)
    try:
        line = cut(here, f"uid:{NOBODY}")["evidence"][0]["line"]
    finally:
        process.kill()
        process.wait()
    assert f"(pid {process.pid})" in line
    assert "python" in line


def test_the_meter_has_its_three_rights_and_no_others(daemon: Callable[..., Daemon]) -> None:
    here = daemon().start()
    pid = here.crew("keeper", "watcher", "meter")["meter"]
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    wanted = sum(1 << number for number in CAPABILITIES.values())
    for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[name], 16) == wanted, name
    assert status["NoNewPrivs"] == "1"
    assert "0" not in status["Uid"].split()


def test_where_a_right_was_taken_away_the_others_do(
    world: World, daemon: Callable[..., Daemon]
) -> None:
    here = daemon()
    here.before = ["setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace"]
    here.start()
    pid = here.crew("keeper", "watcher", "meter")["meter"]
    found = re.search(r"^CapEff:\t(\w+)$", Path(f"/proc/{pid}/status").read_text(), re.M)
    assert found is not None
    assert int(found[1], 16) == 1 << 12 | 1 << 2
    scan(world, ONE)
    cut(here, ONE)


def test_killed_they_start_anew_and_listen_again(
    world: World, daemon: Callable[..., Daemon]
) -> None:
    here = daemon().start()
    scan(world, ONE)
    first = cut(here, ONE)
    old = here.kill("meter")
    until("all are new", lambda: here.children().get("meter") not in (None, old))
    here.crew("keeper", "watcher", "meter")
    until("it answers", lambda: here.ask("/status"))
    scan(world, TWO)
    second = cut(here, TWO)
    assert world.attacker.cut_off(INNER, 25, ONE)
    assert first["evidence"][0]["line"] in here.verb("why", ONE).stdout
    assert second["evidence"][0]["line"] in here.verb("why", TWO).stdout


def test_a_policy_without_it_is_listened_to_no_more_and_with_it_needs_a_restart(
    world: World, daemon: Callable[..., Daemon]
) -> None:
    here = daemon().start()
    here.write_policy("")
    assert here.verb("reload").returncode == 0
    assert here.ask("/status")["meter"] is None
    here.crew("keeper", "watcher", "meter")
    here.stop()
    here.start()
    here.crew("keeper", "watcher")
    here.write_policy(POLICY)
    assert "systemctl restart tidegate" in here.verb("reload").stderr
    os.kill(here.process.pid, signal.SIGTERM)  # type: ignore[union-attr]
    assert here.process.wait(ALIVE * 4) == 0  # type: ignore[union-attr]
    here.start()
    here.crew("keeper", "watcher", "meter")


def test_another_network_is_listened_to_after_a_reload(
    world: World, daemon: Callable[..., Daemon]
) -> None:
    here = daemon().start()
    here.write_policy(POLICY.replace("192.0.2.0/24", "203.0.113.0/24"))
    assert here.verb("reload").returncode == 0
    scan(world, ONE)
    scan(world, "203.0.113.5")
    cut(here, "203.0.113.5")
    assert {row["subject"] for row in here.history()} == {"203.0.113.5"}
