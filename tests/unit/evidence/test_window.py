"""Exact N in M: against a plain oracle, in and out of order, with sessions, bounds and memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tidegate.evidence.windows import Windows
from tidegate.model import HOUR, MINUTE, SECOND, Batch, Change, Event, Kind, Subject, Term, Verdict
from tidegate.policy.models import BanTerms, Counted, Rule

MALWARE = Kind("exim.malware", "abuse", 1, "exim.malware-data", "exim")
FAILED = Kind("sshd.auth_failed", "abuse", 1, "sshd.failed", "sshd")
INVALID = Kind("sshd.invalid_user", "abuse", 1, "sshd.invalid", "sshd")
HOST = Subject("192.0.2.7")


def rule(threshold=16, within=5 * MINUTE, on=(("exim.malware", None),), name="r", enabled=True):
    on = tuple(Counted(*one) for one in on)
    return Rule(name, on, threshold, within, BanTerms((25,)), "stated", enabled=enabled)


def event(time, kind=MALWARE, subject=HOST, session="", count=1, offset=0):
    return Event(time, kind, subject, count, session, offset, 10, {})


def windows(*rules, capacity=1_000_000):
    weights = {kind.name: kind.weight for kind in (MALWARE, FAILED, INVALID)}
    return Windows(rules, weights, capacity)


def play(core: Windows, events, hold=0) -> list[Verdict]:
    """Feed events in one batch; the verdicts."""
    found: list[Verdict] = []

    def convict(verdict, _offset):
        found.append(verdict)
        return Term(verdict.time + hold if hold else 1)

    core.tally(Batch("s", 1, events=list(events)), convict)
    return found


def at(*seconds):
    return [event(int(second * SECOND) + HOUR, offset=n) for n, second in enumerate(seconds)]


def test_the_sixteenth_in_five_minutes_convicts_and_the_fifteenth_does_not():
    assert play(windows(rule()), at(*range(0, 300, 20))) == []
    verdicts = play(windows(rule()), at(*range(0, 301, 20)))
    assert [verdict.count for verdict in verdicts] == [16]
    assert verdicts[0].time == HOUR + 300 * SECOND
    assert [ref.offset for ref in verdicts[0].refs] == list(range(16))


def test_spread_one_second_too_wide_never_convicts():
    wide = [n * 301 / 15 for n in range(16)]
    assert play(windows(rule()), at(*wide)) == []
    assert len(play(windows(rule()), at(*[n * 300 / 15 for n in range(16)]))) == 1


def test_a_microsecond_decides():
    core = rule(threshold=2, within=SECOND)
    assert play(windows(core), [event(HOUR), event(HOUR + SECOND + 1)]) == []
    assert len(play(windows(core), [event(HOUR), event(HOUR + SECOND)])) == 1


@given(
    st.lists(st.integers(0, 60), max_size=40),
    st.integers(1, 6),
    st.integers(1, 30),
)
def test_against_a_plain_oracle_in_any_order(seconds, threshold, within):
    def oracle():
        seen, crossings = [], 0
        for second in seconds:
            seen = sorted([*seen, second])
            spans = zip(seen, seen[threshold - 1 :], strict=False)
            if any(last - first <= within for first, last in spans):
                crossings += 1
                seen = []
            else:
                # what can't be part of a window of the newest N any more is not remembered
                seen = seen[-threshold:]
        return crossings

    core = windows(rule(threshold, within * SECOND))
    assert len(play(core, at(*seconds))) == oracle()


def test_a_repeated_message_counts_as_often_as_it_says():
    assert len(play(windows(rule(5)), [event(HOUR, count=5)])) == 1
    assert play(windows(rule(6)), [event(HOUR, count=5)]) == []


def test_subjects_and_rules_do_not_mix():
    core = windows(rule(2, name="two"), rule(3, name="three"))
    other = Subject("192.0.2.8")
    found = play(core, [event(HOUR), event(HOUR, subject=other), event(HOUR + 1)])
    assert [(one.rule, one.subject) for one in found] == [("two", HOST)]


def test_while_held_nothing_is_counted_again():
    core = windows(rule(2))
    assert len(play(core, at(0, 1, 2, 3, 4, 5), hold=10 * SECOND)) == 1
    assert len(play(core, at(20, 21), hold=10 * SECOND)) == 1


SSHD = (("sshd.auth_failed", None), ("sshd.invalid_user", None))


def test_one_attempt_that_writes_several_lines_counts_once():
    core = windows(rule(3, on=SSHD))
    lines = [
        event(HOUR + attempt, kind, session="4711")
        for attempt in range(2)
        for kind in (INVALID, FAILED)
    ]
    assert play(core, lines) == []
    third = [event(HOUR + 3, FAILED, session="4711")]
    assert len(play(core, third)) == 1


def test_sessions_are_told_apart_and_lines_without_one_count_each():
    core = windows(rule(3, on=SSHD))
    assert play(core, [event(HOUR, INVALID, session="1"), event(HOUR, FAILED, session="2")]) == []
    assert len(play(core, [event(HOUR, FAILED)])) == 1


def test_a_process_id_used_again_later_is_another_session():
    core = windows(rule(2, within=MINUTE, on=SSHD))
    assert play(core, [event(HOUR, FAILED, session="7")]) == []
    later = 2 * HOUR
    assert play(core, [event(later, INVALID, session="7")]) == []
    assert len(play(core, [event(later + 1, INVALID, session="8")])) == 1


def test_weights_of_the_rule_outrank_the_detectors():
    core = windows(rule(4, on=(("exim.malware", 2),)))
    assert len(play(core, [event(HOUR), event(HOUR + 1)])) == 1


def test_a_disabled_rule_counts_nothing():
    core = windows(rule(1, enabled=False))
    assert play(core, [event(HOUR)]) == []
    assert len(core) == 0


def test_the_coldest_are_evicted_and_counted():
    core = windows(rule(), capacity=1000)
    subjects = [Subject(f"10.0.{n // 256}.{n % 256}") for n in range(1100)]
    for start in range(0, 1100, 50):
        play(core, [event(HOUR, subject=one) for one in subjects[start : start + 50]])
    assert len(core) <= 1000
    assert core.evicted >= 100
    assert subjects[-1] in core.windows[0].tallies
    assert subjects[0] not in core.windows[0].tallies


def test_what_can_not_be_completed_any_more_is_dropped():
    core = windows(rule())
    play(core, [event(HOUR)])
    play(core, [event(HOUR + 2 * HOUR, subject=Subject("192.0.2.9"))])
    assert list(core.windows[0].tallies) == [Subject("192.0.2.9")]


def test_memory_survives_a_restart_exactly():
    first, second = windows(rule()), windows(rule())
    play(first, at(*range(15)))
    assert all(second.restore(change) for change in first.changes() if change.value is not None)
    assert len(play(second, at(15))) == 1
    assert list(first.changes()) == []


def test_held_subjects_survive_a_restart():
    first, second = windows(rule(1)), windows(rule(1))
    assert len(play(first, at(0), hold=MINUTE)) == 1
    for change in first.changes():
        second.restore(change)
    assert play(second, at(1), hold=MINUTE) == []


def test_a_reload_keeps_counts_even_when_the_kinds_of_a_rule_change():
    first = windows(rule(3, on=SSHD))
    play(first, [event(HOUR, FAILED, session="1"), event(HOUR + 1, FAILED, session="2")])
    second = windows(rule(3, on=(("sshd.auth_failed", None),)))
    second.take_over(first)
    assert len(play(second, [event(HOUR + 2, FAILED)])) == 1
    third = windows(rule(3, on=(*SSHD, ("exim.malware", None))))
    third.take_over(first)
    assert len(play(third, [event(HOUR + 2)])) == 1


def test_forget_drops_counts_and_holds():
    core = windows(rule(2))
    play(core, at(0, 1), hold=HOUR)
    core.forget(HOST)
    assert play(core, at(2)) == []
    assert len(play(core, at(3))) == 1


def test_memory_of_a_removed_rule_belongs_to_nobody():
    first = windows(rule(name="gone"))
    play(first, at(0))
    left = [one for one in first.changes() if one.value is not None]
    assert left
    assert not any(windows(rule(name="other")).restore(one) for one in left)


@given(st.binary(max_size=60), st.sampled_from([(("exim.malware", None),), SSHD]))
def test_memory_that_was_damaged_on_disk_never_breaks_counting(value, on):
    core = windows(rule(2, on=on))
    core.restore(Change(core.windows[0].part, HOST, value))
    play(core, [event(HOUR, subject=HOST), event(HOUR, FAILED, session="7")])
    assert core.windows[0].holding(HOST) >= 0


_LINES = st.lists(
    st.tuples(
        st.integers(0, 40),
        st.sampled_from([FAILED, INVALID, MALWARE]),
        st.sampled_from(["", "1", "2", "3"]),
        st.sampled_from([1, 1, 1, 2]),
    ),
    max_size=40,
)


@given(_LINES, st.integers(1, 6), st.integers(1, 30), st.booleans())
def test_the_quick_way_and_the_long_way_count_alike(lines, threshold, within, ordered):
    if ordered:
        lines = sorted(lines, key=lambda line: line[0])
    on = (*SSHD, ("exim.malware", None))
    events = [
        event(HOUR + second * SECOND, kind, session=session, count=count, offset=n)
        for n, (second, kind, session, count) in enumerate(lines)
    ]
    quick, long = (windows(rule(threshold, within * SECOND, on=on)) for _ in range(2))
    window = long.windows[0]

    def only_the_rest(one, ref, convict):
        if not (window.held and window._holds(one, ref, convict)):
            tally = window.tallies.pop(one.subject, b"\0")
            window._count_attempt(one, ref, tally, convict)

    window.count = only_the_rest
    for kind in window.weights:
        long._by_kind[kind] = [window]
    assert play(quick, events, hold=3 * SECOND) == play(long, events, hold=3 * SECOND)
    assert quick.windows[0].holding(HOST) == window.holding(HOST)
