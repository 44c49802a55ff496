"""What a host counts goes out once a round and once in all, whatever the engine says to it."""

from __future__ import annotations

import pytest
from tests.unit.fleet.village import NOW, WHO, rule

from tidegate.fleet.counting import counting
from tidegate.fleet.counting.counting import Ask, Counting
from tidegate.fleet.counting.functions import MOST_SUMS, SHARDS
from tidegate.fleet.counting.oracle import Oracle
from tidegate.fleet.engine.connection import Refused
from tidegate.fleet.fields import Malformed
from tidegate.model import MINUTE, SECOND, Shared, Subject

GUESSING = rule("guessing", 4, shared=True)
USERS = rule("users", 2, distinct="user", shared=True)
TERMS = counting.terms_of((GUESSING, USERS, rule("own")), 1)


def host(name="web1", shards=1):
    return Counting(name, 1, shards)


def hit(offset, subject=WHO, of="guessing", **more):
    return Shared(of, subject, NOW - SECOND, 1, offset, **more)


def share(one, *hits):
    return [one.share(TERMS[each.rule], each) for each in hits]


def talk(one, engine, now=NOW):
    """A round; the crossings that were lent."""
    found = []
    for ask in one.asks(now):
        found += one.answered(ask, [engine.call(command) for command in ask.commands], now)
    return found


@pytest.fixture
def engine():
    return Oracle(NOW // 1000)


def test_only_rules_that_are_shared_are_counted_together():
    assert set(TERMS) == {"guessing", "users"}


def test_what_two_hosts_count_crosses_and_is_lent_to_one(engine):
    one, other = host(), host("web2")
    share(one, hit(100), hit(200))
    share(other, hit(100), hit(200))
    assert talk(one, engine) == []
    (crossing,) = talk(other, engine)
    assert (crossing.subject, crossing.count) == (WHO, 4)
    other.confirm([crossing, crossing])
    assert talk(other, engine) == []
    assert one.offset == 0


def test_a_line_of_three_tries_is_three_and_read_again_still_three(engine):
    one = host()
    assert share(one, hit(100, amount=3)) == [3]
    talk(one, engine)
    again = Counting("web1", 2, 1)
    share(again, hit(100, amount=3))
    assert talk(again, engine) == []
    share(one, hit(200))
    talk(one, engine)
    assert again.troubles["twice"] == 3


def test_two_things_in_one_line_are_two(engine):
    one = host()
    share(one, hit(100), hit(100), hit(100), hit(100))
    assert len(talk(one, engine)) == 1


def test_of_a_value_the_hash_will_do(engine):
    one, other = host(), host("web2")
    (number,) = share(one, hit(100, of="users", value="root"))
    assert share(other, hit(50, of="users", amount=number)) == [number]
    talk(one, engine)
    assert talk(other, engine) == []  # the same value
    share(other, hit(60, of="users", value="admin"))
    assert len(talk(other, engine)) == 1


def test_what_was_lost_on_the_way_is_sent_again_and_counts_once(engine):
    one = host()
    share(one, hit(100), hit(200), hit(300))
    (ask,) = one.asks(NOW)
    engine.call(ask.commands[-1])  # and nobody hears the answer
    one.lost(ask)
    assert not one.behind
    assert talk(one, engine) == []
    share(one, hit(400))
    assert len(talk(one, engine)) == 1


def test_a_successor_that_knows_nothing_is_told_the_last_seconds_again():
    one, old, new = host(), Oracle(NOW // 1000), Oracle(NOW // 1000)
    share(one, hit(100), hit(200))
    talk(one, old)
    one.again(NOW)
    talk(one, new)
    other = host("web2")
    share(other, hit(1), hit(2))
    assert len(talk(other, new)) == 1


def test_a_crossing_that_nobody_confirmed_is_lent_to_who_asks(engine):
    one, other = host(), host("web2")
    share(one, *(hit(place) for place in range(4)))
    assert len(talk(one, engine)) == 1
    engine.now += 3_000
    (found,) = talk(other, engine, NOW + 3 * SECOND)
    assert found.subject == WHO
    other.confirm([found])
    talk(other, engine, NOW + 3 * SECOND)
    engine.now += 3_000
    assert talk(one, engine, NOW + 6 * SECOND) == []


def test_of_a_cluster_all_shards_are_asked_in_turn():
    one = host(shards=SHARDS)
    one.hosts = 2
    first = [ask.key for ask in one.asks(NOW)]
    assert len(first) == 32
    assert one.asks(NOW + 2 * SECOND) == []  # none is answered yet
    for key in first:
        one.lost(Ask(f"due {int(key[4:-2])}", key, ()))
    assert set(first).isdisjoint(ask.key for ask in one.asks(NOW + 2 * SECOND))


def test_more_than_a_call_takes_is_sent_at_once_and_what_comes_later_waits(engine):
    one = host()
    many = [hit(1, Subject(f"198.51.100.{number}")) for number in range(MOST_SUMS + 1)]
    share(one, *many)
    talk(one, engine)
    assert one.behind
    talk(one, engine)
    assert not one.behind
    share(one, hit(100))
    assert not one.behind


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (Refused("ERR Function not found"), "tidegate fleet init"),
        (Refused("NOPERM this user has no permissions"), "NOPERM"),
        (Refused("OOM command not allowed"), "OOM"),
    ],
)
def test_an_engine_that_refuses_is_asked_again_and_named(engine, reply, words):
    one = host()
    share(one, *(hit(place) for place in range(4)))
    (ask,) = one.asks(NOW)
    assert one.answered(ask, [reply] * len(ask.commands), NOW) == []
    assert words in one.trouble
    assert len(talk(one, engine)) == 1
    assert one.trouble == ""


def test_what_the_engine_never_takes_is_let_go(engine):
    one = host()
    share(one, hit(100))
    (ask,) = one.asks(NOW)
    one.answered(ask, [Refused("ERR tidegate: body 2 is cut")], NOW)
    assert (one.dropped, "takes not all" in one.trouble) == (1, True)
    share(one, *(hit(place) for place in range(4)))
    talk(one, engine)
    assert len(talk(one, engine)) == 1


@pytest.mark.parametrize("reply", [None, 5, [], b"", b"x" * 7, b"\0" * 15, b"\0" * 100])
def test_an_answer_without_sense_leaves_the_connection_and_loses_nothing(engine, reply):
    one = host()
    share(one, *(hit(place) for place in range(4)))
    (ask,) = one.asks(NOW)
    with pytest.raises(Malformed):
        one.answered(ask, [reply], NOW)
    one.lost(ask)
    assert len(talk(one, engine)) == 1


def test_clocks_that_differ_are_seen():
    one, engine = host(), Oracle((NOW - 10 * MINUTE) // 1000)
    share(one, hit(100))
    talk(one, engine)
    assert (one.skewed, one.offset) == (True, -10 * MINUTE)
