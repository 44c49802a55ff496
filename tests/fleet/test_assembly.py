"""Hosts that decide for each other through a real engine, and what they refuse to believe."""

from __future__ import annotations

import pytest
from tests.fleet import servers
from tests.fleet.engines import engines
from tests.unit.fleet.village import NOW, Host, revocation, village

from tidegate.fleet import wire
from tidegate.fleet.decisions import saying, stream
from tidegate.fleet.decisions.assembly import SWEEP, Assembly
from tidegate.fleet.decisions.decisions import SKEW, Entry
from tidegate.fleet.decisions.stream import HELD, STREAM, Parcel
from tidegate.fleet.trust.members import LASTING, May, Revocation
from tidegate.fleet.trust.trust import Quotas
from tidegate.model import DAY, MINUTE, SECOND, Subject

pytestmark = pytest.mark.skipif(servers.MISSING, reason="no redis-server is installed")
BAD = Subject("203.0.113.5")


@pytest.fixture(scope="module")
def kept_engine(tmp_path_factory):
    with engines(tmp_path_factory.mktemp("engine")) as make:
        yield make()


@pytest.fixture
def engine(kept_engine):
    kept_engine("FLUSHALL")
    return kept_engine


class Member:
    """One host with its trust, its signature and a connection of its own."""

    def __init__(self, engine, name, names=("web1", "web2", "mx1"), people=("web1",), **more):
        self.trust, *hosts = village(*names, **more)
        self.hosts = {host.name: host for host in hosts}
        for number, host in enumerate(people, 90):
            paper = self.hosts[host].certificate(number, May.CLAIM | May.DECIDE)
            assert self.trust.paper(paper, NOW) == []
        self.now = NOW
        self.assembly = Assembly(
            name, self.trust.admit, self.seal, lambda host: self.trust.roster.may(host, May.DECIDE)
        )
        self.me = self.hosts.get(name) or Host(name)
        self.connection = engine.connect()
        self.others = []

    def seal(self, kind, body, now):
        return self.me.says(kind=kind, body=body, sent=now)

    def settle(self):
        shifts = []
        for _ in range(100):
            commands = self.assembly.commands(self.now)
            found = self.assembly.take(self.connection.call(commands, 30), 3, self.now)
            shifts += found.shifts
            self.others += [*found.kept, *found.others]
            if not found.behind and not self.assembly.offers.unsaid:
                return shifts
        raise AssertionError("never settles")

    def ban(self, subject=BAD, minutes=30, **more):
        until = self.now + minutes * MINUTE
        one = Entry("", "ban", "", self.now, subject, until=until, rule="guessing")
        return self.assembly.say([one._replace(**more)], self.now)

    @property
    def closed(self):
        return {str(one.subject) for one in self.assembly.decisions.standing(self.now)}


def inject(engine, *messages):
    """What anybody can do who can write to the engine."""
    for body in messages:
        engine("XADD", STREAM, "*", "m", body)
        engine("HSET", HELD, Parcel.of(body, 0).id, body)


def body(host, *entries):
    (found,) = saying.bodies([saying.identify(host, one) for one in entries])
    return found


def entry(**more):
    one = Entry("", "ban", "", NOW, BAD, until=NOW + 30 * MINUTE, rule="guessing")
    return one._replace(**more)


def test_what_one_decides_all_want_and_what_a_person_takes_back_none(engine):
    one, other = Member(engine, "web1"), Member(engine, "web2")
    (shift,) = one.ban()
    assert shift.subject == BAD
    assert one.settle() == []  # it comes back, and says nothing new
    assert [each.entry.host for each in other.settle()] == ["web1"]
    time = one.assembly.decisions.outranking(BAD, NOW)
    one.assembly.say([Entry("", "unban", "", time, BAD, by="anna (uid 1000)")], NOW)
    one.settle()
    assert [each.entry for each in other.settle()] == [None]
    assert one.closed == other.closed == set()


def test_what_is_not_rightly_signed_by_a_member_closes_nothing(engine):
    one = Member(engine, "web1")
    stranger, thief = Host("mallory"), Host("mallory")
    inject(
        engine,
        stranger.says(kind=wire.Kind.DECISIONS, body=body("mallory", entry())),
        thief.says(kind=wire.Kind.DECISIONS, body=body("web2", entry()), name="web2"),
        one.hosts["web2"].says(kind=wire.Kind.DECISIONS, body=b"\0\1nonsense"),
        b"TG\1\2", b"", b"x" * 5000,
    )  # fmt: skip
    one.settle()
    assert one.closed == set()
    assert len(one.assembly.offers) == 0
    assert one.assembly.refused == {("web2", "malformed"): 1}
    assert one.trust.refused.counts["web2", "forged"] > 0


def test_people_decide_only_where_the_desk_lets_them(engine):
    one, other = Member(engine, "web1"), Member(engine, "web2")
    one.ban()
    other.assembly.say([Entry("", "unban", "", NOW + SECOND, BAD, by="mallory")], NOW)
    other.ban(Subject("203.0.113.6"), rule="", by="mallory")
    one.settle()
    other.settle()
    one.settle()
    assert one.closed == {str(BAD)}
    assert one.assembly.refused == {("web2", "not allowed"): 2}


