"""Two generations: what is looked at stays, the rest goes by age and by number."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tidegate.evidence.generations import Generations


def test_what_is_looked_at_stays():
    kept: Generations[int] = Generations(1000, 10)
    kept.put("a", 1, 0)
    kept.put("b", 2, 0)
    assert kept.turn(0) == []
    for now in range(1, 100):
        assert kept.get("a") == 1
        kept.turn(now)
    assert kept.get("a") == 1
    assert kept.get("b") is None
    assert len(kept) == 1
    assert kept.evicted == 0


def test_age_lets_go_of_the_oldest():
    kept: Generations[int] = Generations(1000, 10)
    kept.put("a", 1, 0)
    kept.turn(0)
    assert kept.turn(9) == []
    assert kept.turn(10) == []
    assert kept.turn(20) == [1]
    assert kept.values() == []


def test_too_many_let_go_early_and_that_is_counted():
    kept: Generations[int] = Generations(10, 1000)
    gone = [one for n in range(100) for one in kept.put(str(n), n, 0)]
    assert len(kept) <= 10
    assert kept.evicted == len(gone) > 80
    kept.shrink(2)
    kept.put("x", 0, 0)
    kept.put("y", 0, 0)
    kept.put("z", 0, 0)
    assert len(kept) <= 3


@given(
    st.lists(st.tuples(st.sampled_from("pgt"), st.integers(0, 30)), max_size=200),
    st.integers(1, 12),
)
def test_never_more_than_it_may_and_always_the_newest_value(steps, most):
    kept: Generations[int] = Generations(most, 5)
    last: dict[str, int] = {}
    for now, (step, key) in enumerate(steps):
        if step == "p":
            kept.put(str(key), now, now)
            last[str(key)] = now
        elif step == "g":
            assert kept.get(str(key)) in (None, last.get(str(key)))
        else:
            kept.turn(now)
        assert len(kept) <= max(most, 2) + 1
