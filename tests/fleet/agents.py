"""Hosts of a fleet at work: the real member and its rounds, a watcher on paper, keys of their own.

Touches what `site` touches, threads, and the key folder given. Limits: all share one process, so a
host that dies is one whose thread ends without a word; each signature is judged once for all.
"""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from tests.fleet.site import HOST, Place
from tests.fleet.truth import RULE, Truth
from tests.fleet.watchers import Watcher

from tidegate.fleet import wire
from tidegate.fleet.counting import functions
from tidegate.fleet.decisions import stream
from tidegate.fleet.decisions.stream import Parcel
from tidegate.fleet.engine.connection import Connection, Login
from tidegate.fleet.engine.engine import Engine
from tidegate.fleet.engine.topology import Route
from tidegate.fleet.member import Member, Setting
from tidegate.fleet.rounds import Rounds
from tidegate.fleet.trust import keys
from tidegate.fleet.trust.admission import Remembering
from tidegate.fleet.trust.keys import Identity
from tidegate.fleet.trust.members import LASTING, Certificate, May, Revocation, certify, revoke
from tidegate.model import SECOND, Change, Decision, Micros, Shared, Subject

FLEET = b"a fleet of tests"
VERIFY = Remembering(keys.verify, 1 << 16)
PATIENCE = 60.0


class Clock:
    """The time, which may leap: `skew` is one host's, `leap` everybody's and the engine's."""

    def __init__(self) -> None:
        self.ahead: Micros = 0

    def now(self, skew: Micros = 0) -> Micros:
        return time.time_ns() // 1000 + self.ahead + skew

    def leap(self, by: Micros, *engines: Callable[..., object]) -> None:
        """So much time has gone by, without anything to be heard of it. `engines`: that run."""
        self.ahead += by
        for engine in engines:
            self.tell(engine)

    def tell(self, engine: Callable[..., object]) -> None:
        """Have this engine's functions know it, too."""
        read = "redis.call('TIME')"
        library = functions.library()
        assert library.count(read) == 1
        said = (
            f"(function() local t = {read}; t[1] = t[1] + {self.ahead // SECOND}; return t end)()"
        )
        engine("FUNCTION", "LOAD", "REPLACE", library.replace(read, said))


class Desk:
    """Who enrols and revokes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._signer = keys.make(folder, "desk")
        self.signers: dict[str, keys.Signer] = {}
        self.papers: list[bytes] = []

    def enrol(self, host: str, may: May = May.CLAIM | May.DECIDE, *addresses: str) -> None:
        """A host with a key of its own."""
        self.signers[host] = keys.make(self.folder, host)
        found = Certificate(
            host, self.signers[host].public, may, tuple(Subject(one) for one in addresses)
        )
        self._sign(lambda number: certify(found, number, 0))

    def revoke(self, now: Micros, *hosts: str) -> bytes:
        """These are none of ours any more."""
        upto = len(self.papers)
        return self._sign(
            lambda number: revoke({host: Revocation(upto, now) for host in hosts}, number, now)
        )

    def _sign(self, message: Callable[[int], wire.Message]) -> bytes:
        paper = wire.seal(message(len(self.papers) + 1), FLEET, self._signer.sign)
        self.papers.append(paper)
        return paper

    def tell(self, connection: Connection) -> None:
        """Put all papers into the engine."""
        commands = [one for paper in self.papers for one in stream.say(Parcel.of(paper, LASTING))]
        assert not [one for one in connection.call(commands, 20) if isinstance(one, Exception)]

    def identity(self, host: str) -> Identity:
        return Identity(FLEET, self._signer.public, host)


class Agent:
    """One host: a thread in its namespace. All is asked under `lock`."""

    def __init__(
        self, name: str, desk: Desk, route: Route, clock: Clock, truth: Truth, *,
        place: Place | None = None, login: Login = HOST, skew: Micros = 0, epoch: int = 1,
        listed: Sequence[Subject] = (), guarded: tuple[Subject, ...] = (),
        changes: Sequence[Change] = (), min_hosts: int = 1,
    ) -> None:  # fmt: skip
        self.name, self.clock, self.skew, self.epoch = name, clock, skew, epoch
        self.lock = threading.RLock()
        setting = Setting(
            desk.identity(name), desk.signers[name].sign, epoch, VERIFY, guarded=guarded
        )
        self.member = Member(setting, [RULE])
        self.member.follow([RULE], min_hosts)
        self.member.restore(changes, self.now())
        self.changes: list[Change] = list(changes)
        self.rounds = Rounds(self.member, Engine(route, login, 2), self.now)
        self.watcher = Watcher(name, self, truth, listed)
        self.failed: BaseException | None = None
        self._place, self._stop = place, threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.asleep = False

    # -- what the watcher says ----------------------------------------------------------------

    def share(self, counted: Sequence[Shared]) -> None:
        self.member.share(counted, self.now())

    def say(self, decisions: Sequence[Decision]) -> None:
        self.member.say(decisions, self.now())

    def settled(self, number: str, until: Micros) -> None:
        self.member.settled(number, until)

    def look(self, listed: Sequence[Subject]) -> None:
        self.member.look(listed)

    # -- what the test says -------------------------------------------------------------------

    def start(self) -> Agent:
        """Begin."""
        self._thread.start()
        return self

    def now(self) -> Micros:
        """By this host's own clock."""
        return self.clock.now(self.skew)

    def lines(self, subject: Subject, number: int = 1) -> None:
        """Its log has lines about somebody, of just now."""
        with self.lock:
            self.watcher.lines(subject, number, self.now())

    def ban(self, subject: Subject) -> None:
        """A person here closes for somebody."""
        with self.lock:
            self.watcher.ban(subject, self.now())

    def unban(self, subject: Subject) -> None:
        """A person here pardons somebody."""
        with self.lock:
            self.watcher.unban(subject, self.now())

    def closed(self) -> set[Subject]:
        """For whom it is closed here."""
        with self.lock:
            return self.watcher.closed(self.now())

    def health(self):
        """How it is, as `status` shows it."""
        with self.lock:
            return self.rounds.health()

    def stop(self) -> None:
        """End without a word, as if killed."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(30)
        self.rounds.close()

    def check(self) -> None:
        """What went wrong in its thread is raised here."""
        if self.failed is not None:
            raise self.failed

    def _run(self) -> None:
        inside: AbstractContextManager[None] = nullcontext()
        if self._place is not None:
            inside = self._place.space.inside()
        with inside:
            try:
                while not self._stop.is_set():
                    self._turn()
            except BaseException as error:  # noqa: BLE001 - raised again by `check`
                self.failed = error

    def _turn(self) -> None:
        if self.asleep:
            self._stop.wait(0.05)
            return
        with self.lock:
            self.rounds.turn()
            heard = self.member.heard()
            self.changes += heard.changes
            self.watcher.act(heard)
            fds, pause = self.rounds.fds(), self.rounds.pause()
        if not fds:
            self._stop.wait(pause)
            return
        poll = select.poll()
        for one in fds:
            poll.register(one, select.POLLIN)
        poll.poll(pause * 1000)


def until(
    what: str, check: Callable[[], object], *agents: Agent, patience: float = PATIENCE
) -> None:
    """Wait for a fact; what went wrong in an agent is raised at once."""
    deadline = time.monotonic() + patience
    while not check():
        for one in agents:
            one.check()
        if time.monotonic() > deadline:
            told = "\n".join(f"{one.name}: {one.health()} closed {one.closed()}" for one in agents)
            raise AssertionError(f"waited in vain for {what}\n{told}")
        time.sleep(0.02)
    for one in agents:
        one.check()
