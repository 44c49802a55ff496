"""A whole daemon on a router: who floods is cut off with real packets, let back, and cut again.

Findings come from a file here, as the meter's own would: what is tried is what follows from them.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.kernel.daemon import Daemon, until
from tests.kernel.namespaces import INNER, Namespace, World

pytestmark = pytest.mark.kernel

WORM, OTHER, CUSTOMER = "192.0.2.7", "192.0.2.8", "203.0.113.0/29"
USER = 43211
SOURCE = """
[source.found]
file = "{folder}/log/mainlog"
detectors = ["outward"]
start = "beginning"
"""
POLICY = """
[outward]
sources = ["uids", "192.0.2.0/24"]
customers = ["203.0.113.0/29"]
busy = ["192.0.2.9"]
[rule.worm]
on = ["outward.scan"]
at-least = 1
within = "1m"
quarantine = { ladder = ["1h", "4h"] }
"""
_CONNECT = """
import socket, sys
with socket.socket() as client:
    client.settimeout(float(sys.argv[3]))
    try:
        client.connect((sys.argv[1], int(sys.argv[2])))
    except OSError:
        sys.exit(1)
"""


class Router(Daemon):
    """A daemon between `attacker` and `inner`, which has a server on port 80."""

    def __init__(self, folder: Path, world: World) -> None:
        super().__init__(folder, world.host)
        self.world = world
        self.write_policy(POLICY, SOURCE)
        self._servers = [world.inner.listen(80), world.attacker.listen(81)]

    def close(self) -> None:
        super().close()
        for server in self._servers:
            server.close()

    def scan(self, subject: str) -> None:
        """A finding about somebody, now."""
        moment = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
        text = "14 new destinations in 0.2s, none answered: 203.0.113.99:1434/udp"
        self.append(f"{moment} tidegate outward: scan {subject}: {text}\n")

    def out(self, source: str = WORM) -> bool:
        """Whether a connection that this one begins gets out."""
        return self.world.attacker.reaches(INNER, 80, source)

    def held(self, source: str = WORM) -> bool:
        """Whether it does not."""
        return self.world.attacker.cut_off(INNER, 80, source)

    def user(self, patience: str) -> bool:
        """Whether a connection of a user of the router gets out."""
        words = [sys.executable, "-c", _CONNECT, INNER, "80", patience]
        done = self.popen(words, user=USER, group=USER, extra_groups=[], cwd="/")
        return done.wait(30) == 0

    def cut(self) -> dict[str, str]:
        """Who is cut off or on probation, by the daemon."""
        rows = self.rows("/list")
        return {row["subject"]: row["confined"] for row in rows if "confined" in row}


@pytest.fixture
def router(public_folder: Path) -> Iterator[Router]:
    with ExitStack() as stack:
        world = World()
        stack.callback(world.close)
        made = Router(public_folder, world)
        stack.callback(made.close)
        made.start()
        until("the caps", lambda: "tidegate_outward" in tables(world.host))
        yield made


def tables(space: Namespace) -> list[str]:
    found = space.nft("list tables")["nftables"]
    return [one["table"]["name"] for one in found if "table" in one]


def test_cut_off_let_back_and_cut_again_without_anybody(router):
    assert router.out()
    router.scan(WORM)
    until("the cut", router.held)
    assert router.out(OTHER), "the neighbour is not touched"
    assert router.world.inner.reaches(WORM, 81, INNER), "it still answers those who call it"
    assert router.cut() == {WORM: "cut off"}
    done = router.verb("release", WORM, "--note", "patched, they say")
    assert (done.returncode, done.stderr) == (0, "")
    assert router.out()
    assert router.cut() == {WORM: "on probation"}
    router.scan(WORM)
    until("the relapse to be cut", router.held)
    rows = [row for row in router.history() if row["by"] == "rule"]
    assert [(row["action"], row["step"], row["state"]) for row in rows] == [
        ("quarantine", 0, "applied"),
        ("quarantine", 1, "applied"),
    ]
    why = router.verb("why", WORM).stdout
    assert "14 new destinations in 0.2s" in why
    assert f"To let it back, on probation: tidegate release {WORM}" in why


def test_a_user_of_this_host_is_cut_off_and_let_back_by_hand(router):
    assert router.user("5")
    done = router.verb("quarantine", f"uid:{USER}", "--for", "2h", "--note", "bot in /var/tmp")
    assert (done.returncode, done.stderr) == (0, "")
    assert not router.user("0.4")
    assert router.out(), "what is forwarded is not touched"
    assert router.verb("quarantine", "root").stderr.startswith("tidegate: uid:0 can't be cut off")
    status = router.verb("status")
    assert status.returncode == 0, status.stdout
    assert "outward  enforce; 1 cut off, 0 on probation" in status.stdout
    assert router.verb("release", f"uid:{USER}", "--trust").returncode == 0
    assert router.user("5")
    assert router.cut() == {}


def test_a_customer_is_cut_off_as_a_whole(router):
    router.scan(CUSTOMER)
    until("the cut", lambda: router.held("203.0.113.5"))
    assert router.out(WORM)


def test_the_busy_are_never_cut_off(router):
    router.scan("192.0.2.9")
    until("the sparing", lambda: [row["spared"] for row in router.history()] == ["busy"])
    assert router.out("192.0.2.9")


@pytest.mark.parametrize("roles", [("watcher",), ("keeper", "watcher")])
def test_it_stays_cut_off_while_everything_is_dead_and_after_the_start(router, roles):
    router.scan(WORM)
    until("the cut", router.held)
    before = router.children()
    for role in roles:
        router.kill(role)
    assert router.held()
    until("others", lambda: (found := router.children()).keys() >= {"keeper", "watcher"}
          and not set(found.values()) & {before["watcher"]})  # fmt: skip
    until("an answer", lambda: router.cut() == {WORM: "cut off"})
    assert router.held()
    assert router.verb("release", WORM).returncode == 0
    assert router.out()


def test_with_the_master_killed_the_kernel_keeps_it(router):
    router.scan(WORM)
    until("the cut", router.held)
    pids = [router.process.pid, *router.children().values()]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    router.process.wait()
    assert router.held()
    assert router.out(OTHER)


def test_off_lets_everybody_out_and_on_cuts_off_again(router):
    router.scan(WORM)
    until("the cut", router.held)
    config = ("--config", str(router.policy))
    assert router.verb("off", *config).returncode == 0
    assert router.out()
    assert "tidegate_outward" not in tables(router.world.host)
    router.scan(OTHER)
    until("the decision", lambda: len(router.history()) == 2)
    assert router.out(OTHER)
    assert router.verb("on", *config).returncode == 0
    until("both cuts", lambda: router.held() and router.held(OTHER))
    until("both settled", lambda: {row["state"] for row in router.history()} == {"applied"})


def test_a_strangers_flush_is_made_good(router):
    router.scan(WORM)
    until("the cut", router.held)
    router.world.host.run("nft", "flush", "ruleset")
    until("the cut again", router.held)


def test_a_reload_that_spares_it_lets_it_back(router):
    router.scan(WORM)
    until("the cut", router.held)
    router.write_policy(POLICY.replace("192.0.2.9", WORM), SOURCE)
    done = router.verb("reload")
    assert done.returncode == 0, done.stderr
    until("it to be let back", router.out)
    last = json.loads(router.verb("history", "--json", "--limit", "1").stdout)
    assert (last["action"], last["by"], last["reason"]) == ("release", "reload", "busy")


def test_orders_that_make_no_sense_are_told_in_one_line(router):
    said: Callable[..., subprocess.CompletedProcess[str]] = router.verb
    for words, text in (
        (("quarantine", "198.51.100.77"), "it is none of the sources that [outward] names"),
        (("quarantine", "192.0.2.9"), "policy leaves it alone (outward.busy)"),
        (("quarantine", "there-is-no-such-user"), "expected an address, a network, a user"),
        (("quarantine", WORM, "--for", "900d"), "for: at most 30d (limits.longest-ban)"),
        (("release",), "expected either SUBJECT or --all"),
    ):
        done = said(*words)
        assert done.returncode == 2, done
        assert text in done.stderr
        assert len(done.stderr.splitlines()) == 1
    done = said("release", WORM)
    assert (done.returncode, done.stderr) == (1, f"{WORM} is neither cut off nor on probation\n")
