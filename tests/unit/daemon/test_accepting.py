"""What other hosts closed, in a pipeline: once, for no shorter than theirs, and taken back whole."""

from __future__ import annotations

from dataclasses import replace

from tests.unit.daemon.test_together import BAN, PLAIN, START, SUBJECTS, attempts, policy
from tests.unit.daemon.together import Line, Machine

from tidegate.fleet.port import Closing
from tidegate.model import DAY, HOUR, MINUTE, SECOND, Micros, Subject
from tidegate.policy.models import Escalation

HOST = SUBJECTS[0]
FIRST = BAN.ladder[0]


def machine(**changes: object) -> Machine:
    return Machine("here", policy(replace(PLAIN, probation=True), **changes))


def closing(
    at: Micros = 0, span: Micros = FIRST, rule: str = "virus", by: str = "rule",
    subject: Subject = HOST, number: str = "1",
) -> Closing:  # fmt: skip
    time = START + at
    return Closing(number, "lb2", rule, by, subject, (22,), time, time + span)


def accept(here: Machine, told: Closing) -> list[tuple[Micros, str]]:
    found = here.pipeline.accept(told, told.time + SECOND)
    return [(one.until, one.spared) for one in found]


def test_of_one_offence_two_hosts_tell() -> None:
    here = machine()
    assert accept(here, closing()) == [(START + FIRST, "")]
    assert accept(here, closing(SECOND, number="2")) == []
    assert here.pipeline.held("virus", HOST) == START + FIRST
    assert len(accept(here, closing(MINUTE, number="3"))) == 1, "that is another offence"


def test_who_has_offended_more_often_there_is_closed_out_for_as_long_here() -> None:
    here = machine()
    for line in attempts(4, hosts=1):
        here.read(line)
    assert here.decisions[0].duration == FIRST
    assert accept(here, closing(4 * SECOND, HOUR)) == [(START + 4 * SECOND + HOUR, "")]
    assert here.pipeline.held("virus", HOST) == START + 4 * SECOND + HOUR
    # One offence: the next takes the second step.
    again = [one._replace(time=one.time + DAY) for one in attempts(4)]
    for line in again:
        here.read(line)
    assert here.decisions[-1].step == 1


def test_of_a_rule_that_this_host_has_not() -> None:
    here = machine()
    assert accept(here, closing(rule="theirs")) == [(START + FIRST, "")]
    assert accept(here, closing(SECOND, rule="theirs", number="2")) == []
    assert accept(here, closing(SECOND, HOUR, rule="theirs", number="3")) != []


def test_a_network_that_several_close_for() -> None:
    network = Subject("198.51.100.0/24")
    here = machine(escalation=(Escalation(4, 24, 3, HOUR, 30 * MINUTE),))
    assert len(accept(here, closing(subject=network, span=10 * MINUTE))) == 1
    assert accept(here, closing(SECOND, 10 * MINUTE, subject=network, number="2")) == []
    for n in range(3):
        for line in attempts(4):
            here.read(
                line._replace(subject=Subject(f"198.51.100.{n}"), time=line.time + n * MINUTE)
            )
    assert network not in {one.subject for one in here.decisions}, "closed for already"


def test_a_persons_ban_holds_beside_what_rules_do() -> None:
    here = machine()
    assert accept(here, closing(by="anna", span=HOUR)) == [(START + HOUR, "")]
    assert here.pipeline.held("", HOST) == here.pipeline.held("virus", HOST) == 0
    assert len(accept(here, closing(SECOND, by="anna", number="2"))) == 1
    for line in attempts(4, hosts=1):
        here.read(line)
    assert len(here.decisions) == 1


def test_who_has_a_good_record_here_is_judged_by_own_lines() -> None:
    here = Machine("here", policy(replace(PLAIN, good_record="double")))
    here.pipeline.record._latest[HOST] = START
    assert accept(here, closing()) == [(START + FIRST, "good record")]
    assert here.pipeline.held("virus", HOST) == 0
    assert here.pipeline.convicted("virus", HOST, START, 4, (("lb2", 4),), "c") == []
    for line in attempts(8, hosts=1):
        here.read(line)
    assert [one.count for one in here.decisions] == [8]


def test_what_is_taken_back_counts_for_nothing() -> None:
    here = machine()
    (found,) = here.pipeline.convicted("virus", HOST, START, 4, (("a", 2), ("b", 2)), "c")
    assert (found.id, found.refs, found.until) == ("c", (), START + FIRST)
    here.pipeline.reopened("virus", HOST, START + SECOND)
    assert here.pipeline.held("virus", HOST) == 0
    here.pipeline.reopened("theirs", HOST, START + SECOND)
    one = Line(START + 2 * SECOND, "exim.malware", HOST, 0)
    assert here.read(one) == [], "not even on probation"
    for line in attempts(4, hosts=1):
        here.read(line._replace(time=line.time + HOUR))
    assert here.decisions[-1].step == 0


def test_a_pardon_lasts_as_long_as_its_person_said() -> None:
    here = machine()
    here.pipeline.pardon(HOST, START, 10 * MINUTE)
    assert accept(here, closing(5 * MINUTE)) == [(START + 5 * MINUTE + FIRST, "exempt")]
    assert accept(here, closing(11 * MINUTE, number="2")) == [(START + 11 * MINUTE + FIRST, "")]
    (found,) = here.pipeline.convicted("virus", SUBJECTS[1], START, 4, (("a", 4),), "d")
    assert found.spared == ""


def test_what_is_done_for_others_is_seen_in_reports() -> None:
    here = machine()
    accept(here, closing())
    here.read(Line(START + SECOND, "exim.malware", HOST, 0))
    (course,) = here.pipeline.aftermath.courses.values()
    assert (course.until, course.during) == (START + FIRST, 1)
    here.pipeline.reopened("virus", HOST, START + 2 * SECOND)
    assert course.until == START + 2 * SECOND


def test_a_whole_network_with_a_customer_in_it_is_not_closed_on_anothers_word() -> None:
    network, customer = Subject("198.51.100.0/24"), Subject("198.51.100.9")
    for rule in ("virus", "theirs"):
        here = machine()
        here.pipeline.record._latest[customer] = START
        assert accept(here, closing(rule=rule, subject=network)) == [(START + FIRST, "good record")]
        here = machine()
        here.pipeline.pardon(customer, START, HOUR)
        assert accept(here, closing(rule=rule, subject=network)) == [(START + FIRST, "exempt")]


def test_a_name_of_a_rule_that_nobody_has_is_no_way_around_a_good_record() -> None:
    here = machine()
    here.pipeline.record._latest[HOST] = START
    assert accept(here, closing(rule="theirs")) == [(START + FIRST, "good record")]
    assert accept(here, closing(rule="", by="anna", number="2"))[0][1] == "", "a person knows"


def test_what_was_taken_back_or_pardoned_is_closed_again_on_another_hosts_word() -> None:
    for subject in (HOST, Subject("198.51.100.0/24")):
        here = machine()
        theirs = closing(rule="theirs", span=DAY, subject=subject)
        assert len(accept(here, theirs)) == 1
        here.pipeline.reopened("theirs", subject, START + SECOND)
        later = theirs._replace(id="2", host="lb3", time=START + MINUTE, until=START + HOUR)
        assert accept(here, later) == [(START + HOUR, "")]
        here.pipeline.pardon(subject, START + 2 * MINUTE, MINUTE)
        again = theirs._replace(id="3", time=START + 4 * MINUTE, until=START + 30 * MINUTE)
        assert accept(here, again) == [(START + 30 * MINUTE, "")]
