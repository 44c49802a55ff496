"""What the functions are asked and answer: layouts, bounds, and bytes that make no sense."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.errors import OperatorError
from tidegate.fleet.counting import functions
from tidegate.fleet.counting.functions import Form, Hit, Status, Sum, Terms
from tidegate.fleet.counting.oracle import Oracle
from tidegate.frames import Malformed
from tidegate.model import HOUR, MINUTE, SECOND, Subject
from tidegate.policy.models import BanTerms, Counted, Rule, ScoreTerms

NOW = 1_790_000_000_000
TERMS = Terms(Form.WINDOW, b"eightbyt", 1, MINUTE)


def rule(**others: object) -> Rule:
    terms = {"name": "r", "on": (Counted("a.b"),), "threshold": 16, "within": MINUTE}
    return Rule(**{**terms, "ban": BanTerms(), "stated": "", **others})  # type: ignore[arg-type]


def score(form: str, *, over: bool = True) -> ScoreTerms:
    return ScoreTerms(15, over, 15, HOUR, 1, form)  # type: ignore[arg-type]


def test_rules_say_how_the_fleet_counts() -> None:
    mark = bytes(8)
    assert functions.terms_of(rule(), mark) == Terms(Form.WINDOW, mark, 16, MINUTE)
    assert functions.terms_of(rule(distinct="user"), mark).form is Form.DISTINCT
    halving = functions.terms_of(rule(score=score("exponential")), mark)
    assert halving == Terms(Form.SCORE, mark, 15, HOUR)
    reached = functions.terms_of(rule(score=score("exponential", over=False)), mark)
    assert reached.form is Form.REACHED


@pytest.mark.parametrize(
    "others, said",
    [
        ({"threshold": 1026}, "counts to 1025 at most"),
        ({"score": score("linear")}, "needs points that halve"),
        ({"score": score("steps")}, "fades steps"),
    ],
)
def test_what_the_fleet_cannot_count_is_said(others: dict[str, object], said: str) -> None:
    with pytest.raises(OperatorError, match=said):
        functions.terms_of(rule(**others), bytes(8))


def test_keys_of_a_shard_have_its_tag() -> None:
    assert functions.record_key("web1", 3) == "{tg:03}h:web1"
    assert functions.waiting_key(12) == "{tg:12}p"
    key = functions.sum_key(TERMS, Subject("192.0.2.7"), 200)
    assert key == "{tg:200}w:ZWlnaHRieXQ:192.0.2.7"
    shards = {functions.shard_of(Subject(f"192.0.2.{last}"), 256) for last in range(256)}
    assert len(shards) > 100
    assert {functions.shard_of(Subject(f"192.0.2.{last}"), 1) for last in range(9)} == {0}


def test_two_sums_and_a_head_are_small() -> None:
    """What the promise of bytes per event rests on."""
    sums = [Sum(TERMS, Subject("198.51.100.117"), (Hit(NOW * 1000, bytes(6)),))] * 2
    command = functions.count_command("web1.example", 0, (1, 1), 0, NOW * 1000, sums)
    assert sum(len(one) if isinstance(one, bytes) else len(str(one)) for one in command) < 180


def test_a_line_has_one_name() -> None:
    names = {
        functions.place_of(origin, offset, repeat)
        for origin in ("a", "a 1", "\udcff")
        for offset in (0, 1, 11)
        for repeat in (0, 1)
    }
    assert len(names) == 18
    assert {len(name) for name in names} == {6}


def crossing() -> functions.Crossing:
    engine = Oracle(NOW)
    one = Sum(TERMS, Subject("2001:db8::/64"), (Hit(NOW * 1000 + 999, bytes(6)),))
    reply = engine.call(functions.count_command("web1", 0, (1, 1), 0, NOW * 1000, [one]))
    (found,) = functions.read_answer(reply).crossings
    return found


def test_a_crossing_says_who_whom_and_when() -> None:
    found = crossing()
    assert found == functions.read_crossing(found.token)
    assert (found.subject, found.mark, found.form) == ("2001:db8::/64", TERMS.mark, Form.WINDOW)
    assert (found.first, found.last, found.arrived) == (NOW * 1000,) * 3
    assert (found.count, found.tags) == (1, (functions.tag("web1"),))


def test_points_and_times_stay_in_their_bytes() -> None:
    terms = Terms(Form.SCORE, bytes(8), 9, MINUTE)
    hits = (Hit(0, bytes(6), points=99_999), Hit(SECOND, bytes(6), points=-99_999))
    body = functions.count_command("a", 0, (1, 1), 0, 0, [Sum(terms, Subject("uid:1"), hits)])[-1]
    assert isinstance(body, bytes)
    assert body[20:22] == b"\x7f\xff"
    assert body[34:36] == b"\x80\x00"


@given(data=st.binary(max_size=80))
def test_bytes_that_are_no_answer_are_malformed_and_nothing_else(data: bytes) -> None:
    token = crossing().token
    for reply in (data, data[:6] + b"\1" + data, data + token, token[: len(data)], token + data):
        for read in (functions.read_answer, functions.read_due, functions.read_crossing):
            with contextlib.suppress(Malformed):
                read(reply)


@pytest.mark.parametrize("reply", [None, 1, "text", [], ValueError("NOPERM")])
def test_other_replies_are_malformed(reply: object) -> None:
    with pytest.raises(Malformed):
        functions.read_answer(reply)
    with pytest.raises(Malformed):
        functions.read_due(reply)


def test_an_answer_of_no_known_status_is_malformed() -> None:
    with pytest.raises(Malformed, match="status 9"):
        functions.read_answer(bytes(6) + b"\x09" + bytes(8))
    assert functions.read_answer(bytes(6) + b"\4" + bytes(8)).status is Status.SKEWED
