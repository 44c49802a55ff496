"""A whole `tidegate run` for tests: master, keeper and watcher in one network namespace.

Touches a folder under /tmp, a namespace and the processes it starts, and ends all of them again,
also when a test fails. Limits: root; waiting is for facts, never for a time.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any, TypeVar

from tests.kernel.namespaces import Namespace

from tidegate.control.client import Client
from tidegate.errors import ControlError
from tidegate.gate.book import named
from tidegate.subject import Network, from_network

Found = TypeVar("Found")

COMPARED = ("id", "time", "action", "subject", "rule", "ports", "until", "count", "step", "spared",
            "mode", "reason", "collateral")  # fmt: skip

TIDEGATE = [sys.executable, "-m", "tidegate"]
PATIENCE = 40.0
PATHS = """
[paths]
state = "{folder}/state"
run = "{folder}/run"
off = "{folder}/off"
detectors = "{folder}/detectors"
gates = "{folder}/gates"
fleet = "{folder}/keys"
"""
ROLES = ("keeper", "watcher", "service keeper", "sampler", "meter", "fleet")
SOURCE = """
[source.exim]
file = "{folder}/log/mainlog"
detectors = ["exim"]
start = "beginning"
"""
FAST = """
[rule.virus-senders]
on = ["exim.malware"]
more-than = 15
within = "5m"
ban = { ports = [25], ladder = ["1h"] }
"""
SLOW = """
[rule.virus-senders-slow]
on = ["exim.malware"]
more-than = 5
within = "15m"
ban = { ports = [25], ladder = ["2h"] }
"""


def until(what: str, check: Callable[[], Found], patience: float = PATIENCE) -> Found:
    """Ask until the answer is truthy, and return it."""
    deadline = time.monotonic() + patience
    while not (found := check()):
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)
    return found


def virus(address: str, ago: float = 0.0, helo: str = "dell-xp") -> str:
    """A line of exim about a refused virus, so many seconds ago."""
    moment = datetime.fromtimestamp(int(time.time() - ago))
    return (
        f"{moment:%Y-%m-%d %H:%M:%S} 1tSoBg-000000000-00aB H=({helo}) [{address}]"
        " F=<big@boss.example> rejected after DATA: This message contains a virus (W32/Sobig.F@mm)\n"
    )


def good(address: str, ago: float = 0.0) -> str:
    """A line of exim about accepted mail."""
    moment = datetime.fromtimestamp(int(time.time() - ago))
    return (
        f"{moment:%Y-%m-%d %H:%M:%S} 1tGood-000000000-00aB <= anna@customer.example"
        f" H=mail.customer.example [{address}] P=esmtps S=2213 id=x@customer.example\n"
    )


def traffic(seed: int, lines: int) -> str:
    """Half an hour of a mail server's log that ends now: some abuse, some mail, some rubbish."""
    chance = random.Random(seed)
    worms = [f"192.0.2.{n}" for n in range(12)] + ["2001:db8:7::25", "198.51.100.99"]
    text = []
    for n in range(lines):
        ago = 1800 * (1 - n / lines) + chance.choice((0, 0, 0, 40))
        text.append(
            chance.choice(
                (
                    lambda ago=ago: virus(chance.choice(worms), ago, chance.choice(("a", "b\x7f"))),
                    lambda ago=ago: good(chance.choice(worms[:3]), ago),
                    lambda: "\x00\x00rubbish \udce4\n",
                    lambda: "1tGood-000000000-00aB Completed\n",
                )
            )()
        )
    return "".join(text)


