"""A whole fleet for tests of faults: hosts in namespaces, each at work, and the engine in its own.

Touches what `site` and `agents` touch. Limits: hosts are called web1 to web3; real time passes,
and leaps only where a test says so.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from tests.fleet import servers
from tests.fleet.agents import Agent, Clock, Desk, until
from tests.fleet.engines import Engine, engines
from tests.fleet.site import HOST, OPERATOR, PORT, Place, Site, TcpEngine
from tests.fleet.truth import LIMIT, Truth

from tidegate.fleet.engine.connection import Address, Login
from tidegate.fleet.engine.topology import Route
from tidegate.model import Subject

NAMES = ("web1", "web2", "web3")


def them(number: int) -> Subject:
    """Somebody out there."""
    return Subject(f"203.0.113.{number}")


class Near:
    """Three hosts and an engine, all in one place: for what hosts and engine say, not how it goes
    from one to the other. `engine` answers `engine("HLEN", key)`."""

    login = Login()

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self.clock, self.truth, self.desk = Clock(), Truth(), Desk(folder / "desk")
        self.places: dict[str, Place] = {}
        self.agents: list[Agent] = []
        self._stack = stack
        self.engine = self._engine(folder)
        for one in NAMES:
            self.desk.enrol(one)
        with contextlib.closing(self.engine.connect()) as one:
            self.desk.tell(one)

    def _engine(self, folder: Path) -> Engine:
        made = self._stack.enter_context(engines(folder))()
        self.clock.tell(made)
        return made

    def route(self) -> Route:
        """Straight to the engine."""
        return Route("single", (self.engine.address,))

    def start(self, route: Route | None = None, **more: object) -> list[Agent]:
        """All hosts begin, and know of each other."""
        for name in NAMES:
            self.agents.append(self.agent(name, self.places.get(name), route, **more))
        self.joined()
        return self.agents

    def agent(
        self, name: str, place: Place | None = None, route: Route | None = None, **more: object
    ) -> Agent:
        """One host that begins."""
        made = Agent(
            name, self.desk, route or self.route(), self.clock, self.truth, place=place,
            login=self.login, **more,
        )  # fmt: skip
        self._stack.callback(made.stop)
        return made.start()

    def joined(self) -> None:
        """Wait until all know that all are enrolled."""
        self.until(
            "all to be there",
            lambda: all(
                one.health().state == "joined" and one.health().members == len(NAMES)
                for one in self.agents
            ),
        )

    def until(self, what: str, check: Callable[[], object]) -> None:
        """Wait for a fact."""
        until(what, check, *self.agents)

    def closed_everywhere(self, *subjects: Subject) -> None:
        """Wait until these are closed for on all hosts."""
        self.until(
            f"{subjects} to be closed for on all hosts",
            lambda: all(set(subjects) <= one.closed() for one in self.agents),
        )

    def pattern(self, number: int, first: int = 0) -> None:
        """So many tries of somebody, one after another on each host in turn."""
        for turn in range(LIMIT):
            self.agents[(first + turn) % len(self.agents)].lines(them(number))

    def digests(self) -> set[str]:
        """What all want; one, if they agree."""
        return {one.health().digest for one in self.agents}

    def converged(self) -> None:
        """All want the same, which is what is in force."""
        self.until(
            "all to want what is in force",
            lambda: all(
                one.closed() == self.truth.in_force(self.clock.now()) for one in self.agents
            ),
        )
        for one in self.agents:
            one.check()


class Fleet(Near):
    """Three hosts in namespaces, and the engine in one of its own."""

    engine: TcpEngine
    login = HOST

    def __init__(self, folder: Path, stack: contextlib.ExitStack, **how: float) -> None:
        self.site = Site(folder, **how)
        stack.callback(self.site.close)
        super().__init__(folder, stack)
        self.places = {one.name: one for one in self.site.hosts(*NAMES)}
        self.engines = [self.engine]

    def _engine(self, folder: Path) -> TcpEngine:
        return self.site.engine()

    def replica(self) -> TcpEngine:
        """A copy of the engine, which follows it."""
        made = self.site.engine("replica", 252, of=self.engine)
        self.engines.append(made)
        until("the replica", lambda: b"master_link_status:up" in made("INFO", "replication"))
        return made

    def sentinel(self, folder: Path) -> Route:
        """Somebody watches the engine, and promotes its replica."""
        place = self.site.place("sentinel", 251)
        folder.mkdir()
        config = folder / "sentinel.conf"
        config.write_text(
            f"port 26379\nbind {place.address}\nprotected-mode no\n"
            f"sentinel monitor tide {self.engine.place.address} {PORT} 1\n"
            f"sentinel auth-user tide {OPERATOR.user}\n"
            f"sentinel auth-pass tide {OPERATOR.password}\n"
            "sentinel down-after-milliseconds tide 500\nsentinel failover-timeout tide 5000\n"
        )
        with place.space.inside():
            self._stack.enter_context(servers.server(folder, str(config), "--sentinel", plain=True))
        return Route("sentinel", (Address(host=place.address, port=26379),), "tide")

    def route(self) -> Route:
        """Straight to the engine."""
        return Route("single", (self.engine.reached,))
