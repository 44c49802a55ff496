"""What a kind of switch is: looks, closes, opens, and says how it stands; and what it works with.

Touches nothing itself; a kind touches only what its terms name, and runs commands by `Tools.run`.
Limits: a kind may block for minutes (it has a thread of its own) and raises GateError only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

from tidegate.errors import GateError
from tidegate.gate.switches.record import Before, Record
from tidegate.model import SECOND, Micros
from tidegate.text import printable

Standing = Literal["closed", "open", "taken"]
"""`closed`: as we left it; `open`: our closing never came into effect; `taken`: a person, or what
acts for one, has opened it or made it something that must not be opened by us."""

SYSTEMD = Path("/run/systemd/system")
MOST_OUTPUT = 64 << 10
"""Bytes kept of what a command prints; the rest is read and thrown away."""


class Ran(NamedTuple):
    """A command that has ended: its exit code (negative: by that signal), and what it printed.

    `why` is not "" where it did not run to its end: not to be started, or out of time.
    """

    code: int
    output: str
    why: str = ""

    def fault(self, words: Sequence[str]) -> str:
        """One line that says how this command failed; "" if it did not."""
        if not self.why and self.code == 0:
            return ""
        said = self.why
        if not said:
            said = f"exit code {self.code}" if self.code > 0 else f"ended by signal {-self.code}"
        printed = brief(self.output)
        return f"{' '.join(words)}: {said}" + (f": {printed}" if printed else "")


def brief(text: str, most: int = 300) -> str:
    """The end of a text as one line of at most so many characters, which steers no terminal."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= most else "… " + line[-most:]


class Suspect(NamedTuple):
    """A process that should not run from where it does; `began` tells it from a later one of that
    number. `evidence`: where what it is was kept, before anything touches it."""

    pid: int
    began: int
    path: str
    evidence: str


def _nobody(uid: int) -> Sequence[Suspect]:
    raise GateError(f"nothing here tells which programs of uid {uid} are suspect")


class Runner(Protocol):
    """Runs a command to its end, at most `seconds` long; `ranked`: it keeps our own protection
    from the kernel's out-of-memory killer and our priority (only what starts nothing itself)."""

    def __call__(self, words: Sequence[str], seconds: float, *, ranked: bool = False) -> Ran:
        """How it ended."""


def booted_by_systemd() -> bool:
    """Whether systemd is PID 1 (sd_booted(3))."""
    return SYSTEMD.is_dir()


@dataclass(frozen=True)
class Tools:
    """What kinds work with; only tests change more than `run`.

    `init`: folders of init scripts; `pids`: folders of pid files; `groups`: where the control
    groups are mounted; `starts`: the folder of rc?.d; `owners`: whose commands may be run;
    `leases`: the folder of the agents' state files; `suspects`: the suspect processes of a user,
    of which evidence was kept (GateError where it can't be).
    """

    run: Runner
    systemd: bool = field(default_factory=booted_by_systemd)
    init: tuple[Path, ...] = (Path("/etc/init.d"),)
    pids: tuple[Path, ...] = (Path("/run"), Path("/var/run"))
    groups: Path = Path("/sys/fs/cgroup")
    starts: Path = Path("/etc")
    owners: frozenset[int] = frozenset({0})
    leases: Path = Path("/run/tidegate/agents")
    suspects: Callable[[int], Sequence[Suspect]] = _nobody
    sleep: Callable[[float], None] = time.sleep

    def must(self, words: Sequence[str], seconds: float, *, ranked: bool = False) -> str:
        """Run it; what it printed. GateError where it fails."""
        ran = self.run(words, seconds, ranked=ranked)
        if fault := ran.fault(words):
            raise GateError(fault)
        return ran.output

    def until(self, true: Callable[[], bool], seconds: float) -> bool:
        """Whether that came true within so many seconds."""
        deadline = time.monotonic() + seconds
        pause = 0.02
        while not true():
            if time.monotonic() >= deadline:
                return False
            self.sleep(pause)
            pause = min(pause * 1.5, 0.5)
        return True


def seconds(span: Micros) -> float:
    """A span in seconds."""
    return span / SECOND


@runtime_checkable
class Kind(Protocol):
    """Closes and opens one kind of terms. `before` is plain JSON, made by `look`, kept on disk.

    Every verb may be said again after a crash, and does no harm then.
    """

    def look(self, terms: Any) -> Before:
        """How it is, so that it can be put back. `away`: there is nothing to close, and why."""

    def close(self, terms: Any, before: Before) -> str:
        """Close it and see that it is closed; what there is to say. It may add to `before`."""

    def open(self, terms: Any, before: Before) -> str:
        """Put it back as it was, and see that it is so; what there is to say."""

    def state(self, terms: Any, record: Record) -> tuple[Standing, str]:
        """How it stands now, compared with our record of it, and why."""


class Once(Protocol):
    """Does something that has no undoing: restarts, runs."""

    def fire(self, terms: Any, begun: Callable[[Any, Before], None]) -> str:
        """Do it; what there is to say. Where it would leave something closed if we died in the
        middle, `begun` is told before by which terms and what that is undone."""
