"""What people say of incidents, and what is new in the ledger: the same in both ledgers."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

from tests.unit.ledger.conftest import NOW

from tidegate.ledger.migrations import APPLICATION, STEPS
from tidegate.ledger.port import KEEP, Ledger, Remark
from tidegate.ledger.rows import MAX_REMARK
from tidegate.ledger.sqlite import SqliteLedger
from tidegate.model import DAY, SECOND, Decision, Evidence, Outcome

Decide = Callable[..., Decision]
ANNA = "anna (uid 1000)"


def test_notes_are_kept_with_their_decision_in_the_order_of_their_times(
    ledger: Ledger, decide: Decide
) -> None:
    ledger.intend([decide("a"), decide("b", subject="192.0.2.8")])
    assert ledger.remark(Remark(NOW + 2, ANNA, "second", "a"))
    assert ledger.remark(Remark(NOW + 1, ANNA, "first\nline", "b"))
    assert not ledger.remark(Remark(NOW, ANNA, "of nothing", "gone"))
    assert ledger.remarks() == [
        Remark(NOW + 1, ANNA, "first\nline", "b"),
        Remark(NOW + 2, ANNA, "second", "a"),
    ]


def test_a_note_is_bounded_and_holds_any_text(ledger: Ledger, decide: Decide) -> None:
    ledger.intend([decide("a")])
    ledger.remark(Remark(NOW, ANNA, "\udcff" + "ü" * MAX_REMARK, "a"))
    (kept,) = ledger.remarks()
    assert kept.text.startswith("\\udcffü")
    assert len(kept.text.encode()) <= MAX_REMARK


def test_a_note_goes_with_its_decision(ledger: Ledger, decide: Decide) -> None:
    ledger.intend([decide("old"), decide("new", time=NOW + KEEP)])
    ledger.settle([Outcome("old", "applied", "", NOW), Outcome("new", "applied", "", NOW)])
    for name in ("old", "new"):
        ledger.remark(Remark(NOW, ANNA, name, name))
    ledger.forget(NOW + KEEP + DAY)
    assert [one.number for one in ledger.remarks()] == ["new"]


def test_entries_are_found_by_id(ledger: Ledger, decide: Decide) -> None:
    seen = (Evidence(NOW, "/var/log/x", 7, "the line"),)
    ledger.intend([decide("b", time=NOW + SECOND), decide("a", evidence=seen), decide("c")])
    found = ledger.entries(["b", "a", "gone"])
    assert [one.decision.id for one in found] == ["a", "b"]
    assert found[0].decision.evidence == seen
    assert ledger.entries([]) == []


def test_what_is_new_comes_once_with_its_evidence(ledger: Ledger, decide: Decide) -> None:
    assert ledger.after(0, ["quarantine"]) == (0, [])
    seen = (Evidence(NOW, "-", 7, "the line"),)
    ledger.intend([decide("a"), decide("q", "quarantine", evidence=seen, watched=NOW + DAY)])
    ledger.settle([Outcome("q", "applied", "", NOW)])
    ledger.intend([decide("r", "release", subject="192.0.2.9")])
    top, found = ledger.after(0, ["quarantine", "release"])
    assert top == 3
    assert [(row, one.decision.id, one.state) for row, one in found] == [
        (2, "q", "applied"),
        (3, "r", "intended"),
    ]
    assert found[0][1].decision.evidence == seen
    assert found[0][1].decision.watched == NOW + DAY
    assert [row for row, _one in ledger.after(2, ["quarantine", "release"])[1]] == [3]
    assert ledger.after(3, ["quarantine", "release"]) == (3, [])
    assert ledger.after(1, ()) == (3, [])
    assert ledger.after(99, ["quarantine"]) == (3, []), "where the newest were dropped"


def test_notes_survive_a_new_start_and_an_older_file_takes_them(
    tmp_path: Path, decide: Decide
) -> None:
    path = str(tmp_path / "ledger.db")
    with sqlite3.connect(path) as old:
        steps = "".join(STEPS[:-1])
        old.executescript(
            f"PRAGMA application_id = {APPLICATION}; {steps}; PRAGMA user_version = {len(STEPS) - 1}"
        )
    old.close()
    ledger = SqliteLedger(path)
    ledger.intend([decide("a")])
    ledger.remark(Remark(NOW, ANNA, "kept", "a"))
    ledger.close()
    again = SqliteLedger(path)
    assert [one.text for one in again.remarks()] == ["kept"]
    again.close()
