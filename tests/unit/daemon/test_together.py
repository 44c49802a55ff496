"""Two hosts that share the work decide what one machine would that saw all lines: the same rule,
subject, time and count, and for as long; each of them alone too."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.daemon.together import Fleet, Line, Machine, counts, deeds

from tidegate.model import DAY, HOUR, MINUTE, SECOND, Decision, Micros, Subject
from tidegate.policy.fleet import FleetSpec
from tidegate.policy.models import BanTerms, Counted, Escalation, Policy, Rule, ScoreTerms

START = 12_000 * DAY
BAN = BanTerms((22,), (20 * SECOND, 10 * MINUTE, HOUR))
LOGINS = ("sshd.auth_failed", "sshd.invalid_user")
WINDOW = Rule(
    "logins", tuple(map(Counted, LOGINS)), 3, MINUTE, BAN, "at least 3", probation=True, shared=True
)
PLAIN = Rule("virus", (Counted("exim.malware"),), 4, MINUTE, BAN, "at least 4", shared=True)
USERS = Rule(
    "users", (Counted("sshd.auth_failed"),), 3, MINUTE, BAN, "3 users", distinct="user", shared=True
)
POINTS = Rule(
    "points", (Counted("exim.malware", 2),), 1, 1, BanTerms((25,)), "score over 7",
    score=ScoreTerms(7, True, 7, 10 * MINUTE, form="exponential"), shared=True,
)  # fmt: skip
SUBJECTS = [Subject(f"192.0.2.{n}") for n in (7, 8)]


def policy(*rules: Rule, **changes: object) -> Policy:
    return Policy(rules=rules, fleet=FleetSpec(("unix:/x",)), **changes)  # type: ignore[arg-type]


def alone(rules: Policy, lines: list[Line]) -> list[Decision]:
    machine = Machine("one", replace(rules, rules=tuple(replace(one, shared=False)
                                                        for one in rules.rules)))  # fmt: skip
    for line in lines:
        machine.read(line)
    return machine.decisions


def together(rules: Policy, lines: list[Line]) -> Fleet:
    fleet = Fleet(rules)
    for line in lines:
        fleet.read(line)
        fleet.flush(line.time)
    return fleet


def lines(most_gap: Micros) -> st.SearchStrategy[list[Line]]:
    each = st.tuples(
        st.integers(0, most_gap // SECOND),
        st.sampled_from([*LOGINS, "exim.malware"]),
        st.sampled_from(SUBJECTS),
        st.sampled_from([0, 1]),
        st.sampled_from("abcd"),
        st.sampled_from(["", "x", "y"]),
        st.integers(1, 2),
    )

    def placed(rows: list[tuple[int, str, Subject, int, str, str, int]]) -> list[Line]:
        time, found = START, []
        for gap, kind, subject, host, user, session, count in rows:
            time += gap * SECOND
            # The lines of one connection are on one host, as it is, and not far apart.
            name = f"{host} {session} {time // MINUTE}" if session else ""
            found.append(Line(time, kind, subject, host, user, name, count))
        return found

    return st.lists(each, max_size=60).map(placed)


def same(rules: Policy, written: list[Line]) -> None:
    one = alone(rules, written)
    fleet = together(rules, written)
    assert counts([each for host in fleet.hosts for each in host.own]) == counts(one)
    for host in fleet.hosts:
        assert deeds(host.decisions) == deeds(one)
        assert sorted((each.time, each.rule, each.subject, each.until) for each in host.decisions) \
            == sorted((each.time, each.rule, each.subject, each.until) for each in one)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(lines(40 * SECOND))
def test_two_hosts_decide_what_one_machine_does(written: list[Line]) -> None:
    same(policy(WINDOW, PLAIN, USERS), written)


@settings(max_examples=150, deadline=None)
@given(lines(20 * MINUTE))
def test_also_over_hours_where_bans_end_and_probation_holds(written: list[Line]) -> None:
    same(policy(WINDOW, PLAIN, USERS), written)


@settings(max_examples=200, deadline=None)
@given(lines(40 * SECOND))
def test_points_too_of_whoever_is_kept_out_once_closed_for(written: list[Line]) -> None:
    rules = policy(POINTS)
    first: dict[Subject, Micros] = {}
    for one in alone(rules, written):
        first.setdefault(one.subject, one.time)
    kept = [
        one
        for n, one in enumerate(written)
        if one.time < first.get(one.subject, one.time + 1)
        or deeds(alone(rules, written[:n])).count(("points", one.subject, first[one.subject])) == 0
    ]
    whole, fleet = alone(rules, kept), together(rules, kept)
    for host in fleet.hosts:
        assert set(deeds(host.decisions)) == set(deeds(whole))
    most = {one.subject: one.count for one in whole}
    for one in (each for host in fleet.hosts for each in host.own):
        # Whom one host's points are enough for is convicted by them, whatever others would add.
        assert POINTS.score is not None
        assert POINTS.score.limit < one.count <= most[one.subject]


@pytest.mark.parametrize("at", [0, 1])
@settings(max_examples=50, deadline=None)
@given(written=lines(40 * SECOND))
def test_each_alone_sees_all_and_decides_as_it_would_without_a_fleet(
    at: int, written: list[Line]
) -> None:
    rules = policy(WINDOW, PLAIN, USERS, POINTS)
    here = [one._replace(host=at) for one in written]
    fleet = Fleet(rules)
    for one in here:
        fleet.read(one)  # and nothing comes through
    found = fleet.hosts[at].decisions
    assert found == alone(rules, here)
    assert fleet.hosts[1 - at].decisions == []


def attempts(number: int, apart: Micros = SECOND, hosts: int = 2) -> list[Line]:
    return [Line(START + n * apart, "exim.malware", SUBJECTS[0], n % hosts) for n in range(number)]


def test_no_host_alone_would_have_closed() -> None:
    rules = policy(PLAIN)
    fleet = together(rules, attempts(4))
    for host in fleet.hosts:
        (found,) = host.decisions
        assert (found.rule, found.subject, found.count) == ("virus", SUBJECTS[0], 4)
        assert found.time == START + 3 * SECOND
        assert found.until == found.time + 20 * SECOND
        assert found.reason == "2 hosts counted (h0 2, h1 2); at least 4: exim.malware"
        assert [ref.time for ref in found.refs] == [
            one.time for one in attempts(4) if f"h{one.host}" == host.name
        ]
    assert fleet.hosts[0].decisions[0].id == fleet.hosts[1].decisions[0].id
    assert together(policy(replace(PLAIN, shared=False)), attempts(4)).hosts[0].decisions == []


@pytest.mark.parametrize("order", ["conviction first", "closing first"])
def test_one_window_is_one_offence_whoever_notices_it_first(order: str) -> None:
    """The one host has seen all of it, and closes by itself; the engine finds it too."""
    fleet = Fleet(policy(PLAIN))
    for line in attempts(4, hosts=1):
        fleet.read(line)
    here, there = fleet.hosts
    assert len(here.decisions) == 1
    if order == "closing first":
        said, fleet.said = fleet.said, []
        there.accept("h0", said[0][1], START)
    fleet.flush(START + 4 * SECOND)
    assert (len(here.decisions), len(there.decisions)) == (1, 1)
    assert there.pipeline.held("virus", SUBJECTS[0]) == here.decisions[0].until
    # Its next offence is its second, on both.
    again = [one._replace(time=one.time + HOUR, host=1) for one in attempts(4)]
    for line in again:
        fleet.read(line)
        fleet.flush(line.time)
    assert [one.decisions[-1].duration for one in fleet.hosts] == [10 * MINUTE] * 2


@settings(max_examples=100, deadline=None)
@given(lines(40 * SECOND), st.integers(2, 12))
def test_what_comes_late_comes_once(written: list[Line], every: int) -> None:
    """Hosts hear each other now and then only: nobody is convicted twice for one window, and
    whoever one machine would have closed for is closed for by all of them in the end."""
    rules = policy(PLAIN)
    fleet = Fleet(rules)
    for n, line in enumerate(written):
        fleet.read(line)
        if n % every == 0:
            fleet.flush(line.time)
    end = written[-1].time if written else START
    fleet.flush(end)
    for host in fleet.hosts:
        for subject in SUBJECTS:
            held = sorted((one.time, one.until) for one in host.decisions if one.subject == subject)
            for (_time, until), (later, _until) in pairwise(held):
                assert later >= until
    first = {one.subject: one for one in reversed(alone(rules, written))}
    for host in fleet.hosts:
        assert {one.subject for one in host.decisions} >= first.keys()


def test_networks_are_closed_for_as_on_one_machine() -> None:
    rules = policy(PLAIN, escalation=(Escalation(4, 24, 3, HOUR, 30 * MINUTE),))
    written = [
        one._replace(subject=Subject(f"198.51.100.{n}"), time=one.time + n * 10 * SECOND)
        for n in range(4)
        for one in attempts(4)
    ]
    whole = alone(rules, written)
    assert Subject("198.51.100.0/24") in {one.subject for one in whole}
    for host in together(rules, written).hosts:
        assert deeds(host.decisions) == deeds(whole)


def test_a_host_that_saw_nothing_closes_the_network_too() -> None:
    rules = policy(PLAIN, escalation=(Escalation(4, 24, 3, HOUR, 30 * MINUTE),))
    fleet = Fleet(rules, 3)
    for n in range(3):
        for one in attempts(4):
            line = one._replace(subject=Subject(f"198.51.100.{n}"), time=one.time + n * MINUTE)
            fleet.read(line)
            fleet.flush(line.time)
    (network,) = [one for one in fleet.hosts[2].decisions if "/" in one.subject]
    assert (network.subject, network.refs) == ("198.51.100.0/24", ())
    assert deeds(fleet.hosts[2].decisions) == deeds(fleet.hosts[0].decisions)


def test_whom_one_host_closed_for_is_on_probation_on_all() -> None:
    fleet = Fleet(policy(replace(PLAIN, probation=True)))
    for line in attempts(4, hosts=1):
        fleet.read(line)
    said, fleet.said = fleet.said, []
    there = fleet.hosts[1]
    there.accept("h0", said[0][1], START)
    (found,) = there.read(Line(said[0][1].until + SECOND, "exim.malware", SUBJECTS[0], 1))
    assert found.reason.startswith("one more on probation")
    assert found.step == 1


def test_points_that_one_host_has_convicted_for_convict_no_second_time() -> None:
    """What is left of a point is rounded up on the way, and must not look like more."""
    fleet = Fleet(policy(POINTS))
    gap = 97 * SECOND
    for line in attempts(9, gap, hosts=1):
        fleet.read(line)
        fleet.flush(line.time)
        if fleet.hosts[0].decisions:
            break
    here, there = fleet.hosts
    assert (len(here.decisions), len(there.decisions)) == (1, 1)
    score = here.pipeline.windows.windows[0].score(SUBJECTS[0], line.time)
    assert 7 < score < here.decisions[0].count


def test_only_lines_that_made_it_are_quoted() -> None:
    """A line that comes while the others are silent is no part of what they have convicted for."""
    fleet = Fleet(policy(PLAIN))
    for line in attempts(4):
        fleet.read(line)
    late = Line(START + 9 * SECOND, "exim.malware", SUBJECTS[0], 0)
    fleet.read(late)
    fleet.flush(late.time)
    (found,) = fleet.hosts[0].decisions
    assert found.time == START + 3 * SECOND
    assert [ref.time for ref in found.refs] == [START, START + 2 * SECOND]
    assert fleet.hosts[0].pipeline.windows.windows[0].holding(SUBJECTS[0]) == 0
