"""What is refused at once: numbers seen before, more than a budget, subjects of nobody's."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tidegate.fleet.trust.admission import (
    Budget,
    Forgeries,
    Guarded,
    Refusal,
    Refused,
    Remembering,
    Replays,
)
from tidegate.model import MINUTE, SECOND, Subject


@given(st.lists(st.integers(1, 600), max_size=200))
def test_no_number_is_taken_twice_and_none_within_the_window_is_lost(numbers):
    replays, taken = Replays(), set()
    for number in numbers:
        if replays.is_new("a", number):
            assert number not in taken
            replays.note("a", number)
            taken.add(number)
        else:
            assert number in taken or number <= max(taken) - 256


def test_a_new_epoch_is_far_ahead_and_what_was_before_it_is_over():
    replays = Replays()
    replays.note("a", (1 << 40) + 5)
    replays.note("a", (2 << 40) + 1)
    assert not replays.is_new("a", (1 << 40) + 6)
    assert replays.is_new("a", (2 << 40) + 2)
    assert replays.is_new("a", 2 << 40)
    assert replays.is_new("b", 1)


def test_after_a_restart_all_below_the_highest_was_seen():
    replays, again = Replays(), Replays()
    replays.note("a", 300)
    again.restore("a", replays.saved("a"))
    again.restore("b", b"short")
    assert not again.is_new("a", 299)
    assert again.is_new("a", 301)
    assert again.is_new("b", 1)
    assert replays.saved("b") is None
    replays.forget(["a"])
    assert replays.is_new("a", 1)
    assert replays.dirty == {"a"}


def test_a_budget_fills_up_again_with_the_time():
    budget = Budget(60)
    assert budget.take("a", 0, 60)
    assert not budget.take("a", 0)
    assert budget.take("b", 0)
    assert not budget.take("a", SECOND - 1)
    assert budget.take("a", SECOND)
    assert not budget.take("a", SECOND)
    assert budget.left("a", HOUR_LATER) == 60
    assert not budget.take("a", HOUR_LATER, 61)
    budget.forget(["b", "c"])
    assert budget.is_untouched("b", 0)
    assert not budget.is_untouched("a", SECOND)


HOUR_LATER = 60 * MINUTE


def test_who_is_not_misused_is_looked_at_even_when_others_are():
    forgeries = Forgeries(60, 60)
    for place in range(400):
        forgeries.note(f"h{place // 20}", 0)
    assert not forgeries.may_look("h0", 0)
    assert forgeries.may_look("good", 0)
    forgeries.note("good", 0)
    assert not forgeries.may_look("good", 0)
    assert forgeries.may_look("good", 2 * SECOND)
    forgeries.forget(["h0"])
    assert forgeries.may_look("h0", 0)


def test_refusals_are_counted_and_those_of_the_gone_are_nobodys():
    refused = Refused()
    for host in ("a", "a", "b"):
        refused.note(Refusal(host, "forged"))
    refused.forget(["a"])
    assert refused.counts == {("", "forged"): 2, ("b", "forged"): 1}


def test_guarded_says_why():
    guarded = Guarded([Subject("198.51.100.53"), Subject("2001:db8::6379")])
    guarded.look(lambda: [Subject("198.51.100.1")], [Subject("192.0.2.0/24")])
    for who, why in (
        ("uid:0", "not an address"),
        ("mail.example.org", "not an address"),
        ("0.0.0.0/0", "too wide"),
        ("203.0.113.0/31", "too wide"),
        ("::/0", "too wide"),
        ("2001:db8::/63", "too wide"),
        ("198.51.100.53", "an address of nobody's, of the engine or of a member"),
        ("2001:db8::/64", "an address of nobody's, of the engine or of a member"),
        ("198.51.100.1", "an address of nobody's, of the engine or of a member"),
        ("127.8.0.1", "an address of nobody's, of the engine or of a member"),
        ("192.0.2.200", "allowlist"),
        ("203.0.113.5", ""),
        ("2001:db8:1::/64", ""),
    ):
        assert guarded.why(Subject(who)) == why, who


def test_what_was_right_once_is_not_judged_again_and_nothing_else_passes_for_it():
    looks = []

    def dear(key, signed, signature):
        looks.append(signed)
        return signature == bytes(64)

    judge = Remembering(dear, most=2)
    key, right, wrong = bytes(32), bytes(64), bytes(63) + b"x"
    assert [judge(key, b"said", right) for _ in range(3)] == [True] * 3
    assert looks == [b"said"]
    assert not judge(key, b"said", wrong)
    assert not judge(key, b"said", wrong)
    assert len(looks) == 3
    assert judge(bytes(31) + b"k", b"said", right)
    assert len(looks) == 4
    assert judge(key, b"another", right)
    assert judge(key, b"said", right)  # forgotten: only two are kept
    assert len(looks) == 6
    assert not judge(key[:-1], b"said", right + b"x")
    assert len(looks) == 6
