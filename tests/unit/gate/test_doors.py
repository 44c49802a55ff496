"""The text of doors: sets, chains and rules of throttles and of ports that refuse."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.gate.conftest import START

from tidegate.gate import doors
from tidegate.gate.layout import laid, whole
from tidegate.model import DAY, HOUR, MINUTE, SECOND
from tidegate.policy.guards import GateSpec, Refuse, Throttle

WEB = GateSpec("apache.throttle", Throttle((80, 443), 20, MINUTE, 5))
RESET = GateSpec("exim.refuse", Refuse((25, 465)))
LATER = GateSpec("exim.later", Refuse((25,), "421"))


def rules(chain: str, *specs: GateSpec) -> list[str]:
    return re.findall(rf"add rule inet tidegate {chain} (.*)", laid([], [], 1, doors=specs))


def test_without_gates_there_is_nothing_of_them() -> None:
    assert laid([], [], 1, doors=()) == laid([], [], 1)
    assert "closed" not in laid([], [], 1)


def test_they_come_after_allowlist_and_bans() -> None:
    found = rules("gate", WEB)
    assert found[-3:] == [
        "jump allowed",
        "jump banned",
        "tcp flags & (fin | syn | rst | ack) == syn fib daddr type local jump closed",
    ]


def test_a_throttle() -> None:
    first, second = rules("closed", WEB)
    assert first == (
        "tcp dport @closed_apache.throttle update @rate4_apache.throttle { ip saddr timeout 120s "
        "limit rate over 20/minute burst 5 packets } counter goto cut_apache.throttle"
    )
    assert "update @rate6_apache.throttle { ip6 saddr & ffff:ffff:ffff:ffff:: timeout" in second
    assert rules("cut_apache.throttle", WEB) == [
        "update @heaviest4_apache.throttle { ip saddr timeout 600s counter }",
        "update @heaviest6_apache.throttle"
        " { ip6 saddr & ffff:ffff:ffff:ffff:: timeout 600s counter }",
        "drop",
    ]


def test_who_refuses_comes_before_who_throttles() -> None:
    found = rules("closed", WEB, RESET, LATER)
    assert found[0] == "tcp dport @closed_exim.refuse counter reject with tcp reset"
    assert found[1] == ("tcp dport @closed_exim.later tproxy ip to 127.0.0.1:10421 counter accept")
    assert "tproxy ip6 to [::1]:10421" in found[2]
    assert found[3] == "tcp dport @closed_exim.later counter reject with tcp reset"
    assert len(found) == 6
    assert doors.deferring((WEB, RESET, LATER)) == {"exim.later"}


def test_the_whole_has_what_is_closed_with_the_time_that_is_left() -> None:
    closed = {WEB.name: START + 90 * SECOND, RESET.name: START}
    text = "".join(whole([], {}, 1, START, doors=(WEB, RESET), closed=closed))
    assert (
        "add element inet tidegate closed_apache.throttle"
        " { 80 timeout 90s0ms, 443 timeout 90s0ms }\n" in text
    )
    assert "add element inet tidegate closed_exim" not in text


@pytest.mark.parametrize(
    ("rate", "per", "said"),
    [
        (20, MINUTE, (20, "minute")),
        (20, 10 * SECOND, (2, "second")),
        (1, 10 * MINUTE, (6, "hour")),
        (3, 7 * SECOND, (37029, "day")),
        (5, DAY, (5, "day")),
        (60, HOUR, (1, "minute")),
    ],
)
def test_rates_in_the_units_of_nft(rate: int, per: int, said: tuple[int, str]) -> None:
    assert doors.rate(Throttle((80,), rate, per)) == said


@given(st.integers(1, 1_000_000), st.integers(1, 86_400), st.integers(1, 10_000))
def test_a_rate_is_never_tighter_than_was_said(rate: int, seconds: int, burst: int) -> None:
    terms = Throttle((80,), rate, seconds * SECOND, burst)
    number, unit = doors.rate(terms)
    span = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}[unit]
    assert number * seconds >= rate * span
    assert (number - 1) * seconds < rate * span
    # Whoever is forgotten has had time to get the burst again.
    assert doors.memory(terms) == DAY or doors.memory(terms) * rate >= burst * terms.per


@given(st.text(max_size=300), st.text(max_size=300))
def test_names_are_spelt_for_the_kernel(one: str, other: str) -> None:
    for name in (one, other):
        assert re.fullmatch(r"[A-Za-z0-9._]{0,80}", doors.spelt(name))
    if one != other and "_" not in one + other:
        assert doors.spelt(one) != doors.spelt(other)


def test_two_of_one_spelling_are_one_too_many() -> None:
    same = (GateSpec("a-b", Refuse((25,))), GateSpec("a_2d_b", Refuse((26,))))
    assert doors.kept(same) == same[:1]


def test_what_is_made_of_less_and_less() -> None:
    found = list(doors.makes((WEB, LATER)))
    plain = GateSpec(LATER.name, Refuse((25,), "reset"))
    assert found == [
        doors.Made(heard, some)
        for some in ((WEB, LATER), (WEB, plain), ())
        for heard in (True, False)
    ]
    assert list(doors.makes(())) == [doors.Made(True, ()), doors.Made(False, ())]
