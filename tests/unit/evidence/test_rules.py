"""What a rule may say besides how many: conditions, records, probation, beginning anew."""

from __future__ import annotations

import pytest

from tidegate.evidence.tally import NOT_CONVICTED
from tidegate.evidence.where import counts, holds
from tidegate.evidence.windows import Windows
from tidegate.model import HOUR, MINUTE, SECOND, Batch, Event, Kind, Subject, Term, Verdict
from tidegate.policy.models import BanTerms, Counted, Rule, ScoreTerms

DENIED = Kind("modsecurity.denied", "abuse", 1, "modsecurity.denied", "modsecurity")
LOGIN = Kind("sshd.auth_ok", "success", 0, "sshd.auth_ok", "sshd")
FAILED = Kind("sshd.auth_failed", "abuse", 1, "sshd.failed", "sshd")
HOST = Subject("192.0.2.7")
START = 100 * HOUR


def rule(*on: Counted, **terms: object) -> Rule:
    values = {"threshold": 3, "within": MINUTE, "ban": BanTerms((80,)), "stated": "stated"} | terms
    return Rule("r", on or (Counted("sshd.auth_failed"),), **values)  # type: ignore[arg-type]


def event(second: float, kind: Kind = FAILED, **fields: str) -> Event:
    time = START + int(second * SECOND)
    return Event(time, kind, HOST, 1, "", int(second), 10, fields)


def play(core: Windows, events: list[Event], term: Term | None = None) -> list[Verdict]:
    found: list[Verdict] = []

    def convict(verdict: Verdict, _offset: int) -> Term:
        found.append(verdict)
        return term or Term(verdict.time + 10 * SECOND, verdict.time + 30 * SECOND)

    core.tally(Batch("s", 1, events=events), convict)
    return found


def windows(one: Rule) -> Windows:
    return Windows([one], {"modsecurity.denied": 1, "sshd.auth_failed": 1})


@pytest.mark.parametrize(
    ("where", "true"),
    [
        ((), True),
        ((("id", ("300040", "300061")),), True),
        ((("id", ("300061",)),), False),
        ((("id", ("3000*",)),), True),
        ((("file", ("30_asl_antispam.conf",)),), True),
        ((("file", ("/etc/modsecurity/*",)),), True),
        ((("file", ("antispam.conf",)),), False),
        ((("id", ("300040",)), ("uri", ("/wp-comments-post.php",))), True),
        ((("id", ("300040",)), ("uri", ("/",))), False),
        ((("vhost", ("*",)),), False),
    ],
)
def test_conditions_on_fields(where: tuple[tuple[str, tuple[str, ...]], ...], true: bool) -> None:
    fields = {
        "id": "300040",
        "file": "/etc/modsecurity/30_asl_antispam.conf",
        "uri": "/wp-comments-post.php",
    }
    assert holds(where, fields) is true


@pytest.mark.parametrize(
    ("fields", "counted"),
    [
        ({"id": "1", "host": "a.example.net"}, True),
        ({"id": "1"}, True),
        ({"id": "2"}, False),
        ({"id": "1", "host": "mx7.provider.example"}, False),
        ({"id": "1", "host": "x", "rcpt": "abuse@example.org"}, False),
    ],
)
def test_unless_one_of_some_conditions_holds(fields: dict[str, str], counted: bool) -> None:
    unless = (("host", ("*.provider.example",)), ("rcpt", ("abuse@*",)))
    assert counts(Counted("x.y", 1, (("id", ("1",)),), unless), fields) is counted


def test_points_for_single_rules_of_modsecurity() -> None:
    """As the blog gives them: 15 for pharmacy spam, 1 for everything else that is denied."""
    pharmacy = Counted("modsecurity.denied", 15, (("id", ("300040", "300061")),))
    terms = ScoreTerms(15, True, 15, 24 * HOUR, 3)
    core = windows(rule(pharmacy, Counted("modsecurity.denied", 1), score=terms))
    assert play(core, [event(n, DENIED, id="1") for n in range(15)]) == []
    (verdict,) = play(core, [event(20, DENIED, id="300061")])
    assert verdict.count == 30, "the first entry that holds counts, not both"


