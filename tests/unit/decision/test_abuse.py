"""Verdicts become decisions: allowlist, breaker, ladder, in this order, and always explained."""

from __future__ import annotations

import pytest

from tidegate.decision.abuse import Judge
from tidegate.decision.allow import Surroundings
from tidegate.model import DAY, HOUR, MINUTE, SECOND, Ref, Subject, Verdict
from tidegate.policy.models import BanTerms, Counted, Limits, Policy, Rule

START = 1000 * DAY
RULE = Rule("virus-senders", (Counted("exim.malware"),), 16, 5 * MINUTE, BanTerms((25,)), "more")


def policy(**changes):
    return Policy(**({"rules": (RULE,)} | changes))


def verdict(subject="192.0.2.7", time=START, offset=0):
    refs = (Ref(time - SECOND, 1, offset), Ref(time, 1, offset + 100))
    return Verdict("virus-senders", Subject(subject), time, 16, refs)


def test_a_ban_ends_at_event_time_plus_the_first_step():
    decision = Judge(policy()).judge(verdict(), good=False)
    assert (decision.action, decision.ports, decision.spared) == ("ban", (25,), "")
    assert decision.until == START + 10 * MINUTE
    assert decision.duration == 10 * MINUTE
    assert "exim.malware" in decision.reason


def test_each_further_offence_takes_the_next_step_and_the_last_repeats():
    judge = Judge(policy())
    spans = [judge.judge(verdict(time=START + n * DAY), False).duration for n in range(6)]
    assert spans == [10 * MINUTE, HOUR, DAY, 7 * DAY, 7 * DAY, 7 * DAY]


def test_offences_are_forgotten_after_thirty_days():
    judge = Judge(policy())
    judge.judge(verdict(), False)
    assert judge.judge(verdict(time=START + 31 * DAY), False).duration == 10 * MINUTE


def test_no_ban_is_longer_than_the_policy_says():
    judge = Judge(policy(limits=Limits(longest_ban=5 * MINUTE)))
    assert judge.judge(verdict(), False).until == START + 5 * MINUTE


def test_the_same_verdict_has_the_same_identity_and_another_has_not():
    first, again = Judge(policy()).judge(verdict(), False), Judge(policy()).judge(verdict(), False)
    assert first == again
    assert Judge(policy()).judge(verdict(offset=7), False).id != first.id


@pytest.mark.parametrize(
    ("subject", "reason"),
    [
        ("192.0.2.1", "gateway"),
        ("192.0.2.10", "own address"),
        ("127.0.0.3", "loopback"),
        ("198.51.100.7", "allowlist"),
        ("2001:db8:5:5::/64", "own address"),  # our address is inside the /64
        ("mail.example.com", "not an address"),
        ("203.0.113.5", ""),
        ("2001:db8:6:6::/64", ""),  # an allowlisted address inside: the accept rule stands before
    ],
)
def test_who_is_spared(subject, reason):
    judge = Judge(policy(allow=(Subject("198.51.100.0/24"), Subject("2001:db8:6:6::1"))))
    own = [("192.0.2.1", "gateway"), ("192.0.2.10", "own address")]
    own.append(("2001:db8:5:5::1", "own address"))
    judge.look(Surroundings(tuple((Subject(one), why) for one, why in own)))
    assert judge.judge(verdict(subject), False).spared == reason


def test_a_spared_subject_climbs_no_ladder():
    judge = Judge(policy(allow=(Subject("192.0.2.7"),)))
    judge.judge(verdict(), False)
    assert len(judge.ladder) == 0


def test_only_a_connection_with_a_good_record_protects():
    judge = Judge(policy())
    judge.look(Surroundings(sessions=frozenset({Subject("192.0.2.7")})))
    assert judge.judge(verdict(), good=False).spared == ""
    assert judge.judge(verdict(time=START + DAY), good=True).spared == "session"


def test_observe_decides_the_same_and_says_so():
    assert Judge(policy(mode="observe")).judge(verdict(), False).mode == "observe"


def test_a_pardon_forgets_offences_and_exempts_for_an_hour():
    judge = Judge(policy())
    judge.judge(verdict(), False)
    judge.pardon(Subject("192.0.2.7"), START)
    assert judge.judge(verdict(time=START + HOUR - 1), False).spared == "exempt"
    after = judge.judge(verdict(time=START + HOUR), False)
    assert (after.spared, after.duration) == ("", 10 * MINUTE)


def many(judge, count, good_ones, start=START, step=SECOND):
    return [
        judge.judge(verdict(f"10.1.{n // 250}.{n % 250 + 1}", start + n * step), n < good_ones)
        for n in range(count)
    ]


def test_the_breaker_trips_at_a_fifth_of_at_least_twenty():
    judge = Judge(policy())
    many(judge, 19, 19)
    assert judge.breaker.trips == 0
    judge = Judge(policy())
    many(judge, 40, 4)  # never a fifth once twenty are there: 4 of 20 is
    assert judge.breaker.trips == 1
    judge = Judge(policy())
    many(judge, 40, 3)
    assert judge.breaker.trips == 0


def test_a_tripped_breaker_spares_only_good_records_for_fifteen_minutes_and_says_so():
    judge = Judge(policy())
    many(judge, 20, 20)
    time = START + 20 * SECOND
    assert len(judge.take_notes()) == 1
    assert judge.judge(verdict("10.2.0.1", time), good=True).spared == "good record"
    assert judge.judge(verdict("10.2.0.2", time), good=False).spared == ""
    late = judge.breaker.tripped_until + 11 * MINUTE
    assert judge.judge(verdict("10.2.0.3", late), good=True).spared == ""


def test_speed_alone_only_keeps_to_the_first_step():
    judge = Judge(policy())
    judge.judge(verdict("10.1.0.1", START - DAY), False)
    decisions = many(judge, 1200, 0, step=1000)
    assert all(decision.spared == "" for decision in decisions)
    assert judge.judge(verdict("10.1.0.1", START + 2 * SECOND), False).duration == 10 * MINUTE
    assert any("first step" in note.text for note in judge.take_notes())


def test_memory_survives_a_restart():
    first = Judge(policy())
    first.judge(verdict(), False)
    first.pardon(Subject("192.0.2.9"), START)
    many(first, 20, 20)
    second = Judge(policy())
    assert all(second.restore(one) for one in first.changes() if one.value is not None)
    assert second.judge(verdict(time=START + DAY), False).duration == HOUR
    assert second.judge(verdict("192.0.2.9"), False).spared == "exempt"
    assert second.breaker.tripped_until == first.breaker.tripped_until
    assert list(first.changes()) == []


def test_an_exempt_network_spares_who_is_inside_and_nobody_else():
    judge = Judge(policy())
    judge.exempt(Subject("198.51.100.0/28"), START + HOUR)
    judge.exempt(Subject("2001:db8:5::/48"), START + HOUR)
    inside = ("198.51.100.7", "2001:db8:5:1::/64", "198.51.100.0/28", "198.51.100.8/29")
    outside = ("198.51.100.16", "2001:db8:6::/64", "198.51.100.0/27")
    assert {judge.judge(verdict(one), good=False).spared for one in inside} == {"exempt"}
    assert {judge.judge(verdict(one), good=False).spared for one in outside} == {""}
    late = verdict("198.51.100.7", START + HOUR)
    assert judge.judge(late, good=False).spared == ""
