"""Whatever breaks on the way, in the end all hosts want what one would that heard everything."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.fleet import servers
from tests.fleet.engines import Engine, engines
from tests.fleet.hosts import FLEET, NOW, Host

from tidegate.fleet import wire
from tidegate.fleet.decisions import saying, stream
from tidegate.fleet.decisions.decisions import Decisions
from tidegate.fleet.decisions.offers import ROUND
from tidegate.fleet.decisions.stream import ENDS, HELD, STREAM
from tidegate.model import MINUTE, SECOND

pytestmark = pytest.mark.skipif(servers.MISSING, reason="no redis-server is installed")

NAMES = ("web1", "web2", "mx1")
HOST = st.integers(0, 2)
ADDRESS = st.sampled_from([f"192.0.2.{number}" for number in range(1, 6)])
STEP = st.one_of(
    st.tuples(st.just("ban"), HOST, ADDRESS, st.integers(15, 60)),
    st.tuples(st.just("ban"), HOST, ADDRESS, st.integers(15, 60)),
    st.tuples(st.just("unban"), HOST, ADDRESS),
    st.tuples(st.just("burst"), HOST),
    st.tuples(st.just("exchange"), HOST, st.sampled_from(["", "", "", "command", "reply"])),
    st.tuples(st.sampled_from(["leave", "join", "settle", "settle", "forget"]), HOST),
    st.tuples(st.just("wait"), HOST, st.integers(1, 90)),
    st.tuples(st.just("lose"), st.sampled_from([(STREAM,), (HELD,), (STREAM, HELD, ENDS)])),
)


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    with engines(tmp_path_factory.mktemp("engine")) as make, pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream, "CAP", 40)
        patch.setattr(stream, "AT_ONCE", 5)
        yield make()


def one_that_heard_all(hosts: list[Host], now: int) -> Decisions:
    known = Decisions()
    for host in hosts:
        for body in host.said:
            message = wire.unseal(body, FLEET).message
            known.hear(saying.decode(message.host, message.body), NOW)
    known.forget(now)
    return known


def step(host: Host, engine: Engine, what: str, values: tuple) -> None:
    if what == "ban":
        host.ban(values[0], values[1])
    elif what == "unban":
        host.unban(values[0])
    elif what == "burst":
        for number in range(60):
            host.ban(f"10.0.{host.number & 255}.{number}", 20)
    elif what == "exchange":
        host.exchange(lose=values[0])
    elif what == "leave":
        host.reconnect(None)
    elif what == "join":
        host.reconnect(engine.connect())
    elif what == "settle" and host.connection is not None:
        host.settle()
    elif what == "forget":
        host.offers.forget(host.now)
        host.decisions.forget(host.now)
    elif what == "wait":
        host.now += values[0] * SECOND


@settings(
    max_examples=80, deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(steps=st.lists(STEP, min_size=8, max_size=40))
@example(steps=[("ban", 0, "192.0.2.1", 30), ("settle", 0), ("lose", (HELD,))])
@example(steps=[("ban", 0, "192.0.2.1", 30), ("exchange", 0, "command"), ("exchange", 0, "")])
def test_in_the_end_all_want_the_same(engine, steps):
    engine("FLUSHALL")
    with contextlib.ExitStack() as stack:
        hosts = [Host(name, engine.connect()) for name in NAMES]
        for host in hosts:
            stack.callback(host.reconnect, None)
        for what, which, *values in steps:
            if what == "lose":
                engine("DEL", *which)
            else:
                step(hosts[which], engine, what, tuple(values))
        now = max(host.now for host in hosts) + ROUND
        for _ in range(2):  # the second time to hear what the others were first to say again
            for host in hosts:
                host.now = now
                host.reconnect(engine.connect())
                host.offers.forget(now)
                host.offers.tend(len(hosts), now)
                host.settle()
        known = one_that_heard_all(hosts, now)
        late = Host("late", engine.connect())
        stack.callback(late.reconnect, None)
        late.now = now
        late.settle()
        for host in (*hosts, late):
            host.settle()
            assert host.closed == {str(one.subject) for one in known.standing(now)}
            assert host.decisions.digest(now) == known.digest(now)
            assert all(one.until <= now + 60 * MINUTE for one in host.decisions.standing(now))