def test_what_is_dated_ahead_is_refused(engine):
    one = Member(engine, "web1")
    web2 = one.hosts["web2"]
    ahead = NOW + 2 * SKEW + SECOND
    inject(
        engine,
        web2.says(kind=wire.Kind.DECISIONS, body=body("web2", entry(time=ahead))),
        web2.says(
            kind=wire.Kind.DECISIONS, body=body("web2", entry(ports=(25,))), sent=NOW + SKEW + SECOND
        ),
        web2.says(kind=wire.Kind.DECISIONS, body=body("web2", entry(time=NOW + SKEW, ports=(22,)))),
    )  # fmt: skip
    one.settle()
    assert [each.ports for each in one.assembly.decisions.standing(NOW)] == [(22,)]
    assert one.assembly.refused == {("web2", "skew"): 2}


def test_what_a_quota_left_out_is_read_when_there_is_room_again(engine):
    one, late = (
        Member(engine, "web1"),
        Member(engine, "web2", quotas=Quotas(messages=20, at_once=20)),
    )
    for number in range(50):
        one.ban(Subject(f"203.0.113.{number}"))
    one.settle()
    late.settle()
    assert len(late.closed) == 20
    for _ in range(5):
        late.now += MINUTE
        late.assembly.tick(3, late.now)
        late.settle()
    assert late.closed == one.closed
    assert late.assembly.listener.snapshots <= 4


def test_a_message_of_another_kind_is_handed_on_and_kept_as_long_as_it_proves_something(engine):
    one, other = Member(engine, "web1"), Member(engine, "web2")
    claims = one.me.says(body=b"whatever claims are")
    one.assembly.keep(claims, NOW + 30 * MINUTE, say=True)
    one.settle()
    other.settle()
    assert other.others == [claims]
    other.assembly.keep(claims, NOW + 30 * MINUTE)
    engine("DEL", HELD)
    other.assembly.tick(3, NOW)
    other.settle()
    other.settle()
    assert engine("HLEN", HELD) == 1


def test_a_revoked_host_falls_with_what_it_alone_made(engine):
    one = Member(engine, "web1")
    others = {"web2": 3, "mx1": 2}
    one.ban(shares=tuple(sorted(others.items())), needed=4)
    one.ban(Subject("203.0.113.6"), shares=(("mx1", 2), ("web1", 4)), needed=4)
    one.settle()
    (shift,) = one.assembly.revoke("mx1", NOW, NOW)
    assert (shift.subject, shift.entry) == (BAD, None)
    assert one.closed == {"203.0.113.6"}


def test_one_word_of_the_desk_takes_back_on_all_hosts_and_also_on_who_comes_later(engine):
    """What the host said after it was enrolled anew is believed again."""
    one, bad, desk = Member(engine, "web1"), Member(engine, "mx1"), Member(engine, "desk")
    bad.ban()
    bad.settle()
    one.settle()
    assert one.closed == {str(BAD)}
    desk.assembly.keep(revocation(99, NOW, mx1=3), LASTING, say=True)
    desk.settle()
    late = Member(engine, "web2")
    for each in (one, late):
        each.settle()
        for paper in each.others:
            assert each.trust.paper(paper, NOW) == []
        shifts = each.assembly.follow(each.trust.roster.revoked, NOW)
        assert [(shift.subject, shift.entry) for shift in shifts] == [(BAD, None)]
        assert each.assembly.follow(each.trust.roster.revoked, NOW) == []
        assert each.closed == set()
        assert each.trust.paper(bad.me.certificate(100), NOW) == []
        each.now += 5 * MINUTE
    bad.now += 5 * MINUTE
    bad.ban(Subject("203.0.113.9"))
    bad.settle()
    for each in (one, late):
        each.settle()
        assert each.closed == {"203.0.113.9"}


def test_a_paper_that_gave_way_to_a_newer_one_is_not_offered_again(engine):
    desk = Member(engine, "desk")
    old = revocation(98, NOW, mx1=3)
    desk.assembly.keep(old, LASTING, say=True)
    desk.settle()
    desk.assembly.release(old)
    desk.assembly.release(old)
    engine("DEL", HELD)
    desk.now += 10 * MINUTE
    desk.assembly.tick(3, desk.now)
    desk.settle()
    assert engine("HLEN", HELD) == 0


def test_a_revocation_of_last_year_is_not_worked_out_again(engine):
    one = Member(engine, "web1")
    one.assembly.follow({"mx1": Revocation(3, NOW - 31 * DAY)}, NOW)
    assert one.assembly.decisions.forget(NOW) == 0


def test_what_has_ended_leaves_the_host_and_the_engine(engine):
    one = Member(engine, "web1")
    one.ban(minutes=1)
    one.settle()
    one.now += MINUTE + stream.GRACE + SWEEP
    one.assembly.tick(3, one.now)
    assert (len(one.assembly.offers), one.assembly.decisions.kept()) == (0, [])
    one.settle()
    assert engine("HLEN", HELD) == 1
    one.settle()
    assert engine("HLEN", HELD) == 0


def test_a_broken_connection_is_followed_by_another(engine):
    one, other = Member(engine, "web1"), Member(engine, "web2")
    one.ban()
    one.connection.send(one.assembly.commands(NOW))
    one.connection.close()
    one.assembly.lost()
    one.connection = engine.connect()
    one.settle()
    assert engine("XLEN", STREAM) == 1
    other.settle()
    assert other.closed == {str(BAD)}
