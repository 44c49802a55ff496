"""Minutes closed: overlapping closings count once, whatever their order, to the microsecond."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.decision.test_incidents import NOW, closing

from tidegate.decision.downtime import Downtime, Spans, downtime
from tidegate.model import HOUR, MINUTE, Subject

SPANS = st.lists(st.tuples(st.integers(-20, 60), st.integers(-20, 60)), max_size=30)


@given(SPANS)
def test_the_union_is_that_of_counting_every_moment(spans: list[tuple[int, int]]) -> None:
    added = Spans()
    for start, end in spans:
        added.add(start, end)
    assert added.total == len({moment for start, end in spans for moment in range(start, end)})


CLOSINGS = st.lists(
    st.tuples(
        st.integers(0, 50),
        st.one_of(st.none(), st.integers(0, 60)),
        st.sampled_from(["ban", "stop", "limit", "quarantine", "run"]),
        st.sampled_from([("a",), ("a", "b"), ("b", "c"), ()]),
    ),
    max_size=20,
)


@given(CLOSINGS, st.integers(0, 30), st.integers(0, 60))
def test_a_months_minutes_are_those_of_counting_every_moment(closings, first, last) -> None:
    found = downtime(
        [
            closing(n, start, end, what, services=services)
            for n, (start, end, what, services) in enumerate(closings)
        ],
        first,
        last,
    )
    moments: dict[tuple[str, str], set[int]] = {}
    for start, end, what, services in closings:
        for service in services:
            inside = {
                moment
                for moment in range(first, last)
                if start <= moment and (end is None or moment < end)
            }
            if inside and what != "run":
                moments.setdefault((service, what), set()).update(inside)
    assert {(row.service, row.what): row.span for row in found} == {
        key: len(own) for key, own in moments.items()
    }


def test_each_service_and_way_is_told_apart_and_the_harshest_comes_first() -> None:
    rows = downtime(
        [
            closing(1, NOW, NOW + 10 * MINUTE),
            closing(2, NOW + 5 * MINUTE, NOW + 20 * MINUTE),
            closing(3, NOW, None, "stop", services=("apache2.service",), subject=Subject("gate:a")),
            closing(4, NOW, NOW + 9 * HOUR, "quarantine", services=("outward",)),
        ],
        NOW - HOUR,
        NOW + HOUR,
    )
    assert rows == [
        Downtime("apache2.service", "stop", HOUR, 1, 1),
        Downtime("outward", "quarantine", HOUR, 1, 1),
        Downtime("port 25", "ban", 20 * MINUTE, 2, 2),
    ]
