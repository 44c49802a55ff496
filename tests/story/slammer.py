"""Slammer, January 2003: seven of a provider's own customers flood, and must not take it down.

Five were cut off by hand, two were let back unpatched, flooded again at once, and it took forty
minutes to lock them down. Here seven hosts in namespaces send 404 bytes to UDP port 1434 at
addresses by chance, as fast as this processor lets them, through a router that runs Tidegate.
Limits: all machines share this host's processors; quarantines are short, so that their end is seen.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack, suppress

from tests.kernel.daemon import children_of
from tests.story.provider import (
    NEIGHBOURS,
    SERVERS,
    UPLINK,
    WORM,
    Provider,
    Watch,
    as_table,
    joined,
)
from tests.story.stage import (
    TIDEGATE,
    Background,
    StoryError,
    Timeline,
    folder,
    play,
    real_gate,
    tidegate,
    wait_for,
)

TITLE = "Slammer: seven customers flood, and the network stays up"
ROUNDS = 3
SLOTS, WATCHED_SLOTS, REMEMBER = 10, 3, 10
FIRST_STEP = 20
HUMAN = 40 * 60
PROMISED, SLACK = 1.0, 5
"""Seconds until a quarantine, and for how many times as long a busy processor is excused."""
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
FILTER = """
[outward.filter.slammer]
protocol = "udp"
port = 1434
length = 404
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
            wait_for("tidegate", lambda: self.verb("status").returncode == 0, 60)
        except StoryError as error:
            raise StoryError(f"{error}:\n{self.log.read_text('utf-8', 'replace')}") from None

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
        return {row["subject"] for row in rows if row.get("action") == "quarantine"}

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

    def measure(self, name: str, seconds: float) -> dict[str, float]:
        """How the neighbours fare for a while."""
        for one in NEIGHBOURS:
            self.provider.ask(one, "told")
        time.sleep(seconds)
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


def unprotected(scene: Scene) -> None:
    """Calm, and then the flood as it was."""
    scene.expect_untouched(scene.measure("calm", 4), "while all is calm")
    scene.storm(*WORM)
    found = scene.measure("storm, no Tidegate", 3)
    scene.calm_down()
    packets = sum(one.packets for one in scene.provider.arrived().values())
    share = found["lost"] / max(1, found["asked"])
    scene.timeline.tell(
        f"without Tidegate: {packets} packets of the worm get out in 3 s, neighbours lose"
        f" {share:.0%} of their datagrams and {found['failed']:.0f} connections fail"
    )
    time.sleep(1)  # the uplink's queue


def outbreak(scene: Scene) -> None:
    """All seven at once, several times over; nobody is known for anything when it begins."""
    tell = scene.timeline.tell
    for number in range(1, ROUNDS + 1):
        scene.provider.arrived()
        before, began = scene.sent(), scene.storm(*WORM)
        took = scene.wait_cut(began)
        scene.samples += took
        tell(
            f"outbreak {number}: all seven flood; cut off after"
            f" {min(took) * 1000:.0f} to {max(took) * 1000:.0f} ms"
        )
        found = scene.measure(f"storm {number}", 3)
        total = scene.sent() - before
        seconds = time.monotonic() - min(began.values())
        tell(f"they have sent {total} packets in {seconds:.1f} s, {total / seconds:.0f} a second")
        scene.expect_within(SLOTS, f"outbreak {number}")
        scene.expect_untouched(found, "in the storm")
        if number < ROUNDS:
            scene.calm_down()
            scene.release_all()
            time.sleep(REMEMBER + 1)  # slots are free again when nothing was tried for that long
    slowest = max(scene.samples)
    scene.timeline.expect(
        slowest <= PROMISED * SLACK,
        f"quarantine: median {statistics.median(scene.samples) * 1000:.0f} ms, p99 (here the"
        f" slowest of {len(scene.samples)}) {slowest * 1000:.0f} ms; promised: {PROMISED:.0f} s",
    )


def explained(scene: Scene) -> None:
    """`why` says what for, and until when."""
    told = scene.verb("why", WORM[0]).stdout
    for line in told.splitlines()[:6]:
        scene.timeline.tell(f"  | {line[:120]}")
    scene.timeline.expect("1434/udp" in told, "`tidegate why` names what it did")


