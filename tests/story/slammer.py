"""Slammer, January 2003: seven of a provider's own customers flood, and must not take it down.

Five were cut off by hand, two were let back unpatched, flooded again at once, and it took forty
minutes to lock them down. Here seven hosts in namespaces send 404 bytes to UDP port 1434 at
addresses by chance, as fast as this processor lets them, through a router that runs Tidegate.
Limits: all machines share this host's processors; quarantines are short, so that their end is seen.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from contextlib import ExitStack
from functools import partial

from tests.story.provider import NEIGHBOURS, SERVERS, UPLINK, WORM, as_table
from tests.story.slammer_scene import FIRST_STEP, Scene, said
from tests.story.stage import TIDEGATE, Timeline, play, real_gate, wait_for

TITLE = "Slammer: seven customers flood, and the network stays up"
ROUNDS = 3
SLOTS, WATCHED_SLOTS, REMEMBER = 10, 3, 10
HUMAN = 40 * 60
PROMISED, SLACK = 1.0, 5
"""Seconds until a quarantine, and for how many times as long a busy processor is excused."""
FILTER = """
[outward.filter.slammer]
protocol = "udp"
port = 1434
length = 404
"""


def unprotected(scene: Scene) -> None:
    """Calm, and then the flood as it was."""
    scene.expect_untouched(scene.measure("calm", 4), "while all is calm")
    scene.storm(*WORM)
    found = scene.measure("storm, no Tidegate", 3)
    total = scene.calm_down()
    packets = sum(one.packets for one in scene.provider.arrived().values())
    scene.timeline.tell(
        f"without Tidegate: of {total} packets of the worm {packets} get out, as many as the uplink"
        f" carries; neighbours wait {found['median']:.0f} ms, and of {found['asked']:.0f} datagrams"
        f" lose {found['lost']:.0f}"
    )
    time.sleep(1)  # the uplink's queue


def outbreak(scene: Scene) -> None:
    """All seven at once, several times over; nobody is known for anything when it begins."""
    tell = scene.timeline.tell
    for number in range(1, ROUNDS + 1):
        scene.provider.arrived()
        before = scene.sent()
        found = scene.measure(f"storm {number}", 4, partial(broken_out, scene, number))
        tell(f"they have sent {scene.sent() - before} packets by now, and go on")
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


def broken_out(scene: Scene, number: int) -> None:
    """The first packets, until all are cut off."""
    took = scene.wait_cut(scene.storm(*WORM))
    scene.samples += took
    scene.timeline.tell(
        f"outbreak {number}: all seven flood; cut off after"
        f" {min(took) * 1000:.0f} to {max(took) * 1000:.0f} ms"
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
    shown(scene)
    time.sleep(FIRST_STEP)
    scene.timeline.tell("the quarantines have ended in the kernel, by themselves; caps are left")
    scene.provider.arrived()
    found = scene.measure("storm, caps alone", REMEMBER - 2)
    scene.expect_within(SLOTS, "with nothing but the caps")
    scene.expect_untouched(found, "with nothing but the caps")


def shown(scene: Scene) -> None:
    """`top` needs no Tidegate that runs."""
    began = time.monotonic()
    told = scene.provider.router.run(*TIDEGATE, "top", "--json")
    took = time.monotonic() - began
    rows = [json.loads(line) for line in told.splitlines()][:-1]
    worst = {row["source"]: row for row in rows[: len(WORM)]}
    one = worst.get(WORM[0], rows[0])
    scene.timeline.expect(
        set(worst) == set(WORM),
        f"`tidegate top` names the seven after {took:.1f} s: {one['source']} sends"
        f" {one['packets']:.0f} packets a second to {one['port']}/{one['protocol']},"
        f" {one['new']:.0f} new destinations: {one['looks']}",
    )


def returned(scene: Scene) -> None:
    """Tidegate is started again while the storm goes on, and cuts them off again, for longer."""
    scene.provider.arrived()
    began = time.monotonic()
    scene.start()
    ready = time.monotonic()
    wait_for("the quarantines", lambda: scene.cut_off() >= set(WORM), 60, 0.1)
    cut = max(scene.watch.first(host, began) or ready for host in WORM)
    scene.timeline.expect(
        True,
        f"Tidegate is started again, ready {ready - began:.1f} s later, and all seven are cut off"
        f" again {max(0.0, cut - ready):.1f} s after that",
    )
    scene.expect_within(SLOTS, "over the new start: what the kernel remembers stays")
    scene.calm_down()


def relapse(scene: Scene) -> float:
    """Two are let back, unpatched: one floods again. Seconds until it was cut off."""
    bad, good = WORM[:2]
    time.sleep(REMEMBER + 1)  # what they tried last is forgotten
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


def main() -> int:
    """Play the story; the exit code."""
    if why := real_gate():
        print(f"{TITLE}: not here: {why}")
        return 0
    return play(TITLE, story)


if __name__ == "__main__":
    sys.exit(main())
