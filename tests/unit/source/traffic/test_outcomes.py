"""Events of conntrack become contacts: one for each source and destination, and what came of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.source.traffic.events import DESTROYED, NEW, UPDATED, event

from tidegate.model import SECOND, Subject
from tidegate.nfnetlink import attribute
from tidegate.policy.outward import OutwardSpec
from tidegate.source.traffic import outcomes as module
from tidegate.source.traffic.filters import Share
from tidegate.source.traffic.outcomes import HOLD, PATIENCE, Outcomes
from tidegate.source.traffic.port import Counted
from tidegate.source.traffic.reach import Reach
from tidegate.traffic import Contact

NOW = 1_760_000_000 * SECOND
OWN = "192.0.2.1"
SPEC = OutwardSpec(
    uids=True, networks=(Subject("192.0.2.0/24"), Subject("2001:db8:1::/48")),
    customers=(Subject("198.51.100.0/28"),), busy=(Subject("uid:42"),),
)  # fmt: skip
ONE, SIX = "192.0.2.7", "2001:db8:1:5::7"


def nobody(*_flow: object) -> None:
    return None


@pytest.fixture
def outcomes() -> Outcomes:
    return Outcomes(Reach(SPEC, [OWN], {}), nobody)


def said(outcomes: Outcomes) -> list[tuple[str, str, str]]:
    return [(one.source, one.destination, one.outcome) for one in outcomes.take()]


def test_what_is_answered_at_once_is_one_contact(outcomes: Outcomes) -> None:
    outcomes.hear(event(NEW, ONE, "203.0.113.9", ports=(40000, 25)), NOW)
    outcomes.hear(
        event(UPDATED, ONE, "203.0.113.9", ports=(40000, 25), status=10, state=2), NOW + 5
    )
    outcomes.tick(NOW + PATIENCE)
    assert outcomes.take() == [
        Contact(NOW + 5, Subject(ONE), "203.0.113.9", 6, 25, "answered")
    ]  # fmt: skip
    assert not len(outcomes)


def test_a_reset_is_a_refusal(outcomes: Outcomes) -> None:
    outcomes.hear(event(NEW, SIX, "2001:db8:9::1"), NOW)
    outcomes.hear(event(DESTROYED, SIX, "2001:db8:9::1", status=0x208, state=8), NOW + 9)
    assert said(outcomes) == [("2001:db8:1:5::/64", "2001:db8:9::1", "refused")]


def test_a_reset_is_found_behind_counters_too(outcomes: Outcomes) -> None:
    outcomes.hear(event(NEW, ONE, "203.0.113.9"), NOW)
    counters = attribute(9 | 0x8000, attribute(1, bytes(8)) + attribute(2, bytes(8)))
    outcomes.hear(
        event(DESTROYED, ONE, "203.0.113.9", status=0x208, state=8, before=counters), NOW + 9
    )
    assert said(outcomes) == [(ONE, "203.0.113.9", "refused")]


def test_silence_is_told_as_a_try_and_then_as_unanswered(outcomes: Outcomes) -> None:
    outcomes.hear(event(NEW, ONE, "203.0.113.9", protocol=17), NOW)
    outcomes.tick(NOW + HOLD - 1)
    assert said(outcomes) == []
    outcomes.tick(NOW + HOLD)
    assert said(outcomes) == [(ONE, "203.0.113.9", "tried")]
    outcomes.tick(NOW + PATIENCE - 1)
    assert said(outcomes) == []
    outcomes.tick(NOW + PATIENCE)
    assert said(outcomes) == [(ONE, "203.0.113.9", "unanswered")]
    assert not len(outcomes)


@pytest.mark.parametrize(
    ("source", "target", "protocol"), [(ONE, "203.0.113.9", 1), (SIX, "2001:db8:9::1", 58)]
)
def test_a_sweep_of_echoes(outcomes: Outcomes, source: str, target: str, protocol: int) -> None:
    outcomes.hear(event(NEW, source, target, protocol=protocol), NOW)
    outcomes.hear(event(UPDATED, source, target, protocol=protocol, status=10), NOW + 1)
    outcomes.hear(event(NEW, source, target[:-1] + "8", protocol=protocol), NOW)
    outcomes.tick(NOW + HOLD)
    assert [one[2:] for one in outcomes.take()] == [
        (target, protocol, 0, "answered"), (target[:-1] + "8", protocol, 0, "tried"),
    ]  # fmt: skip
    assert outcomes.odd == 0


def test_a_late_answer_follows_its_try(outcomes: Outcomes) -> None:
    outcomes.hear(event(NEW, ONE, "203.0.113.9"), NOW)
    outcomes.tick(NOW + HOLD)
    outcomes.hear(event(UPDATED, ONE, "203.0.113.9", status=10, state=2), NOW + SECOND)
    assert [one[2] for one in said(outcomes)] == ["tried", "answered"]


def test_one_contact_a_destination_within_a_while(outcomes: Outcomes) -> None:
    for port in range(1000, 1100):
        outcomes.hear(event(NEW, ONE, "203.0.113.9", ports=(port, 80)), NOW)
    outcomes.tick(NOW + HOLD)
    assert said(outcomes) == [(ONE, "203.0.113.9", "tried")]
    later = NOW + 61 * SECOND
    for moment in (NOW + 31 * SECOND, later):
        outcomes.tick(moment)
    outcomes.take()
    outcomes.hear(event(NEW, ONE, "203.0.113.9", ports=(2000, 80)), later)
    outcomes.tick(later + HOLD)
    assert said(outcomes) == [(ONE, "203.0.113.9", "tried")]


def test_a_customer_is_one_source(outcomes: Outcomes) -> None:
    for host in (1, 2):
        outcomes.hear(event(NEW, f"198.51.100.{host}", "203.0.113.9"), NOW)
    outcomes.tick(NOW + HOLD)
    assert said(outcomes) == [("198.51.100.0/28", "203.0.113.9", "tried")]


def own(user: Callable[..., Subject | None]) -> Outcomes:
    made = Outcomes(Reach(SPEC, [OWN], {}), user)
    made.hear(event(NEW, OWN, "203.0.113.9", ports=(40000, 25)), NOW)
    made.tick(NOW + HOLD)
    return made


def test_of_a_host_the_user_is_the_source() -> None:
    asked = []

    def user(*flow: object) -> Subject:
        asked.append(flow)
        return Subject("uid:33")

    assert said(own(user)) == [("uid:33", "203.0.113.9", "tried")]
    assert asked == [(6, OWN, 40000, "203.0.113.9", 25)]


@pytest.mark.parametrize("user", ["uid:0", "uid:42"])
def test_root_and_the_busy_are_left_alone(user: str) -> None:
    assert said(own(lambda *_flow: Subject(user))) == []


def test_a_connection_whose_user_nobody_knows_is_counted() -> None:
    made = own(nobody)
    assert said(made) == []
    assert made.nameless == 1


def test_what_comes_in_is_counted_by_port_and_reckoned_up(outcomes: Outcomes) -> None:
    outcomes.weight = 4.0
    for n in range(10):
        one = {"ports": (1000 + n, 80)}
        outcomes.hear(event(NEW, "203.0.113.9", OWN, **one), NOW)
        if n < 3:
            outcomes.hear(event(UPDATED, "203.0.113.9", OWN, status=14, state=3, **one), NOW)
    assert outcomes.handshakes(NOW) == [Counted(NOW, 80, 40, 12)]
    assert outcomes.handshakes(NOW) == []
    assert said(outcomes) == []


def test_when_events_were_lost_nobody_is_blamed(outcomes: Outcomes) -> None:
    outcomes.hear(event(NEW, ONE, "203.0.113.9"), NOW)
    outcomes.tick(NOW + HOLD)
    outcomes.hear(event(NEW, ONE, "203.0.113.10"), NOW + HOLD)
    outcomes.forget()
    outcomes.tick(NOW + 2 * PATIENCE)
    assert said(outcomes) == [
        (ONE, "203.0.113.9", "tried"),
        (ONE, "203.0.113.9", "unheard"),
    ]
    assert outcomes.given_up == 2


def test_a_narrower_share_takes_back_only_what_it_does_not_hear(outcomes: Outcomes) -> None:
    for n in range(1, 100):
        outcomes.hear(event(NEW, f"192.0.2.{n + 100}", "203.0.113.9"), NOW)
    outcomes.tick(NOW + HOLD)
    outcomes.take()
    outcomes.forget(Share(5, 1 << 15))
    taken = said(outcomes)
    assert 20 < len(taken) < 80
    assert {one[2] for one in taken} == {"unheard"}
    assert len(outcomes) == 99 - len(taken)


def test_what_is_waited_for_is_bounded(outcomes: Outcomes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_PENDING", 50)
    monkeypatch.setattr(module, "MOST_SEEN", 80)
    for n in range(5000):
        outcomes.hear(event(NEW, ONE, f"203.0.{n >> 8}.{n & 255}"), NOW + n)
        outcomes.tick(NOW + n)
    assert len(outcomes) == 50
    assert outcomes.given_up == 4950
    assert len(outcomes._seen) + len(outcomes._before) <= 160
    outcomes.tick(NOW + 10 * PATIENCE)
    assert len(outcomes._held) + len(outcomes._told) == 0


@given(st.binary(max_size=260))
def test_nothing_that_comes_breaks_it(data: bytes) -> None:
    made = Outcomes(Reach(SPEC, [OWN], {}), nobody)
    made.hear(data, NOW)
    made.tick(NOW + PATIENCE)


@given(
    st.sampled_from([NEW, UPDATED, DESTROYED]), st.sampled_from([ONE, SIX]), st.data(),
    st.integers(0, 255),
)  # fmt: skip
def test_nor_does_a_message_with_something_changed(
    kind: str, source: str, data: st.DataObject, value: int
) -> None:
    made = Outcomes(Reach(SPEC, [OWN], {}), nobody)
    whole = bytearray(event(kind, source, "2001:db8:9::1" if ":" in source else "203.0.113.9"))
    whole[data.draw(st.integers(0, len(whole) - 1))] = value
    cut = data.draw(st.integers(0, len(whole)))
    made.hear(event(NEW, source, "2001:db8:9::1" if ":" in source else "203.0.113.9"), NOW)
    made.hear(bytes(whole[:cut]), NOW)
    made.hear(bytes(whole), NOW)
    made.tick(NOW + PATIENCE)


def test_a_clock_set_back_leaves_nothing_waiting_for_ever(outcomes: Outcomes) -> None:
    outcomes.hear(event(NEW, ONE, "203.0.113.9"), NOW)
    outcomes.tick(NOW - 3600 * SECOND)
    outcomes.tick(NOW - 3599 * SECOND)
    assert not len(outcomes)
