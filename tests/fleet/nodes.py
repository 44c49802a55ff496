"""Nodes of a fleet, whole members on real servers: what each counts, hears and decides.

Touches the server it is given. Limits: all in one process; signatures cost nothing here, see
`tests.unit.fleet.village`.
"""

from __future__ import annotations

import contextlib
import select
import time
from collections.abc import Callable, Iterator, Sequence

from tests.fleet.servers import Server
from tests.unit.fleet.village import DESK, FLEET, Host, rule, verify

from tidegate.fleet import wire
from tidegate.fleet.counting import functions
from tidegate.fleet.decisions.stream import STREAM, Parcel, say
from tidegate.fleet.engine.connection import Login
from tidegate.fleet.engine.engine import Engine
from tidegate.fleet.engine.topology import Route
from tidegate.fleet.member import Member, Setting
from tidegate.fleet.port import Heard
from tidegate.fleet.rounds import Rounds
from tidegate.fleet.trust.keys import Identity
from tidegate.fleet.trust.members import LASTING, Certificate, May, Revocation, certify, revoke
from tidegate.model import MINUTE, Decision, Shared, Subject

BAD = Subject("203.0.113.5")
GUESSING = rule("guessing", 4, shared=True)


def now() -> int:
    return time.time_ns() // 1000


class Node:
    """A host: its member, its rounds, and all that its watcher would have heard."""

    counted = ()

    def __init__(
        self, name, address, *, rules=(GUESSING,), epoch=1, ahead=0, route=None, copies=False, **more
    ):  # fmt: skip
        self.host = Host(name)
        identity = Identity(FLEET, DESK.public, name)
        setting = Setting(identity, self.host.seal.sign, epoch, verify, **more)
        self.member = Member(setting, rules)
        self.engine = Engine(route or Route("single", (address,)), Login(), 5.0)
        self.ahead, self.name = ahead, name
        self.rounds = Rounds(self.member, self.engine, self.now, period=0.02, copies=copies)
        self.convictions, self.closings, self.openings, self.journal = [], [], [], []
        self.changes = []
        self.told = {}
        self.line = 0

    def now(self):
        return now() + self.ahead

    def hits(self, number, subject=BAD, *, of="guessing", ago=0, **more):
        """So many lines count."""
        rows = []
        for _ in range(number):
            self.line += 100
            rows.append(Shared(of, subject, self.now() - ago, 1, self.line, **more))
        self.counted = (*self.counted, *rows)
        self.member.share(rows, self.now())

    def decide(self, action="ban", subject=BAD, *, of="guessing", by="rule", minutes=30):
        moment = self.now()
        span = minutes * MINUTE
        made = Decision(
            "x", moment, action, subject, of, (), moment + span, span, 1, 0, "enforce", "", by=by
        )
        self.member.say([made], moment)

    def settle(self, minutes=30):
        """What a watcher does about convictions."""
        for one in self.convictions:
            self.decide(subject=one.subject, of=one.rule)
            self.member.settled(one.id, one.time + minutes * MINUTE)

    def turn(self):
        self.rounds.turn()
        self._take(self.member.heard())

    def _take(self, heard: Heard):
        self.convictions += heard.convictions
        self.closings += heard.closings
        self.openings += heard.openings
        self.changes += heard.changes
        self.journal += heard.journal
        self.told.update(heard.told)

    @property
    def health(self):
        return self.rounds.health()


def run(nodes: Sequence[Node], reached: Callable[[], bool], what: str, seconds=30.0) -> None:
    """Let them all turn until it is so."""
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline, f"{what}: {[node.health for node in nodes]}"
        turn(nodes)


def turn(nodes: Sequence[Node]) -> None:
    poll = select.poll()
    for node in nodes:
        for fd in node.rounds.fds():
            poll.register(fd, select.POLLIN)
    poll.poll(min(node.rounds.pause() for node in nodes) * 1000)
    for node in nodes:
        node.turn()


def settle(nodes: Sequence[Node], rounds: int = 8) -> None:
    """Let so many rounds pass on every node."""
    target = [node.rounds.rounds + rounds for node in nodes]
    run(nodes, lambda: all(n.rounds.rounds >= t for n, t in zip(nodes, target, strict=True)), "")


def ask(server: Server, *command: object) -> object:
    """What the engine says to one command."""
    with contextlib.closing(server.connect()) as one:
        return one.call([command], 10)[0]


def prepare(server: Server) -> None:
    """An empty engine with our functions."""
    for command in (("FLUSHALL",), functions.load_command()):
        reply = ask(server, *command)
        assert not isinstance(reply, Exception), reply


def certificate(name: str, number: int, may=May.CLAIM | May.DECIDE | May.PUBLISH) -> bytes:
    found = Certificate(name, Host(name).seal.public, may)
    return wire.seal(certify(found, number, now()), FLEET, DESK.sign)


def publish(server: Server | Engine, *papers: bytes) -> None:
    """What the desk does with its papers."""
    for paper in papers:
        commands = say(Parcel.of(paper, LASTING))
        if isinstance(server, Engine):
            replies = server.call(STREAM.decode(), commands)
        else:
            with contextlib.closing(server.connect()) as one:
                replies = one.call(commands, 10)
        assert isinstance(replies[-1], list), replies


def enrol(server: Server | Engine, *names: str) -> None:
    publish(server, *(certificate(name, number) for number, name in enumerate(names, 1)))


def revocation(number: int, *names: str) -> bytes:
    gone = {name: Revocation(1000, now()) for name in names}
    return wire.seal(revoke(gone, number, now()), FLEET, DESK.sign)


@contextlib.contextmanager
def fleet(server: Server, *names: str, **more) -> Iterator[list[Node]]:
    """Enrolled nodes that have joined."""
    prepare(server)
    enrol(server, *names)
    nodes = [Node(name, server.address, **more) for name in names]
    try:
        run(nodes, lambda: all(node.health.state == "joined" for node in nodes), "joined")
        yield nodes
    finally:
        for node in nodes:
            node.rounds.close()