def beheaded(scene: Scene) -> None:
    """Tidegate is killed in the middle of the storm: what is in the kernel holds."""
    count = scene.kill()
    scene.timeline.tell(f"Tidegate is killed, all {count} processes of it; the seven go on")
    scene.provider.arrived()
    found = scene.measure("storm, Tidegate dead", REMEMBER - 2)
    scene.expect_within(SLOTS, "with Tidegate dead, quarantines and caps")
    scene.expect_untouched(found, "with Tidegate dead")
    time.sleep(FIRST_STEP)
    scene.timeline.tell("the quarantines have ended in the kernel, by themselves; caps are left")
    scene.provider.arrived()
    found = scene.measure("storm, caps alone", REMEMBER - 2)
    scene.expect_within(SLOTS, "with nothing but the caps")
    scene.expect_untouched(found, "with nothing but the caps")


def returned(scene: Scene) -> None:
    """Tidegate is started again, and cuts them off again, for longer."""
    scene.start()
    began = time.monotonic()
    wait_for("the quarantines", lambda: scene.cut_off() >= set(WORM), 60, 0.1)
    scene.timeline.expect(
        True,
        f"Tidegate is back: all seven are cut off again {time.monotonic() - began:.1f} s later",
    )
    scene.calm_down()


def relapse(scene: Scene) -> float:
    """Two are let back, unpatched: one floods again. Seconds until it was cut off."""
    bad, good = WORM[:2]
    for host in (bad, good):
        done = scene.verb("release", host, "--note", "the customer says it is clean")
        scene.timeline.expect(done.returncode == 0, f"{host} is let back, on probation{said(done)}")
    scene.timeline.expect(
        not scene.cut_off() & {bad, good}, "neither is cut off, the other five still are"
    )
    visitor = scene.provider.start(
        scene.provider.hosts[good], "good", "tests.story.neighbour", "ask", "5", *SERVERS[:2]
    )
    scene.provider.arrived()
    began = scene.storm(bad)
    (took,) = scene.wait_cut(began)
    time.sleep(3)
    scene.provider.ask(bad, "stop")
    scene.timeline.expect(
        took <= PROMISED * SLACK,
        f"{bad} floods again and is cut off after {took * 1000:.0f} ms, by nobody's hand;"
        f" then it was {HUMAN // 60} minutes",
    )
    scene.expect_within(WATCHED_SLOTS, "on probation", [bad])
    scene.timeline.expect(bad in scene.cut_off(), f"{bad} is cut off, for the next step")
    told = visitor.ask("told")
    scene.timeline.expect(
        good not in scene.cut_off() and told["lost"] == told["failed"] == 0,
        f"{good} is calm, and not cut off: {told['asked']:.0f} datagrams, {told['lost']:.0f} lost;"
        f" {told['opened']:.0f} connections, {told['failed']:.0f} failed",
    )
    return took


def filtered(scene: Scene) -> None:
    """With its signature in policy not one packet of the worm passes, neither way."""
    scene.write(FILTER)
    done = scene.verb("reload")
    scene.timeline.expect(done.returncode == 0, "a filter: UDP, port 1434, 404 bytes; reloaded")
    scene.release_all()
    time.sleep(REMEMBER + 1)
    scene.provider.arrived()
    before = scene.sent()
    scene.storm(*WORM)
    found = scene.measure("storm, filtered", 3)
    total = scene.calm_down() - before
    arrived = scene.provider.arrived()
    scene.timeline.expect(not arrived, f"of {total} packets of the worm none got out")
    scene.expect_untouched(found, "with the filter")
    inward = scene.provider.from_outside(NEIGHBOURS[0])
    scene.timeline.expect(
        inward == {100: True, 376: False},
        "nor does the worm come in, but what else comes to that port does",
    )


def story(timeline: Timeline, stack: ExitStack) -> str:
    """Play it; the verdict."""
    scene = Scene(timeline, stack)
    scene.write()
    scene.provider.people()
    timeline.tell(f"a router, ten customers, {UPLINK}, the internet")
    unprotected(scene)
    scene.start()
    timeline.tell("`tidegate run` on the router")
    outbreak(scene)
    explained(scene)
    beheaded(scene)
    returned(scene)
    took = relapse(scene)
    filtered(scene)
    print(as_table(scene.figures))
    return (
        f"Seven flooded, {SLOTS} destinations each got out at most, nobody else noticed, and the one"
        f" that came back unpatched was cut off in {took * 1000:.0f} ms instead of {HUMAN // 60}"
        " minutes."
    )


def said(done: subprocess.CompletedProcess[str]) -> str:
    """What a verb that failed has to say."""
    return f": {done.stdout}{done.stderr}" if done.returncode else ""


def main() -> int:
    """Play the story; the exit code."""
    if why := real_gate():
        print(f"{TITLE}: not here: {why}")
        return 0
    return play(TITLE, story)


if __name__ == "__main__":
    sys.exit(main())
