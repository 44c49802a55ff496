"""Who may be cut off from what leaves, and for how long: the judge's part of quarantine."""

from __future__ import annotations

import pytest

from tidegate.decision.abuse import Judge
from tidegate.decision.allow import Surroundings
from tidegate.decision.outward import Sources
from tidegate.model import DAY, HOUR, MINUTE, SECOND, Ref, Subject, Verdict
from tidegate.policy.models import BanTerms, Counted, Escalation, Limits, Policy, Rule
from tidegate.policy.outward import OutwardSpec

START = 1000 * DAY
LADDER = (10 * MINUTE, HOUR, DAY)
WORM = Rule(
    "worm", (Counted("outward.scan"),), 1, MINUTE, BanTerms(ladder=LADDER, outward=True), "once"
)
SPEC = OutwardSpec(
    uids=True,
    networks=(Subject("192.0.2.0/24"), Subject("2001:db8:7::/48")),
    customers=(Subject("198.51.100.0/28"),),
    interfaces=("lan0",),
    busy=(Subject("192.0.2.25"), Subject("uid:8"), Subject("192.0.2.128/25")),
)


def policy(**changes: object) -> Policy:
    return Policy(**({"rules": (WORM,), "outward": SPEC} | changes))  # type: ignore[arg-type]


def verdict(subject: str = "192.0.2.7", time: int = START) -> Verdict:
    return Verdict("worm", Subject(subject), time, 1, (Ref(time, 1, time - START),))


@pytest.mark.parametrize(
    ("subject", "why"),
    [
        ("192.0.2.7", ""),
        ("2001:db8:7:9::/64", ""),
        ("198.51.100.0/28", ""),
        ("uid:33", ""),
        ("interface:lan0", ""),
        ("interface:wan0", "no source of [outward]"),
        ("203.0.113.7", "no source of [outward]"),
        ("2001:db8:8::/64", "no source of [outward]"),
        ("service:exim4", "no source of [outward]"),
        ("mail.example.org", "no source of [outward]"),
        ("192.0.2.0/23", "no source of [outward]"),
        ("192.0.2.0/28", "no source of [outward]"),
        ("198.51.100.3", ""),
        ("198.51.100.0/29", "no source of [outward]"),
        ("2001:db8:7::1", "no source of [outward]"),
        ("uid:033", "no source of [outward]"),
        ("uid:4294967295", "no source of [outward]"),
        ("uid:9999999999", "no source of [outward]"),
        ("uid:0", "root"),
        ("uid:8", "busy"),
        ("192.0.2.25", "busy"),
        ("192.0.2.200", "busy"),
    ],
)
def test_only_sources_that_policy_names_and_does_not_leave_alone(subject, why):
    assert Sources(SPEC).spared(Subject(subject)) == why


def test_without_outward_nobody_is_cut_off_and_root_never():
    assert Sources(None).spared(Subject("uid:33")) == "no [outward] in the policy"
    assert Sources(OutwardSpec()).spared(Subject("uid:33")) == "no source of [outward]"
    assert Sources(None).spared(Subject("uid:0")) == "root"


@pytest.mark.parametrize(
    ("subject", "why"),
    [
        ("192.0.2.1", "gateway"),
        ("192.0.2.10", "own address"),
        ("192.0.2.99", "allowlist"),
        ("198.51.100.0/28", ""),  # the router's own address is in it: the kernel lets that pass
        ("2001:db8:7::/64", ""),
        ("uid:997", "Tidegate's own user"),
        ("192.0.2.7", ""),
    ],
)
def test_only_who_is_protected_as_a_whole_is_spared(subject, why):
    judge = Judge(policy(allow=(Subject("192.0.2.99"), Subject("2001:db8:7::5"))))
    near = {
        "192.0.2.1": "gateway", "192.0.2.10": "own address", "198.51.100.1": "own address",
        "2001:db8:7::1": "own address", "uid:997": "Tidegate's own user",
    }  # fmt: skip
    protected = tuple((Subject(one), reason) for one, reason in near.items())
    judge.look(Surroundings(protected, frozenset({Subject("192.0.2.7")})))
    assert judge.judge(verdict(subject), good=True).spared == why


def test_each_offence_takes_the_next_step_and_probation_lasts_as_long_as_the_one_after():
    judge = Judge(policy())
    found = [judge.judge(verdict(time=START + n * DAY), False) for n in range(4)]
    assert [one.action for one in found] == ["quarantine"] * 4
    assert [one.duration for one in found] == [10 * MINUTE, HOUR, DAY, DAY]
    assert [one.watched - one.until for one in found] == [HOUR, DAY, DAY, DAY]
    assert [judge.term(one).watched for one in found] == [one.watched for one in found]


def test_neither_is_longer_than_the_policy_says():
    judge = Judge(policy(limits=Limits(longest_ban=30 * MINUTE)))
    one = judge.judge(verdict(), False)
    assert (one.duration, one.watched - one.until) == (10 * MINUTE, 30 * MINUTE)


def test_whoever_is_spared_is_not_watched_and_climbs_no_ladder():
    judge = Judge(policy())
    one = judge.judge(verdict("uid:8"), False)
    assert (one.spared, one.watched, judge.term(one).watched) == ("busy", 0, 0)
    assert len(judge.ladder) == 0


@pytest.mark.parametrize("subject", ["192.0.2.7", "uid:33"])
def test_an_exempt_one_is_spared_until_then(subject):
    judge = Judge(policy())
    judge.exempt(Subject(subject), START + HOUR)
    assert judge.judge(verdict(subject), False).spared == "exempt"
    assert judge.judge(verdict(subject, START + HOUR), False).spared == ""


def test_the_breaker_spares_those_with_a_good_record_also_outward():
    judge = Judge(policy())
    found = [judge.judge(verdict(f"192.0.2.{n}", START + n), good=True) for n in range(30, 60)]
    assert "good record" in {one.spared for one in found}
    assert judge.judge(verdict("192.0.2.90", START + 99 * SECOND), good=False).spared == ""


@pytest.mark.parametrize(
    "changes", [{"mode": "observe"}, {"outward": OutwardSpec(mode="observe", uids=True)}]
)
def test_observed_where_either_mode_says_so(changes):
    assert Judge(policy(**changes)).judge(verdict("uid:33"), False).mode == "observe"
    assert Judge(policy()).judge(verdict("uid:33"), False).mode == "enforce"


def test_no_network_is_cut_off_for_those_inside_it():
    near = Escalation(4, 24, 3, HOUR, HOUR)
    judge = Judge(policy(escalation=(near,)))
    for n in range(9):
        one = judge.judge(verdict(f"192.0.2.{n + 1}", START + n), False)
        assert list(judge.widen(one, lambda _network: False)) == []
    assert len(judge.escalations) == 0
