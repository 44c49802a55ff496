"""A host with every kind of gate, a whole daemon that closes them when it is hot, and who is killed.

Touches a folder, a network namespace with an HAProxy, two control groups, an init script in
/etc/init.d, and the processes in the namespace: all gone after `close`.
Limits: root; plays wait by `yield`, so that many run at once on one thread.
"""

from __future__ import annotations

import itertools
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from setproctitle import setproctitle
from tests.crash import guard_steps
from tests.kernel.daemon import is_running, title_of
from tests.kernel.namespaces import Namespace

from tidegate.control.client import Client
from tidegate.daemon.privilege import die_with_parent
from tidegate.daemon.start import start
from tidegate.errors import ControlError
from tidegate.gate.switches.record import Records
from tidegate.model import SECOND

PATIENCE = 60.0
GROUPS = Path("/sys/fs/cgroup")
_NUMBERS = itertools.count(1)

POLICY = """
[paths]
state = "{folder}/state"
run = "{folder}/run"
off = "{folder}/off"
detectors = "{folder}/detectors"
gates = "{folder}/gates"
[reading.heat]
file = "{folder}/heat"
every = "1s"
"""
GUARD = """
[guard.{name}]
close = {{ when = "heat >= 10", at-least = "1s" }}
open = {{ when = "heat <= 2", at-least = "1s" }}
longest-damped = "1s"
capture = false
{name} = {terms}
"""
TERMS = {
    "throttle": "{ ports = [80], rate = '20/m', burst = 3 }",
    "refuse": "{ ports = [25] }",
    "service": "'{name}'",
    "freeze": "'/{name}'",
    "properties": "{ unit = '/{name}', CPUWeight = '20', TasksMax = '100' }",
    "haproxy": "{ socket = '{folder}/haproxy.sock', backend = 'api', server = 'one' }",
    "agent": "{ listen = '127.0.0.1:7777' }",
    "keepalived": "{ file = '{folder}/track' }",
    "command": "{ close = ['{folder}/gate', 'close'], open = ['{folder}/gate', 'open'] }",
}
GATES = tuple(TERMS)
KERNEL, SWITCHES = GATES[:2], GATES[2:]

SERVICE = """\
#!/bin/sh
# pidfile: {folder}/service.pid
PID=$(cat {folder}/service.pid 2>/dev/null)
runs() {{ [ -n "$PID" ] && grep -q '^State:.[^Z]' "/proc/$PID/status" 2>/dev/null; }}
held() {{ {held}; }}
echo "$1" >> {folder}/service.calls
case "$1" in
start)
  runs && exit 0
  held "during open service"
  setsid sleep 86400 </dev/null >/dev/null 2>&1 &
  echo $! > {folder}/service.new; mv {folder}/service.new {folder}/service.pid ;;
stop)
  runs || exit 0
  held "during close service"
  kill "$PID"; rm -f {folder}/service.pid ;;
status) runs && exit 0; exit 3 ;;
esac
"""
COMMAND = """\
#!/bin/sh
held() {{ {held}; }}
case "$1" in
close) held "during close command"; touch {folder}/shut ;;
open) held "during open command"; rm -f {folder}/shut ;;
esac
"""
HAPROXY = """\
global
  stats socket {folder}/haproxy.sock mode 600 level admin
defaults
  mode tcp
  timeout connect 1s
  timeout client 1s
  timeout server 1s
frontend here
  bind 127.0.0.1:7000
  default_backend api
backend api
  server one 127.0.0.1:9
backend asked
  server two 127.0.0.1:9 agent-check agent-addr 127.0.0.1 agent-port 7777 agent-inter 200ms
"""


class Wait(NamedTuple):
    """What a play waits for."""

    what: str
    check: Callable[[], object]
    patience: float = PATIENCE


Play = Generator[Wait, None, None]


