"""Hosts, faults and time in any order: a real server answers as the oracle does, byte for byte.

Every host counts through its `Outbox`. What it sends may be lost, doubled, or come late; so may the
answers. At the end everything that was counted has been counted once.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tests.fleet.servers import Server
from tests.fleet.timed import Timed

from tidegate.fleet.counting import functions
from tidegate.fleet.counting.functions import Command, Form, Hit, Status, Terms
from tidegate.fleet.counting.oracle import Oracle
from tidegate.fleet.counting.outbox import Outbox
from tidegate.model import HOUR, SECOND, Subject

NOW = 1_790_000_000_000
HOSTS = ("web1", "web2", "web3")
SUBJECTS = (Subject("192.0.2.7"), Subject("2001:db8:1:2::/64"))
RULES = (
    Terms(Form.WINDOW, b"window 3", 3, 20 * SECOND),
    Terms(Form.WINDOW, b"window 8", 8, HOUR),
    Terms(Form.DISTINCT, b"values 3", 3, 20 * SECOND),
    Terms(Form.SCORE, b"points 9", 9, 20 * SECOND),
    Terms(Form.REACHED, b"points 4", 4, 40 * SECOND),
)
# What is just inside or outside of something: a window, the rest, what is late or ahead.
EDGES = (
    0, 0, 1, 9_999, 10_000, 10_001, 20_000, 20_001, 320_000, 640_000, 919_999, 920_000, 920_001,
    940_001, -59_999, -60_000, -60_001,
)  # fmt: skip
AGES = st.one_of(st.sampled_from(EDGES), st.integers(0, 25).map(lambda seconds: seconds * 1000))
FAULTS = st.sampled_from((None,) * 8 + ("command", "answer"))
WIPE = "for _, key in ipairs(redis.call('KEYS', '{tg:*')) do redis.call('DEL', key) end"


class Fleet(RuleBasedStateMachine):
    """Three hosts and one engine. `engine` is put in by the test."""

    engine: Timed

    def __init__(self) -> None:
        super().__init__()
        self.engine.now = NOW
        self.engine.call(("EVAL", WIPE, 0))
        self.engine.advance(0)
        self.oracle = Oracle(NOW)
        self.epochs = dict.fromkeys(HOSTS, 1)
        self.boxes = {host: Outbox(host, 0, 1) for host in HOSTS}
        self.old: list[Command] = []  # what was sent once, and may come again
        self.rules: tuple[Terms, ...] = ()
        self.lines = 0

    @initialize(rules=st.sets(st.sampled_from(RULES), min_size=1, max_size=2))
    def begin(self, rules: set[Terms]) -> None:
        self.rules = tuple(sorted(rules))

    def ask(self, command: Command) -> bytes:
        (reply,) = self.engine.call(command)
        assert reply == self.oracle.call(command)
        assert isinstance(reply, bytes)
        self.old = [*self.old[-20:], command]
        return reply

    @rule(
        host=st.sampled_from(HOSTS), subject=st.sampled_from(SUBJECTS), which=st.integers(0, 1),
        ages=st.lists(AGES, min_size=1, max_size=8), value=st.integers(0, 3),
        points=st.sampled_from((1, 2, 3, 5, 9, -3)), same=st.sampled_from((False, False, True)),
        lost=FAULTS,
    )  # fmt: skip
    def hit(
        self, host: str, subject: Subject, which: int, ages: list[int],
        value: int, points: int, same: bool, lost: str | None,
    ) -> None:  # fmt: skip
        for number, age in enumerate(ages):
            self.lines += 1
            place = functions.place_of(host, self.lines % 3 if same else self.lines)
            name = ((value + number) % 5).to_bytes(8)
            found = Hit((self.engine.now - age) * 1000, place, name, points)
            self.boxes[host].add(self.rules[which % len(self.rules)], subject, found)
        self.send(host, lost)

    @rule(host=st.sampled_from(HOSTS), lost=FAULTS)
    def send(self, host: str, lost: str | None) -> None:
        box = self.boxes[host]
        now = self.engine.now * 1000
        command = box.command(now)
        if command is None:
            return
        if lost == "command":
            self.old.append(command)
            return
        reply = self.ask(command)
        if lost is None:
            answer = functions.read_answer(reply)
            assert answer.status is not Status.SKEWED
            box.answered(answer, now)
            for one in answer.crossings:
                assert one.first <= one.last
                assert one.subject in SUBJECTS

    @precondition(lambda self: self.old)
    @rule(data=st.data())
    def come_again(self, data: st.DataObject) -> None:
        self.ask(data.draw(st.sampled_from(self.old)))

    @rule(host=st.sampled_from(HOSTS))
    def start_again(self, host: str) -> None:
        """The host's process has died with what it had not sent; the next reads all lines again."""
        self.epochs[host] += 1
        self.boxes[host] = Outbox(host, 0, self.epochs[host])

    @rule(
        by=st.sampled_from((1, 200, 1_999, 2_000, 2_000, 10_000, 20_001, 61_000, 300_001, 930_000))
    )
    def pass_time(self, by: int) -> None:
        self.engine.advance(by)
        self.oracle.now += by

    @rule(confirm=st.booleans())
    def look_for_due(self, confirm: bool) -> None:
        _now, crossings = functions.read_due(self.ask(functions.due_command([0])))
        if confirm and crossings:
            command = functions.confirm_command(0, [one.token for one in crossings])
            (reply,) = self.engine.call(command)
            assert reply == self.oracle.call(command) == len(crossings)

    @invariant()
    def same(self) -> None:
        """Whatever the engine still has, the oracle has too."""
        (keys,) = self.engine.call(("KEYS", "{tg:*"))
        assert isinstance(keys, list)
        for key in map(bytes.decode, keys):
            if key.endswith("p"):
                (found,) = self.engine.call(("ZRANGE", key, 0, -1, "WITHSCORES"))
                assert isinstance(found, list)
                told = {token: int(due) for token, due in zip(found[::2], found[1::2], strict=True)}
                assert told == self.oracle.waiting.get(key, {})
            else:
                assert key in self.oracle.records or key in self.oracle.tallies


@pytest.fixture
def engine(shared_server: Server) -> Iterator[Timed]:
    connection = shared_server.connect()
    yield Timed(connection, NOW)
    connection.close()


def test_the_engine_answers_as_the_oracle_does(engine: Timed) -> None:
    Fleet.engine = engine
    run_state_machine_as_test(
        Fleet,
        settings=settings(
            max_examples=150, stateful_step_count=40, deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip
