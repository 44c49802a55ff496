"""Break the n-th effect: the daemon's own parts, killed at one effect, and the world they leave.

Touches a network namespace, a folder and forked children, all ended and removed by the caller.
Nothing in the daemon knows of it: ledger and gate come wrapped, clock and person are the scene's.
Limits: one keeper and one watcher, as root, without dropping privilege (tests/kernel has that).
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tests.kernel.daemon import closed
from tests.kernel.namespaces import Namespace

from tidegate.control.call import Call
from tidegate.control.peer import Peer
from tidegate.daemon import watcher as watcher_module
from tidegate.daemon.build import Plan
from tidegate.daemon.charter import charter_of
from tidegate.daemon.pipeline import Pipeline
from tidegate.daemon.watcher import Watcher
from tidegate.daemon.wiring import Fresh, Wiring, open_sources, saved
from tidegate.detector.pack import load_packs
from tidegate.gate.keeper import serve
from tidegate.gate.nftables import NftablesGate, delete_table
from tidegate.gate.remote import RemoteGate
from tidegate.ledger.sqlite import SqliteLedger
from tidegate.model import SECOND, Block, Micros
from tidegate.policy.loader import read

PATIENCE = 60.0
BEGAN = int(time.time()) - 1200
ANNA = Peer(1, 1000, 1000, "anna", frozenset({"tidegate-admin"}))
POLICY = """
[source.exim]
file = "{log}"
detectors = ["exim"]
start = "beginning"
[rule.virus]
on = ["exim.malware"]
at-least = 4
within = "5m"
ban = {{ ports = [25], ladder = ["3h", "4h"] }}
[paths]
off = "{folder}/off"
"""
BROAD = """
[rule.broad]
on = ["exim.malware"]
at-least = 6
within = "15m"
ban = { ports = [], for = "5h" }
"""
ALLOW = '[allow]\naddresses = ["198.51.100.0/24"]\n'

When = Literal["before", "after"]


class Fault(NamedTuple):
    """Die before or after the n-th effect, counted from 1 in one life of one role."""

    role: str
    number: int
    when: When


class Effects:
    """Counts the effects of a process, and ends it at one of them."""

    def __init__(self, fault: Fault | None, told: Path) -> None:
        self._fault = fault
        self._told = told
        self.count = 0

    def __call__(self, name: str, act: Callable[..., Any], *words: Any, **named: Any) -> Any:
        self.count += 1
        mine = self._fault if self._fault and self._fault.number == self.count else None
        if mine:
            self._told.write_text(name)
        if mine and mine.when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        done = act(*words, **named)
        if mine:
            os.kill(os.getpid(), signal.SIGKILL)
        return done


class Proxy:
    """Something whose named methods are effects; everything else passes through."""

    def __init__(self, target: object, names: Sequence[str], effects: Effects) -> None:
        self.__dict__.update(_target=target, _names=names, _effects=effects)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        if name not in self._names:
            return found
        return lambda *words, **named: self._effects(name, found, *words, **named)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self._target, name, value)


LEDGER = ("origin", "checkpoint", "intend", "settle")
GATE = ("apply", "replace", "reload")
KERNEL = ("put_in", "add", "transact", "delete")


# -- what happens in the world -----------------------------------------------------------------


def virus(second: int, address: str) -> str:
    return (
        f"{datetime.fromtimestamp(BEGAN + second):%Y-%m-%d %H:%M:%S} 1tSoBg-000000000-00aB"
        f" H=(dell-xp) [{address}] F=<big@boss.example> rejected after DATA:"
        " This message contains a virus (W32/Sobig.F@mm)\n"
    )


def good(second: int, address: str) -> str:
    return (
        f"{datetime.fromtimestamp(BEGAN + second):%Y-%m-%d %H:%M:%S} 1tGood-000000000-00aB <="
        f" anna@customer.example H=mail.customer.example [{address}] P=esmtps S=2213 id=x@y\n"
    )


class Order(NamedTuple):
    """A person asks something of the daemon."""

    path: str
    body: dict[str, object]


A, B, C, D, E, F = (
    "192.0.2.1", "192.0.2.2", "2001:db8:7::25", "192.0.2.4", "192.0.2.5", "192.0.2.6",
)  # fmt: skip

Step = str | Order | Literal["rotate", "flush", "reload"]
STEPS: tuple[Step, ...] = (
    "".join(virus(n, A) + virus(n, B) for n in range(3)) + good(3, B),
    virus(4, A) + virus(4, B),
    virus(5, C) * 2 + virus(6, A) * 3,
    "rotate",
    virus(7, C) + virus(8, C) + virus(9, D),
    Order("/ban", {"subject": E, "for": "2h", "ports": [25, 465], "note": "worm"}),
    virus(10, D) * 3 + virus(11, C) * 2,
    Order("/unban", {"subject": A, "note": "called us"}),
    virus(20, A) * 4 + virus(21, B) * 2,
    "flush",
    virus(30, F) * 3,
    Order("/allow", {"subject": "192.0.2.77", "for": "3h"}),
    "reload",
    virus(40, F) + virus(40, "198.51.100.9") * 4 + virus(41, "192.0.2.77") * 4,
    virus(50, "192.0.2.8") * 3 + virus(50, "192.0.2.8")[:40],
    virus(50, "192.0.2.8")[40:],
)


class Player:
    """Does one step a turn of the loop, goes on after a crash, and ends when all is settled.

    Stands where the control socket would: so a person's order is lost with the daemon that it was
    given to, and then given again.
    """

    steps: Sequence[Step] = STEPS

    def __init__(self, folder: Path, wake_fd: int) -> None:
        self._folder = folder
        self._wake_fd = wake_fd
        self._call: Call | None = None
        self._left = 8
        self.turns = 0
        self.notes: list[str] = []
        self.daemon: Watcher | None = None

    @property
    def log(self) -> Path:
        return self._folder / "mainlog"

    @property
    def step(self) -> int:
        return int((self._folder / "step").read_text())

    def now(self) -> Micros:
        """The daemon's clock: 0.4 s go by in each turn of its loop."""
        return BEGAN * SECOND + 1200 * SECOND + self.turns * 400_000

    def fileno(self) -> int:
        return -1

    def start(self) -> None:
        pass

    def close(self) -> None:
        pass

    def take(self) -> list[Call]:
        """One turn."""
        self.turns += 1
        os.write(self._wake_fd, b"x")
        if self._call is not None:
            answer = self._call.wait(0)
            assert answer is not None
            assert answer.status == 200, answer
            self._done()
        elif self.step < len(self.steps):
            return self._do(self.steps[self.step])
        else:
            self._left -= 1
            if self._left < 0:
                assert self.daemon is not None
                self.daemon.stopping = True
        return []

    def _do(self, step: Step) -> list[Call]:
        if isinstance(step, Order):
            return self._ask(*step)
        if step == "reload":
            (self._folder / "policy").write_text("1")
            return self._ask("/reload", {})
        if step == "rotate":
            self.log.rename(self.log.with_suffix(".1"))
            self.log.touch()
        elif step == "flush":
            subprocess.run(["nft", "flush", "ruleset"], check=True)
        else:
            with self.log.open("a") as file:
                file.write(step)
        self._done()
        return []

    def _ask(self, path: str, body: dict[str, object]) -> list[Call]:
        self._call = Call("POST", path, {}, body, ANNA)
        return [self._call]

    def _done(self) -> None:
        self._call = None
        fresh = self._folder / "step.new"
        fresh.write_text(str(self.step + 1))
        fresh.rename(self._folder / "step")


