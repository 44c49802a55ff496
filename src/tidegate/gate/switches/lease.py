"""What the agent is told: for how long something is closed, so that it opens when nobody renews.

Touches one root-owned folder with a state file for each gate, and starts the agent (`responder`) as
a process that outlives us. Ends are by the clock that counts since boot, which nobody sets.
Limits: the agent answers within five seconds, or the gate is refused.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from tidegate.errors import GateError
from tidegate.gate.switches import answers, handover, responder
from tidegate.gate.switches.answers import State, Track
from tidegate.gate.switches.kinds import Ran, Tools
from tidegate.model import SECOND, Micros

MARGIN = 45.0
"""Seconds that the agent waits beyond a gate's end: its record may lag by 30 s, and whoever opens
it in time shall come first."""
STARTS_WITHIN = 10.0
ASKED_WITHIN = 1.0
_one_at_a_time = threading.Lock()
_SOURCE = Path(__file__).resolve().parents[3]


class Answering(NamedTuple):
    """An agent that runs: balancers that it knows, and those told less than ready, and not yet
    otherwise."""

    balancers: int
    untold: int


class Leases:
    """State files in one folder, and the agents that read them."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._folder = tools.leases

    def put(self, name: str, weight: int, seconds: float) -> int:
        """This weight (percent) is said from now on, for so many seconds; 0: no more. What is said
        then: the least of all weights."""
        now = answers.boot_seconds()
        with _one_at_a_time, self._locked(name):
            closings = {**self._read(name).closings, weight: now + seconds}
            state = State({one: until for one, until in closings.items() if until > now})
            self._write(name, state, agents=True)
        return state.weight(now)

    def watch(self, name: str, track: Track) -> None:
        """This file is written back at its end."""
        self._write(name, State({}, [track]))

    def _read(self, name: str) -> State:
        try:
            return answers.read(self._path(name).read_text("utf-8"))
        except (OSError, ValueError):
            return State({})

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        """Nobody else of us changes it, in whatever process."""
        try:
            path = f"{self._path(name)}.lock"
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise GateError(f"{self._path(name)}: {error.strerror}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _write(self, name: str, state: State, *, agents: bool = False) -> None:
        path = self._path(name)
        new = path.with_suffix(".new")
        try:
            new.write_text(str(state))
            if os.geteuid() == 0 and agents:
                # The agent empties it, once no balancer needs to be told any more. A watchman of a
                # file stays root and does as it is told, so that is root's to say.
                os.chown(new, 0, handover.nobody()[1])
                new.chmod(0o664)
            new.rename(path)
        except OSError as error:
            raise GateError(f"{path}: {error.strerror}; the agent can't be told") from error

    def drop(self, name: str) -> None:
        """Nothing of this one is closed: its watchman forgets the file. Where he can't be told, he
        takes what stands there for ours, a person's own number like ours as well."""
        try:
            self._write(name, State({}))
        except GateError:
            with suppress(OSError):
                self._path(name).unlink(missing_ok=True)

    def ask(self, name: str) -> Answering | None:
        """How the agent is that answers for this one; None where there is none."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
            asking.settimeout(ASKED_WITHIN)
            try:
                path = self._path(name)
                folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
                try:  # the path of a socket has at most 107 bytes
                    asking.connect(f"/proc/self/fd/{folder}/{path.name}.sock")
                finally:
                    os.close(folder)
                asking.sendall(b"?")
                words = asking.recv(200).split()
            except OSError:
                return None
        if len(words) != 3 or words[0] != responder.VERSION:
            return None  # of another version: a new one takes over
        return Answering(int(words[2]), int(words[1]))

    def ensure(self, name: str, listen: str = "", linger: float = responder.LINGER) -> Answering:
        """One that answers; it is started where there is none. GateError where it can't be."""
        if found := self.ask(name):
            return found
        words = ["env", f"PYTHONPATH={_SOURCE}", sys.executable, "-S", "-s", "-P", "-B",
                 "-m", responder.__name__, "--state", str(self._path(name)),
                 "--linger", f"{linger:g}", "--detach", "yes"]  # fmt: skip
        if listen:
            words += ["--listen", listen]
        ran = self._start(words)
        if ran.why or ran.code:
            said = ran.output.strip() or ran.fault(["it"])
            raise GateError(f"the agent does not start: {said}")
        if found := self.ask(name):
            return found
        raise GateError("the agent was started, and does not answer; is the host out of memory?")

    def _start(self, words: list[str]) -> Ran:
        """With systemd out of our own unit, with which it would be ended; if that can be had."""
        if self._tools.systemd:
            scope = ["systemd-run", "--scope", "--quiet", "--collect", "--", *words]
            ran = self._tools.run(scope, STARTS_WITHIN, ranked=True)
            if ran.code in (0, responder.REFUSED):
                return ran
        return self._tools.run(words, STARTS_WITHIN, ranked=True)

    def _path(self, name: str) -> Path:
        readable = re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-.")[-32:]
        mark = hashlib.sha256(name.encode()).hexdigest()[:8]
        try:
            self._folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        except OSError as error:
            raise GateError(f"{self._folder}: {error.strerror}") from error
        return Path(self._folder, f"{readable}.{mark}.state")


def left(deadline: Micros) -> float:
    """Seconds until then, by the wall clock, and MARGIN."""
    return max(0.0, (deadline - time.time_ns() // 1000) / SECOND) + MARGIN
