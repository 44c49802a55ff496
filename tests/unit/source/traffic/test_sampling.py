"""What is listened to becomes less where it costs too much, more where it does not."""

from __future__ import annotations

from collections import Counter

from tidegate.model import SECOND
from tidegate.source.traffic.filters import MOST_LOUD, WHOLE, Share, heard
from tidegate.source.traffic.sampling import INWARD, LOUD, TURN, Sampling

NOW = 1_760_000_000 * SECOND
ALLOWED = 0.01
PER_EVENT = 10e-6


def look(
    sampling: Sampling, turn: int, cost: float, keys: Counter[int] | None = None, inward: int = 0
) -> bool:
    return sampling.look(NOW + turn * SECOND, SECOND, cost, keys or Counter(), inward)


def simulated(rates: dict[int, int], seconds: int) -> tuple[Sampling, list[int]]:
    """Sources that begin so many connections a second; how many were told in each second."""
    sampling, told = Sampling(ALLOWED), []
    for turn in range(seconds):
        keys: Counter[int] = Counter()
        for key, rate in rates.items():
            for n in range(rate):
                keys[key] += heard(sampling.share, key, n * 2_654_435_761 & 0xFFFFFFFF)
        keys += Counter()
        told.append(keys.total())
        look(sampling, turn, keys.total() * PER_EVENT, keys)
    return sampling, told


def test_as_long_as_it_is_cheap_everything_is_heard() -> None:
    sampling, told = simulated(dict.fromkeys(range(1000, 1020), 20), 30)
    assert sampling.share == Share()
    assert set(told) == {400}


def test_many_sources_come_down_to_what_may_be_spent() -> None:
    rates = {0xC0000200 + n * 7919: 20 for n in range(500)}
    sampling, told = simulated(rates, 60)
    assert sum(told[10:]) / 50 <= 1.5 * ALLOWED / PER_EVENT
    assert sum(told[10:]) / 50 >= 0.1 * ALLOWED / PER_EVENT
    assert 0 < sampling.part < 1


def test_whole_sources_are_heard_and_others_in_turn() -> None:
    rates = {0xC0000200 + n * 7919: 20 for n in range(500)}
    sampling = Sampling(ALLOWED)
    seen: set[int] = set()
    salts = set()
    for turn in range(600):
        keys = Counter({key: rate for key, rate in rates.items() if heard(sampling.share, key, 0)})
        seen |= set(keys)
        salts.add(sampling.share.salt)
        look(sampling, turn, keys.total() * PER_EVENT, keys)
    assert len(salts) >= 600 * SECOND // TURN
    assert len(seen) == len(rates)


def test_one_loud_source_is_heard_in_part_and_the_others_whole() -> None:
    rates = {7: 10_000} | dict.fromkeys(range(1000, 1010), 5)
    sampling, told = simulated(rates, 20)
    assert sampling.part == 1
    assert [key for key, _part in sampling.share.loud] == [7]
    assert all(50 < one <= 50 + 2 * LOUD for one in told[2:])


def test_a_loud_one_that_is_quiet_again_is_heard_whole() -> None:
    sampling, _told = simulated({7: 10_000}, 5)
    for turn in range(5, 12):
        look(sampling, turn, 0.0, Counter({7: 1}))
    assert sampling.share.loud == ()


def test_no_more_loud_ones_than_the_program_takes() -> None:
    sampling, _told = simulated({n * 7919: 500 for n in range(1, 60)}, 10)
    assert len(sampling.share.loud) <= MOST_LOUD
    keys: Counter[int] = Counter()
    for turn in range(20, 26):
        keys = Counter(dict.fromkeys(keys, LOUD))  # they stay as loud as they are heard
        keys.update({turn * 100 + n: 5 * LOUD for n in range(MOST_LOUD)})
        look(sampling, turn, 0.0, keys)
        assert len(sampling.share.loud) <= MOST_LOUD


def test_it_comes_back_when_it_is_over() -> None:
    rates = {0xC0000200 + n * 7919: 20 for n in range(500)}
    sampling, _told = simulated(rates, 10)
    for turn in range(10, 40):
        look(sampling, turn, 0.0)
    assert sampling.share._replace(salt=0) == Share()


def test_what_comes_in_is_heard_by_a_share_that_follows() -> None:
    sampling = Sampling(ALLOWED)
    for turn in range(10):
        look(sampling, turn, 0.0, inward=100_000 * sampling.share.inward // WHOLE)
    assert 100_000 * sampling.share.inward // WHOLE <= INWARD
    assert sampling.part == 1
    for turn in range(10, 40):
        look(sampling, turn, 0.0, inward=0)
    assert sampling.share.inward == WHOLE


def test_a_change_is_told_once() -> None:
    sampling = Sampling(ALLOWED)
    assert not look(sampling, 0, 0.001)
    assert look(sampling, 1, 0.5, Counter({1: 10}))
    sampling.share = Share()
    assert not look(sampling, 2, 0.001)
