"""Closings with one cause become an incident, and no others; what is the same, however it comes."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from tidegate.decision.incidents import (
    LEAST,
    MOST,
    QUIET,
    WITHIN,
    Cause,
    Closing,
    Mishap,
    What,
    incidents,
)
from tidegate.model import HOUR, MINUTE, SECOND, Micros, Subject

NOW = 1_755_000_000 * SECOND


def closing(
    number: int, start: Micros, end: Micros | None = None, what: What = "ban", **more: object
) -> Closing:
    values: dict[str, object] = {
        "id": f"{number:016x}",
        "start": start,
        "end": end,
        "what": what,
        "name": "virus-senders",
        "subject": Subject(f"192.0.2.{number % 250}"),
        "services": ("port 25",),
        "by": "rule",
    }
    return Closing(**(values | more))  # type: ignore[arg-type]


def bans(count: int, every: Micros, start: Micros = NOW, first: int = 0) -> list[Closing]:
    return [closing(first + n, start + n * every, start + n * every + HOUR) for n in range(count)]


def test_ten_bans_within_ten_minutes_are_one_and_nine_are_none() -> None:
    assert incidents(bans(LEAST - 1, SECOND)) == []
    (one,) = incidents(bans(LEAST, MINUTE))
    assert (one.id, one.start, one.end) == ("0" * 16, NOW, NOW + 9 * MINUTE)
    assert len(one.subjects) == LEAST
    assert one.services == ("port 25",)
    assert incidents(bans(LEAST, WITHIN // (LEAST - 1) + 1)) == []
    exactly = [*bans(LEAST - 1, SECOND), *bans(1, SECOND, NOW + WITHIN, 50)]
    assert len(incidents(exactly)) == 1


def test_a_trickle_of_bans_is_none_however_long_it_lasts() -> None:
    assert incidents(bans(300, 2 * MINUTE)) == []


def test_a_wave_goes_on_until_it_was_quiet_for_long_enough() -> None:
    first, later = bans(LEAST, SECOND), bans(LEAST, SECOND, NOW + 9 * SECOND + QUIET, 50)
    (one,) = incidents([*first, *later])
    assert len(one.closings) == 2 * LEAST
    assert one.is_open(NOW + QUIET + 30 * MINUTE)
    assert not one.is_open(NOW + QUIET + 31 * MINUTE)
    apart = bans(LEAST, SECOND, NOW + QUIET + 10 * SECOND, 50)
    assert [len(one.closings) for one in incidents([*first, *apart])] == [LEAST, LEAST]


def test_other_rules_and_other_ports_are_others() -> None:
    found = bans(LEAST - 1, SECOND)
    found += [closing(90, NOW, NOW + HOUR, name="other")]
    found += [closing(91, NOW, NOW + HOUR, services=("port 587",))]
    assert incidents(found) == []


def test_any_quarantine_is_one_and_a_relapse_is_the_same() -> None:
    cut = closing(1, NOW, NOW + 10 * MINUTE, "quarantine", name="outward-scan")
    again = closing(2, NOW + 12 * MINUTE, NOW + HOUR, "quarantine", name="outward-scan",
                    subject=cut.subject)  # fmt: skip
    (one,) = incidents([again, cut])
    assert (one.id, one.end, one.subjects) == (cut.id, NOW + HOUR, (cut.subject,))
    assert one.is_open(NOW + 11 * MINUTE)
    assert not one.is_open(NOW + HOUR)
    late = again._replace(start=NOW + 10 * MINUTE + QUIET + 1)
    assert len(incidents([cut, late])) == 2


def test_a_guards_stop_is_one_with_the_throttle_before_it_and_a_throttle_alone_is_none() -> None:
    throttle = closing(
        1, NOW, NOW + HOUR, "limit", name="apache", subject=Subject("gate:a.throttle")
    )
    run = closing(2, NOW, NOW, "run", name="apache", subject=Subject("gate:a.restart"))
    assert incidents([throttle, run]) == []
    stop = closing(3, NOW + MINUTE, None, "stop", name="apache", subject=Subject("gate:a.stop"))
    (one,) = incidents([stop, throttle, run])
    assert (one.id, one.start, one.end) == (stop.id, NOW, None)
    assert one.is_open(NOW + 99 * HOUR)
    assert one.cause == Cause("guard", "apache")


def test_mishaps_belong_to_the_incident_they_happened_in() -> None:
    cause = Cause("wave", "virus-senders", ("port 25",))
    inside = Mishap(NOW + HOUR, cause, "opened", Subject("192.0.2.1"), "anna (uid 1000)", MINUTE)
    before = inside._replace(time=NOW - 1)
    other = inside._replace(cause=Cause("wave", "other", ("port 25",)))
    (one,) = incidents(bans(LEAST, SECOND), [before, other, inside])
    assert one.mishaps == (inside,)


def test_there_are_never_more_than_so_many_and_the_newest_stay() -> None:
    found = incidents(
        closing(n, NOW + n * HOUR, NOW + n * HOUR + 1, "quarantine") for n in range(MOST + 5)
    )
    assert len(found) == MOST
    assert found[0].start == NOW + (MOST + 4) * HOUR


@given(st.lists(st.integers(0, 90), max_size=40), st.randoms(use_true_random=False))
def test_waves_are_those_of_a_simple_definition(minutes: list[int], chance: object) -> None:
    """A ban counts where some ten, itself among them, fall within ten minutes; those with no more
    than half an hour between them are one."""
    found = [closing(n, NOW + m * MINUTE, NOW + 9 * HOUR) for n, m in enumerate(sorted(minutes))]
    dense = set()
    for own in combinations(range(len(found)), 2):
        first, last = own
        inside = [
            n for n, one in enumerate(found) if found[first].start <= one.start <= found[last].start
        ]
        if found[last].start - found[first].start <= WITHIN and len(inside) >= LEAST:
            dense |= set(inside)
    runs: list[list[Closing]] = []
    for n in sorted(dense):
        if runs and found[n].start - runs[-1][-1].start <= QUIET:
            runs[-1].append(found[n])
        else:
            runs.append([found[n]])
    given_in_any_order = list(found)
    chance.shuffle(given_in_any_order)  # type: ignore[attr-defined]
    got = incidents(given_in_any_order)
    assert sorted((one.start, one.end) for one in got) == sorted(
        (run[0].start, run[-1].start) for run in runs
    )
    for one in got:
        assert set(one.closings) == {
            each for each in found if one.start <= each.start <= (one.end or 0)
        }


SPANS = st.tuples(
    st.integers(0, 300),
    st.one_of(st.none(), st.integers(0, 200)),
    st.sampled_from(["stop", "limit"]),
)


@given(st.lists(SPANS, max_size=12), st.randoms(use_true_random=False))
def test_outages_are_those_of_a_simple_definition(
    spans: list[tuple[int, int | None, What]], chance: object
) -> None:
    """Two belong together where less than half an hour lies between them, and so do those that
    belong together with one and the same; each group needs a stop."""
    found = [
        closing(n, NOW + at * MINUTE, None if span is None else NOW + (at + span) * MINUTE, what)
        for n, (at, span, what) in enumerate(spans)
    ]
    groups = [{one} for one in found]

    def near(one: Closing, other: Closing) -> bool:
        first, second = sorted((one, other), key=lambda each: each.start)
        return first.end is None or second.start - first.end <= QUIET

    merging = True
    while merging:
        merging = False
        for one, other in combinations(groups, 2):
            if any(near(a, b) for a in one for b in other):
                groups = [each for each in groups if each not in (one, other)] + [one | other]
                merging = True
                break
    expected = {frozenset(group) for group in groups if any(one.what == "stop" for one in group)}
    chance.shuffle(found)  # type: ignore[attr-defined]
    assert {frozenset(one.closings) for one in incidents(found)} == expected
