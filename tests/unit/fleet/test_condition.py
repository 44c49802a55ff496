"""What a member tells of itself, asked for every second."""

from __future__ import annotations

from types import SimpleNamespace

from tests.unit.fleet.village import NOW

from tidegate.fleet.condition import Digest
from tidegate.model import SECOND, Subject


class Standing:
    """So many bans, and how often all of them were looked at."""

    def __init__(self, number: int) -> None:
        self.number, self.looks = number, 0

    def standing(self, _now):
        self.looks += 1
        return [SimpleNamespace(subject=Subject(f"192.0.2.{n}")) for n in range(self.number)]

    def closed(self, _now):
        return iter(())


def member(number: int):
    bans = Standing(number)
    return bans, SimpleNamespace(
        assembly=SimpleNamespace(decisions=bans), trust=SimpleNamespace(cases=bans)
    )


def test_where_little_is_closed_each_answer_is_new():
    bans, host = member(1)
    digest = Digest()
    before = digest.of(host, NOW)
    bans.number = 2
    assert digest.of(host, NOW + SECOND) != before


def test_where_much_is_closed_it_is_looked_at_seldom():
    bans, host = member(50_000)
    digest = Digest()
    for second in range(50):
        digest.of(host, NOW + second * SECOND)
    assert bans.looks == 2


def test_a_clock_that_is_put_back_does_not_keep_it_for_ever():
    bans, host = member(50_000)
    digest = Digest()
    digest.of(host, NOW)
    digest.of(host, NOW - 3600 * SECOND)
    assert bans.looks == 2
