"""When claims convict: as one host would that had seen all; and what a host answers when proposed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.evidence.test_distinct import tried
from tests.unit.evidence.test_window import event as failed
from tests.unit.evidence.test_window import play, windows
from tests.unit.evidence.test_window import rule as local
from tests.unit.fleet.village import NOW, WHO, claim, points, rule

from tidegate.evidence.distinct import Distinct
from tidegate.fleet import wire
from tidegate.fleet.trust.claims import LEASE, Counted, crossing, terms_of
from tidegate.fleet.wire import Entry, Shape
from tidegate.model import HOUR, MINUTE, SECOND, Subject, Term

TERMS = terms_of(rule())


def share(*seconds):
    return tuple(Entry(NOW + second * SECOND, 1) for second in seconds)


def test_one_on_each_of_four_hosts_convicts_and_one_on_each_of_three_does_not():
    three = {"a": share(0), "b": share(1), "c": share(2)}
    assert crossing(TERMS, three, 0) is None
    found = crossing(TERMS, {**three, "d": share(300)}, 0)
    assert found == (NOW + 300 * SECOND, 4, (("a", 1), ("b", 1), ("c", 1), ("d", 1)), NOW)
    assert crossing(TERMS, {**three, "d": share(301)}, 0) is None


def test_what_was_used_up_counts_no_more():
    shares = {"a": share(0, 1, 2, 3)}
    assert crossing(TERMS, shares, NOW) is None
    assert crossing(TERMS, shares, NOW - 1) is not None


def test_it_can_take_more_hosts_than_one():
    two = terms_of(rule(), min_hosts=2)
    assert crossing(two, {"a": share(*range(100))}, 0) is None
    found = crossing(two, {"a": share(*range(100)), "b": share(50)}, 0)
    assert found is not None
    assert (found.time, dict(found.shares)["b"]) == (NOW + 50 * SECOND, 1)
    assert crossing(two, {"a": share(*range(4)), "b": share(400)}, 0) is None


@given(
    st.lists(st.tuples(st.integers(0, 40), st.sampled_from("abc")), max_size=40),
    st.integers(1, 6),
    st.integers(1, 15),
)
def test_together_they_convict_when_one_host_that_saw_all_would(events, threshold, within):
    """Against the window that counts on one host, which is told of all events in order."""
    one = local(threshold=threshold, within=within * SECOND)
    events.sort()
    seen = [failed(HOUR + second * SECOND, offset=n) for n, (second, _host) in enumerate(events)]
    verdicts = play(windows(one), seen)
    shares = {
        host: tuple(Entry(HOUR + second * SECOND, 1) for second, whose in events if whose == host)
        for host in "abc"
    }
    found = crossing(terms_of(one), shares, 0)
    assert (found.time if found else None) == (verdicts[0].time if verdicts else None)


@given(
    st.lists(st.tuples(st.integers(0, 40), st.sampled_from("abc"), st.integers(0, 5)), max_size=30),
    st.integers(1, 5),
    st.integers(1, 15),
)
def test_and_so_with_different_values(events, threshold, within):
    events.sort()
    one = rule(threshold=threshold, within=within * SECOND, distinct="user")
    counting, verdicts = Distinct(one), []

    def convict(verdict, _offset):
        verdicts.append(verdict)
        return Term(verdict.time + 1)

    for n, (second, _host, value) in enumerate(events):
        event = tried(0, str(value), n)._replace(time=HOUR + second * SECOND)
        counting.count(event, n, convict, 1)
    shares = {
        host: tuple(
            Entry(HOUR + second * SECOND, value) for second, whose, value in events if whose == host
        )
        for host in "abc"
    }
    found = crossing(terms_of(one), shares, 0)
    assert (found.time if found else None) == (verdicts[0].time if verdicts else None)


@pytest.mark.parametrize("form", ["linear", "exponential"])
def test_points_of_all_hosts_are_one_score(form):
    terms = terms_of(points(form=form))
    assert terms.shape is Shape.SCORE
    assert crossing(terms, {"a": (Entry(NOW, 5),), "b": (Entry(NOW, 5),)}, 0) is None
    found = crossing(terms, {"a": (Entry(NOW, 5),), "b": (Entry(NOW, 6),)}, 0)
    assert found == (NOW, 11, (("a", 5), ("b", 6)), NOW)
    late = crossing(terms, {"a": (Entry(NOW, 5),), "b": (Entry(NOW + 3 * MINUTE, 6),)}, 0)
    assert late is None


def test_terms_that_claims_cannot_carry_are_said_at_once():
    with pytest.raises(ValueError, match="steps"):
        terms_of(points(form="steps"))
    with pytest.raises(ValueError, match="1025"):
        terms_of(rule(threshold=1026))


def propose(own, now=NOW, subject=WHO, terms=TERMS):
    return own.nominated(terms.mark, subject, now)


def counted(*seconds, **more):
    own = Counted(**more)
    for second in seconds:
        own.count(TERMS, WHO, NOW + second * SECOND)
    return own


def test_a_host_answers_with_what_it_has_counted():
    own = counted(1, 0, 2)
    assert propose(own, NOW)
    (found,) = own.due(NOW)
    assert found == claim(0, -1, -2)
    assert wire.decode_claims(wire.encode_claims([found])) == (found,)
    assert list(own.due(NOW)) == []


def test_it_answers_again_when_it_counted_more_or_a_lease_has_gone_by():
    own = counted(0)
    assert propose(own, NOW)
    assert len(list(own.due(NOW))) == 1
    assert not propose(own, NOW + 1)
    assert propose(own, NOW + LEASE)
    assert len(list(own.due(NOW + LEASE))) == 1
    own.count(TERMS, WHO, NOW + SECOND)
    assert propose(own, NOW + LEASE + 1)
    assert len(next(own.due(NOW + LEASE + 1)).entries) == 2


def test_a_million_proposals_leave_no_trace():
    own = counted(0)
    size = len(own)
    everybody = Subject("0.0.0.0/0")
    for place in range(1_000_000):
        who = everybody if place % 1000 else Subject(f"198.51.{place // 1000 % 256}.1")
        assert not own.nominated(TERMS.mark, who, NOW)
    assert (own.strange, len(own)) == (1_000_000, size)
    assert list(own.due(NOW)) == []
    assert propose(own, NOW)


def test_it_says_nothing_of_a_rule_that_counts_something_else():
    own = counted(0)
    assert not own.nominated(b"8 others", WHO, NOW)
    assert own.strange == 1


def test_what_it_remembers_and_owes_is_bounded():
    own = Counted(capacity=100)
    for place in range(300):
        for second in range(9):
            own.count(TERMS, Subject(f"198.51.{place // 250}.{place % 250}"), NOW + second * SECOND)
    assert len(own) == 20  # of each, limit and one more
    assert not propose(own, subject=Subject("198.51.0.1"))
    assert propose(own, subject=Subject("198.51.1.49"))
    many = Counted()
    for place in range(5000):
        who = Subject(f"10.1.{place // 250}.{place % 250}")
        many.count(TERMS, who, NOW)
        propose(many, NOW, subject=who)
    assert many.dropped == 5000 - 4096
    assert len(list(many.due(NOW))) == 256
    assert len(list(many.due(NOW))) == 256


def test_what_has_convicted_is_forgotten_and_old_things_are_not_said():
    own = counted(0, 1, 2)
    own.forget(TERMS.mark, WHO, NOW + SECOND)
    propose(own, NOW)
    assert next(own.due(NOW)).entries == share(2)
    propose(own, NOW + HOUR)
    assert list(own.due(NOW + HOUR)) == []
    own.forget(TERMS.mark, WHO, NOW + HOUR)
    own.forget(TERMS.mark, WHO, NOW + HOUR)
    assert len(own) == 0


def test_users_and_services_are_counted_at_home():
    own = Counted()
    for who in ("uid:1000", "service:exim4", "192.0.2.0/24", "mail.example.org"):
        own.count(TERMS, Subject(who), NOW)
    assert len(own) == 0


def test_of_a_value_only_the_newest_time_is_kept():
    terms = terms_of(rule(distinct="user"))
    own = Counted()
    for second, value in ((5, 7), (6, 7), (1, 7), (2, 9)):
        own.count(terms, WHO, NOW + second * SECOND, value)
    propose(own, NOW, terms=terms)
    found = next(own.due(NOW))
    assert found.entries == (Entry(NOW + 2 * SECOND, 9), Entry(NOW + 6 * SECOND, 7))


def test_a_message_holds_what_fits():
    big = terms_of(rule(threshold=1024, within=HOUR))
    own = Counted()
    for place in range(20):
        who = Subject(f"10.1.1.{place}")
        for second in range(1025):
            own.count(big, who, NOW + second * SECOND)
        propose(own, NOW, who, big)
    batches = []
    while batch := list(own.due(NOW + HOUR // 2)):
        batches.append(len(batch))
        assert len(wire.encode_claims(batch)) <= wire.MAX_BODY
    assert batches == [10, 10]


def test_with_points_too_more_hosts_can_be_asked_for():
    two = terms_of(points(), min_hosts=2)
    assert crossing(two, {"a": (Entry(NOW, 50),)}, 0) is None
    assert crossing(two, {"a": (Entry(NOW, 50),), "b": (Entry(NOW, 1),)}, 0) is not None


def test_an_answer_that_was_forgotten_before_it_was_given_is_not_given():
    own = counted(0)
    propose(own, NOW)
    own.forget(TERMS.mark, WHO, NOW)
    assert list(own.due(NOW)) == []


def test_who_hears_another_claim_answers_once_and_two_never_answer_each_other_for_ever():
    own = counted(0)
    assert own.called(TERMS.mark, WHO)
    assert len(list(own.due(NOW))) == 1
    assert not own.called(TERMS.mark, WHO)
    own.count(TERMS, WHO, NOW + 3 * LEASE)
    assert own.called(TERMS.mark, WHO)
    assert not own.called(TERMS.mark, Subject("192.0.2.8"))
    assert own.strange == 0


def test_who_has_counted_nothing_passes_a_proposal_on_but_seldom():
    own = counted(0)
    assert not own.relay(TERMS, WHO, NOW)
    for who in ("0.0.0.0/0", "uid:0", "2001:db8::/32"):
        assert not own.relay(TERMS, Subject(who), NOW)
    everybody = [Subject(f"10.0.{n // 250}.{n % 250}") for n in range(1000)]
    assert sum(own.relay(TERMS, who, NOW) for who in everybody) == 300
    assert not own.relay(TERMS, everybody[0], NOW)
    first, second = list(own.due(NOW)), list(own.due(NOW))
    assert (len(first), len(second)) == (256, 44)
    assert not any(one.entries for one in first)
    assert wire.decode_claims(wire.encode_claims(first)) == tuple(first)
    assert not own.relay(TERMS, Subject("192.0.2.8"), NOW)
    assert own.relay(TERMS, Subject("192.0.2.8"), NOW + SECOND)


def test_who_counts_before_it_passes_on_says_what_it_counted():
    own = Counted()
    assert own.relay(TERMS, WHO, NOW)
    own.count(TERMS, WHO, NOW)
    assert propose(own)
    assert [len(one.entries) for one in own.due(NOW)] == [1]
