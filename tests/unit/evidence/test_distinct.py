"""Different values: exactly as many within the window, against a plain oracle; memory and probation."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.evidence.windows import Windows
from tidegate.model import HOUR, MINUTE, SECOND, Batch, Event, Kind, Subject, Term, Verdict
from tidegate.policy.models import BanTerms, Counted, Rule

FAILED = Kind("sshd.auth_failed", "abuse", 1, "sshd.failed", "sshd")
HOST = Subject("192.0.2.7")
START = 100 * HOUR


def rule(threshold: int = 3, within: int = MINUTE) -> Rule:
    on = (Counted("sshd.auth_failed"),)
    return Rule("users", on, threshold, within, BanTerms((22,)), "stated", distinct="user")


def windows(**terms: int) -> Windows:
    return Windows([rule(**terms)], {"sshd.auth_failed": 1})


def tried(second: float, user: str | None, offset: int = 0) -> Event:
    fields = {} if user is None else {"user": user}
    return Event(START + int(second * SECOND), FAILED, HOST, 1, "", offset, 10, fields)


def play(core: Windows, events: list[Event], watched: int = 0) -> list[Verdict]:
    found: list[Verdict] = []

    def convict(verdict: Verdict, _offset: int) -> Term:
        found.append(verdict)
        return Term(verdict.time + 1, verdict.time + watched if watched else 0)

    core.tally(Batch("s", 1, events=events), convict)
    return found


def test_the_third_user_convicts_the_third_try_does_not() -> None:
    core = windows()
    assert play(core, [tried(n, "root", n) for n in range(20)]) == []
    (verdict,) = play(core, [tried(20, "admin", 20), tried(21, "test", 21)])
    assert verdict.count == 3
    assert [ref.offset for ref in verdict.refs] == [19, 20, 21]


def test_a_line_without_the_field_does_not_count() -> None:
    assert play(windows(), [tried(n, None) for n in range(9)]) == []


def test_on_probation_one_is_enough() -> None:
    core = windows()
    told = play(core, [tried(n, str(n), n) for n in range(5)], watched=10 * SECOND)
    assert [verdict.watched for verdict in told] == [False, True, True]


def test_memory_survives() -> None:
    core, after = windows(), windows()
    play(core, [tried(0, "a"), tried(1, "b")])
    assert all(after.restore(change) for change in core.changes() if change.value)
    assert len(play(after, [tried(2, "c")])) == 1
    assert not windows().restore(next(iter(windows_change(core))))


def windows_change(core: Windows):  # a tally of another field is not ours
    for change in core.everything():
        yield change._replace(part=change.part.replace(" user", " uri"))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 200), st.sampled_from("abcdef")), max_size=30),
    st.integers(1, 5),
)
def test_like_the_oracle(tries: list[tuple[int, str]], threshold: int) -> None:
    tries.sort()
    core = windows(threshold=threshold)
    found = play(core, [tried(second, user, n) for n, (second, user) in enumerate(tries)])
    expected, since, held = 0, 0, -1.0
    for n, (second, _user) in enumerate(tries):
        if second <= held:  # closed for a microsecond: the same second does not count again
            since = n + 1
            continue
        recent = {user for at, user in tries[since : n + 1] if second - at <= 60 and at > held}
        if len(recent) >= threshold:
            expected += 1
            since, held = n + 1, second
    assert len(found) == expected
