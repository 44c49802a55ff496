"""The story of a host that can hardly act: a load over 50, no memory, no process, no disk left.

A control group of its own with Apache, Tidegate and what uses everything up: busy processes, idle
ones up to the limit, memory up to the limit; ledger and records lie on a small disk that is full.
The guard stops Apache all the same, and starts it again; `tidegate off` answers, from in there.
Limits: about four minutes; other processes of this host feel the load, but go before it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from tests.kernel.daemon import children_of, title_of
from tests.story import enclosure
from tests.story.enclosure import Enclosure
from tests.story.stage import (
    TIDEGATE,
    Background,
    Hosts,
    StoryError,
    Timeline,
    folder,
    inside,
    play,
    real_gate,
    tidegate,
    wait_for,
)
from tests.story.webserver import WebServer, missing

from tidegate import distress

TITLE = "A host that can hardly act: the service is stopped, and started again"
NEAR, FAR = "10.9.0.1", "10.9.0.50"
MEMORY, PROCESSES, DISK = 1 << 30, 330, 4 << 20
BUSY, HOG = 200, 96
LEAST_MEMORY, LEAST_PROCESSES = 24 << 20, 2
SERVICE = 12
"""Processes that Apache and its init script need to start."""
CLOSE_AT, OPEN_AT = 50.0, 20.0
POLICY = """
[paths]
state = "{folder}/disk/state"
gates = "{folder}/disk/gates"
off = "{folder}/disk/off"
run = "{folder}/run"
detectors = "{folder}/detectors"

