"""Hosts and their engine as network namespaces: one site or two, with a long line between them.

Touches namespaces, and processes in them, which `close` ends, also of a half-built site.
Limits: root; hosts share this kernel's clock and processors; IPv4.

    host1 .. hostN ── bridge A ──[ long line ]── bridge B ── engines, and hosts that are put there
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.fleet import longline
from tests.fleet.engines import Engine
from tests.kernel.namespaces import Namespace

from tidegate.fleet.counting import functions
from tidegate.fleet.engine.connection import Address, Connection, Login, connect

REPOSITORY = Path(__file__).parents[2]
NETWORK = "198.51.100."
PORT = 6379
OUTSIDE = tuple(f"203.0.113.{number}" for number in range(1, 33))
"""Addresses of the one namespace that is nobody's host: guessers and customers."""
HOST = Login("tidegate", "of-all-hosts")
ADMIN = Login("tidegate-admin", "of-the-administrator")
OPERATOR = Login("operator", "of-whoever-runs-the-engine")
"""Who can do all: the test itself, replicas, sentinels."""


class Place:
    """A namespace on the site, with one address."""

    def __init__(self, name: str, address: str, port: str) -> None:
        self.name, self.address, self.port = name, address, port
        self.space = Namespace(name)

    def cut(self) -> None:
        """Its cable is pulled out."""
        self.space.ip("link", "set", "eth0", "down")

    def mend(self) -> None:
        """And put in again; what it was told of the network is told again."""
        self.space.ip("link", "set", "eth0", "up")
        self.space.ip("route", "replace", "203.0.113.0/24", "dev", "eth0")


class TcpEngine(Engine):
    """An engine in a namespace, by TCP, with the users and rights that are shipped."""

    def __init__(self, place: Place, folder: Path, *options: str) -> None:
        self.place = place
        rights = folder / "users.acl"
        text = (REPOSITORY / "packaging" / "fleet" / "tidegate.acl").read_text()
        text = text.replace(">CHANGE-THIS-TOO ", f">{ADMIN.password} ")
        text = text.replace(">CHANGE-THIS ", f">{HOST.password} ")
        text += f"user {OPERATOR.user} on >{OPERATOR.password} allkeys allchannels +@all\n"
        rights.write_text(text)
        more = (
            "--bind", place.address, "--port", str(PORT), "--protected-mode", "no",
            "--aclfile", str(rights), "--repl-diskless-sync-delay", "0", "--repl-timeout", "5",
            "--masteruser", OPERATOR.user, "--masterauth", OPERATOR.password,
        )  # fmt: skip
        super().__init__(folder, *more, *options)

    @property
    def reached(self) -> Address:
        """Where hosts reach it."""
        return Address(host=self.place.address, port=PORT)

    @property
    def url(self) -> str:
        """The same, as a policy says it."""
        return f"redis://{self.place.address}:{PORT}"

    def connect(self, login: Login | None = None) -> Connection:
        """By its socket, past its network."""
        return super().connect(login or OPERATOR)

    def start(self) -> None:
        """Start it in its namespace, with the functions."""
        with self.place.space.inside():
            super().start()
        if "--replicaof" not in self.options:
            self("FUNCTION", "LOAD", "REPLACE", functions.library())

    def promote(self) -> None:
        """It leads from now on, as after an administrator's word."""
        self("REPLICAOF", "NO", "ONE")

    def signal(self, number: signal.Signals) -> None:
        """SIGSTOP: it answers nothing, and keeps its connections; SIGCONT."""
        self.process.send_signal(number)


