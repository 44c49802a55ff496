"""Scores: the blog's numbers, exact ends, order, duplicates, reload and restarts; the three forms."""

from __future__ import annotations

import math
import random
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.evidence.decay import EMPTY, Exponential, Linear, Points, Steps
from tidegate.evidence.score import KEPT, Score
from tidegate.evidence.windows import Windows
from tidegate.model import DAY, HOUR, MINUTE, SECOND, Batch, Event, Kind, Subject, Term, Verdict
from tidegate.policy.models import BanTerms, Counted, Rule, ScoreTerms

SPAM = Kind("modsecurity.spam", "abuse", 1, "modsecurity.spam", "modsecurity")
GOOD = Kind("web.accepted", "success", 0, "web.accepted", "web")
HOST = Subject("192.0.2.7")
START = 1000 * DAY
BLOG = ScoreTerms(limit=15, over=True, release=15, span=DAY, points=3)
AT_LEAST = ScoreTerms(limit=15, over=False, release=0, span=DAY, points=3)


def rule(terms: ScoreTerms, weight: int = 15, name: str = "spam") -> Rule:
    on = (Counted("modsecurity.spam", weight), Counted("web.accepted", -5))
    return Rule(name, on, 1, 1, BanTerms((80, 443)), "stated", score=terms)


def windows(*rules: Rule, capacity: int = 1_000_000) -> Windows:
    return Windows(rules, {"modsecurity.spam": 1}, capacity)


def hit(time: int, offset: int | None = None, kind: Kind = SPAM, who: Subject = HOST) -> Event:
    return Event(time, kind, who, 1, "", time - START if offset is None else offset, 10, {})


def play(core: Windows, events: list[Event]) -> list[Verdict]:
    found: list[Verdict] = []

    def convict(verdict: Verdict, _offset: int) -> Term:
        found.append(verdict)
        return Term(verdict.release)

    core.tally(Batch("s", 1, events=events), convict)
    return found


def score_of(core: Windows, time: int) -> float:
    (tally,) = core.windows
    assert isinstance(tally, Score)
    return tally.score(HOST, time)


def test_the_blogs_numbers() -> None:
    core = windows(rule(BLOG))
    assert play(core, [hit(START)]) == [], "15 is not over 15"
    (verdict,) = play(core, [hit(START + SECOND)])
    assert verdict.count == 30
    # 30 points fade to 15 in five days, counted from the first, to the microsecond.
    assert verdict.release == START + 5 * DAY
    assert [ref.offset for ref in verdict.refs] == [0, SECOND]


def test_one_hit_with_at_least_closes_for_exactly_five_days() -> None:
    (verdict,) = play(windows(rule(AT_LEAST)), [hit(START)])
    assert verdict.release == START + 5 * DAY


def test_more_points_close_for_longer() -> None:
    core = windows(rule(AT_LEAST))
    first, second = play(core, [hit(START), hit(START + DAY)])
    assert (first.release, second.release) == (START + 5 * DAY, START + 10 * DAY)


def test_not_over_once_it_has_faded() -> None:
    core = windows(rule(BLOG))
    assert play(core, [hit(START), hit(START + 5 * DAY)]) == []
    assert len(play(core, [hit(START + 5 * DAY + 1)])) == 1


def test_good_mail_takes_points_off_never_below_nothing() -> None:
    core = windows(rule(BLOG))
    assert play(core, [hit(START, kind=GOOD), hit(START, 1), hit(START, 2, GOOD)]) == []
    assert score_of(core, START) == 10
    assert play(core, [hit(START, 3, GOOD), hit(START, 4, GOOD), hit(START, 5, GOOD)]) == []
    assert score_of(core, START) == 0
    assert play(core, [hit(START, 6)]) == []


def oracle(events: list[Event], points: int, span: int, time: int) -> Fraction:
    """The score by its definition, in fractions."""
    score, last = Fraction(0), 0
    for one in sorted(events, key=lambda one: (one.time, one.offset, one.kind.name)):
        score = max(Fraction(0), score - Fraction(points * (one.time - last), span))
        score = max(Fraction(0), score + (15 if one.kind is SPAM else -5))
        last = one.time
    return max(Fraction(0), score - Fraction(points * (time - last), span))


EVENTS = st.lists(
    st.builds(
        hit,
        st.integers(START, START + 20 * DAY),
        st.integers(0, 50),
        st.sampled_from((SPAM, SPAM, GOOD)),
    ),
    min_size=1,
    max_size=20,
    unique_by=lambda one: (one.time, one.offset),
)


