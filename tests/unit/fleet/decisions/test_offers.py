"""What a host holds for an engine that may lose it, and how much of others' it looks after."""

from __future__ import annotations

from tidegate.fleet.decisions import offers as module
from tidegate.fleet.decisions.offers import ROUND, WARDENS, Offers
from tidegate.fleet.decisions.stream import HELD, Parcel
from tidegate.model import DAY, MINUTE, SECOND

NOW = 1_755_000_000 * SECOND
SAID = [b"OK", b"QUEUED", b"QUEUED", b"QUEUED", [b"1-0", 1, 1]]
FAILED = [b"OK", ValueError("OOM"), ValueError("OOM"), ValueError("OOM"), ValueError("EXECABORT")]


def parcel(number, minutes=30):
    return Parcel.of(b"message %d" % number, NOW + minutes * MINUTE)


def asked(offers):
    return [command[2] for command in offers.commands() if command[0] == b"HSTRLEN"]


def drained(offers, have=lambda _number: True):
    """Answer until nothing is asked any more; the numbers that were asked for."""
    seen = []
    while found := offers.commands():
        numbers = [each[2] for each in found if each[0] == b"HSTRLEN"]
        seen += numbers
        replies = [len(offers._held[one].body) if have(one) else 0 for one in numbers]
        offers.take(replies + SAID * ((len(found) - len(numbers)) // 5))
    return seen


def test_what_is_said_is_said_until_it_is_confirmed():
    offers = Offers("web1")
    offers.say(parcel(1))
    assert parcel(1).id in offers
    first = offers.commands()
    offers.take(FAILED)
    assert offers.commands() == first
    offers.take(SAID)
    assert offers.commands() == []
    assert (offers.unsaid, len(offers)) == (0, 1)


def test_own_messages_are_looked_for_at_once_and_a_share_of_the_others():
    offers, own = Offers("web1"), [parcel(n) for n in range(50)]
    for one in own:
        offers.say(one)
    drained(offers)
    for number in range(1_000, 3_000):
        offers.hold(parcel(number))
    offers.moved(1_000, NOW)
    seen = drained(offers)
    assert {one.id for one in own} <= set(seen)
    assert 0 < len(seen) - 50 < 100  # of 2,000: on average 16


def test_what_is_missing_or_has_another_length_is_said_again():
    offers = Offers("web1")
    for number in range(3):
        offers.hold(parcel(number))
    offers.moved(3, NOW)
    numbers = asked(offers)
    offers.take([len(b"message 0"), 0, 5000])
    assert [c[2] for c in offers.commands() if c[0] == b"HSET"] == numbers[1:]
    assert offers.offered == 2


def test_each_message_is_looked_after_by_some_in_every_round_and_by_others_in_the_next():
    hosts = [Offers(f"web{number}") for number in range(40)]
    messages = [parcel(number) for number in range(100)]
    rounds = []
    for turn in range(2):
        wardens = {one.id: set() for one in messages}
        for host in hosts:
            for one in messages:
                host.hold(one)
            host.tend(40, NOW + turn * ROUND)
            for number in drained(host):
                wardens[number].add(host.host)
        rounds.append(wardens)
    sizes = [len(each) for each in rounds[0].values()]
    assert min(sizes) >= 1
    assert WARDENS / 2 < sum(sizes) / len(sizes) < 2 * WARDENS
    assert sum(rounds[0][one] != rounds[1][one] for one in rounds[0]) > 90


def test_a_round_is_once_in_a_while():
    offers = Offers("web1")
    offers.hold(parcel(1))
    offers.tend(1, NOW)
    assert len(drained(offers)) == 1
    offers.tend(1, NOW + ROUND - 1)
    assert drained(offers) == []
    offers.tend(1, NOW + ROUND)
    assert len(drained(offers)) == 1


def test_an_engine_that_cannot_tell_is_asked_again():
    offers = Offers("web1")
    offers.hold(parcel(1))
    offers.moved(1, NOW)
    offers.commands()
    offers.take([ValueError("LOADING")])
    assert asked(offers) == [parcel(1).id]


def test_a_broken_connection_leaves_in_doubt_only_what_was_on_its_way():
    offers = Offers("web1")
    for number in range(25):
        offers.say(parcel(number))
    offers.commands()
    offers.lost()
    assert len(asked(offers)) == 20
    assert offers.unsaid == 25
    offers.take([0] * 20 + SAID * 5)
    assert offers.unsaid == 20
    assert drained(offers) == []
    assert offers.unsaid == 0


def test_what_has_ended_is_neither_held_nor_said():
    offers = Offers("web1")
    offers.say(parcel(1, 1))
    offers.say(parcel(2, 2))
    offers.forget(NOW + MINUTE)
    assert [c[2] for c in offers.commands() if c[0] == b"HSET"] == [parcel(2).id]
    offers.forget(NOW + 2 * MINUTE)
    assert (len(offers), offers.commands(), offers._bytes) == (0, [], 0)


def test_what_ended_while_it_was_asked_for_is_no_trouble():
    offers = Offers("web1")
    offers.hold(parcel(1, 1))
    offers.say(parcel(2, 1))
    offers.moved(1, NOW)
    assert offers.commands()[0][:2] == (b"HSTRLEN", HELD)
    offers.forget(NOW + MINUTE)
    offers.take([0, *SAID])
    offers.lost()
    assert offers.commands() == []


def test_what_is_held_again_is_held_until_the_later_end():
    offers = Offers("web1")
    for minutes in (2, 5, 3):
        offers.hold(parcel(1, minutes))
    assert offers._bytes == len(b"message 1")
    offers.forget(NOW + 4 * MINUTE)
    assert parcel(1).id in offers
    offers.forget(NOW + 5 * MINUTE)
    assert parcel(1).id not in offers


def test_without_room_those_go_that_end_first(monkeypatch):
    offers = Offers("web1", most=3)
    for number in range(500):
        offers.say(parcel(number, 30 + number))
    assert offers.let_go == 497
    assert [one.until for one in offers._held.values()] == [
        NOW + (30 + number) * MINUTE for number in (497, 498, 499)
    ]
    assert offers.unsaid == 3
    assert len(offers._ends) <= 3 * 2 + 65
    offers.say(parcel(1_000, 1))
    assert offers.unsaid == 3
    monkeypatch.setattr(module, "MOST_BYTES", 30)
    offers.hold(parcel(501, 600))
    assert len(offers) == 2
    assert offers.bodies() == [b"message 499", b"message 501"]


def test_who_fills_the_room_gives_way_itself_and_mutes_nobody(monkeypatch):
    monkeypatch.setattr(module, "MOST_BYTES", 100_000)
    offers = Offers("web1")

    def sealed(host, number, size=100):
        said = b"TG\1\2%c%b %d" % (len(host), host.encode(), number)
        return said + bytes(size)

    honest = [Parcel.of(sealed("mx1", number), NOW + MINUTE) for number in range(50)]
    own = Parcel.of(sealed("web1", 0), NOW + SECOND)
    for one in honest:
        offers.hold(one)
    for number in range(100):
        offers.hold(Parcel.of(sealed("web2", number, 10_000), NOW + 30 * DAY + number))
    offers.say(own)
    assert own.id in offers
    assert all(one.id in offers for one in honest)
    assert offers._bytes <= 100_000
    assert offers.let_go > 80
