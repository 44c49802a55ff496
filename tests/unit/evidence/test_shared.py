"""What is handed out to be counted together, and what comes of what was: all that a tally takes in,
once; and sharing changes nothing of what a host counts by itself."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.evidence.tally import NOT_CONVICTED
from tidegate.evidence.windows import Windows
from tidegate.model import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    Batch,
    Event,
    Kind,
    Shared,
    Subject,
    Term,
    Verdict,
)
from tidegate.policy.models import BanTerms, Counted, Rule, ScoreTerms

HOST, OTHER = Subject("192.0.2.7"), Subject("192.0.2.8")
START = 1000 * DAY
BAN = BanTerms((22,))
KINDS = {
    name: Kind(name, "abuse", 1, name, name.partition(".")[0])
    for name in ("exim.malware", "sshd.auth_failed", "sshd.invalid_user", "sshd.auth_ok")
}
PLAIN = Rule("plain", (Counted("exim.malware"),), 3, MINUTE, BAN, "s", shared=True)
HEAVY = Rule("heavy", (Counted("exim.malware", 2),), 5, MINUTE, BAN, "s", shared=True)
PAIRED = Rule(
    "paired", (Counted("sshd.auth_failed"), Counted("sshd.invalid_user")), 3, MINUTE, BAN, "s",
    shared=True,
)  # fmt: skip
USERS = Rule(
    "users", (Counted("sshd.auth_failed"),), 3, MINUTE, BAN, "s", distinct="user", shared=True
)
POINTS = Rule(
    "points", (Counted("exim.malware", 2),), 1, 1, BAN, "s", shared=True,
    score=ScoreTerms(5, True, 5, HOUR, form="exponential"),
)  # fmt: skip


def event(
    second: float, kind: str = "exim.malware", offset: int = 0, *, subject: Subject = HOST,
    count: int = 1, session: str = "", user: str = "root",
) -> Event:  # fmt: skip
    time = START + int(second * SECOND)
    return Event(time, KINDS[kind], subject, count, session, offset, 10, {"user": user})


def play(core: Windows, events: list[Event], term: Term | None = None) -> list[Verdict]:
    found: list[Verdict] = []

    def convict(verdict: Verdict, _offset: int) -> Term:
        found.append(verdict)
        return term or Term(verdict.time + MINUTE, verdict.time + 2 * MINUTE)

    core.tally(Batch("s", 3, events=events), convict)
    return found


def shared(rule: Rule, *events: Event) -> list[Shared]:
    core = Windows([rule], {})
    play(core, list(events))
    return core.take_shared()


def test_a_line_is_handed_out_with_its_place_once() -> None:
    core = Windows([PLAIN], {})
    play(core, [event(1, offset=50)])
    assert core.take_shared() == [Shared("plain", HOST, START + SECOND, 3, 50)]
    assert core.take_shared() == []


def test_by_rules_of_this_host_alone_nothing_is_handed_out() -> None:
    assert shared(replace(PLAIN, shared=False), event(1), event(2), event(3)) == []
    core = Windows([PLAIN], {}, durable=False)  # a recording: nobody would take it
    play(core, [event(1)])
    assert core.take_shared() == []


def test_what_it_is_worth_up_to_what_convicts() -> None:
    assert [one.amount for one in shared(HEAVY, event(1), event(2, count=9))] == [2, 5]


def test_of_an_attempt_that_two_kinds_tell_of_one_is_handed_out() -> None:
    lines = [
        event(1, "sshd.invalid_user", 10, session="a"),
        event(2, "sshd.auth_failed", 20, session="a"),
        event(3, "sshd.auth_failed", 30, session="a"),
        event(4, "sshd.auth_failed", 40, session="b"),
    ]
    assert [one.offset for one in shared(PAIRED, *lines)] == [10, 30, 40]


def test_what_comes_late_is_handed_out_with_its_time() -> None:
    found = shared(PLAIN, event(9, offset=1), event(2, offset=2))
    assert [one.time - START for one in found] == [9 * SECOND, 2 * SECOND]


def test_values_go_with_their_lines_also_again() -> None:
    lines = [event(n, "sshd.auth_failed", n, user=user) for n, user in enumerate("aab")]
    assert [(one.value, one.offset) for one in shared(USERS, *lines)] == [
        ("a", 0), ("a", 1), ("b", 2),
    ]  # fmt: skip


def test_points_go_out_until_they_have_closed() -> None:
    found = shared(POINTS, *(event(n, offset=n) for n in range(6)))
    assert [(one.offset, one.amount) for one in found] == [(0, 2), (1, 2), (2, 2)]
    twice = shared(POINTS, event(1, offset=5), event(1, offset=5))
    assert len(twice) == 1, "the same line, read again"


def test_of_whoever_is_closed_for_nothing_is_handed_out() -> None:
    for rule, kind in ((PLAIN, "exim.malware"), (USERS, "sshd.auth_failed")):
        lines = [event(n, kind, n, user=str(n)) for n in range(6)]
        assert [one.offset for one in shared(rule, *lines)] == [0, 1, 2]
        # On probation one line is an offence by itself, and enters no tally.
        later = event(70, kind, 99, user="x")
        assert [one.offset for one in shared(rule, *lines, later)] == [0, 1, 2]


_events = st.lists(
    st.builds(
        event,
        st.integers(0, 300),
        st.sampled_from(sorted(KINDS)),
        st.integers(0, 10_000),
        subject=st.sampled_from([HOST, OTHER]),
        count=st.sampled_from([1, 1, 1, 2, 7]),
        session=st.sampled_from(["", "a", "b"]),
        user=st.sampled_from("abc"),
    ),
    max_size=80,
)


@settings(max_examples=200, deadline=None)
@given(_events, st.booleans())
def test_sharing_changes_nothing_of_what_a_host_counts(events: list[Event], ordered: bool) -> None:
    if ordered:
        events.sort(key=lambda one: one.time)
    rules = [PLAIN, HEAVY, PAIRED, USERS, POINTS]
    with_others = Windows(rules, {})
    by_itself = Windows([replace(one, shared=False) for one in rules], {})
    # What comes so late that it belongs to a term that is over counts for nothing where the term is
    # remembered; without terms there is no difference.
    term = None if ordered else Term(1)
    assert play(with_others, events, term) == play(by_itself, events, term)
    for ours, its in zip(with_others.windows, by_itself.windows, strict=True):
        assert ours.tallies == its.tallies


def test_the_tide_does_not_end_sharing() -> None:
    core = Windows([replace(PLAIN, tightened=(("high", 2),))], {})
    core.tide = "high"
    assert len(play(core, [event(1), event(2)])) == 1
    assert len(core.take_shared()) == 2


def sentence(
    core: Windows, rule: Rule, second: float, count: int = 9, **more: object
) -> list[Verdict]:
    found: list[Verdict] = []

    def convict(verdict: Verdict, _offset: int) -> Term:
        found.append(verdict)
        return NOT_CONVICTED if more.get("spare") else Term(verdict.time + MINUTE)

    time = START + int(second * SECOND)
    shares = (("a", 1), ("b", 8))
    core.sentence(Verdict(rule.name, HOST, time, count, (), shares=shares, identity="x"), convict)
    return found


def test_a_sentence_has_our_own_lines_and_begins_anew() -> None:
    core = Windows([PLAIN], {})
    play(core, [event(1, offset=10), event(3, offset=30)])
    (verdict,) = sentence(core, PLAIN, 2)
    assert (verdict.count, verdict.identity, verdict.shares[1]) == (3, "x", ("b", 8))
    assert [ref.offset for ref in verdict.refs] == [10]
    assert core.windows[0].tallies == {}, "what came since would not have been counted"
    assert core.held("plain", HOST).until == START + 62 * SECOND
    assert sentence(core, PLAIN, 61) == []
    assert len(sentence(core, PLAIN, 62)) == 1


def test_a_sentence_long_after_leaves_what_came_after_its_end() -> None:
    for rule, kind in (
        (PLAIN, "exim.malware"),
        (USERS, "sshd.auth_failed"),
        (PAIRED, "sshd.auth_failed"),
    ):
        core = Windows([rule], {})
        play(core, [event(1, kind, 10, user="a"), event(75, kind, 20, user="b")])
        assert len(sentence(core, rule, 2)) == 1
        assert core.windows[0].holding(HOST) == 1
        found = play(core, [event(76, kind, 30, user="c"), event(77, kind, 40, user="d")])
        assert [[ref.offset for ref in one.refs] for one in found] == [[20, 30, 40]]


def test_nobody_is_sentenced_by_a_rule_that_is_not_shared_or_not_there() -> None:
    core = Windows([replace(PLAIN, shared=False), replace(HEAVY, enabled=False)], {})
    assert [sentence(core, one, 2) for one in (PLAIN, HEAVY, POINTS)] == [[], [], []]


def test_who_is_not_convicted_goes_on_being_counted() -> None:
    core = Windows([PLAIN], {})
    play(core, [event(1), event(2)])
    assert len(sentence(core, PLAIN, 2, spare=True)) == 1
    assert core.windows[0].holding(HOST) == 2
    assert len(play(core, [event(3)])) == 1


def test_an_end_is_remembered_for_sentences_that_come_late() -> None:
    for rule, kind in ((PLAIN, "exim.malware"), (USERS, "sshd.auth_failed")):
        core = Windows([rule], {})
        play(core, [event(n, kind, n, user=str(n)) for n in range(3)], Term(START + MINUTE))
        play(core, [event(61, kind, 9)])
        assert sentence(core, rule, 30) == []
        old = Windows([replace(rule, shared=False)], {})
        play(old, [event(n, kind, n, user=str(n)) for n in range(3)], Term(START + MINUTE))
        play(old, [event(61, kind, 9)])
        assert old.windows[0].held == {}


def test_points_of_others_are_added_and_prolong() -> None:
    core = Windows([POINTS], {})
    play(core, [event(0), event(0, offset=1)])
    (verdict,) = sentence(core, POINTS, 0, count=10)
    assert verdict.release == START + HOUR, "10 points are 5 an hour later"
    (score,) = core.windows
    assert round(score.score(HOST, START), 6) == 10  # type: ignore[union-attr]
    assert sentence(core, POINTS, 0, count=10) == []
    assert [one.count for one in sentence(core, POINTS, 0, count=20)] == [20]


def test_whom_another_host_holds_is_held_for_no_shorter() -> None:
    core = Windows([PLAIN], {})
    play(core, [event(1), event(2)])
    core.keep_out("plain", HOST, Term(START + HOUR, START + 2 * HOUR))
    core.keep_out("plain", HOST, Term(START + MINUTE, 0))
    core.keep_out("gone", HOST, Term(START + HOUR))
    assert core.held("plain", HOST) == Term(START + HOUR, START + 2 * HOUR)
    assert core.windows[0].tallies == {}
    assert (core.knows("plain"), core.knows("gone")) == (True, False)


def test_what_was_not_taken_survives_a_reload() -> None:
    old, new = Windows([PLAIN], {}), Windows([PLAIN, HEAVY], {})
    play(old, [event(1)])
    new.take_over(old)
    assert len(new.take_shared()) == 1


def test_what_is_remembered_after_a_restart_is_what_was_handed_out_before() -> None:
    rules = [HEAVY, PAIRED, USERS, POINTS, replace(PLAIN, shared=False)]
    core = Windows(rules, {})
    events = [event(1, offset=50), event(2, "sshd.auth_failed", 60, session="a")]
    play(core, [*events, event(3, "sshd.auth_failed", 70, session="b", user="\udcff")])
    told = core.take_shared()
    saved = list(core.everything())
    late = Windows(rules, {})
    for change in saved:
        late.restore(change)
    found = list(late.remembered(START + 10 * SECOND))
    plain = [one._replace(value="", amount=1) if one.value else one for one in told]
    known = [one._replace(amount=1) if one.rule == "users" else one for one in found]
    assert sorted(known) == sorted(plain)
    assert {one.amount for one in found if one.rule == "users"}.isdisjoint({1})
    assert list(late.remembered(START + HOUR)) == [one for one in found if one.rule == "points"]


@settings(max_examples=100, deadline=None)
@given(_events)
def test_after_a_start_all_is_known_that_was_handed_out_and_can_still_count(
    events: list[Event],
) -> None:
    events = [
        one._replace(offset=n) for n, one in enumerate(sorted(events, key=lambda one: one.time))
    ]
    rules = [replace(one, threshold=500) for one in (PLAIN, HEAVY, PAIRED)]
    core, again = Windows(rules, {}), Windows(rules, {})
    assert play(core, events) == []
    for change in core.changes():
        again.restore(change)
    now = START + 300 * SECOND
    told = [one for one in core.take_shared() if one.time >= now - MINUTE]
    assert sorted(again.remembered(now)) == sorted(told)
