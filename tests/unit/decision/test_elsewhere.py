"""What others have closed is judged like an own verdict: allowlist, breaker, ladder, limits, mode."""

from __future__ import annotations

import pytest

from tidegate.decision.abuse import Judge
from tidegate.decision.allow import Surroundings
from tidegate.decision.breaker import FAST
from tidegate.decision.elsewhere import closed, counted_by
from tidegate.model import DAY, HOUR, MINUTE, SECOND, Decision, Subject, Verdict
from tidegate.policy.models import BanTerms, Counted, Limits, Policy, Rule

START = 1000 * DAY
HOST = Subject("192.0.2.7")
RULE = Rule("virus", (Counted("exim.malware"),), 16, 5 * MINUTE, BanTerms((25,)), "more")


def judge(**changes: object) -> Judge:
    return Judge(Policy(**({"rules": (RULE,)} | changes)))  # type: ignore[arg-type]


def told(
    subject: Subject = HOST, by: str = "rule", span: int = HOUR, rule: str = "virus"
) -> Decision:
    return closed("id", "lb2", rule, by, subject, (25,), START, START + span, note="n", hosts=2)


def accept(each: Judge, one: Decision, *, good: bool = False, again: bool = False) -> Decision:
    return each.accept(one, good, START + SECOND, again=again)


def test_what_another_hosts_rule_closed() -> None:
    found = accept(judge(), told())
    assert (found.id, found.by, found.rule, found.action) == ("id", "fleet:lb2", "virus", "ban")
    assert (found.until, found.duration, found.ports) == (START + HOUR, HOUR, (25,))
    assert found.reason == "rule virus on lb2, where 2 hosts had counted"
    assert (found.mode, found.spared, found.refs, found.note) == ("enforce", "", (), "n")


def test_what_a_person_closed_on_another_host() -> None:
    found = accept(judge(), told(by="anna"), good=True)
    assert (found.by, found.rule, found.reason) == ("anna", "", "by hand on lb2")
    assert (found.spared, found.collateral) == ("", False)


def test_no_ban_is_longer_than_this_hosts_policy_says() -> None:
    each = judge(limits=Limits(longest_ban=5 * MINUTE))
    assert accept(each, told(span=30 * DAY)).until == START + 5 * MINUTE


def test_who_is_protected_here_stays_so() -> None:
    each = judge(allow=(Subject("192.0.2.0/28"),))
    each.look(Surroundings(((Subject("192.0.2.99"), "gateway"),)))
    assert accept(each, told()).spared == "allowlist"
    assert accept(each, told(by="anna")).spared == "allowlist"
    assert accept(each, told(Subject("192.0.2.99"))).spared == "gateway"
    assert accept(each, told(Subject("0.0.0.0/0"))).spared != ""


def test_who_was_unbanned_here_within_the_hour_stays_free() -> None:
    each = judge()
    each.pardon(HOST, START)
    assert accept(each, told()).spared == "exempt"


def test_observe_holds_here() -> None:
    assert accept(judge(mode="observe"), told()).mode == "observe"
    watching = judge(rules=(Rule(**{**_fields(RULE), "mode": "observe"}),))
    assert accept(watching, told()).mode == "observe"
    assert accept(watching, told(rule="another")).mode == "enforce"
    assert accept(watching, told(by="anna")).mode == "enforce"


def _fields(rule: Rule) -> dict[str, object]:
    return {name: getattr(rule, name) for name in rule.__dataclass_fields__}


def test_it_is_an_offence_so_the_next_one_here_takes_the_next_step() -> None:
    each = judge()
    accept(each, told())
    accept(each, told(), again=True)  # of an offence that is known already
    accept(each, told(by="anna"))
    accept(each, told(rule="another"))
    verdict = Verdict("virus", HOST, START + DAY, 16, (), identity="x")
    assert each.judge(verdict, False).duration == HOUR, "the second step"


def test_an_offence_taken_back_was_none() -> None:
    each = judge()
    first = Verdict("virus", HOST, START, 16, (), identity="x")
    each.judge(first, False)
    accept(each, told())
    each.acquit("virus", HOST)
    assert each.judge(first._replace(time=START + DAY), False).step == 1
    for _ in range(3):
        each.acquit("virus", HOST)
    assert each.judge(first._replace(time=START + DAY), False).step == 0
    each.acquit("never", HOST)


def test_the_breaker_counts_what_others_close_for() -> None:
    each = judge()
    for n in range(25):
        good = n % 4 == 0
        found = accept(each, told(Subject(f"198.51.100.{n}")), good=good)
    assert each.breaker.trips == 1
    assert accept(each, told(HOST), good=True).spared == "good record"
    assert accept(each, told(HOST)).spared == ""
    assert accept(each, told(HOST, by="anna"), good=True).spared == "", "a person outranks"
    (note,) = each.take_notes()
    assert "Look at rule virus" in note.text
    assert found.mode == "enforce"


@pytest.mark.parametrize("terms", ["double", "spare"])
def test_a_good_record_here_that_the_rule_respects_is_respected(terms: str) -> None:
    each = judge(rules=(Rule(**{**_fields(RULE), "good_record": terms}),))
    assert accept(each, told(), good=True).spared == "good record"
    assert accept(each, told()).spared == ""
    assert accept(judge(), told(), good=True).spared == ""
    assert accept(judge(), told(), good=True).collateral


def test_a_flood_of_closings_takes_the_first_step_only() -> None:
    each = judge()
    spans = [
        accept(each, told(Subject(f"10.{n >> 8}.{n & 255}.1"), span=DAY)).duration
        for n in range(FAST + 2)
    ]
    assert (spans[0], spans[-1]) == (DAY, 10 * MINUTE)


def test_many_hosts_in_few_words() -> None:
    assert counted_by([("a", 3)]) == "the fleet counted (all of it on a)"
    assert counted_by([("a", 1), ("b", 3)]) == "2 hosts counted (b 3, a 1)"
    many = [(f"h{n}", n) for n in range(300)]
    assert counted_by(many) == (
        "300 hosts counted (h299 299, h298 298, h297 297, h296 296, h295 295 and 295 more)"
    )