class SceneWiring(Wiring):
    """Reloads what was read before the fork."""

    def reloaded(self) -> Fresh:
        fresh = current(SCENE[0], SCENE[1])
        return Fresh(fresh.plan, fresh.pipelines.pop(), saved(self.ledger))


SCENE: list[Any] = []


# -- one life ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class World:
    """What must be the same, however often the daemon died on the way."""

    decided: list[tuple[Any, ...]]
    by_hand: set[tuple[Any, ...]]
    unsettled: int
    memory: dict[tuple[str, str], bytes | None]
    read: dict[str, int]
    wanted: set[tuple[Any, ...]]
    allowed: set[str]


class Ready(NamedTuple):
    """A policy, and pipelines made before any fork: each life takes one from its own copy."""

    plan: Plan
    pipelines: list[Pipeline]


Policies = tuple[Ready, Ready]


def policies(folder: Path) -> Policies:
    """The policy before and after the reload."""
    text = POLICY.format(log=folder / "world" / "mainlog", folder=folder / "world")
    packs = tuple(pack for pack in load_packs() if pack.name == "exim")

    def ready(more: str) -> Ready:
        plan = Plan(read([("policy", text + more)]), packs)
        # Lines of a form that is seen often are compiled for; that is kept for every fork.
        lines = "".join(one for one in STEPS if one.__class__ is str).encode()
        plan.pipeline().feed(Block("exim", lines, 0, BEGAN * SECOND, 1))
        return Ready(plan, [plan.pipeline(), plan.pipeline()])

    return ready(BROAD), ready(ALLOW)


def current(folder: Path, known: Policies) -> Ready:
    """The policy that a start or a reload reads now."""
    return known[int((folder / "policy").read_text())]


def begin(folder: Path) -> None:
    """An empty world."""
    delete_table()
    subprocess.run(["rm", "-rf", str(folder)], check=True)
    folder.mkdir()
    (folder / "step").write_text("0")
    (folder / "policy").write_text("0")
    (folder / "mainlog").touch()


def live(folder: Path, known: Policies, fault: Fault | None = None) -> dict[str, int]:
    """One life of the pair, to its end; how each of them ended (waitstatus_to_exitcode)."""
    ours, theirs = socket.socketpair()
    SCENE[:] = [folder, known]

    def told(role: str) -> Effects:
        return Effects(fault if fault and fault.role == role else None, folder / "effect")

    def keep() -> None:
        theirs.close()
        effects = told("keeper")
        gate = NftablesGate()
        gate._table = Proxy(gate._table, KERNEL, effects)  # type: ignore[assignment]
        serve(
            ours,
            gate,
            lambda: charter_of(current(folder, known).plan.loaded.policy),
            off_file=folder / "off",
        )

    def watch() -> None:
        ours.close()
        _watch(theirs, folder, known, told("watcher"))

    children = {
        _child(act, folder / f"{role}.log"): role
        for role, act in (("keeper", keep), ("watcher", watch))
    }
    ours.close()
    theirs.close()
    return _ended(children)