[guard.web]
close = {{ when = "la1 >= {close}", at-least = "5s" }}
open = {{ when = "la1 <= {open}", at-least = "5s" }}
service = "{service}"
"""


def load_now() -> float:
    """The load of the last minute."""
    return float(Path("/proc/loadavg").read_text().split()[0])


class Disk:
    """A small file system of its own, and a file that fills it up."""

    def __init__(self, path: Path, size: int) -> None:
        self.path, self._size = path, size
        self._ballast = path / "ballast"

    def __enter__(self) -> Disk:
        self.path.mkdir()
        words = ["mount", "-t", "tmpfs", "-o", f"size={self._size},mode=755", "tmpfs"]
        subprocess.run([*words, str(self.path)], check=True)
        return self

    def __exit__(self, *_error: object) -> None:
        subprocess.run(["umount", "-l", str(self.path)], capture_output=True)

    def left(self) -> int:
        """Bytes."""
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_frsize

    def fill(self, leave: int = 0) -> None:
        """Use it up, but for so many bytes."""
        with self._ballast.open("ab") as file, suppress(OSError):
            while (left := self.left()) > leave:
                file.write(bytes(min(left - leave, 1 << 16)))
                file.flush()


class Scene:
    """What is measured, and said with every line."""

    def __init__(
        self, timeline: Timeline, group: Enclosure, disk: Disk, server: WebServer, config: Path
    ) -> None:
        self.timeline, self.group, self.disk = timeline, group, disk
        self.server, self.config = server, config
        self.peak, self._told = 0.0, 0.0

    def tell(self, text: str) -> None:
        """A line with what is left."""
        self._told = time.monotonic()
        load = load_now()
        self.peak = max(self.peak, load)
        self.timeline.tell(
            f"load {load:5.1f}  memory left {max(0, self.group.memory_left()) >> 20:4d} MiB "
            f" processes left {max(0, self.group.processes_left()):3d} "
            f" disk left {self.disk.left() >> 10:4d} KiB  {text}"
        )

    def crowd(self, stack: ExitStack, leave: int) -> None:
        """Use up memory, and processes but for so many."""
        while self.group.memory_left() > LEAST_MEMORY + (8 << 20):
            size = min(HOG, (self.group.memory_left() - LEAST_MEMORY) >> 20)
            stack.enter_context(hog(self.group, "memory", size))
        if (more := self.group.processes_left() - leave - 1) > 0:
            stack.enter_context(hog(self.group, "idle", more))

    def until(self, what: str, true, seconds: float) -> None:
        """Look on, and tell now and then, until that is so."""

        def looked() -> bool:
            if time.monotonic() - self._told >= 5:
                self.tell("")
            return bool(true())

        wait_for(what, looked, seconds, 0.5)

    def gate(self) -> str:
        """How the gate stands, as the daemon says."""
        answer = tidegate("guard", "list", "--json", config=self.config)
        if answer.returncode:
            return ""
        (found,) = json.loads(answer.stdout)["guards"]
        return str(found["gates"][0]["state"])

    def serves(self) -> bool:
        """Whether Apache answers."""
        words = ["curl", "-s", "-m", "20", "-o", "/dev/null", f"http://{NEAR}/"]
        return not subprocess.run([*inside(self.server.space), *words]).returncode


@contextmanager
def hog(group: Enclosure, what: str, number: int) -> Iterator[Background]:
    """Somebody who uses something up, in there; ready when it has printed how much."""
    words = group.words(sys.executable, "-m", "tests.story.hogs", what, str(number))
    with Background(None, *words) as made:
        assert made.process.stdout is not None
        there = int(made.process.stdout.readline() or 0)
        if there < 0.9 * number:
            raise StoryError(f"{what}: asked for {number}, there is {there}")
        try:
            yield made
        finally:
            freed = group.processes_left() + (0 if what == "memory" else there)
            made.process.kill()
            made.process.stdout.close()
            deadline = time.monotonic() + 60  # what it made ends with it, but not at once
            while group.processes_left() < freed and time.monotonic() < deadline:
                time.sleep(0.1)


def ranks(timeline: Timeline, master: int, said: str) -> None:
    """Every process of ours goes first, and what the kernel refuses us has been told."""
    spared = "not to be ended when memory is short" not in said
    locked = "memory that is never swapped out" not in said
    for pid in [master, *children_of(master)]:
        status = Path(f"/proc/{pid}/status").read_text()
        nice = os.getpriority(os.PRIO_PROCESS, pid)
        score = int(Path(f"/proc/{pid}/oom_score_adj").read_text())
        kept = int(status.partition("VmLck:")[2].split()[0])
        timeline.tell(
            f"        {title_of(pid)[:40]:40}  nice {nice}  spared {score}  locked {kept} kB"
        )
        if nice != distress.NICE or (spared and score != distress.SPARED):
            raise StoryError(f"{title_of(pid)} is not ranked as it should be")
        if locked and pid != master and not kept:
            raise StoryError(f"{title_of(pid)} may be swapped out")


def story(timeline: Timeline, stack: ExitStack) -> str:
    """Play it; the verdict."""
    hosts = stack.enter_context(Hosts(NEAR, FAR))
    here = stack.enter_context(folder())
    disk = stack.enter_context(Disk(here / "disk", DISK))
    server = stack.enter_context(WebServer(here, hosts.mail))
    group = stack.enter_context(Enclosure(MEMORY, PROCESSES))
    config = here / "tidegate.toml"
    config.write_text(
        POLICY.format(folder=here, service=server.service, close=CLOSE_AT, open=OPEN_AT)
    )
    wait_for("a calm host", lambda: load_now() <= OPEN_AT, 300, 2.0)
    scene = Scene(timeline, group, disk, server, config)
    group.adopt(server.processes())
    log = here / "tidegate.log"
    words = (*inside(hosts.mail), *TIDEGATE, "run", "--config", str(config))
    daemon = stack.enter_context(Background(None, *group.words(*words), log=log))
    stack.callback(lambda: print(log.read_text()) if sys.exc_info()[1] else None)
    wait_for("the guard", lambda: scene.gate() == "open", 60, 0.5)
    scene.tell("Apache serves; the guard is switched on")
    ranks(timeline, daemon.process.pid, log.read_text())
    shell = group.words("sh", "-c", 'read line; exec "$@"', "sh", *TIDEGATE, "off", "--config")
    person = stack.enter_context(Background(None, *shell, str(config)))

    disk.fill(leave=64 << 10)
    scene.crowd(stack, BUSY + 1 + LEAST_PROCESSES)
    busy = stack.enter_context(ExitStack())
    busy.enter_context(hog(group, "busy", BUSY))
    scene.tell(f"{BUSY} busy processes")
    scene.until("the stop", lambda: not server.running(), 240)
    scene.tell("Apache is stopped by the guard")
    scene.until("it told", lambda: scene.gate() == "closed", 60)
    first = scene.peak
    timeline.expect(first >= CLOSE_AT, f"at a load of {first:.1f}")
    busy.close()
    disk.fill()
    crowd = stack.enter_context(ExitStack())
    scene.crowd(crowd, LEAST_PROCESSES + SERVICE)
    scene.tell("the busy ones end; the disk is full, memory and process table nearly")
    scene.until("the service to come back", server.running, 400)
    scene.until("it told", lambda: scene.gate() == "open", 60)
    scene.tell("Apache runs again, by itself")
    timeline.expect(scene.serves(), "and serves")
    ordinary = {os.getpriority(os.PRIO_PROCESS, pid) for pid in server.processes()}
    timeline.expect(ordinary == {0}, "with an ordinary rank: it is not spared as Tidegate is")

    crowd.close()
    scene.crowd(stack, BUSY + 1 + LEAST_PROCESSES)
    busy.enter_context(hog(group, "busy", BUSY))
    scene.tell(f"{BUSY} busy processes again")
    scene.until("the second stop", lambda: not server.running(), 240)
    scene.until("it told", lambda: scene.gate() == "closed", 60)
    scene.tell("Apache is stopped again, on a full disk; a person says: tidegate off")
    began = time.monotonic()
    assert person.process.stdin is not None
    person.process.stdin.write("\n")
    person.process.stdin.flush()
    scene.until("an answer", lambda: person.process.poll() is not None, 120)
    assert person.process.stdout is not None
    said = person.process.stdout.read()
    timeline.expect(
        person.process.returncode == 0 and "Everything is open" in said,
        f"`tidegate off` has answered after {time.monotonic() - began:.1f} s",
    )
    scene.until("the service", server.running, 120)
    scene.tell(f"and Apache runs, {time.monotonic() - began:.1f} s after it was said")
    text = log.read_text()
    timeline.expect("Traceback" not in text, "nothing went wrong unexpectedly")
    timeline.tell(f"the kernel ended {group.ended()} processes for want of memory, none of ours")
    if " ended: " in text:
        raise StoryError("a process of Tidegate's was ended")
    return f"Stopped at a load of {first:.1f}, started again, and a person was heard."


def main() -> int:
    """Play the story; the exit code."""
    if why := real_gate() or missing() or enclosure.missing():
        print(f"{TITLE}: not here: {why}")
        return 0
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        return play(TITLE, story)
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    sys.exit(main())
