"""What the agent says, and to whom it owes a `ready`: without a socket, and with a clock of our own."""

from __future__ import annotations

import pytest

from tidegate.gate.switches import answers
from tidegate.gate.switches.answers import Debts, State, Track, answer, read

EAST, WEST = "192.0.2.2", "192.0.2.3"


NOW = 1000.0
TRACK = Track(-100, 0, NOW, "/run/a b/vrrp.load")


def stated(weight: int = 0) -> str:
    return str(State({weight: NOW}, [TRACK]))


def test_a_state_says_what_holds_until_when() -> None:
    found = read(str(State({25: NOW, 0: 900.0}, [TRACK])))
    assert (found.closings, found.tracks) == ({25: NOW, 0: 900.0}, [TRACK])
    assert [found.weight(now) for now in (899, 900, 999, 1000)] == [0, 25, 25, 100]


def test_what_is_stated_of_another_boot_is_over() -> None:
    found = read(stated().replace(answers.boot(), "another"))
    assert found.weight(1.0) == 100
    assert found.tracks == [TRACK._replace(until=0.0)]


@pytest.mark.parametrize(
    "text",
    ["", "\n", "ready\n", stated()[:-1], stated()[:-5], stated() + "x",
     stated().replace("closed 0 ", "closed 0 x"), stated().replace("closed", "open")],
)  # fmt: skip
def test_what_is_no_whole_state_is_none(text: str) -> None:
    with pytest.raises(ValueError):
        read(text)


def test_the_lines() -> None:
    assert answer(0, owed=False) == answer(-3, owed=True) == b"drain up 0%\n"
    assert answer(25, owed=False) == b"ready up 25%\n"
    assert answer(100, owed=True) == b"ready up 100%\n"
    assert answer(100, owed=False) == b"up\n"


def owed(debts: Debts, peer: str, *moments: float) -> list[bool]:
    return [debts.readied(peer, moment) for moment in moments]


def test_who_was_told_otherwise_is_told_ready_often_and_for_long() -> None:
    debts = Debts(False)
    assert owed(debts, EAST, 0, 1) == [False, False]
    debts.restricted(EAST)
    assert (debts.untold(), debts.paid(2)) == (1, False)
    assert all(owed(debts, EAST, *(2 + n for n in range(10))))
    assert debts.untold() == 0
    assert owed(debts, WEST, 12) == [False]
    assert all(owed(debts, EAST, 20, 121))
    assert not debts.paid(121)
    assert owed(debts, EAST, 122, 123) == [False, False]
    assert debts.paid(123)


def test_who_asks_seldom_is_told_as_often() -> None:
    debts = Debts(False)
    debts.restricted(EAST)
    assert owed(debts, EAST, *(n * 60 for n in range(11))) == [True] * 10 + [False]


def test_after_another_of_us_everybody_is_owed_until_all_know() -> None:
    debts = Debts(True)
    assert not debts.paid(1000)  # nobody has asked yet
    assert all(owed(debts, EAST, *range(10)))
    assert not debts.paid(10)
    assert debts.paid(130)
    assert owed(debts, WEST, 131) == [False]


def test_no_more_balancers_are_remembered_than_fit() -> None:
    debts = Debts(False)
    for n in range(answers.PEERS + 5):
        debts.restricted(f"peer {n}")
    assert len(debts) == answers.PEERS