class Site:
    """Hosts on one bridge; `far=True` puts a place on the second one, behind the long line."""

    def __init__(self, folder: Path, *, delay: float = 0, loss: float = 0, seed: int = 1) -> None:
        self.folder = folder
        self.places: dict[str, Place] = {}
        self._stack = ExitStack()
        self._line: subprocess.Popen[str] | None = None
        try:
            self._near = self._bridge("near")
            self._far = self._bridge("far") if delay or loss else self._near
            if self._far is not self._near:
                self._join(delay, loss, seed)
            self.outside = self.place("outside", 254)
            for address in OUTSIDE:
                self.outside.space.ip("address", "add", f"{address}/24", "dev", "eth0")
        except BaseException:
            self.close()
            raise

    def place(self, name: str, number: int, *, far: bool = False) -> Place:
        """A namespace with the address of that number."""
        made = Place(name, f"{NETWORK}{number}", f"p{number}")
        self._stack.callback(made.space.close)
        self.places[name] = made
        bridge = self._far if far else self._near
        made.space.ip(
            *("link", "add", "eth0", "type", "veth"),
            *("peer", "name", made.port, "netns", bridge.name),
        )
        bridge.ip("link", "set", made.port, "master", "bridge", "up")
        made.space.ip("link", "set", "eth0", "up")
        made.space.ip("address", "add", f"{made.address}/24", "dev", "eth0")
        if name != "outside":
            made.space.ip("route", "add", "203.0.113.0/24", "dev", "eth0")
        if self._line is not None:
            longline.plain(made.space, "eth0")
        return made

    def hosts(self, *names: str, far: tuple[str, ...] = ()) -> list[Place]:
        """Places for hosts, numbered from 1."""
        return [self.place(name, number, far=name in far) for number, name in enumerate(names, 1)]

    def engine(
        self, name: str = "engine", number: int = 253, *, of: TcpEngine | None = None,
        far: bool = True, options: tuple[str, ...] = (),
    ) -> TcpEngine:  # fmt: skip
        """An engine at that address; `of`: it replicates that one."""
        place = self.places.get(name) or self.place(name, number, far=far)
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        if of is not None:
            options = ("--replicaof", f"{of.place.address} {PORT}", *options)
        made = TcpEngine.__new__(TcpEngine)
        self._stack.callback(lambda: made.kill() if hasattr(made, "process") else None)
        made.__init__(place, folder, *options)  # type: ignore[misc]
        return made

    def carried(self) -> tuple[int, int]:
        """How many frames the long line has handed on, and lost."""
        assert self._line is not None
        assert self._line.stdin is not None
        assert self._line.stdout is not None
        self._line.stdin.write("\n")
        self._line.stdin.flush()
        passed, lost = self._line.stdout.readline().split()
        return int(passed), int(lost)

    def close(self) -> None:
        """Everything ends."""
        self._stack.close()

    def _bridge(self, name: str) -> Namespace:
        made = Namespace(name)
        self._stack.callback(made.close)
        made.ip("link", "add", "bridge", "type", "bridge", "mcast_snooping", "0")
        made.ip("link", "set", "bridge", "up")
        return made

    def _join(self, delay: float, loss: float, seed: int) -> None:
        middle = Namespace("line")
        self._stack.callback(middle.close)
        for device, bridge in (("near", self._near), ("far", self._far)):
            middle.ip(
                *("link", "add", device, "type", "veth"),
                *("peer", "name", "line", "netns", bridge.name),
            )
            bridge.ip("link", "set", "line", "master", "bridge", "up")
            middle.ip("link", "set", device, "up")
        words = [sys.executable, "-m", "tests.fleet.longline", "near", "far"]
        with middle.inside():
            self._line = subprocess.Popen(
                [*words, str(delay * 1000), str(loss * 100), str(seed)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY,
            )  # fmt: skip
        self._stack.callback(self._end_line)
        assert self._line.stdout is not None
        assert self._line.stdout.readline() == "ready\n"

    def _end_line(self) -> None:
        assert self._line is not None
        assert self._line.stdin is not None
        assert self._line.stdout is not None
        self._line.stdin.close()
        try:
            self._line.wait(10)
        except subprocess.TimeoutExpired:
            self._line.kill()
            self._line.wait(10)
        self._line.stdout.close()


@contextmanager
def site(folder: Path, **how: float) -> Iterator[Site]:
    """A site for as long as it is needed."""
    made = Site(folder, **how)  # type: ignore[arg-type]
    try:
        yield made
    finally:
        made.close()


@contextmanager
def connected(place: Place, engine: TcpEngine, login: Login = HOST) -> Iterator[Connection]:
    """A connection from there to the engine."""
    with place.space.inside():
        made = connect(engine.reached, login, 10)
    try:
        yield made
    finally:
        made.close()
