"""A daemon with an init script, a service keeper in a process of its own, and what it reports.

Touches a folder, and processes that `close` ends by their numbers. Nothing needs a real service.
Limits: the daemon forks a child as real ones do; `stubborn` ones ignore SIGTERM.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from tidegate.gate.switches import keeper
from tidegate.gate.switches.kinds import Runner, Tools
from tidegate.gate.switches.remote import RemoteSwitches
from tidegate.model import SECOND, GateReport
from tidegate.policy.guards import GateSpec, GuardSpec, Step, Terms
from tidegate.policy.models import Paths, Policy

PATIENCE = 20.0

DAEMON = """\
import os, signal, sys, time
name, folder, stubborn = sys.argv[1:4]
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
nothing = os.open(os.devnull, os.O_RDWR)
for fd in (0, 1, 2): os.dup2(nothing, fd)
path = os.path.join(folder, name + ".pid")
if stubborn == "yes":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
else:
    def end(*_):
        os.kill(child, signal.SIGTERM); os.unlink(path); os._exit(0)
    signal.signal(signal.SIGTERM, end)
child = os.fork()
if child == 0:
    if stubborn != "yes": signal.signal(signal.SIGTERM, signal.SIG_DFL)
    while True: time.sleep(60)
open(path + ".new", "w").write(str(os.getpid()))
os.rename(path + ".new", path)
while True: time.sleep(60)
"""

SCRIPT = """\
#!/bin/sh
# pidfile: {folder}/run/{name}.pid
PID=$(cat {folder}/run/{name}.pid 2>/dev/null)
runs() {{ [ -n "$PID" ] && grep -q '^State:.[^Z]' "/proc/$PID/status" 2>/dev/null; }}
echo "$1" >> {folder}/{name}.calls
case "$1" in
start)
  runs && exit 0
  {python} -S {folder}/daemon.py {name} {folder}/run {stubborn}
  for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    [ -e {folder}/run/{name}.pid ] && exit 0; sleep 0.1
  done
  exit 1 ;;
stop)
  runs || exit 0
  sleep {slow}
  kill "$PID"; exit 0 ;;
status) runs && exit 0; exit 3 ;;
*) exit 2 ;;
esac
"""


class Host:
    """A folder that stands in for a host's /etc/init.d and /run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("init.d", "run", "rc3.d", "gates"):
            (folder / name).mkdir()
        (folder / "gates").chmod(0o700)
        (folder / "daemon.py").write_text(DAEMON)
        self.names: list[str] = []

    def tools(self, run: Runner) -> Tools:
        return Tools(
            run,
            systemd=False,
            init=(self.folder / "init.d",),
            pids=(self.folder / "run",),
            starts=self.folder,
        )

    def service(self, name: str, *, stubborn: bool = False, slow: float = 0) -> None:
        words = {"name": name, "folder": self.folder, "python": sys.executable, "slow": slow}
        script = self.folder / "init.d" / name
        script.write_text(SCRIPT.format(**words, stubborn="yes" if stubborn else "no"))
        script.chmod(0o755)
        self.names.append(name)
        self.start(name)

    def start(self, name: str) -> None:
        subprocess.run([self.folder / "init.d" / name, "start"], check=True)
        assert self.runs(name)

    def stop(self, name: str) -> None:
        subprocess.run([self.folder / "init.d" / name, "stop"], check=True)
        wait_until(lambda: not self.runs(name))

    def pid(self, name: str) -> int:
        try:
            return int((self.folder / "run" / f"{name}.pid").read_text())
        except (OSError, ValueError):
            return 0

    def runs(self, name: str) -> bool:
        pid = self.pid(name)
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return False
        return state != "Z"

    def calls(self, name: str) -> list[str]:
        found = self.folder / f"{name}.calls"
        return [one for one in found.read_text().split() if one != "status"]

    def close(self) -> None:
        for name in self.names:
            pid = self.pid(name)
            if pid:
                with suppress(ProcessLookupError):
                    os.killpg(os.getpgid(pid), signal.SIGKILL)


def wait_until(true: Callable[[], object], seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.02)


def policy(*gates: GateSpec, folder: Path) -> Policy:
    guards = tuple(GuardSpec(gate.name.replace(".", "-"), steps=(Step(gate),)) for gate in gates)
    return Policy(guards=guards, paths=Paths(off=str(folder / "off")))


def gate(name: str, terms: Terms) -> GateSpec:
    return GateSpec(name, terms)


def now() -> int:
    return time.time_ns() // 1000


class Keeping:
    """A service keeper in a process, and our end of the conversation."""

    def __init__(self, host: Host, gates: list[GateSpec], serve: Callable[..., None]) -> None:
        ours, theirs = socket.socketpair()
        self.policy = host.folder / "policy"
        made = policy(*gates, folder=host.folder)
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                ours.close()
                serve(
                    theirs,
                    lambda: made,
                    host.folder / "gates",
                    off_file=host.folder / "off",
                    tools=host.tools,
                )
                code = 0
            finally:
                os._exit(code)
        theirs.close()
        self.switches = RemoteSwitches(ours)
        self.seen: list[GateReport] = []
        self.troubles: list[str] = []

    def want(self, *names: str, seconds: float = 250) -> None:
        until = now() + int(seconds * SECOND)
        self.switches.want(dict.fromkeys(names, until), now())

    def hear(self, timeout: float = 0.1) -> None:
        poll = select.poll()
        poll.register(self.switches, select.POLLIN)
        if poll.poll(timeout * 1000):
            self.seen += self.switches.reports()
            self.troubles += self.switches.troubles()

    def states(self, name: str) -> list[str]:
        return [one.state for one in self.seen if one.gate == name]

    def until(self, name: str, state: str, seconds: float = PATIENCE) -> GateReport:
        """Hear until this gate's newest report says so."""
        deadline = time.monotonic() + seconds
        while True:
            mine = [one for one in self.seen if one.gate == name]
            if mine and mine[-1].state == state:
                return mine[-1]
            assert time.monotonic() < deadline, f"{name} is not {state}: {self.seen}"
            self.hear()

    def kill(self) -> None:
        if self.pid:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            self.wait()

    def wait(self) -> int:
        _pid, status = os.waitpid(self.pid, 0)
        self.pid = 0
        return os.waitstatus_to_exitcode(status)

    def close(self) -> None:
        self.switches.close()
        self.kill()


@contextmanager
def keeping(
    host: Host, *gates: GateSpec, serve: Callable[..., None] = keeper.serve
) -> Iterator[Keeping]:
    made = Keeping(host, list(gates), serve)
    try:
        yield made
    finally:
        made.close()


__all__ = ["Host", "Keeping", "gate", "keeping", "policy", "replace", "wait_until"]
