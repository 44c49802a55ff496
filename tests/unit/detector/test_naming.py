"""What a line names, read again for single events: any form, any framing, never a fault."""

from __future__ import annotations

from datetime import UTC

import pytest
from tests.unit.detector.making import ARRIVAL, DOOR, GATE, block, journal, packs
from tests.unit.detector.test_audit import DENIED, record
from tests.unit.detector.test_audit import block as audit_block

from tidegate.detector.engine import Engine
from tidegate.detector.pack import load_packs
from tidegate.evidence.targets import FIELDS

PLAIN = "Aug 22 11:00:00 host doord[7]: wrong key for bob from 192.0.2.7\n"
ISO = "2026-08-22T11:00:00Z host doord[7]: wrong key for bob from 192.0.2.7\n"
JOURNAL = (
    b"__REALTIME_TIMESTAMP=1787396400000000\n_COMM=doord\n_PID=7\nSYSLOG_IDENTIFIER=doord\n"
    b"MESSAGE=wrong key for bob from 192.0.2.7\n\n"
)


def made(*texts: str, named=("user",), budget=None) -> Engine:
    return Engine(packs(*texts or (DOOR,)), zone=UTC, named=named, budget=budget)


@pytest.mark.parametrize("given", [block(PLAIN), block(ISO, offset=4711), block(40 * PLAIN)])
def test_an_event_without_fields_gets_them_from_its_line(given):
    engine = made()
    found = engine.detect(given).events
    assert not any(event.fields for event in found)
    assert [engine.fields(given, event)["user"] for event in found] == ["bob"] * len(found)


def test_of_a_pack_without_such_a_group_no_line_is_read_again():
    engine = made(named=("vhost",))
    given = block(PLAIN)
    (event,) = engine.detect(given).events
    assert engine.fields(given, event) == {}


def test_an_event_of_another_detector_or_block_has_none():
    engine = made(DOOR, GATE)
    given = block(PLAIN + "Aug 22 11:00:01 host gated[7]: rattled by 192.0.2.7\n")
    one, other = engine.detect(given).events
    assert (one.kind.pack, other.kind.pack) == ("door", "gate")
    assert engine.fields(given, one) != {}
    assert engine.fields(given, other) == {}
    assert engine.fields(block(PLAIN, offset=4711), one) == {}
    assert engine.fields(block("rubbish\n" * 40), one) == {}


def test_journal_entries_are_read_too():
    engine, given = made(), journal(JOURNAL)
    for event in engine.detect(given).events:
        assert engine.fields(given, event)["user"] == "bob"


class Odd:
    """A budget that is used up at once."""

    begun = ended = 0

    def start(self) -> None:
        self.begun += 1

    def stop(self) -> None:
        self.ended += 1


def test_what_fails_has_no_fields_and_the_budget_is_stopped(monkeypatch):
    budget = Odd()
    engine, given = made(budget=budget), block(PLAIN)
    (event,) = engine.detect(given).events

    def fail(*_words):
        raise RuntimeError("ran away")

    monkeypatch.setattr(engine._steps, "header", fail)
    assert engine.fields(given, event) == {}
    assert budget.begun == budget.ended


def test_events_of_an_audit_log_have_theirs_at_once():
    engine = Engine(load_packs(), zone=UTC, named=FIELDS)
    given = audit_block(record(DENIED))._replace(framing="audit", arrival=ARRIVAL)
    (event,) = engine.detect(given).events
    assert (event.fields["vhost"], event.fields["uri"]) == ("www.example.com", "/a")
