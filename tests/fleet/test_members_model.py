"""Whole members on a real server, through any order of lines, words, faults and waits.

In the end all hosts have closed for whom it is in force, and for nobody else; whatever convicted was
counted by those it names, and nothing of it twice; who would have been convicted by one machine that
saw all was convicted; and when time has passed, nothing is left of it anywhere.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.fleet.servers import MISSING, Server
from tests.fleet.timed import Timed
from tests.fleet.truth import BAN, RULE, Truth
from tests.fleet.watchers import Watcher
from tests.unit.fleet.village import DESK, FLEET, Host, verify

from tidegate.fleet import wire
from tidegate.fleet.counting.functions import Command
from tidegate.fleet.decisions import saying, stream
from tidegate.fleet.decisions.offers import ROUND
from tidegate.fleet.decisions.stream import Parcel
from tidegate.fleet.member import Member, Setting
from tidegate.fleet.trust.keys import Identity
from tidegate.fleet.trust.members import LASTING, May
from tidegate.fleet.wire import Kind
from tidegate.model import MINUTE, SECOND, Change, Decision, Micros, Shared, Subject

pytestmark = pytest.mark.skipif(MISSING, reason="no redis-server is installed")

NAMES = ("web1", "web2", "web3")
THEM = tuple(Subject(f"203.0.113.{number}") for number in range(1, 4))
WIPE = "for _, key in ipairs(redis.call('KEYS', '{tg:*')) do redis.call('DEL', key) end"


class Engine(Timed):
    """A server that is told the time; what is said in it does not end by itself."""

    def advance(self, by: int) -> None:
        """Let so many milliseconds pass: what counts and is over is gone."""
        (keys,) = self.call(("KEYS", "{tg:00}*"))
        assert isinstance(keys, list)
        for key in keys:
            (left,) = self.call(("PTTL", key))
            assert isinstance(left, int)
            assert left != -1, f"{key!r} never expires"
            self.call(("DEL", key) if left <= by else ("PEXPIRE", key, left - by))
        self.now += by
        self._tell()


class Part:
    """One host: its member, its watcher, and a line to the engine that may be cut."""

    def __init__(self, name: str, world: World, before: Part | None = None) -> None:
        self.name, self.world, self.there = name, world, True
        self.epoch = 1 if before is None else before.epoch + 1
        self.host = world.hosts[name]
        self.changes: list[Change] = [] if before is None else before.changes
        setting = Setting(
            Identity(FLEET, DESK.public, name), self.host.seal.sign, self.epoch, verify
        )
        self.member = Member(setting, [RULE])
        self.member.restore(self.changes, world.now)
        self.watcher = Watcher(name, self, world.truth)
        self.again: list[Decision] = []
        if before is not None:  # what the ledger knows, and the log from its beginning
            self.again = [one for host, one in world.truth.said if host == name]
            self.watcher.bans, self.watcher.pardons = before.watcher.bans, before.watcher.pardons
            self.watcher.convictions = before.watcher.convictions
            self.watcher.reread(before.watcher, world.now)

    def share(self, counted: list[Shared]) -> None:
        self.member.share(counted, self.world.now)

    def say(self, decisions: list[Decision]) -> None:
        """What a host says that does not know yet that it is enrolled, it says again."""
        if self.name in self.member.trust.roster.members:
            self.member.say(decisions, self.world.now)
        else:
            self.again += decisions

    def settled(self, number: str, until: Micros) -> None:
        self.member.settled(number, until)

    def look(self, listed: tuple[Subject, ...]) -> None:
        self.member.look(listed)

    def exchange(self, lose: str = "", *, urgent: bool = False) -> None:
        """Once; `lose`: the `command`, or the `reply`."""
        if self.again and self.name in self.member.trust.roster.members:
            again, self.again = self.again, []
            self.say(again)
        if self.there and not lose:
            self._read_mail()
        for one in self.member.asks(self.world.now, urgent=urgent):
            if not self.there or lose == "command":
                self.member.lost(one)
                continue
            replies = self.world.engine.connection.call(one.commands, 30)
            self.world.sent = [*self.world.sent[-30:], *one.commands]
            if lose == "reply":
                self.member.lost(one)
            else:
                self.member.answered(one, replies, self.world.now)
        heard = self.member.heard()
        self.changes = [*self.changes, *heard.changes]
        self.watcher.act(heard)

    def _read_mail(self) -> None:
        """What is said to this host alone; nobody waits for it at the engine."""
        box = self.member.mailbox
        for one in box.asks(self.world.now):
            asked = [_at_once(command) for command in one.commands]
            replies = self.world.engine.connection.call(asked, 30)
            box.answered(one, replies, self.world.now)

    def settle(self) -> None:
        """A round, and all that should not wait."""
        self.exchange()
        for _ in range(60):
            if not self.member.urgent or not self.there:
                return
            self.exchange(urgent=True)
        raise AssertionError(f"{self.name} never settles")


def _at_once(command: Command) -> Command:
    if b"BLOCK" not in command:
        return command
    at = command.index(b"BLOCK")
    return command[:at] + command[at + 2 :]


class World:
    """Three hosts, an engine, and what really happened."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.truth = engine, Truth()
        start = time.time_ns() // 1_000_000  # what is said bears the server's own time
        self.now: Micros = start * 1000
        self.sent: list[Command] = []
        self.pardoned: set[Subject] = set()
        self.forgot = False
        self.hosts = {name: Host(name) for name in NAMES}
        engine.now = start
        engine.call(("EVAL", WIPE, 0))
        engine.advance(0)
        self.papers = [
            host.certificate(number, May.CLAIM | May.DECIDE)
            for number, host in enumerate(self.hosts.values(), 1)
        ]
        self.tell_papers()
        self.parts = [Part(name, self) for name in NAMES]
        for _ in range(3):  # until they know each other, and have written it down
            self.round()
            self.wait(SECOND)

    def tell_papers(self) -> None:
        for paper in self.papers:
            self.engine.call(*stream.say(Parcel.of(paper, LASTING)))

    def wait(self, by: Micros) -> None:
        """Time passes for all."""
        self.now += by
        self.engine.advance(by // 1000)

    def round(self) -> None:
        for one in self.parts:
            one.settle()
        self.wait(200_000)

    def step(self, what: str, which: int, *values: object) -> None:
        """Something happens; no two things in the same moment."""
        self.wait(10_000)
        part = self.parts[which]
        if what == "lines":
            subject, number = values
            if subject not in self.pardoned:
                part.watcher.lines(subject, number, self.now)  # type: ignore[arg-type]
        elif what == "ban":
            part.watcher.ban(values[0], self.now)  # type: ignore[arg-type]
        elif what == "unban":
            self.pardoned.add(values[0])  # type: ignore[arg-type]
            part.watcher.unban(values[0], self.now)  # type: ignore[arg-type]
        elif what == "exchange":
            part.exchange(str(values[0]))
        elif what == "settle":
            part.settle()
        elif what == "there":
            part.there = bool(values[0])
        elif what == "wait":
            self.wait(int(str(values[0])) * SECOND)
        elif what == "start":
            self.parts[which] = Part(part.name, self, part)
            self.parts[which].there = part.there
        elif what == "again":
            self._again(random.Random(int(str(values[0]))))
        elif what == "forget":
            self.forgot = True
            self.engine.call(("EVAL", WIPE, 0))

    def _again(self, chance: random.Random) -> None:
        """Commands come once more, and what was said is said once more, in another order."""
        for one in chance.sample(self.sent, min(5, len(self.sent))):
            if one[0] in ("FCALL", b"XADD"):  # what is in a transaction comes whole, or not at all
                self.engine.connection.call([one], 30)
        (said,) = self.engine.call(("XRANGE", stream.STREAM, "-", "+"))
        bodies = [fields[1] for _place, fields in said]  # type: ignore[attr-defined]
        for body in chance.sample(bodies, min(5, len(bodies))):
            self.engine.call(stream.tell(body))

    def heal(self) -> None:
        """All can speak again; time enough to look after what others said, too."""
        for one in self.parts:
            one.there = True
        for _ in range(4):
            self.round()
        for pause in (SECOND, 12 * SECOND, 12 * SECOND, ROUND, SECOND, ROUND, SECOND):
            self.wait(pause)
            self.round()
            self.round()


WHO = st.sampled_from(THEM)
STEP = st.one_of(
    st.tuples(st.just("lines"), st.integers(0, 2), WHO, st.integers(1, 2)),
    st.tuples(st.just("lines"), st.integers(0, 2), WHO, st.integers(1, 2)),
    st.tuples(st.just("lines"), st.integers(0, 2), WHO, st.integers(1, 5)),
    st.tuples(st.sampled_from(["ban", "unban"]), st.integers(0, 2), WHO),
    st.tuples(
        st.just("exchange"), st.integers(0, 2), st.sampled_from(["", "", "command", "reply"])
    ),
    st.tuples(st.just("settle"), st.integers(0, 2)),
    st.tuples(st.just("there"), st.integers(0, 2), st.booleans()),
    st.tuples(st.just("wait"), st.just(0), st.integers(1, 20)),
    st.tuples(st.just("start"), st.integers(0, 2)),
    st.tuples(st.just("again"), st.just(0), st.integers(0, 99)),
    st.tuples(st.just("forget"), st.just(0)),
)


@pytest.fixture
def engine(shared_server: Server) -> Iterator[Engine]:
    connection = shared_server.connect()
    yield Engine(connection, 0)
    connection.close()


ONE, TWO, THREE = THEM


@settings(
    max_examples=40, deadline=None, report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(steps=st.lists(STEP, min_size=6, max_size=30))
@example(
    steps=[
        ("lines", 0, ONE, 2), ("lines", 1, ONE, 1), ("settle", 0), ("exchange", 1, "reply"),
        ("start", 1), ("lines", 2, ONE, 1), ("settle", 2), ("again", 0, 1),
    ]
)  # fmt: skip
@example(
    steps=[
        ("there", 0, False), ("lines", 0, ONE, 3), ("ban", 0, TWO), ("lines", 1, ONE, 1),
        ("wait", 0, 20), ("settle", 1), ("forget", 0), ("unban", 2, THREE),
    ]
)  # fmt: skip
def test_in_the_end_all_have_closed_for_whom_it_is_in_force(
    engine: Engine, steps: list[tuple]
) -> None:
    world = World(engine)
    for what, which, *values in steps:
        world.step(what, which, *values)
    world.heal()
    wanted = world.truth.in_force(world.now)
    assert [one.watcher.closed(world.now) for one in world.parts] == [wanted] * 3
    if not world.forgot:
        # What one machine would have convicted that saw all lines, as long as nobody pardoned.
        due = {one for one in THEM if world.truth.crossings(one)} - world.pardoned
        assert due <= wanted
    assert len({one.member.health(world.now).digest for one in world.parts}) == 1
    world.wait(BAN + 16 * MINUTE)
    for _ in range(4):
        world.round()
        world.wait(MINUTE)
    for one in world.parts:
        assert not one.watcher.closed(world.now)
        assert not one.member.assembly.decisions.standing(world.now)
        assert not list(one.member.trust.cases.closed(world.now))
    (held,) = engine.call(("HVALS", stream.HELD))
    for body in held:  # type: ignore[attr-defined]
        message = wire.unseal(body, FLEET).message
        assert message.kind in (Kind.CERTIFICATE, Kind.DECISIONS)
        if message.kind is Kind.DECISIONS:  # what outranks bans that may still come
            assert {one.verb for one in saying.decode(message.host, message.body)} == {"unban"}
