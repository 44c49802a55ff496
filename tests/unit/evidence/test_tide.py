"""Rules tighten with the host's tide: from the next event on, and back again, nothing forgotten."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.decision.abuse import Judge
from tidegate.evidence.windows import Windows
from tidegate.model import DAY, HOUR, MINUTE, SECOND, Batch, Event, Kind, Subject, Term, Verdict
from tidegate.policy.loader import read
from tidegate.policy.models import BanTerms, Counted, Policy, Rule, ScoreTerms

FAILED = Kind("sshd.auth_failed", "abuse", 1, "sshd.failed", "sshd")
INVALID = Kind("sshd.invalid_user", "abuse", 1, "sshd.invalid", "sshd")
HOST = Subject("192.0.2.7")
PLAIN = Rule("r", (Counted("sshd.auth_failed"),), 6, 5 * MINUTE, BanTerms((22,)), "at least 6")
SHARED = replace(PLAIN, on=(Counted("sshd.auth_failed"), Counted("sshd.invalid_user")))
DISTINCT = replace(PLAIN, distinct="user")
SCORE = replace(PLAIN, score=ScoreTerms(6, True, 6, DAY, 3))
SHAPES = pytest.mark.parametrize(
    "shape", [PLAIN, SHARED, DISTINCT, SCORE], ids=["plain", "sessions", "distinct", "score"]
)


def tightened(shape: Rule, high: int = 3, flood: int = 2) -> Rule:
    return replace(shape, tightened=(("high", high), ("flood", flood)))


def lowered(shape: Rule, number: int) -> Rule:
    """The rule as if it had been written with this number."""
    if shape.score is not None:
        terms = replace(shape.score, limit=number, release=number)
        return replace(shape, score=terms)
    return replace(shape, threshold=number)


def core(rule: Rule) -> Windows:
    return Windows([rule], {"sshd.auth_failed": 1, "sshd.invalid_user": 1})


def events(*seconds: float, kind: Kind = FAILED) -> list[Event]:
    return [
        Event(int(at * SECOND) + HOUR, kind, HOST, 1, str(n), n, 10, {"user": f"u{n}"})
        for n, at in enumerate(seconds)
    ]


def play(windows: Windows, given: list[Event]) -> list[Verdict]:
    found: list[Verdict] = []

    def convict(verdict: Verdict, _offset: int) -> Term:
        found.append(verdict)
        return Term(verdict.time + HOUR)

    windows.tally(Batch("s", 1, events=given), convict)
    return found


@SHAPES
def test_a_higher_tide_needs_less(shape: Rule) -> None:
    low, high = core(tightened(shape)), core(tightened(shape))
    high.tide = "high"
    over = 1 if shape is SCORE else 0
    assert play(low, events(*range(3 + over))) == []
    found = play(high, events(*range(3 + over)))
    assert [(one.count, one.tide) for one in found] == [(3 + over, "high")]


@SHAPES
def test_what_was_counted_before_the_tide_rose_counts(shape: Rule) -> None:
    windows, given = core(tightened(shape)), events(*range(6))
    assert play(windows, given[:4]) == []
    windows.tide = "flood"
    assert len(play(windows, given[4:5])) == 1


@SHAPES
def test_after_the_tide_nothing_is_forgotten_and_the_rule_s_own_number_counts(shape: Rule) -> None:
    windows, given = core(tightened(shape, 5)), events(*range(8))
    windows.tide = "high"
    assert play(windows, given[:4]) == []
    windows.tide = "low"
    over = 1 if shape is SCORE else 0
    assert play(windows, given[4 : 5 + over]) == []
    found = play(windows, given[5 + over : 6 + over])
    assert [(one.count, one.tide) for one in found] == [(6 + over, "")]


@SHAPES
@given(gaps=st.lists(st.integers(0, 200), max_size=25))
def test_at_high_tide_a_rule_is_as_one_written_so(shape: Rule, gaps: list[int]) -> None:
    when = [sum(gaps[: n + 1]) for n in range(len(gaps))]
    high, written = core(tightened(shape)), core(lowered(shape, 3))
    high.tide = "high"
    found = [one._replace(tide="") for one in play(high, events(*when))]
    assert found == play(written, events(*when))


@pytest.mark.parametrize("shape", [PLAIN, DISTINCT], ids=["plain", "distinct"])
def test_it_is_convicted_by_as_many_as_the_tide_asks_for(shape: Rule) -> None:
    """Although more were counted: twice as many are looked at only for a good record's sake."""
    for record, count in (("ignore", 3), ("double", 6)):
        windows = core(replace(tightened(shape), good_record=record))
        assert play(windows, events(*range(5))) == []
        windows.tide = "high"
        (verdict,) = play(windows, events(*range(6))[5:])
        assert (verdict.count, verdict.twice) == (count, count == 6)


def test_only_rules_that_tighten_change() -> None:
    windows = core(PLAIN)
    count = windows.windows[0].count
    windows.tide = "flood"
    assert windows.windows[0].count == count
    assert play(windows, events(*range(5))) == []


def test_high_alone_holds_in_a_flood_too() -> None:
    rule = replace(PLAIN, tightened=(("high", 3),))
    assert [rule.threshold_at(tide) for tide in ("low", "high", "flood")] == [6, 3, 3]
    assert replace(PLAIN, tightened=(("flood", 3),)).threshold_at("high") == 6


def test_a_reload_keeps_the_tide() -> None:
    old, new = core(tightened(PLAIN)), core(tightened(PLAIN, 4))
    old.tide = "high"
    assert play(old, events(0, 1)) == []
    new.take_over(old)
    assert new.tide == "high"
    assert len(play(new, events(2, 3))) == 1


def test_the_reason_says_what_the_tide_changed() -> None:
    rule = tightened(PLAIN)
    windows = core(rule)
    windows.tide = "high"
    (verdict,) = play(windows, events(0, 1, 2))
    reason = Judge(Policy(rules=(rule,))).judge(verdict, False).reason
    assert reason == "3 are enough at tide high; else at least 6: sshd.auth_failed"


RULE = """
[rule.x]
on = ["sshd.auth_failed"]
more-than = 15
within = "5m"
when.high = { more-than = 2 }
when.flood = { at-least = 2 }
ban = { ports = [22] }
"""


def test_out_of_the_policy() -> None:
    assert read([("p", RULE)]).policy.rules[0].tightened == (("high", 3), ("flood", 2))


def test_a_score_out_of_the_policy() -> None:
    text = RULE.replace('within = "5m"', 'decay = "3/day"').replace("at-least", "score-over")
    rule = read([("p", text.replace("more-than", "score-over"))]).policy.rules[0]
    assert rule.tightened == (("high", 2), ("flood", 2))
