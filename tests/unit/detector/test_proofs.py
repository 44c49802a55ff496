"""Successes that are only counted: who, how many, first and last, and when they must be matched."""

from __future__ import annotations

from datetime import UTC, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.detector.making import ARRIVAL, block, moment, packs

from tidegate.detector import proofs
from tidegate.detector.engine import Engine
from tidegate.detector.proofs import SURE
from tidegate.model import Batch, Success

INN = r"""
name = "inn"
programs = ["innd"]
[[detector]]
name = "guest"
kind = "guest"
class = "success"
literals = ["] is in"]
pattern = '''[^\[\n]*\[<addr>\] is in(?: as .*)?'''
match = [{ line = "bob [192.0.2.8] is in", subject = "192.0.2.8" }]
[[detector]]
name = "row"
kind = "row"
literals = ["makes a row"]
pattern = '''[^\[\n]*\[<addr>\] is in and makes a row'''
match = [{ line = "bob [192.0.2.8] is in and makes a row", subject = "192.0.2.8" }]
"""
HEAD = "Aug 21 14:03:{:02} mx innd[1]: "


def inn() -> Engine:
    """An engine that has seen enough of the form, and of one guest, to take short ways."""
    engine = Engine(packs(INN), zone=UTC)
    engine.detect(block((HEAD.format(0) + "a guest from afar [192.0.2.8] is in\n") * 40))
    assert len(engine._proofs) == 1
    return engine


def said(engine: Engine, *messages: str, arrival: int = ARRIVAL) -> Batch:
    lines = (HEAD.format(second) + text + "\n" for second, text in enumerate(messages))
    return engine.detect(block("".join(lines), offset=1000, arrival=arrival)._replace(origin=3))


def test_counted_with_first_and_last() -> None:
    text = "a guest from afar [192.0.2.8] is in"
    batch = said(inn(), "x", text, text + " as x", text, "x [192.0.2.9] is in")
    first, last = (moment(f"2026-08-21T14:03:0{second}Z") for second in (1, 3))
    at = 1000 + len(HEAD.format(0) + "x\n")
    assert batch.successes["192.0.2.8"] == Success(3, at, first, last)
    assert batch.successes["192.0.2.9"].count == 1


def test_the_next_block_counts_anew() -> None:
    engine = inn()
    for _ in range(2):
        assert said(engine, "a guest from afar [192.0.2.8] is in").successes["192.0.2.8"].count == 1
    assert said(engine, "x").successes == {}


def test_what_does_not_hold_the_whole_address_is_no_proof() -> None:
    engine = inn()
    long = "[2001:db8:1111:2222:3333:4444:{}:6666] is in"
    batch = said(engine, long.format("a"), long.format("b"), *[long.format("a")] * 3)
    assert {who: told.count for who, told in batch.successes.items()} == {
        "2001:db8:1111:2222::/64": 5
    }
    assert len(engine._proofs) == 1
    just = "x" * (SURE - len("[192.0.2.70] is in") - 1)
    said(engine, just + "[192.0.2.70] is in")
    assert len(engine._proofs) == 2
    assert all(len(key) == SURE for key in engine._proofs)


def test_a_line_with_another_hit_is_matched() -> None:
    batch = said(inn(), "a guest from afar [192.0.2.8] is in and makes a row")
    assert [event.kind.name for event in batch.events] == ["inn.row"]
    assert batch.successes == {}


def test_a_literal_that_abuse_has_too_is_always_matched() -> None:
    shared = INN.replace('literals = ["makes a row"]', 'literals = ["] is in"]')
    engine = Engine(packs(shared), zone=UTC)
    engine.detect(block((HEAD.format(0) + "a guest from afar [192.0.2.8] is in\n") * 40))
    assert len(engine._proofs) == 0
    batch = said(engine, "a guest from afar [192.0.2.8] is in and makes a row")
    assert [event.kind.name for event in batch.events] == ["inn.row"]


def test_fields_are_read_line_by_line() -> None:
    engine = inn()
    line = HEAD.format(1) + "a guest from afar [192.0.2.8] is in\n"
    assert len(engine.detect(block(line * 3), fields=True).events) == 3


def test_a_stamp_of_another_form_is_read_the_long_way() -> None:
    engine = inn()
    lines = "2026-08-21T16:03:05+02:00 mx innd[1]: a guest from afar [192.0.2.8] is in\n" * 2
    batch = engine.detect(block(lines))
    at = moment("2026-08-21T14:03:05Z")
    assert batch.successes["192.0.2.8"] == Success(2, 0, at, at)


def test_a_zone_behind_the_stamp_counts() -> None:
    engine = Engine(packs(INN), zone=timezone(timedelta(hours=3)))
    line = "2026-08-21 14:03:{} a guest from afar [192.0.2.8] is in\n"
    engine.detect(block("".join(line.format(f"0{n % 10}") for n in range(40))))
    assert len(engine._proofs) == 1
    batch = engine.detect(block(line.format("05 +0200") * 2))
    at = moment("2026-08-21T12:03:05Z")
    assert batch.successes["192.0.2.8"] == Success(2, 0, at, at)


def test_a_time_ahead_is_the_arrival() -> None:
    arrival = moment("2026-08-21T13:00:00Z")
    batch = said(inn(), "a guest from afar [192.0.2.8] is in", arrival=arrival)
    told = batch.successes["192.0.2.8"]
    # The year of a stamp without one is found so that it is at most a day ahead.
    assert (told.first_time, told.last_time) == (arrival, arrival)
    assert batch.clamped


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proofs, "_REMEMBERED", 8)
    engine = inn()
    said(engine, *(f"a guest from afar [192.0.2.{n}] is in" for n in range(50)))
    assert len(engine._proofs) <= 8


PARTS = st.sampled_from(
    (
        "a guest from afar ", "another guest ", "x", "[192.0.2.8] is in", "[192.0.2.9] is in",
        " and makes a row", " as [192.0.2.9] is in", "[2001:db8::1] is in", "[2001:db8:2::1] is in",
    )
)  # fmt: skip


def copied(text: str) -> bool:
    """Whether a line has the literal of a success alone, and is none."""
    line = block(HEAD.format(0) + text + "\n")
    batch = Engine(packs(INN), zone=UTC).detect(line, fields=True)
    return text.count("] is in") == 1 and batch.hits == 1 and not batch.successes


@settings(max_examples=80, deadline=None)
@given(st.lists(st.lists(PARTS, max_size=4).map("".join), max_size=12))
def test_counted_as_matched(messages: list[str]) -> None:
    many = messages * 20
    lines = [HEAD.format(min(n // 4, 59)) + text + "\n" for n, text in enumerate(many)]
    data = "".join(lines)
    plain = Engine(packs(INN), zone=UTC).detect(block(data), fields=True)
    short = inn()
    first = short.detect(block(data))
    again = short.detect(block(data))
    # Nobody appears who had no success of his own, here or before.
    assert set(plain.successes) <= set(first.successes) <= {*plain.successes, "192.0.2.8"}
    # Only a line that holds the bytes of a success, and goes on as none does, may count for him.
    if not any(map(copied, messages)):
        assert first.successes == again.successes == plain.successes
    assert [event.offset for event in first.events] == [
        event.offset for event in plain.events if event.kind.klass != "success"
    ]
