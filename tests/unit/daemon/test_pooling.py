"""Guards, gates and a fleet that is asked before a host leaves its pool."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from tests.unit.daemon.test_guarding import Scene

from tidegate.daemon.pooling import GRACE, PATIENCE, Pooling, pools_of
from tidegate.fleet.port import Health, Place, Seat
from tidegate.model import SECOND, GateReport, Sample
from tidegate.policy.loader import read

PEER = "up(http://192.0.2.2:80)"
POOL = f"""
[fleet]
engine = "redis://192.0.2.99"
[pool.web]
peers = ["{PEER}"]
[guard.web]
close = {{ when = "la1 >= 10", at-least = "1s" }}
open = {{ when = "la1 <= 2", at-least = "1s" }}
service = "apache2"
pool = "web"
"""


@dataclass
class Talk:
    """The fleet is the test."""

    health: Health | None = field(default_factory=lambda: Health("joined"))
    seats: list[Seat] = field(default_factory=list)
    said: list[Place] = field(default_factory=list)

    def pools(self, places) -> None:
        self.said += places


class Host(Scene):
    """A host whose fleet is the test."""

    def __init__(self, text: str = POOL) -> None:
        super().__init__(text)
        self.talk = Talk()
        self.guarding.pooling = Pooling(self.talk)

    def load(self, value: float, seconds: int = 1) -> None:
        for _second in range(seconds):
            self.readings.coming.append(Sample(PEER, self.now + SECOND, 1.0))
            super().load(value)

    def answer(self, *, may: bool, others: int = 0) -> None:
        self.talk.seats.append(Seat("web", self.talk.said[-1].number, may, others))

    @property
    def word(self) -> str:
        return self.talk.said[-1].word

    @property
    def shut(self) -> list[str]:
        return list(self.guarding.closed(self.now))


@pytest.fixture
def host() -> Host:
    return Host()


def test_it_says_how_it_is_asks_leaves_and_comes_back(host: Host) -> None:
    host.load(1.0, 3)
    assert [one.word for one in host.talk.said] == ["in"] * 3
    host.load(20.0)
    assert (host.word, host.shut) == ("leave", [])
    host.answer(may=True, others=1)
    host.load(20.0)
    assert (host.word, host.shut) == ("out", ["web"])
    host.load(1.0, 100)
    assert (host.word, host.shut) == ("in", [])
    numbers = [one.number for one in host.talk.said]
    assert numbers == sorted(numbers)
    assert len(set(numbers)) == 4


def test_an_answer_to_an_earlier_word_is_none(host: Host) -> None:
    host.load(20.0)
    late = Seat("web", host.talk.said[-1].number, True, 1)
    host.load(1.0)
    assert host.word == "in"
    host.talk.seats.append(late)
    host.load(20.0)
    host.talk.seats.append(late)
    host.load(20.0, 2)
    assert (host.word, host.shut) == ("leave", [])


def test_who_has_to_stay_stays_as_long_as_it_is_told_so(host: Host) -> None:
    host.load(20.0)
    for _second in range(30):
        host.answer(may=False)
        host.load(20.0)
    assert (host.word, host.shut) == ("leave", [])
    assert [move[:2] for move in host.moves()] == [("warn", "web")]
    assert "the fleet keeps it: pool web needs 1 others" in host.last().reason


@pytest.mark.parametrize("state", ["away", "alone"])
def test_an_engine_that_is_away_is_waited_for_no_longer(host: Host, state) -> None:
    host.talk.health = Health(state)
    host.load(20.0)
    assert (host.word, host.shut) == ("out", ["web"])
    assert "its fleet does not answer" in host.last().reason


def test_one_that_is_silent_for_a_few_seconds(host: Host) -> None:
    host.load(20.0, PATIENCE // SECOND)
    assert host.shut == []
    host.load(20.0, 2)
    assert host.shut == ["web"]


def test_what_was_refused_counts_no_longer_when_nobody_says_so_any_more(host: Host) -> None:
    host.load(20.0)
    host.answer(may=False)
    host.load(20.0)
    host.load(20.0, 2 * PATIENCE // SECOND)
    assert host.shut == ["web"]


def test_who_is_out_comes_back_when_too_few_are_in_for_long_enough(host: Host) -> None:
    host.talk.health = Health("away")
    host.load(20.0)
    host.talk.health = Health("joined")
    for may in [False] * 10 + [True] + [False] * (GRACE // SECOND):
        host.answer(may=may)
        host.load(20.0)
        assert host.shut == ["web"]
    host.answer(may=False)
    host.load(20.0)
    host.answer(may=False)
    host.load(20.0)
    assert host.shut == []


def test_a_gate_that_a_person_closed_is_out_of_service_too(host: Host) -> None:
    host.load(1.0)
    host.guarding.order("close", "web", host.now, 0, "anna", "")
    host.load(1.0)
    assert host.word == "out"
    host.guarding.order("open", "web", host.now, 0, "anna", "")
    host.load(1.0, 2)
    assert host.word == "in"
    host.guarding.states["web"] = GateReport("web", "away", host.now)
    host.load(1.0)
    assert host.word == "out"


def test_without_a_fleet_or_where_a_pool_is_not_of_it_nobody_is_asked(host: Host) -> None:
    host.talk.health = None
    host.load(20.0)
    assert (host.talk.said, host.shut) == ([], ["web"])
    apart = Host(POOL.replace("[pool.web]", "[pool.web]\nfleet = false"))
    apart.load(20.0)
    assert (apart.talk.said, apart.shut) == ([], ["web"])
    assert pools_of(read([("policy", POOL)]).policy)
