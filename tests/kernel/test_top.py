"""`tidegate top` in namespaces with real floods: it names the flooder, without daemon or policy."""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import signal
import socket
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.kernel.daemon import TIDEGATE, until
from tests.kernel.namespaces import ATTACKERS, ATTACKERS6, HOST, INNER, World

pytestmark = pytest.mark.kernel
STRANGER = 54329
# Sends datagrams to as many destinations, as fast as it may, until it is ended.
FLOOD = """
import socket, sys, time
family, pause, *to = sys.argv[1:]
channel = socket.socket(getattr(socket, family), socket.SOCK_DGRAM)
print(flush=True)
while True:
    for one in to:
        channel.sendto(bytes(376), (one, 1434))
    time.sleep(float(pause))
"""
# One SYN after the other, each from another address that is not ours.
FORGE = """
import itertools, socket, struct, sys, time
to, own = sys.argv[1], sys.argv[2]
channel = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
print(flush=True)
for n in itertools.count():
    source = socket.inet_aton(own) if own else bytes([203, 0, 113, n % 250 + 1])
    head = struct.pack(">BBHHHBBH4s4s", 69, 0, 40, n & 0xffff, 0, 64, 6, 0, source, socket.inet_aton(to))
    syn = struct.pack(">HHIIBBHHH", n % 60000 + 1, 80, n, 0, 80, 2, 1024, 0, 0)
    channel.sendto(head + syn, (to, 0))
    if n % 10 == 0:
        time.sleep(0.005)
"""
Start = Callable[..., int]


@pytest.fixture
def flood(public_folder: Path) -> Iterator[Start]:
    """Starts a program of its own (a copy of Python's) as a user of its own; its number."""
    bot = public_folder / "bot"
    shutil.copy(os.path.realpath(sys.executable), bot)
    bot.chmod(0o755)
    with ExitStack() as stack:

        def start(space: Any, script: str, *words: str, user: int = STRANGER) -> int:
            with space.inside():
                process = subprocess.Popen(
                    [str(bot), "-c", script, *words], stdout=subprocess.PIPE, user=user
                )
            stack.callback(process.wait, 20)
            stack.callback(process.kill)
            assert process.stdout is not None
            stack.callback(process.stdout.close)
            assert process.stdout.readline() == b"\n"
            return process.pid

        yield start