def test_a_window_counts_only_where_its_conditions_hold() -> None:
    spam = Counted("modsecurity.denied", 1, (("uri", ("/comment*",)),))
    core = windows(rule(spam))
    assert play(core, [event(n, DENIED, uri="/") for n in range(9)]) == []
    assert len(play(core, [event(n, DENIED, uri="/comment.php") for n in range(10, 13)])) == 1


def test_a_success_in_between_begins_anew() -> None:
    core = windows(rule(reset_on=("sshd.auth_ok",)))
    assert play(core, [event(0), event(1), event(2, LOGIN), event(3), event(4)]) == []
    assert len(play(core, [event(5)])) == 1


@pytest.mark.parametrize("second", [11, 29.9])
def test_on_probation_one_new_offence_is_enough(second: float) -> None:
    core = windows(rule())
    (first,) = play(core, [event(n) for n in range(3)])
    assert not first.watched
    (again,) = play(core, [event(2 + second)])
    assert (again.watched, again.count) == (True, 1)


def test_probation_ends() -> None:
    core = windows(rule())
    play(core, [event(n) for n in range(3)])
    assert play(core, [event(33), event(34)]) == []
    assert len(play(core, [event(35)])) == 1


def test_probation_survives_a_restart() -> None:
    core, after = windows(rule()), windows(rule())
    play(core, [event(n) for n in range(3)])
    assert all(after.restore(change) for change in core.changes() if change.value)
    assert [verdict.watched for verdict in play(after, [event(15)])] == [True]


@pytest.mark.parametrize("old", [b"\0" * 7 + b"\1", b"x"])
def test_a_hold_as_it_was_written_before_there_was_probation(old: bytes) -> None:
    core = windows(rule())
    change = next(change for change in held(core) if change.part == "held r")
    assert core.restore(change._replace(value=old)) is (len(old) == 8)


def held(core: Windows):  # type: ignore[no-untyped-def]
    play(core, [event(n) for n in range(3)])
    return core.everything()


def test_twice_the_count_for_a_good_record() -> None:
    """Whoever has a good record is not convicted until the verdict says it holds twice."""
    core = windows(rule(good_record="double"))
    found: list[Verdict] = []

    def lenient(verdict: Verdict, _offset: int) -> Term:
        found.append(verdict)
        return Term(verdict.time + 1) if verdict.twice else NOT_CONVICTED

    core.tally(Batch("s", 1, events=[event(n) for n in range(6)]), lenient)
    assert [(one.count, one.twice) for one in found] == [(3, False)] * 3 + [(6, True)]
    assert core.windows[0].verdicts == 1
    found.clear()
    core.tally(Batch("s", 1, events=[event(100 + 25 * n) for n in range(6)]), lenient)
    assert [one.twice for one in found] == [False] * 4, "six of them never fit into a minute"


def test_twice_the_count_is_remembered_when_it_comes_late() -> None:
    core = windows(rule(good_record="double"))
    found: list[Verdict] = []

    def lenient(verdict: Verdict, _offset: int) -> Term:
        found.append(verdict)
        return Term(verdict.time + 1) if verdict.twice else NOT_CONVICTED

    core.tally(Batch("s", 1, events=[event(n) for n in (0, 2, 4, 6, 8, 5)]), lenient)
    assert [one.twice for one in found][-1] is True


def test_an_offence_on_probation_that_does_not_convict_is_counted_like_any_other() -> None:
    for core in (windows(rule()), windows(rule(distinct="user"))):
        found: list[Verdict] = []

        def lenient(verdict: Verdict, _offset: int) -> Term:
            found.append(verdict)  # noqa: B023
            if verdict.watched:
                return NOT_CONVICTED
            return Term(verdict.time + 10 * SECOND, verdict.time + 60 * SECOND)

        tries = [event(second, user=str(second)) for second in (0, 1, 2, 20, 21, 22)]
        core.tally(Batch("s", 1, events=tries), lenient)
        assert [(one.watched, one.count) for one in found] == [(False, 3), (True, 1), (False, 3)]