class Daemon:
    """`tidegate run` under a policy; `log` is the exim log that it follows."""

    def __init__(self, folder: Path, space: Namespace | None, policy: str = FAST) -> None:
        self.folder, self.space = folder, space
        self.policy, self.log = folder / "tidegate.toml", folder / "log" / "mainlog"
        self.output = folder / "daemon.log"
        self.environment: dict[str, str] = {}
        self.before: list[str] = []  # words that the daemon is started by, such as unshare's
        self.process: subprocess.Popen[bytes] | None = None
        self.log.parent.mkdir(exist_ok=True)
        self.log.touch()
        self.write_policy(policy)

    def write_policy(self, rules: str, source: str = SOURCE) -> None:
        """A policy of these rules, with paths inside the folder."""
        text = (source + PATHS).replace("{folder}", str(self.folder))
        fresh = self.policy.with_suffix(".new")
        fresh.write_text(text + rules)
        fresh.rename(self.policy)

    def append(self, text: str | bytes) -> None:
        """Write to the log as exim would."""
        with self.log.open("ab") as file:
            file.write(text.encode() if isinstance(text, str) else text)

    # -- the processes ------------------------------------------------------------------------

    def start(self, *words: str) -> Daemon:
        """Start it and wait until it says that it is ready."""
        with self._told() as told:
            self.spawn(*words)
            while b"READY=1" not in self._heard(told):
                pass
        return self

    def spawn(self, *words: str) -> subprocess.Popen[bytes]:
        """Start it, without waiting."""
        environment = os.environ | self.environment | {"NOTIFY_SOCKET": self._notify}
        with self.output.open("ab") as output:
            self.process = self.popen(
                [*self.before, *TIDEGATE, "run", "--config", str(self.policy), *words],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment,
            )  # fmt: skip
        return self.process

    @property
    def _notify(self) -> str:
        return f"{self.folder}/notify"

    @contextmanager
    def _told(self) -> Iterator[socket.socket]:
        Path(self._notify).unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
            told.bind(self._notify)
            told.settimeout(0.2)
            yield told

    def _heard(self, told: socket.socket) -> bytes:
        assert self.process is not None
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            with suppress(TimeoutError):
                return told.recv(4096)
            assert self.process.poll() is None, f"it ended:\n{self.said()}"
        raise AssertionError(f"it never became ready:\n{self.said()}")

    def children(self) -> dict[str, int]:
        """The pids of those that do the work, by role."""
        assert self.process is not None
        found = {}
        for pid in children_of(self.process.pid):
            title = title_of(pid)
            for role in ROLES:
                if title.startswith(f"tidegate: {role}"):
                    found[role] = pid
        return found

    def pair(self) -> dict[str, int]:
        """Wait for keeper and watcher, working."""
        return self.crew("keeper", "watcher")

    def crew(self, *roles: str) -> dict[str, int]:
        """Wait for exactly these, working."""
        return until(f"{roles}", lambda: (found := self.children()).keys() == {*roles} and found)

    def kill(self, role: str) -> int:
        """SIGKILL one child; returns the pid it had."""
        pid = until(f"the {role}", lambda: self.children().get(role))
        os.kill(pid, signal.SIGKILL)
        return pid

    def stop(self) -> int:
        """SIGTERM the master and wait for it; its exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        """End whatever still runs."""
        if self.process is None:
            return
        pids = [self.process.pid, *children_of(self.process.pid)]
        if self.process.poll() is None:
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(20)
        for pid in pids:
            if is_running(pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.process.wait(20)

    def popen(self, words: list[str], **options: Any) -> subprocess.Popen[bytes]:
        """Any process in the daemon's namespace."""
        if self.space is None:
            return subprocess.Popen(words, **options)
        with self.space.inside():
            return subprocess.Popen(words, **options)

    def said(self) -> str:
        """Everything it wrote so far."""
        return self.output.read_text("utf-8", "replace") if self.output.exists() else ""

    # -- asking it ----------------------------------------------------------------------------

    @property
    def socket(self) -> str:
        return f"{self.folder}/run/watcher/control.sock"

    def verb(self, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """A verb of the command line, in the daemon's namespace."""
        environment = os.environ | {"TIDEGATE_SOCKET": self.socket}
        process = self.popen(
            [*TIDEGATE, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment,
            **options,
        )  # fmt: skip
        out, err = process.communicate(timeout=PATIENCE)
        assert b"Traceback" not in err, err.decode()
        return subprocess.CompletedProcess(words, process.returncode, out.decode(), err.decode())

    def ask(self, path: str, **query: str) -> Any:
        """One answer of the daemon; {} while it does not answer."""
        with suppress(ControlError):
            return Client(self.socket).get(path, query)
        return {}

    def rows(self, path: str, **query: str) -> list[Mapping[str, Any]]:
        """A list from the daemon; [] while it does not answer."""
        with suppress(ControlError):
            return list(Client(self.socket).lines(path, query))
        return []

    def history(self) -> list[Mapping[str, Any]]:
        """Every decision, in the order in which they were taken."""
        return self.rows("/history", limit="10000")[::-1]

    def wait_read(self, lines: int) -> None:
        """Wait until so many lines were read since this process began."""
        until(f"{lines} lines", lambda: self.ask("/status").get("lines") == lines)

    def closed(self) -> dict[tuple[str, tuple[int, ...]], float]:
        """(subject, ports) → seconds left, of every ban in the kernel."""
        return closed(self.space)


def closed(space: Namespace | None) -> dict[tuple[str, tuple[int, ...]], float]:
    """(subject, ports) → seconds left, of every ban in the kernel, as nft lists it.

    An element that has no end, and is not a set's sentinel, is a fault wherever it stands.
    """
    words = ["nft", "-j", "list", "ruleset"]
    out = space.run(*words) if space else subprocess.check_output(words, text=True)
    found = {}
    for one in json.loads(out)["nftables"]:
        listed = one.get("set", {})
        scope = named(listed.get("name", ""))
        if listed.get("table") != "tidegate" or scope is None or scope.verb != "ban":
            continue
        sentinel = str(ip_address(scope.sentinel))
        for item in listed["elem"]:
            if item == sentinel:
                continue
            address, left = item["elem"]["val"], item["elem"]["expires"]
            network = Network(scope.family, scope.length, ip_address(address).packed)
            found[str(from_network(network)), scope.ports] = left
    return found


def replayed(daemon: Daemon) -> list[dict[str, Any]]:
    """What `tidegate replay` decides about the daemon's log under its policy."""
    done = daemon.verb("replay", "--json", "--config", str(daemon.policy), str(daemon.log))
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def alike(rows: Any) -> list[dict[str, Any]]:
    """What must be the same: the decision, and the lines and places of its evidence."""
    return sorted(
        (
            {key: row[key] for key in COMPARED}
            | {"evidence": [(one["offset"], one["file"], one["line"]) for one in row["evidence"]]}
            for row in rows
        ),
        key=lambda row: (row["time"], row["id"]),
    )


def children_of(pid: int) -> list[int]:
    """The child processes of a process; none once it is gone."""
    try:
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def title_of(pid: int) -> str:
    """What `ps` shows of a process; "" once it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").decode("utf-8", "replace")
    except OSError:
        return ""


def is_running(pid: int) -> bool:
    """Whether the process is there, and more than a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@contextmanager
def daemons(folder: Path, name: str, policy: str = FAST) -> Iterator[Callable[..., Daemon]]:
    """Makes daemons in a namespace of their own; all of them end with the block."""
    with ExitStack() as stack:
        space = Namespace(name)
        stack.callback(space.close)

        def make(policy: str = policy) -> Daemon:
            made = Daemon(folder, space, policy)
            stack.callback(made.close)
            return made

        yield make
