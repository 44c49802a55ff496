"""Replies are lost, commands come twice and late, messages are heard in another order."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fleet import liar
from tests.fleet.fleets import Near, them
from tests.fleet.servers import MISSING

from tidegate.fleet.engine.topology import Route

pytest.importorskip("cryptography")
pytestmark = pytest.mark.skipif(MISSING, reason="no redis-server is installed")
MANY = 40


@pytest.fixture
def near(tmp_path: Path) -> Iterator[Near]:
    with contextlib.ExitStack() as stack:
        yield Near(tmp_path, stack)


@pytest.fixture
def line(near: Near, tmp_path: Path) -> Iterator[liar.Liar]:
    """All hosts speak to the engine by this one."""
    with liar.liar(tmp_path, near.engine.socket) as made:
        for one in ("web1", "web2", "web3"):
            near.agents.append(near.agent(one, route=Route("single", (made.address,))))
        near.joined()
        yield made
        for agent in near.agents:
            agent.stop()


def burst(near: Near) -> None:
    """Patterns that only all together convict, bans and pardons by people; in the end all agree."""
    for number in range(1, MANY):
        near.pattern(number, number)
        if number % 5 == 0:
            near.agents[number % 3].ban(them(100 + number))
        if number % 10 == 0:
            near.agents[(number + 1) % 3].unban(them(95 + number))
        time.sleep(0.05)
    near.closed_everywhere(*(them(number) for number in range(1, MANY)))


def check(near: Near) -> None:
    """All agree on what is in force, and each convicted each once."""
    near.converged()
    near.until("one state", lambda: len(near.digests()) == 1)
    for one in near.agents:
        subjects = [found.subject for found in one.watcher.convictions]
        assert len(subjects) == len(set(subjects)), subjects


def test_replies_are_lost(near: Near, line: liar.Liar) -> None:
    chance = random.Random(5)
    line.twist = lambda _command, reply: liar.DROP if chance.random() < 0.02 else reply
    burst(near)
    assert line.hung_up > 3
    line.twist = liar.honest
    check(near)


def test_commands_come_twice_and_late(near: Near, line: liar.Liar) -> None:
    """Some at once, some when their connection is long gone; what is said is said twice."""
    chance = random.Random(6)
    twice = (b"FCALL", b"XADD", b"HSET", b"ZADD")
    line.again = lambda command: (
        chance.choice((None, None, 0.0, 0.3, 1.5)) if command[0] in twice else None
    )
    line.twist = lambda _command, reply: liar.DROP if chance.random() < 0.01 else reply
    burst(near)
    line.twist = liar.honest
    line.again = lambda _command: None
    assert line.repeated > MANY
    near.until("all to have come", lambda: not line.later)
    check(near)


def test_messages_are_heard_in_another_order_and_again(near: Near, line: liar.Liar) -> None:
    chance = random.Random(7)
    heard: list[bytes] = []

    def shuffled(command: list[bytes], reply: object) -> object:
        if command[0] == b"FCALL_RO":
            return liar.Error("NOPERM only to have it read by XREAD")
        if command[0] != b"XREAD" or not reply:
            return reply
        ((stream, entries),) = reply  # type: ignore[misc]
        bodies = [fields for _place, fields in entries]
        heard.extend(fields[1] for fields in bodies)
        chance.shuffle(bodies)
        if heard and chance.random() < 0.5:
            bodies[-1:] = [bodies[-1], [b"m", chance.choice(heard)]]
        places = [place for place, _fields in entries]
        places += [_after(places[-1])] * (len(bodies) - len(places))
        return [[stream, [list(pair) for pair in zip(places, bodies, strict=True)]]]

    line.twist = shuffled
    burst(near)
    check(near)
    assert len(heard) > MANY


def _after(place: bytes) -> bytes:
    """A place that nobody has: what follows in the stream may be a millisecond later."""
    moment, _, number = place.partition(b"-")
    return b"%b-%d" % (moment, int(number) + 1_000_000)