def top(space: Any, *words: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    with space.inside():
        done = subprocess.run(
            [*TIDEGATE, "top", "--json", *words], capture_output=True, text=True, timeout=60
        )
    assert done.returncode == 0, done.stderr
    *rows, totals = map(json.loads, done.stdout.splitlines())
    return rows, totals


def test_a_flooding_user_is_named_with_its_program_within_seconds(
    world: World, flood: Start, public_folder: Path
) -> None:
    pid = flood(world.host, FLOOD, "AF_INET", "0.001", INNER)
    began = time.monotonic()
    rows, totals = top(world.host)
    took = time.monotonic() - began
    first = rows[0]
    assert (first["way"], first["uid"], first["here"]) == ("out", STRANGER, True)
    assert first["program"] == f"{public_folder}/bot (pid {pid})"
    assert (first["protocol"], first["port"]) == ("udp", 1434)
    assert first["destinations"] == [f"{INNER}:1434/udp"]
    assert first["looks"] == "UDP flood"
    assert 380 < first["bytes"] / first["packets"] < 428
    assert totals["packets"]["out"] >= first["packets"] * 0.9
    assert took < 5 * 5, "five seconds is what is promised; slack for a busy host"


def test_a_scanner_has_many_new_destinations(world: World, flood: Start) -> None:
    world.host.ip("route", "add", "198.18.0.0/16", "via", INNER)
    flood(world.host, FLOOD, "AF_INET", "0.2", *(f"198.18.0.{n}" for n in range(1, 201)))
    rows, _totals = top(world.host, "--for", "1s")
    first = rows[0]
    assert first["uid"] == STRANGER
    assert "scan" in first["looks"]
    assert 100 <= first["new"] <= 400


def test_on_a_router_the_source_is_named_once(world: World, flood: Start) -> None:
    """What is forwarded passes two interfaces, and counts as one."""
    flood(world.attacker, FLOOD, "AF_INET", "0.01", INNER)
    world.host.ip("route", "add", "default", "via", INNER)  # so outside is that way
    (row,) = (row for row in top(world.host)[0] if row["port"] == 1434)
    assert (row["way"], row["here"], row["source"]) == ("out", False, ATTACKERS[0])
    assert row["interface"] == "to-attacker"
    assert row["packets"] < 101 * 1.2
    world.host.ip("route", "del", "default")
    world.host.ip("route", "add", "default", "via", ATTACKERS[0])
    (row,) = (row for row in top(world.host)[0] if row["port"] == 1434)
    assert row["way"] == "in"


def test_who_is_flooded_is_named_by_who_listens(
    world: World, flood: Start, public_folder: Path
) -> None:
    flood(world.attacker, FLOOD, "AF_INET6", "0.001", "2001:db8:1::1")
    with world.host.inside():
        server = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    with server:
        server.bind(("::", 1434))
        rows, _totals = top(world.host)
    first = rows[0]
    assert (first["way"], first["port"]) == ("in", 1434)
    assert first["source"] == f"{ATTACKERS6[0].rpartition('::')[0]}::/64"
    assert (first["uid"], first["here"]) == (0, True)
    assert first["program"].endswith(f"(pid {os.getpid()})")


def test_forged_addresses_are_one_row_with_who_may_forge(
    world: World, flood: Start, public_folder: Path
) -> None:
    """The attacker's own host does not forward, so whatever leaves began there."""
    pid = flood(world.attacker, FORGE, HOST, "", user=0)
    first = top(world.attacker)[0][0]
    assert (first["forged"], first["source"]) == (True, None)
    assert first["program"] == f"probably {public_folder}/bot (pid {pid})"
    assert (first["protocol"], first["port"]) == ("tcp", 80)
    assert "SYN flood" in first["looks"]


def test_forged_ports_are_told_from_sockets(
    world: World, flood: Start, public_folder: Path
) -> None:
    pid = flood(world.attacker, FORGE, HOST, ATTACKERS[0], user=0)
    first = top(world.attacker)[0][0]
    assert (first["forged"], first["source"]) == (False, ATTACKERS[0])
    assert first["program"] == f"probably {public_folder}/bot (pid {pid})"


def test_under_a_heavy_flood_few_packets_are_looked_at(world: World, flood: Start) -> None:
    flood(world.host, FLOOD, "AF_INET", "0", *[INNER] * 500)
    with world.host.inside():
        process = subprocess.Popen(
            [*TIDEGATE, "top", "--json", "--for", "3s"], stdout=subprocess.PIPE
        )
    out, _err = process.communicate(timeout=60)
    *rows, totals = map(json.loads, out.splitlines())
    assert rows[0]["uid"] == STRANGER
    assert totals["one_in"] > 1
    assert 1000 < rows[0]["looked"] < rows[0]["packets"] * 3
    # What was estimated, against what the interface counted.
    passed = json.loads(world.host.run("ip", "-j", "-s", "link", "show", "to-inner"))
    assert rows[0]["packets"] * 3 < passed[0]["stats64"]["tx"]["packets"] * 1.1


def test_another_user_is_told_in_one_line() -> None:
    done = subprocess.run(
        [*TIDEGATE, "top", "--once"], capture_output=True, text=True, user=STRANGER, timeout=60
    )
    assert done.returncode == 3
    assert done.stderr == "tidegate: seeing packets needs root (or CAP_NET_RAW): try sudo\n"


@pytest.mark.parametrize("end", ["q", "ctrl-c", "sigterm"])
def test_the_live_view_ends_and_leaves_the_terminal_as_it_was(
    world: World, flood: Start, end: str
) -> None:
    flood(world.host, FLOOD, "AF_INET", "0.01", INNER)
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    with world.host.inside():
        process = subprocess.Popen(
            ["setsid", "--ctty", *TIDEGATE, "top"], stdin=theirs, stdout=theirs, stderr=theirs,
            env=os.environ | {"TERM": "xterm-256color", "COLUMNS": "140", "LINES": "40"},
        )  # fmt: skip
    seen = b""

    def shown() -> bool:
        nonlocal seen
        seen += os.read(ours, 65536)
        return b"UDP flood" in seen or b"1434/udp" in seen

    try:
        until("the table", shown)
        if end == "sigterm":
            process.send_signal(signal.SIGTERM)
        else:
            os.write(ours, b"q" if end == "q" else b"\x03")
        while process.poll() is None:
            if select.select([ours], [], [], 0.2)[0]:
                os.read(ours, 65536)
        assert process.returncode == 0
        assert termios.tcgetattr(theirs) == before
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(theirs)
