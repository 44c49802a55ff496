"""What the agent says, and to whom it owes a `ready`: without a socket, and with a clock of our own."""

from __future__ import annotations

import pytest

from tidegate.gate.switches import answers
from tidegate.gate.switches.answers import Debts, State, answer, stated

EAST, WEST = "192.0.2.2", "192.0.2.3"


def test_a_state_says_until_when_at_which_weight_and_what_to_write_back() -> None:
    found = State(stated(60, 25, [(-100, 0, "/run/a b/vrrp.load")]))
    assert 59 < found.until - answers.boot_seconds() <= 60.01
    assert (found.weight, found.tracks) == (25, [(-100, 0, "/run/a b/vrrp.load")])


def test_a_state_of_another_boot_is_over_but_tells_what_was_closed() -> None:
    text = stated(60, 0, [(-100, 0, "/run/vrrp.load")]).replace(answers.boot(), "another")
    assert State(text).until == 0
    assert State(text).tracks


@pytest.mark.parametrize(
    "text",
    ["", "\n", "ready\n", stated(60, 0)[:-1], stated(60, 0)[:-5], stated(60, 0) + "x",
     stated(60, 0).replace("until ", "until x"), stated(60, 0).replace("weight", "wait")],
)  # fmt: skip
def test_what_is_no_whole_state_is_none(text: str) -> None:
    with pytest.raises(ValueError):
        State(text)


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
