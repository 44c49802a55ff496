"""The states of a gate as a table, and what bounds its times."""

from __future__ import annotations

from typing import get_args

import pytest

from tidegate.decision.rung import (
    AGAIN,
    ALONE,
    HALF_LIFE,
    SHUT,
    TABLE,
    Happening,
    Rung,
    State,
    longest,
)
from tidegate.model import HOUR, MINUTE, SECOND
from tidegate.policy.guards import GateSpec, GuardSpec, Service, Step, Throttle

NOW = 1_800_000_000 * SECOND
SPEC = GuardSpec("a")


def test_every_state_can_be_left_and_a_person_can_always_close_and_open() -> None:
    for state in get_args(State):
        assert any(before == state for before, _happening in TABLE)
        assert TABLE[state, "shut"] == "person"
        assert TABLE[state, "let"] == "taken"


def test_only_the_guard_and_people_close() -> None:
    into = {
        (happening, after) for (before, happening), after in TABLE.items() if before not in SHUT
    }
    assert {happening for happening, after in into if after in SHUT} == {"rise", "shut"}


def test_what_only_reports_say_never_closes_and_never_opens_what_a_person_closed() -> None:
    for happening in ("away", "refused", "fall", "rise"):
        assert ("person", happening) not in TABLE


@pytest.mark.parametrize("state", get_args(State))
@pytest.mark.parametrize("happening", get_args(Happening))
def test_whatever_is_not_in_the_table_changes_nothing(state: State, happening: Happening) -> None:
    rung = Rung(state, since=1, until=2)
    expected = TABLE.get((state, happening))
    assert rung.happen(happening, NOW, NOW + 5) is (expected is not None)
    assert rung.state == (expected or state)
    if expected is None:
        assert (rung.since, rung.until) == (1, 2)


def test_penalties_fade_by_half_in_a_quarter_of_an_hour() -> None:
    rung = Rung()
    rung.close(SPEC, NOW)
    rung.happen("fall", NOW)
    rung.close(SPEC, NOW + HALF_LIFE)
    assert rung.penalty == 1.5


def test_a_refusal_is_tried_again_ever_later_up_to_ten_minutes() -> None:
    rung, waits = Rung(), []
    for _n in range(40):
        rung.state = "closed"
        waits.append(rung.refuse(NOW) // AGAIN)
        assert rung.until == NOW + waits[-1] * AGAIN
    assert waits[:6] == [1, 2, 4, 8, 10, 10]
    assert max(waits) == 10


def test_what_could_never_be_closed_is_not_damped_when_it_can() -> None:
    rung = Rung()
    for _n in range(9):
        rung.happen("over", NOW)
        rung.close(SPEC, NOW)
        rung.refuse(NOW)
    rung.happen("over", NOW)
    assert rung.close(SPEC, NOW) == SPEC.least_closed


def test_what_takes_nothing_away_needs_no_rest() -> None:
    rung = Rung(since=NOW)
    assert rung.rested(SPEC, Step(GateSpec("a", Throttle((80,)))), NOW)
    stop = Step(GateSpec("a", Service("a")))
    assert not rung.rested(SPEC, stop, NOW + MINUTE - 1)
    assert rung.rested(SPEC, stop, NOW + MINUTE)
    assert Rung().rested(SPEC, stop, NOW)


def test_nothing_lies_further_ahead_than_it_can_after_the_clock_was_set_back() -> None:
    for state, most in (("taken", ALONE), ("away", ALONE), ("refused", 10 * AGAIN)):
        rung = Rung(state, NOW + HOUR, NOW + 5 * HOUR, NOW + 5 * HOUR, 1.0, NOW + HOUR)  # type: ignore[arg-type]
        rung.fired = [NOW + HOUR]
        rung.mend(SPEC, NOW)
        assert (rung.since, rung.counted, rung.fired) == (NOW, NOW, [NOW])
        assert rung.until == NOW + most
        assert rung.least == NOW + longest(SPEC)
    closed = Rung("closed", NOW + HOUR, 0, NOW + HOUR + MINUTE)
    closed.mend(SPEC, NOW)
    assert (closed.since, closed.least) == (NOW, NOW + MINUTE)
    held = Rung("person", NOW, NOW + 5 * HOUR)
    held.mend(SPEC, NOW)
    assert held.until == NOW + 5 * HOUR, "a person's word is kept"


def test_it_is_saved_as_what_differs() -> None:
    assert Rung().packed() == {}
    rung = Rung("closed", 5, fired=[7])
    assert rung.packed() == {"state": "closed", "since": 5, "fired": [7]}
    assert Rung.unpacked(rung.packed()) == rung
    for odd in ({"state": "ajar"}, {"more": 1}):
        with pytest.raises((TypeError, ValueError)):
            Rung.unpacked(odd)