def _watch(end: socket.socket, folder: Path, known: Policies, effects: Effects) -> None:
    wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    player = Player(folder, wake_write)
    watcher_module.now_micros = player.now  # type: ignore[assignment]
    # This host looks the same all the time; reading that anew would be half of the work.
    watcher_module.protected = cache(watcher_module.protected)
    watcher_module.sessions = cache(watcher_module.sessions)
    plan, pipelines = current(folder, known)
    ledger: Any = Proxy(SqliteLedger(str(folder / "ledger.sqlite")), LEDGER, effects)
    wiring = SceneWiring(
        config=None,
        plan=plan,
        pipeline=pipelines.pop(),
        sources=open_sources(plan, ledger),
        ledger=ledger,
        gate=Proxy(RemoteGate(end), GATE, effects),  # type: ignore[arg-type]
        gate_kind="scene",
        control=player,  # type: ignore[arg-type]
        wake_fd=wake_read,
        observe=False,
        trusted=False,
    )
    player.daemon = Watcher(wiring, lambda _word: None)
    player.daemon.run()


def _child(act: Callable[[], None], log: Path) -> int:
    gc.freeze()  # what was read before is never looked at again: the fork stays cheap
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        with log.open("a") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        logging.basicConfig(level=logging.INFO, filename=log, force=True)
        act()
        code = 0
    except BaseException:
        logging.exception("the child failed")
    finally:
        logging.shutdown()
        os._exit(code)


def _ended(children: dict[int, str]) -> dict[str, int]:
    """Wait for both: whoever loses the other ends by itself."""
    deadline = time.monotonic() + PATIENCE
    found: dict[str, int] = {}
    try:
        while len(found) < len(children):
            for pid, role in children.items():
                if role not in found and (status := os.waitpid(pid, os.WNOHANG))[0]:
                    found[role] = os.waitstatus_to_exitcode(status[1])
            assert time.monotonic() < deadline, f"only these ended by themselves: {found}"
            time.sleep(0.002)
    finally:
        for pid, role in children.items():
            if role not in found:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
    return found


# -- what is left ------------------------------------------------------------------------------


def world(folder: Path) -> World:
    """What the ledger holds now."""
    ledger = SqliteLedger(str(folder / "ledger.sqlite"))
    now = time.time_ns() // 1000
    entries = [(one.decision, one.state) for one in ledger.history(10_000)]
    found = World(
        decided=sorted(
            (d.id, d.time, d.subject, d.rule, d.ports, d.until, d.count, d.step, d.spared,
             d.evidence, state)
            for d, state in entries
            if d.by == "rule"
        ),
        by_hand={
            (d.action, d.subject, d.rule, d.ports, d.by, d.note)
            for d, _state in entries
            if d.by != "rule"
        },
        unsettled=len(ledger.unsettled()),
        memory={(part, key): _comparable(part, value) for part, key, value in ledger.memory()},
        read={one.path: one.offset for one in ledger.positions()},
        wanted={_ban(one) for one in ledger.wanted(now)},
        allowed={one.subject for one in ledger.allowed(now)},
    )  # fmt: skip
    ledger.close()
    return found


def _ban(ban: Any) -> tuple[Any, ...]:
    """A ban by hand ends when it was said, so its end is not compared."""
    return (ban.subject, ban.ports, ban.until if ban.subject != E else 0)


def _comparable(part: str, value: bytes | None) -> bytes | None:
    # An exemption ends an hour after the order; a good record is saved to the hour; what follows a
    # ban ends when a person opened (its second and third number of eight bytes).
    if part == "course" and value is not None and value.endswith(A.encode()):
        return value[:8] + value[24:]
    return None if part in ("exempt", "success") else value


def check_kernel(space: Namespace, folder: Path) -> None:
    """The kernel holds what the ledger wants, each until its time and no longer."""
    ledger = SqliteLedger(str(folder / "ledger.sqlite"))
    now = time.time_ns() // 1000
    wanted = {(ban.subject, ban.ports): ban.until for ban in ledger.wanted(now)}
    ledger.close()
    found = closed(space)
    assert set(found) == set(wanted)
    for ban, left in found.items():
        assert abs((wanted[ban] - now) / SECOND - left) <= 2, f"{ban} ends at the wrong time"


@contextmanager
def stage() -> Iterator[tuple[Path, Namespace]]:
    """A folder and a namespace, gone afterwards. In memory: a power cut is not what is played."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    space = Namespace("crash")
    try:
        with tempfile.TemporaryDirectory(prefix="tidegate-crash-", dir=memory) as folder:
            yield Path(folder), space
    finally:
        space.close()
