"""The provider of the story of Slammer with its Tidegate, and what is measured of both.

Touches what `provider` touches, a folder and the daemon, which end with the story. Limits: a
quarantine begins when the kernel says so; packets are counted where they would come out.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress

from tests.kernel.daemon import children_of
from tests.story.provider import NEIGHBOURS, WORM, Provider, Watch, joined
from tests.story.stage import (
    TIDEGATE,
    Background,
    StoryError,
    Timeline,
    folder,
    tidegate,
    wait_for,
)

from tidegate.control.client import Client
from tidegate.errors import ControlError

FIRST_STEP = 20
POLICY = """
[paths]
state = "{folder}/state"
run = "{folder}/run"
off = "{folder}/off"
detectors = "{folder}/detectors"
gates = "{folder}/gates"

[outward]
sources = ["192.0.2.0/24"]
busy = ["192.0.2.1"]

[rule.worm]
on = ["outward.scan", "outward.udp_flood", "outward.signature"]
at-least = 1
within = "1m"
quarantine = {{ ladder = ["{first}s", "1h"] }}
"""


class Scene:
    """The provider, its Tidegate, and what is measured."""

    def __init__(self, timeline: Timeline, stack: ExitStack) -> None:
        self.timeline, self.stack = timeline, stack
        self.folder = stack.enter_context(folder())
        self.provider = Provider()
        stack.callback(self.provider.close)
        self.config = self.folder / "tidegate.toml"
        self.log = self.folder / "tidegate.log"
        self.watch = Watch(self.provider.router, "tidegate_outward", "cut_.*")
        stack.callback(self.watch.close)
        self.daemon: Background | None = None
        self.figures: list[tuple[str, dict[str, float]]] = []
        self.samples: list[float] = []

    def write(self, more: str = "") -> None:
        """The policy."""
        self.config.write_text(POLICY.format(folder=self.folder, first=FIRST_STEP) + more)

    def start(self) -> None:
        """`tidegate run` on the router, until it answers."""
        words = (*TIDEGATE, "run", "--config", str(self.config))
        self.daemon = Background(self.provider.router.name, *words, log=self.log)
        self.stack.enter_context(self.daemon)
        try:
            wait_for("tidegate", self._answers, 90)
        except StoryError as error:
            raise StoryError(f"{error}:\n{self.log.read_text('utf-8', 'replace')}") from None

    def _answers(self) -> bool:
        # Not by the command line: starting it takes as long as Tidegate itself does.
        with suppress(ControlError):
            return bool(Client(f"{self.folder}/run/watcher/control.sock").get("/status"))
        return False

    def kill(self) -> int:
        """SIGKILL to each of its processes; how many they were."""
        assert self.daemon is not None
        pids = [self.daemon.process.pid]
        for pid in pids:
            pids += children_of(pid)
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.daemon.process.wait(20)
        return len(pids)

    def verb(self, *words: str):
        """A verb, as the provider's administrator gives it."""
        return tidegate(*words, config=self.config)

    def release_all(self) -> None:
        """For the next act: nobody is known for anything."""
        done = self.verb("release", "--all", "--trust", "--note", "for the next act")
        if done.returncode:
            raise StoryError(f"release --all{said(done)}")

    def cut_off(self) -> set[str]:
        """Who is cut off now, by Tidegate's word."""
        rows = map(json.loads, self.verb("list", "--json").stdout.splitlines())
        return {row["subject"] for row in rows if row.get("confined") == "cut off"}

    def storm(self, *hosts: str) -> dict[str, float]:
        """These begin; when each did."""
        return {host: self.provider.ask(host, "start")["began"] for host in hosts}

    def calm_down(self) -> int:
        """All stop; how many packets they have sent in all."""
        return sum(self.provider.ask(host, "stop")["sent"] for host in WORM)

    def sent(self) -> int:
        """How many packets they have sent in all."""
        return sum(self.provider.ask(host, "count")["sent"] for host in WORM)

    def wait_cut(self, began: dict[str, float]) -> list[float]:
        """Wait until all are cut off; how long it took for each, seconds."""
        wait_for(
            "the quarantines",
            lambda: all(self.watch.first(host, at) for host, at in began.items()),
            30,
            0.01,
        )
        return [(self.watch.first(host, at) or 0) - at for host, at in began.items()]

    def measure(
        self, name: str, seconds: float, during: Callable[[], None] | None = None
    ) -> dict[str, float]:
        """How the neighbours fare for so long; `during` is done in that time."""
        for one in NEIGHBOURS:
            self.provider.ask(one, "told")
        end = time.monotonic() + seconds
        if during is not None:
            during()
        time.sleep(max(0.0, end - time.monotonic()))
        found = joined([self.provider.ask(one, "told") for one in NEIGHBOURS])
        self.figures.append((name, found))
        return found

    def expect_untouched(self, found: dict[str, float], when: str) -> None:
        """The neighbours lost nothing."""
        self.timeline.expect(
            found["lost"] == 0 and found["failed"] == 0,
            f"neighbours {when}: {found['asked']:.0f} datagrams and {found['opened']:.0f}"
            f" connections, none lost; median {found['median']:.2f} ms, p99 {found['p99']:.2f} ms",
        )

    def expect_within(self, most: int, when: str, hosts=WORM) -> None:
        """So many destinations each got out, at most."""
        arrived = self.provider.arrived()
        worst = max((arrived[one].destinations for one in hosts if one in arrived), default=0)
        packets = sum(one.packets for one in arrived.values())
        self.timeline.expect(
            worst <= most and set(arrived) <= set(WORM),
            f"{when}: {worst} destinations at most got out of each, {packets} packets in all",
        )


def said(done: subprocess.CompletedProcess[str]) -> str:
    """What a verb that failed has to say."""
    return f": {done.stdout}{done.stderr}" if done.returncode else ""