@settings(max_examples=150, deadline=None)
@given(EVENTS, st.integers(1, 7), st.randoms(use_true_random=False))
def test_order_and_duplicates_never_change_a_score(
    events: list[Event], points: int, chance: random.Random
) -> None:
    terms = BLOG if points == 3 else ScoreTerms(15, True, 15, DAY, points)
    end = START + 20 * DAY
    mixed = events + chance.choices(events, k=5)
    chance.shuffle(mixed)
    core = windows(rule(terms))
    for one in mixed:
        play(core, [one])
    assert score_of(core, end) == pytest.approx(float(oracle(events, points, DAY, end)), abs=1e-9)
    in_order = windows(rule(terms))
    play(in_order, sorted(events, key=lambda one: (one.time, one.offset)))
    (one,), (other,) = core.windows, in_order.windows
    assert one.tallies == other.tallies


@settings(max_examples=60, deadline=None)
@given(EVENTS, st.integers(0, 20))
def test_reload_and_restart_never_change_a_score(events: list[Event], cut: int) -> None:
    events.sort(key=lambda one: (one.time, one.offset))
    whole = windows(rule(BLOG))
    told = play(whole, events)
    first = windows(rule(BLOG))
    before = play(first, events[:cut])
    restarted, reloaded = windows(rule(BLOG)), windows(rule(BLOG))
    assert all(restarted.restore(change) for change in first.changes() if change.value is not None)
    reloaded.take_over(first)
    for core in (restarted, reloaded):
        assert before + play(core, events[cut:]) == told
        assert core.windows[0].tallies == whole.windows[0].tallies


def test_another_decay_after_a_reload_counts_what_is_kept_anew() -> None:
    core, slower = windows(rule(BLOG)), windows(rule(ScoreTerms(15, True, 15, DAY, 1)))
    play(core, [hit(START), hit(START + DAY)])
    slower.take_over(core)
    assert score_of(slower, START + 2 * DAY) == 15 + 15 - 2


def test_a_damaged_score_is_dropped() -> None:
    core = windows(rule(BLOG))
    play(core, [hit(START)])
    for change in list(core.changes()):
        if change.part.startswith("score") and change.value:
            assert not windows(rule(BLOG)).restore(change._replace(value=change.value[:-1]))


def test_what_is_older_than_the_kept_entries_stays_in_the_sum() -> None:
    core = windows(rule(ScoreTerms(10**6, True, 10**6, DAY, 3)))
    count = 3 * KEPT
    play(core, [hit(START + n * MINUTE) for n in range(count)])
    end = START + count * MINUTE
    assert core.windows[0].holding(HOST) == KEPT
    assert score_of(core, end) == pytest.approx(15 * count - 3 * count * MINUTE / DAY)


def test_a_flood_while_closed_is_not_a_decision_each_time() -> None:
    core = windows(rule(AT_LEAST, weight=1))
    found = play(core, [hit(START + n) for n in range(2000)])
    # 15 points that came in 15 us have faded by a hair when they are counted.
    assert len(found) == 2000 - 15, "each point is worth eight hours"
    quick = windows(rule(ScoreTerms(15, False, 0, SECOND, 100), weight=1))
    assert len(play(quick, [hit(START + n) for n in range(2000)])) <= 25


def test_scores_fade_from_memory() -> None:
    core = windows(rule(BLOG))
    play(core, [hit(START)])
    play(core, [hit(START + 4 * DAY, who=Subject("192.0.2.8"))])
    assert len(core) == 2
    play(core, [hit(START + 6 * DAY, who=Subject("192.0.2.8"))])
    assert len(core) == 1


# -- the forms ----------------------------------------------------------------------------------------


def points(time: int, given: int) -> Points:
    return Points(time, 0, 0, given)


@pytest.mark.parametrize(("after", "left"), [(86_399, 15), (86_400, 12), (172_800, 9), (10**7, 0)])
def test_modsecuritys_steps(after: int, left: int) -> None:
    form = Steps(3, DAY)
    state = form.add(EMPTY, points(START, 15))
    assert form.score(state, START + after * SECOND) == left