class Scene:
    """One host. `lease`: seconds that a closing lasts; None: as it is shipped."""

    def __init__(self, lease: float | None = None, gates: tuple[str, ...] = GATES) -> None:
        self.lease, self.gates = lease, gates
        self.name = f"tgkill-{os.getpid()}-{next(_NUMBERS)}"
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.folder = Path(tempfile.mkdtemp(prefix="tidegate-crash-", dir=memory))
        self.folder.chmod(0o755)
        self.steps = self.folder / "steps"
        self.script = Path("/etc/init.d") / self.name
        self.link = Path("/etc/rc3.d") / f"S02{self.name}"
        self.places = {
            "freeze": GROUPS / "freezer" / self.name,
            "shares": GROUPS / "cpu" / self.name,
            "tasks": GROUPS / "pids" / self.name,
        }
        self.space: Namespace | None = None
        self.master = 0
        self.code: int | None = None
        self._children: list[subprocess.Popen[bytes]] = []

    # -- the host ----------------------------------------------------------------------------

    def build(self) -> None:
        """Everything that a policy can name."""
        self.space = Namespace("dies")
        self.steps.mkdir()
        self.steps.chmod(0o777)
        words = {"folder": self.folder, "held": guard_steps.SHELL.format(steps=self.steps)}
        for path, text in ((self.script, SERVICE), (self.folder / "gate", COMMAND)):
            path.write_text(text.format(**words))
            path.chmod(0o755)
        for place in self.places.values():
            place.mkdir()
        (self.folder / "track").write_text("0\n")
        (self.folder / "heat").write_text("1\n")
        (self.folder / "haproxy.cfg").write_text(HAPROXY.format(folder=self.folder))
        text = POLICY + "".join(
            GUARD.format(name=gate, terms=TERMS[gate].replace("'", '"')) for gate in self.gates
        )
        text = text.replace("{folder}", str(self.folder)).replace("{name}", self.name)
        (self.folder / "tidegate.toml").write_text(text)
        with self.space.inside():
            if {"haproxy", "agent"} & {*self.gates}:
                self._run(["haproxy", "-db", "-f", f"{self.folder}/haproxy.cfg"])
            victim = self._run(["sleep", "86400"])
        (self.places["freeze"] / "cgroup.procs").write_text(f"{victim.pid}\n")
        self.serve("start")
        deadline = time.monotonic() + PATIENCE
        while {"haproxy", "agent"} & {*self.gates} and not self._answers():
            assert time.monotonic() < deadline, "HAProxy does not answer"
            time.sleep(0.02)

    def _answers(self) -> bool:
        with suppress(OSError):
            return bool(self.haproxy("show info"))
        return False

    def _run(self, words: list[str]) -> subprocess.Popen[bytes]:
        made = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._children.append(made)
        return made

    def serve(self, verb: str) -> None:
        """What an administrator does to the service."""
        assert self.space is not None
        with self.space.inside():
            subprocess.run([self.script, verb], check=True)

    def freeze(self, state: str) -> None:
        """What an administrator does to the control group."""
        (self.places["freeze"] / "freezer.state").write_text(state)

    def enable(self, enabled: bool) -> None:
        """Whether the service starts at boot."""
        if enabled:
            self.link.parent.mkdir(exist_ok=True)
            self.link.symlink_to(self.script)
        else:
            self.link.unlink(missing_ok=True)

    def calls(self) -> list[str]:
        """What the service's script was told."""
        found = (self.folder / "service.calls").read_text().split()
        return [verb for verb in found if verb != "status"]

    def overdue(self) -> subprocess.Popen[bytes]:
        """`tidegate open --overdue`, as an administrator runs it."""
        assert self.space is not None
        words = ["-m", "tidegate", "open", "--overdue", "--config", f"{self.folder}/tidegate.toml"]
        with self.space.inside():
            return self._run([sys.executable, *words])

    def heat(self, value: float) -> None:
        """What the host's reading says from now on."""
        fresh = self.folder / "heat.new"
        fresh.write_text(f"{value}\n")
        fresh.rename(self.folder / "heat")

    def close(self) -> None:
        """Nothing of it is left."""
        with suppress(OSError):
            (self.places["freeze"] / "freezer.state").write_text("THAWED")
        if self.space is not None:
            for _again in range(3):  # what was being forked meanwhile, too
                for pid in self.processes():
                    _kill(pid)
        self.reaped()
        for child in self._children:
            child.kill()
            child.wait()
        for path in (self.link, self.script):
            path.unlink(missing_ok=True)
        for place in self.places.values():
            for _again in range(100):
                with suppress(FileNotFoundError):
                    try:
                        place.rmdir()
                    except OSError:
                        time.sleep(0.02)
                        continue
                break
        if self.space is not None:
            self.space.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    # -- the daemon --------------------------------------------------------------------------

    def spawn(self) -> None:
        """A whole daemon, from its master on."""
        assert self.space is not None
        self.code = None
        parent = os.getpid()
        with self.space.inside():  # to leave it is not for the child
            self.master = os.fork()
            if self.master == 0:
                self._be_master(parent)

    def _be_master(self, parent: int) -> None:
        code = 1
        try:
            die_with_parent(parent)
            setproctitle("tidegate: master")
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)
            log = os.open(self.folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            for target in (1, 2):
                os.dup2(log, target)
            sys.stdout, sys.stderr = open(1, "w"), open(2, "w", buffering=1)  # noqa: SIM115
            stamp = "%(asctime)s %(process)d %(name)s: %(message)s"
            logging.basicConfig(level=logging.INFO, format=stamp, stream=sys.stderr, force=True)
            os.closerange(3, 1024)
            guard_steps.quicken()
            if self.lease is not None:
                guard_steps.hasten(self.lease)
            guard_steps.install(self.steps)
            code = start(self.folder / "tidegate.toml", observe=False)
        except SystemExit as error:
            code = int(error.code or 0)
        except BaseException:
            logging.exception("the master failed")
        finally:
            logging.shutdown()
            os._exit(code)

    def reaped(self) -> bool:
        """Whether the master has ended."""
        if self.master and self.code is None:
            with suppress(ChildProcessError):
                done, status = os.waitpid(self.master, os.WNOHANG)
                if not done:
                    return False
                self.code = os.waitstatus_to_exitcode(status)
        return True

    def processes(self) -> dict[int, str]:
        """Every process in the namespace, by its title."""
        assert self.space is not None
        try:
            inode = os.stat(f"/run/netns/{self.space.name}").st_ino
        except OSError:
            return {}
        found = {}
        for name in os.listdir("/proc"):
            with suppress(OSError):
                if name.isdigit() and os.stat(f"/proc/{name}/ns/net").st_ino == inode:
                    found[int(name)] = title_of(int(name))
        return found

    def ours(self, role: str = "") -> list[int]:
        """The processes of the daemon; `role`: of this one only."""
        return [
            pid
            for pid, title in self.processes().items()
            if title.startswith(f"tidegate: {role}") and is_running(pid)
        ]

    def working(self) -> list[int]:
        """Those of its processes that a master holds together."""
        roles = ("master", "watcher", "keeper", "service keeper", "sampler")
        return [pid for role in roles for pid in self.ours(role)]

    def kill(self, role: str) -> None:
        """SIGKILL, of several at once: `crew` is all but the dead man, `all` him too, and
        `everybody` also what outlives us, to answer balancers."""
        found = self._of(role)
        assert found, f"there is no {role}: {self.processes()}"
        for pid in found:  # none may start another meanwhile
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        for pid in {*found, *self._of(role)}:
            _kill(pid)

    def _of(self, role: str) -> list[int]:
        if role == "crew":
            return self.working()
        if role == "everybody":
            beside = [pid for pid, title in self.processes().items() if "responder" in title]
            return [*self.ours(), *beside]
        return self.ours("" if role == "all" else role)

    def arm(self, step: str) -> None:
        """Hold the daemon there."""
        for name in ("reached", "go"):
            (self.steps / name).unlink(missing_ok=True)
        (self.steps / step).touch()
        (self.steps / step).chmod(0o666)

    def reached(self) -> bool:
        """Whether it is held."""
        return (self.steps / "reached").exists()

    def go(self) -> None:
        """Whoever is held and alive goes on."""
        (self.steps / "go").touch()

    def alive(self) -> bool:
        """Whether the master is at work."""
        return not self.reaped()

    def said(self) -> str:
        """What the daemon wrote."""
        with suppress(OSError):
            return (self.folder / "log").read_text("utf-8", "replace")
        return ""

    # -- how all stands ----------------------------------------------------------------------

    def closed(self, gate: str) -> bool | None:
        """Whether this gate is closed in the world; None: neither quite."""
        if gate in KERNEL:
            return self.doors()[gate] is not None
        return getattr(self, f"_{gate}")()

    def all(self, closed: bool, *but: str) -> bool:
        """Whether all gates are closed, or open."""
        gates = [gate for gate in reversed(self.gates) if gate not in but]
        return all(self.closed(gate) is closed for gate in gates)

    def state(self) -> str:
        """For whoever has to find out."""
        stands = ", ".join(f"{gate}: {self.closed(gate)}" for gate in self.gates)
        records = ", ".join(map(repr, Records(self.folder / "gates").read()))
        return f"{stands}; records: {records}; processes: {self.processes()}"

    def doors(self) -> dict[str, float | None]:
        """Seconds until the kernel opens each of its gates; None: it is open."""
        assert self.space is not None
        found: dict[str, float | None] = dict.fromkeys(KERNEL)
        for one in self.space.nft("list ruleset")["nftables"]:
            listed = one.get("set", {})
            gate = listed.get("name", "").removeprefix("closed_")
            if gate in found and listed.get("elem"):
                (element,) = listed["elem"]
                found[gate] = element["elem"]["expires"]  # one that never ends has none
        return found

    def runs(self) -> bool:
        """Whether the service runs."""
        with suppress(OSError, ValueError):
            return is_running(int((self.folder / "service.pid").read_text()))
        return False

    def _service(self) -> bool:
        return not self.runs()

    def _freeze(self) -> bool | None:
        found = (self.places["freeze"] / "freezer.state").read_text().strip()
        return {"FROZEN": True, "THAWED": False}.get(found)

    def _properties(self) -> bool | None:
        shares = (self.places["shares"] / "cpu.shares").read_text().strip()
        tasks = (self.places["tasks"] / "pids.max").read_text().strip()
        return {("204", "100"): True, ("1024", "max"): False}.get((shares, tasks))

    def _haproxy(self) -> bool:
        return self._drained("api")

    def _agent(self) -> bool:
        return self._drained("asked")

    def _keepalived(self) -> bool | None:
        found = (self.folder / "track").read_text().strip()
        return {"-100": True, "0": False}.get(found)

    def _command(self) -> bool:
        return (self.folder / "shut").exists()

    def _drained(self, backend: str) -> bool:
        said = self.haproxy(f"show servers state {backend}").splitlines()
        named = dict(zip(said[1].split()[1:], said[2].split(), strict=False))
        return bool(int(named["srv_admin_state"]) & 0x08)

    def haproxy(self, line: str) -> str:
        """What HAProxy answers."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
            asking.settimeout(5)
            asking.connect(f"{self.folder}/haproxy.sock")
            asking.sendall(line.encode() + b"\n")
            return b"".join(iter(lambda: asking.recv(1 << 16), b"")).decode()

    def records(self) -> list[str]:
        """The gates that are to be undone."""
        return [one.gate for one in Records(self.folder / "gates").read()]

    def deadlines(self) -> list[float]:
        """When what is recorded ends, in seconds of the system's clock."""
        return [one.deadline / SECOND for one in Records(self.folder / "gates").read()]

    def reports(self) -> dict[str, str]:
        """How the daemon says that each gate stands; {} while it does not answer."""
        answer = self._ask()
        return {
            gate["gate"]: gate["state"]
            for guard in answer.get("guards", ())
            for gate in guard["gates"]
        }

    def say(self, verb: str, gate: str) -> None:
        """What a person tells the daemon of a gate. ControlError where it is not taken."""
        Client(self._socket).post("/gate", {"verb": verb, "gate": gate, "note": "by hand"})

    def _ask(self) -> Mapping[str, Any]:
        with suppress(ControlError):
            return Client(self._socket).get("/guards", {})
        return {}

    def history(self) -> list[tuple[str, str, str]]:
        """(action, gate, state) of all decisions, the oldest first."""
        with suppress(ControlError):
            rows = list(Client(self._socket).lines("/history", {"limit": "1000"}))
            return [(one["action"], one["subject"], one["state"]) for one in rows[::-1]]
        return []

    @property
    def _socket(self) -> str:
        return f"{self.folder}/run/watcher/control.sock"


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def perform(
    plays: Mapping[str, Callable[[Scene], Play]], make: Callable[[], Scene], most: int = 10
) -> None:
    """All of them, so many at once; AssertionError with what became of each that failed."""
    waiting = list(plays.items())
    running: dict[str, tuple[Scene, Play, Wait | None, float]] = {}
    failures: list[str] = []
    try:
        while waiting or running:
            while waiting and len(running) < most:
                name, play = waiting.pop(0)
                scene = make()
                running[name] = (scene, play(scene), None, 0.0)
            for name in list(running):
                running[name], failure = _advance(*running[name])
                if failure is not None:
                    scene = running.pop(name)[0]
                    if failure:
                        failures.append(f"== {name}: {failure}\n{scene.said()[-4000:]}")
                    scene.close()
            time.sleep(0.1)
    finally:
        for scene, _play, _wait, _deadline in running.values():
            scene.close()
    assert not failures, "\n".join(failures)


def _advance(
    scene: Scene, play: Play, wait: Wait | None, deadline: float
) -> tuple[tuple[Scene, Play, Wait | None, float], str | None]:
    """One look; "" once it has ended well, else how it failed."""
    try:
        if wait is None or wait.check():
            wait = next(play)
            deadline = time.monotonic() + wait.patience
        elif time.monotonic() > deadline:
            return (scene, play, wait, deadline), f"waited in vain for {wait.what}; {scene.state()}"
    except StopIteration:
        return (scene, play, wait, deadline), ""
    except (AssertionError, OSError, LookupError, ValueError, RuntimeError) as error:
        return (scene, play, wait, deadline), f"{type(error).__name__}: {error}"
    return (scene, play, wait, deadline), None
