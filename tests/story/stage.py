"""The stage that stories play on: two hosts in network namespaces, a player, probes, a timeline.

Touches namespaces, processes and a folder in /tmp of its own, and takes them down again, also when
a story fails. Limits: needs root and nftables; without them a story uses the in-memory gate.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent.parent
TIDEGATE = [sys.executable, "-m", "tidegate"]


class StoryError(Exception):
    """The story did not go as the document tells it."""


class Timeline:
    """Prints what happens, with seconds since the curtain rose."""

    def __init__(self, title: str) -> None:
        self._start = time.monotonic()
        print(f"\n{title}\n{'=' * len(title)}", flush=True)

    def tell(self, text: str) -> None:
        """One line of the story."""
        print(f"{time.monotonic() - self._start:7.2f} s  {text}", flush=True)

    def expect(self, fact: bool, text: str) -> None:
        """One line of the story that must be true."""
        self.tell(("  ok  " if fact else " FAIL ") + text)
        if not fact:
            raise StoryError(text)


def real_gate() -> str:
    """Why there can be no real firewall here; "" if there can."""
    if os.geteuid() != 0:
        return "not root"
    missing = [tool for tool in ("nft", "ip") if shutil.which(tool) is None]
    return f"{' and '.join(missing)} not installed" if missing else ""


def wait_for(what: str, check, seconds: float = 20.0, step: float = 0.05):
    """Ask until it is so; StoryError when it is not in time."""
    deadline = time.monotonic() + seconds
    while True:
        found = check()
        if found:
            return found
        if time.monotonic() > deadline:
            raise StoryError(f"waited {seconds:.0f} s in vain for {what}")
        time.sleep(step)


@contextmanager
def folder() -> Iterator[Path]:
    """A folder that every user may enter, gone afterwards."""
    path = Path(tempfile.mkdtemp(prefix="tidegate-story-", dir="/tmp"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


class Hosts:
    """Two namespaces joined by a veth pair; addresses of the attacker's side may be several."""

    def __init__(self, near: str, *far: str) -> None:
        self.near, self.far = near, far
        self._tag = f"tg{os.getpid()}"
        self.mail, self.attacker = f"{self._tag}-mail", f"{self._tag}-evil"

    def __enter__(self) -> Hosts:
        try:
            self._build()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _build(self) -> None:
        run = lambda *words: subprocess.run(words, check=True, capture_output=True)  # noqa: E731
        run("ip", "netns", "add", self.mail)
        run("ip", "netns", "add", self.attacker)
        run("ip", "link", "add", "eth0", "netns", self.mail, "type", "veth",
            "peer", "name", "eth0", "netns", self.attacker)  # fmt: skip
        for space, addresses in ((self.mail, (self.near,)), (self.attacker, self.far)):
            run("ip", "-n", space, "link", "set", "lo", "up")
            run("ip", "-n", space, "link", "set", "eth0", "up")
            for address in addresses:
                run("ip", "-n", space, "address", "add", f"{address}/24", "dev", "eth0")

    def __exit__(self, *_error: object) -> None:
        for space in (self.mail, self.attacker):
            subprocess.run(["ip", "netns", "delete", space], capture_output=True)


def inside(space: str | None) -> list[str]:
    """The words that put a command into a namespace; none for this host's own."""
    return ["ip", "netns", "exec", space] if space else []


class Background:
    """A process in a namespace, ended with the story; `ask` sends a line, and returns its answer."""

    def __init__(self, space: str | None, *words: str, log: Path | None = None) -> None:
        self._log = log.open("w") if log else None
        self.process = subprocess.Popen(
            [*inside(space), *words],
            stdin=subprocess.PIPE,
            stdout=self._log or subprocess.PIPE,
            stderr=self._log,
            text=True,
            cwd=REPOSITORY,
        )

    def __enter__(self) -> Background:
        return self

    def ask(self, *words: object) -> dict:
        """One question and its answer, as JSON lines."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise StoryError(f"the helper process ended with {self.process.wait()}")
        return json.loads(line)

    def __exit__(self, *_error: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.process.stdin is not None:
            self.process.stdin.close()
        if self._log:
            self._log.close()


def tidegate(*words: str, config: Path | None = None) -> subprocess.CompletedProcess[str]:
    """A verb, run to its end."""
    environment = os.environ.copy()
    if config is not None:
        environment["TIDEGATE_SOCKET"] = str(config.parent / "run" / "watcher" / "control.sock")
    return subprocess.run(
        [*TIDEGATE, *words], capture_output=True, text=True, env=environment, cwd=REPOSITORY
    )


@contextmanager
def _ended_by_term() -> Iterator[None]:
    """SIGTERM takes the stage down, too, before this process ends."""

    def end(_number: int, _frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough
        raise SystemExit(128 + signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def play(title: str, story) -> int:
    """Run one story, which returns its verdict, the last line; the exit code."""
    timeline = Timeline(title)
    try:
        with _ended_by_term(), ExitStack() as stack:
            verdict = story(timeline, stack)
    except StoryError as failure:
        print(f"\nNOT AS THE STORY GOES: {failure}")
        return 1
    print(f"\n{verdict}")
    return 0