def test_modsecuritys_clock_begins_anew_with_every_change() -> None:
    """Hourly hits of one point for ten days: the score never fades, as in the original."""
    form = Steps(3, DAY)
    state = form.add(EMPTY, points(START, 15))
    state = form.add(state, points(START, 13))
    for hour in range(1, 241):
        state = form.add(state, points(START + hour * HOUR, 1))
    assert form.score(state, START + 240 * HOUR) == 268
    assert form.release(state, 15) == START + 240 * HOUR + math.ceil(253 / 3) * DAY


@given(st.lists(st.tuples(st.integers(0, 400 * DAY), st.integers(1, 100)), min_size=1, max_size=30))
def test_exponential_sums_merge_in_any_order(given_points: list[tuple[int, int]]) -> None:
    form = Exponential(DAY)
    latest = max(time for time, _ in given_points)
    recent = [one for one in given_points if latest // (32 * DAY) - one[0] // (32 * DAY) < 2]
    forwards = backwards = EMPTY
    for time, count in recent:
        forwards = form.add(forwards, points(time, count))
    for time, count in reversed(recent):
        backwards = form.add(backwards, points(time, count))
    assert forwards == backwards
    exact = sum(given * 2.0 ** ((time - latest) / DAY) for time, given in given_points)
    assert form.score(forwards, latest) == pytest.approx(exact, rel=1e-6, abs=1 / 1024)


def test_exponential_halves_and_ends() -> None:
    form = Exponential(DAY)
    state = form.add(EMPTY, points(START, 16))
    assert form.score(state, START + 2 * DAY) == pytest.approx(4)
    assert form.release(state, 2) == pytest.approx(START + 3 * DAY, abs=2)
    assert not form.beyond(state, form.release(state, 2), 2, over=True)


@given(st.integers(0, 400 * DAY), st.integers(2, 60))
def test_what_adds_up_to_just_the_limit_is_not_over_it(time: int, number: int) -> None:
    form, state = Exponential(HOUR), EMPTY
    for place in range(number):
        state = form.add(state, Points(time, place, 1, 5))
    assert form.score(state, time) == 5 * number
    assert not form.beyond(state, time, 5 * number, over=True)
    assert form.beyond(state, time, 5 * number, over=False)


def test_linear_is_exact_where_floats_are_not() -> None:
    form = Linear(7, 3 * DAY)
    state = form.add(EMPTY, points(START + 1, 15))
    end = form.release(state, 8)
    assert form.beyond(state, end - 1, 8, over=True)
    assert not form.beyond(state, end, 8, over=True)


# -- knocks -------------------------------------------------------------------------------------------


def knock(core: Windows, time: int, port: int = 80) -> list[Verdict]:
    found: list[Verdict] = []

    def convict(verdict: Verdict, _offset: int) -> Term:
        found.append(verdict)
        return Term(verdict.release)

    core.knock(HOST, time, port, convict)
    return found


def closed(terms: ScoreTerms = AT_LEAST, most: int = DAY) -> Windows:
    core = windows(rule(terms))

    def convict(verdict: Verdict, _offset: int) -> Term:
        return Term(verdict.release, 0, verdict.release + most)

    core.tally(Batch("s", 1, events=[hit(START)]), convict)
    return core


def test_a_knock_prolongs_by_what_its_point_is_worth() -> None:
    core = closed()
    (verdict,) = knock(core, START + HOUR)
    assert (verdict.release, verdict.knocked) == (START + 5 * DAY + 8 * HOUR, 80)
    assert verdict.refs[-1].origin == 0, "no line of a log"


def test_knocks_prolong_by_no_more_than_the_term_allows_and_leave_no_points_behind() -> None:
    core = closed()
    told = [knock(core, START + n * MINUTE) for n in range(1, 60)]
    assert [len(one) for one in told] == [1] * 3 + [0] * 56
    assert score_of(core, START + 6 * DAY) == 0


def test_a_knock_never_starts_anything() -> None:
    core = windows(rule(AT_LEAST))
    play(core, [hit(START, kind=GOOD)])
    assert knock(core, START + 1) == []
    core = closed()
    assert knock(core, START + 5 * DAY) == [], "it was free already"
    none = closed(ScoreTerms(15, False, 0, DAY, 3, knock=0))
    assert knock(none, START + 1) == []


def test_a_knock_survives_a_restart() -> None:
    core, after = closed(), windows(rule(AT_LEAST))
    knock(core, START + 1)
    assert all(after.restore(change) for change in core.changes() if change.value is not None)
    assert after.windows[0].tallies == core.windows[0].tallies
    assert after.windows[0].held == core.windows[0].held
