"""A host's place in its pools: said every second, asked before it leaves, believed for so long."""

from __future__ import annotations

import pytest
from tests.unit.fleet.village import NOW

from tidegate.fleet.fields import Malformed
from tidegate.fleet.pools import Pools
from tidegate.fleet.port import Place, Seat
from tidegate.model import SECOND


class Members:
    """A roster of one."""

    members = {"web1": None}  # noqa: RUF012


@pytest.fixture
def pools() -> Pools:
    return Pools("web1", Members())  # type: ignore[arg-type]


def words(pools: Pools, now: int) -> list[object]:
    return [one[5] for one in pools.commands(now)]


def test_a_place_is_said_every_second_and_at_once_when_it_changes(pools: Pools) -> None:
    assert words(pools, NOW) == []
    pools.follow([Place("mail", 1, "in", 1)], NOW)
    ((*_head, key, host, word, least),) = pools.commands(NOW)
    assert (key, host, word, least) == (b"{tg:decisions}:pool:mail", b"web1", "in", b"1")
    pools.take([[0, 2]], NOW)
    assert pools.told == [Seat("mail", 1, False, 2)]
    assert words(pools, NOW + SECOND // 2) == []
    pools.follow([Place("mail", 1, "leave", 2)], NOW + SECOND // 2)
    assert words(pools, NOW + SECOND // 2) == ["leave"]
    pools.take([[1, 2]], NOW + SECOND // 2)
    assert pools.told[-1] == Seat("mail", 2, True, 2)
    assert words(pools, NOW + 2 * SECOND) == ["out"], "it may, and so it is no longer counted"
    pools.take([[0, 0]], NOW + 2 * SECOND)
    assert pools.told[-1] == Seat("mail", 2, False, 0)
    assert words(pools, NOW + 3 * SECOND) == ["leave"], "too few are left: it may no more"


def test_who_did_not_hear_that_it_may_asks_again(pools: Pools) -> None:
    pools.follow([Place("mail", 1, "leave", 1)], NOW)
    assert words(pools, NOW) == ["leave"]
    pools.lost()
    assert words(pools, NOW) == ["leave"]
    pools.take([[1, 1]], NOW)
    pools.follow([Place("mail", 1, "in", 2)], NOW)
    assert words(pools, NOW) == ["in"]
    pools.take([[0, 1]], NOW)
    pools.follow([Place("mail", 1, "leave", 3)], NOW)
    assert words(pools, NOW) == ["leave"], "what it was told before is over"


def test_a_watcher_that_hangs_is_in_no_service(pools: Pools) -> None:
    pools.follow([Place("mail", 1, "in", 1)], NOW)
    assert words(pools, NOW + 4 * SECOND) == ["in"]
    assert words(pools, NOW + 6 * SECOND) == []


def test_who_is_no_member_says_nothing() -> None:
    pools = Pools("web9", Members())  # type: ignore[arg-type]
    pools.follow([Place("mail", 1, "in", 1)], NOW)
    assert words(pools, NOW) == []


def test_an_engine_without_the_function_is_no_answer_and_one_of_no_sense_is_left(
    pools: Pools,
) -> None:
    pools.follow([Place("mail", 1, "leave", 1)], NOW)
    pools.commands(NOW)
    pools.take([RuntimeError("ERR Function not found")], NOW)
    assert pools.told == []
    assert "tidegate fleet init" in pools.trouble
    for place, odd in enumerate((b"OK", [1], [2, 0], [1, -1], [1, b"1"], [1, 1 << 40], None)):
        pools.follow([Place("mail", 1, "leave", 2 + place)], NOW)
        pools.commands(NOW)
        with pytest.raises(Malformed):
            pools.take([odd], NOW)
    assert pools.told == []
