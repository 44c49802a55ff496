"""Schema steps: applied in order, each whole, and never those of a newer version."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tidegate.errors import LedgerError
from tidegate.ledger import migrations
from tidegate.ledger.migrations import STEPS, check, migrate
from tidegate.ledger.rows import place
from tidegate.ledger.sqlite import SqliteLedger
from tidegate.model import Confined, Subject


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as opened:
        yield opened


def version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def test_every_step_is_applied_once(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate(connection)
    assert version(connection) == len(STEPS)
    migrate(connection)
    later = (
        *STEPS,
        "ALTER TABLE outcome ADD COLUMN host TEXT",
        "CREATE TABLE later (x INT) STRICT",
    )
    monkeypatch.setattr(migrations, "STEPS", later)
    check(connection)
    migrate(connection)
    assert version(connection) == len(STEPS) + 2
    connection.execute("INSERT INTO later VALUES (1)")
    connection.execute("INSERT INTO outcome VALUES (1, 'applied', '', 0, 'mx')")


def test_a_step_that_fails_leaves_the_file_as_it_was(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate(connection)
    broken = (*STEPS, "CREATE TABLE half (x INT) STRICT; CREATE TABLE half (x INT) STRICT")
    monkeypatch.setattr(migrations, "STEPS", broken)
    with pytest.raises(sqlite3.OperationalError, match="half"):
        migrate(connection)
    assert not connection.in_transaction
    assert version(connection) == len(STEPS)
    assert connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'half'").fetchall() == []


def test_newer_and_foreign_files_are_refused(connection: sqlite3.Connection) -> None:
    check(connection)
    migrate(connection)
    check(connection)
    connection.execute(f"PRAGMA user_version = {len(STEPS) + 1}")
    with pytest.raises(LedgerError, match=rf"schema {len(STEPS) + 1}, known: {len(STEPS)}"):
        check(connection)
    connection.execute(f"PRAGMA user_version = {len(STEPS)}")
    connection.execute("PRAGMA application_id = 7")
    with pytest.raises(LedgerError, match="another program"):
        check(connection)


def test_every_table_is_strict(connection: sqlite3.Connection) -> None:
    migrate(connection)
    tables = connection.execute("PRAGMA table_list").fetchall()
    ours = {row[1]: row[5] for row in tables if not row[1].startswith("sqlite_")}
    assert set(ours) == {
        "origin", "position", "memory", "decision", "evidence", "outcome", "capture", "remark",
    }  # fmt: skip
    assert set(ours.values()) == {1}


def test_an_older_ledger_is_read_on_and_written_on(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as older:
        older.execute(f"PRAGMA application_id = {migrations.APPLICATION}")
        for step in STEPS[:2]:
            older.executescript(step)
        older.execute("PRAGMA user_version = 2")
        older.execute(
            "INSERT INTO decision VALUES (1, 'a', 7, 'ban', '192.0.2.7', 'r', '25', 99, 92, 1, 0,"
            " 'enforce', '', '', 'rule', '', 0, ?, NULL)",
            (place("192.0.2.7"),),
        )
    ledger = SqliteLedger(str(path))
    (entry,) = ledger.history(9)
    assert (entry.decision.subject, entry.decision.watched) == ("192.0.2.7", 0)
    cut = replace(entry.decision, id="b", action="quarantine", ports=(), watched=200)
    assert ledger.intend([cut, entry.decision]) == [cut]
    assert ledger.quarantined(8) == [Confined(Subject("192.0.2.7"), 99, 200)]
    assert len(ledger.wanted(8)) == 1
    ledger.close()
