"""Decisions through real engines: late joiners, sleepers, failover, lost replies, lost data."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from tests.fleet import servers
from tests.fleet.engines import engines, until
from tests.fleet.hosts import NOW, Host

from tidegate.fleet.decisions import stream
from tidegate.fleet.decisions.listener import CHECK
from tidegate.fleet.decisions.stream import ENDS, GRACE, HELD, STREAM, Parcel
from tidegate.model import MINUTE, SECOND

pytestmark = pytest.mark.skipif(servers.MISSING, reason="no redis-server is installed")


@pytest.fixture
def make(tmp_path):
    with engines(tmp_path) as maker:
        yield maker


@pytest.fixture(scope="module")
def kept_engine(tmp_path_factory):
    with engines(tmp_path_factory.mktemp("engine")) as make:
        yield make()


@pytest.fixture
def engine(kept_engine):
    kept_engine("FLUSHALL")
    return kept_engine


@pytest.fixture
def join(engine):
    with contextlib.ExitStack() as stack:

        def joined(name, protocol=2, **more):
            connection = engine.speak(protocol)
            stack.callback(connection.close)
            host = Host(name, connection, **more)
            host.settle()
            return host

        yield joined


@pytest.fixture
def short(monkeypatch):
    """A stream that is soon full."""
    monkeypatch.setattr(stream, "CAP", 200)
    monkeypatch.setattr(stream, "AT_ONCE", 20)


def addresses(count, first=0):
    return [f"10.0.{n >> 8}.{n & 255}" for n in range(first, first + count)]


def say_many(host, names):
    for name in names:
        host.ban(name)
    host.settle()


@pytest.mark.parametrize("protocol", [2, 3])
def test_what_one_says_all_hear_once(join, protocol):
    one, other = join("web1", protocol), join("web2", protocol)
    one.ban("192.0.2.7")
    one.settle()
    other.settle()
    assert other.closed == {"192.0.2.7"}
    heard = other.heard
    other.settle()
    assert other.heard == heard
    other.unban("192.0.2.7")
    other.settle()
    one.settle()
    assert one.closed == other.closed == set()
    assert one.decisions.digest(NOW) == other.decisions.digest(NOW)


@pytest.mark.parametrize("protocol", [2, 3])
def test_who_joins_late_is_told_also_what_the_stream_has_dropped(join, engine, short, protocol):
    one = join("web1")
    say_many(one, addresses(700))
    one.unban("10.0.0.1")
    one.settle()
    assert 200 <= engine("XLEN", STREAM) < 700
    late = join("web2", protocol)
    assert late.closed == one.closed == set(addresses(700)) - {"10.0.0.1"}
    assert late.listener.snapshots == 1
    say_many(one, ["192.0.2.7"])
    late.settle()
    assert late.closed == one.closed


def test_what_is_said_while_the_snapshot_is_read_is_heard(join, short):
    one = join("web1")
    say_many(one, addresses(300))
    late = Host("web2", one.connection)
    said = 300
    while late.exchange():
        say_many(one, addresses(3, said))
        said += 3
        assert said < 1000
    late.settle()
    assert said > 310
    assert late.closed == set(addresses(said))


def test_who_slept_past_the_end_of_the_stream_reads_the_snapshot(join, short):
    one, sleeper = join("web1"), join("web2")
    say_many(one, addresses(10))
    sleeper.settle()
    say_many(one, addresses(700, 10))
    sleeper.now += 10 * MINUTE
    sleeper.settle()
    assert sleeper.closed == one.closed
    assert sleeper.listener.snapshots == 2


def test_a_flood_between_two_exchanges_hides_nothing(join, short):
    one, other = join("web1"), join("web2")
    say_many(one, addresses(1))
    other.settle()
    say_many(one, addresses(700))  # by the clock of `other` no time passes
    other.settle()
    assert other.closed == one.closed
    assert other.listener.snapshots == 2


def test_who_slept_less_reads_only_the_stream(join, short):
    one, sleeper = join("web1"), join("web2")
    say_many(one, addresses(10))
    sleeper.settle()
    say_many(one, addresses(100, 10))
    sleeper.now += 10 * MINUTE
    sleeper.settle()
    assert sleeper.closed == one.closed
    assert sleeper.listener.snapshots == 1


@pytest.mark.parametrize("protocol", [2, 3])
def test_what_somebody_takes_out_of_the_stream_is_in_the_snapshot(join, engine, protocol):
    one, other = join("web1"), join("web2", protocol)
    say_many(one, addresses(10))
    other.settle()
    say_many(one, ["192.0.2.7"])
    ((place, _fields),) = engine("XREVRANGE", STREAM, "+", "-", "COUNT", 1)
    engine("XDEL", STREAM, place)
    say_many(one, ["192.0.2.8"])
    other.settle()
    assert other.closed == one.closed - {"192.0.2.7"}
    other.now += CHECK
    other.settle()
    assert other.closed == one.closed
    assert other.listener.snapshots == 2


def test_a_stream_that_somebody_removed_is_begun_anew(join, engine):
    one, other = join("web1"), join("web2")
    say_many(one, addresses(10))
    other.settle()
    say_many(one, ["192.0.2.7"])
    engine("DEL", STREAM, HELD, ENDS)
    other.now += CHECK
    other.ban("192.0.2.8")
    other.settle()
    one.now += CHECK
    one.settle()  # says again what is missing
    other.now += 2 * CHECK
    other.settle()
    assert one.closed == other.closed == {*addresses(10), "192.0.2.7", "192.0.2.8"}
    assert join("web3").closed == one.closed


@pytest.mark.parametrize("lost", ["command", "reply"])
def test_who_lost_the_reply_says_it_once_all_the_same(join, engine, lost):
    one = join("web1")
    one.ban("192.0.2.7")
    one.exchange(lose=lost)
    one.reconnect(engine.connect())
    assert one.offers.unsaid == 1
    one.settle()
    assert one.offers.unsaid == 0
    assert engine("XLEN", STREAM) == 1
    assert one.offers.offered == (lost == "command")


def test_what_is_decided_while_the_engine_is_away_is_said_afterwards(join, engine):
    one, other = join("web1"), join("web2")
    one.reconnect(None)
    for name in addresses(50):
        one.ban(name)
    one.ban("192.0.2.7", minutes=1)
    assert one.exchange() is False
    one.now = other.now = NOW + 10 * MINUTE
    one.offers.forget(one.now)
    assert one.offers.unsaid == 50
    one.reconnect(engine.connect())
    one.settle()
    other.settle()
    assert other.closed == one.closed == set(addresses(50))


def replicated(make):
    primary = make()
    replica = make(of=primary)
    linked(replica)
    return primary, replica


def linked(replica):
    until(
        lambda: b"master_link_status:up" in replica("INFO", "replication"), "the replica is alone"
    )


def test_a_failover_loses_nothing_that_still_holds(make):
    primary, replica = replicated(make)
    hosts = [Host(name, primary.connect()) for name in ("web1", "web2", "mx1")]
    for number, host in enumerate(hosts):
        say_many(host, addresses(20, 100 * number))
    until(lambda: replica("HLEN", HELD) == 60, "the replica has not got all")
    replica("REPLICAOF", "NO", "ONE")
    for number, host in enumerate(hosts):
        say_many(host, addresses(20, 100 * number + 50))  # the replica never hears of these
    hosts[0].unban("10.0.0.1")
    for host in hosts:
        host.settle()
        host.settle()
    expected = hosts[0].closed
    assert len(expected) == 119
    primary.kill()
    gone = hosts.pop()  # who said some of it has died with the engine
    gone.reconnect(None)
    for host in hosts:
        assert host.exchange() is False
        host.now += CHECK
        host.reconnect(replica.connect())
        host.settle()
    late = Host("web3", replica.connect())
    late.settle()
    assert late.closed == expected
    for host in hosts:
        host.settle()
        assert host.closed == expected
        assert host.listener.snapshots == 2
    assert hosts[0].offers.offered == 61
    assert hosts[1].offers.offered == 0  # found them there: said twice it was not
    assert replica("HLEN", HELD) == 121
    assert {host.decisions.digest(host.now) for host in hosts} == {late.decisions.digest(late.now)}


def test_a_replica_that_lost_its_primary_is_known_as_stale_and_nothing_can_be_said_to_it(make):
    primary, replica = replicated(make)
    writer, reader = Host("web1", primary.connect()), Host("web2", replica.connect())
    say_many(writer, ["192.0.2.7"])
    until(lambda: replica("HLEN", HELD) == 1, "the replica has not got it")
    reader.settle()
    assert reader.closed == {"192.0.2.7"}
    assert not reader.stale
    primary.kill()
    until(
        lambda: b"master_link_status:down" in replica("INFO", "replication"), "it noticed nothing"
    )
    reader.now += CHECK
    reader.ban("192.0.2.8")
    reader.exchange()
    assert reader.stale
    assert reader.closed == {"192.0.2.7", "192.0.2.8"}
    assert reader.offers.unsaid == 1


def test_a_reader_of_a_replica_follows_a_failover_though_its_connection_stays(make):
    primary, replica = replicated(make)
    second = make(of=primary)
    linked(second)
    writer, reader = Host("web1", primary.connect()), Host("web2", second.connect())
    say_many(writer, addresses(5))
    for one in (replica, second):
        until(lambda one=one: one("HLEN", HELD) == 5, "a replica has not got all")
    reader.settle()
    primary.kill()
    replica("REPLICAOF", "NO", "ONE")
    second("REPLICAOF", "127.0.0.1", str(replica.port))
    linked(second)
    writer.reconnect(replica.connect())
    say_many(writer, ["192.0.2.7"])
    until(lambda: second("HLEN", HELD) == 6, "the replica has not got all")
    reader.now += CHECK
    reader.listener.take(reader.connection.call(reader.listener.commands(reader.now), 30))
    assert reader.listener.phase == "start"
    reader.settle()
    assert reader.closed == writer.closed
    assert reader.listener.snapshots == 2


def test_an_engine_that_forgot_all_is_given_all_again(make):
    server = make()
    one, other = Host("web1", server.connect()), Host("web2", server.connect())
    say_many(one, addresses(30))
    other.settle()
    server.kill()
    one.exchange()
    server.start()
    for host in (one, other):
        host.reconnect(server.connect())
        host.now += MINUTE
        host.settle()
    assert server("HLEN", HELD) == server("ZCARD", ENDS) == 30
    late = Host("web3", server.connect())
    late.settle()
    assert late.closed == set(addresses(30))


def test_a_snapshot_that_somebody_emptied_is_filled_in_the_next_round(join, engine):
    one = join("web1")
    say_many(one, addresses(30))
    engine("DEL", HELD, STREAM, ENDS)
    one.offers.tend(3, one.now)
    one.settle()
    assert engine("HLEN", HELD) == 30
    engine("DEL", HELD)
    one.offers.tend(3, one.now + SECOND)
    one.settle()
    assert engine("HLEN", HELD) == 0
    one.offers.tend(3, one.now + 6 * MINUTE)
    one.settle()
    assert engine("HLEN", HELD) == 30


def test_what_has_ended_is_taken_out_and_the_rest_stays(join, engine, monkeypatch):
    one = join("web1")
    one.ban("192.0.2.7", minutes=1)
    one.ban("192.0.2.8", minutes=30)
    one.settle()

    def swept(now):
        replies = one.connection.call(stream.sweep(now), 30)
        commands, crowded = stream.swept(replies)
        if commands:
            one.connection.call(commands, 30)
        return crowded, engine("HLEN", HELD), engine("ZCARD", ENDS)

    assert swept(NOW + MINUTE + GRACE) == (0, 2, 2)
    assert swept(NOW + MINUTE + GRACE + 1) == (0, 1, 1)
    one.ban("192.0.2.9", minutes=40)
    one.settle()
    monkeypatch.setattr(stream, "MOST_HELD", 1)
    assert swept(NOW) == (1, 1, 1)
    late = join("web2")
    late.now = NOW + 35 * MINUTE
    assert late.closed == {"192.0.2.9"}


def test_an_engine_without_room_refuses_all_of_it_and_is_told_again(join, engine):
    one = join("web1")
    engine("CONFIG", "SET", "maxmemory", "1")
    try:
        one.ban("192.0.2.7")
        one.exchange()
        one.exchange()
        assert one.offers.unsaid == 1
    finally:
        engine("CONFIG", "SET", "maxmemory", "0")
    assert engine("EXISTS", HELD, STREAM, ENDS) == 0
    one.settle()
    assert engine("XLEN", STREAM) == engine("HLEN", HELD) == 1


def test_messages_of_others_are_passed(join, engine):
    one = join("web1")
    engine("XADD", STREAM, "*", "x", "y")
    engine("XADD", STREAM, "*", "m", "1", "n", "2")
    say_many(one, ["192.0.2.7"])
    other = join("web2")
    assert other.closed == {"192.0.2.7"}


SHIPPED = Path(__file__).parents[2] / "packaging" / "fleet" / "tidegate.acl"


def shipped_rights() -> list[str]:
    """What the file that comes with the package lets a host do."""
    (line,) = [
        each for each in SHIPPED.read_text().splitlines() if each.startswith("user tidegate ")
    ]
    return [word for word in line.split()[2:] if not word.startswith((">", "on"))]


@pytest.mark.parametrize("rights", ["least", "shipped"])
def test_these_rights_suffice(engine, rights):
    least = ["resetkeys", "~{tg:*", "-@all", *(f"+{word}" for word in stream.COMMANDS)]
    engine("ACL", "SETUSER", "tide", "on", "nopass", *(
        least if rights == "least" else shipped_rights()
    ))  # fmt: skip
    try:
        connection = engine.connect()
        assert connection.call([("AUTH", "tide", "any")], 30) == [b"OK"]
        one = Host("web1", connection)
        say_many(one, ["192.0.2.7"])
        one.offers.tend(1, NOW)
        one.now += CHECK
        one.settle()
        assert (one.trouble, one.listener.phase) == ("", "stream")
        replies = connection.call(stream.sweep(NOW + 60 * MINUTE), 30)
        commands, _crowded = stream.swept(replies)
        assert not any(isinstance(one, Exception) for one in connection.call(commands, 30))
        assert engine("EXISTS", HELD) == 0
        connection.close()
    finally:
        engine("ACL", "DELUSER", "tide")


def test_a_parcel_is_replaced_by_itself(engine):
    connection = engine.connect()
    parcel = Parcel(b"id", NOW, b"body")
    for _ in range(2):
        assert stream.was_said(connection.call(stream.say(parcel), 30))
    assert engine("HLEN", HELD) == engine("ZCARD", ENDS) == 1
    assert engine("ZSCORE", ENDS, "id") == b"%d" % NOW
    connection.call(stream.say(parcel._replace(until=NOW - 1)), 30)
    assert engine("ZSCORE", ENDS, "id") == b"%d" % NOW
    connection.close()
