"""Schema steps: applied in order, each whole, and never those of a newer version."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator

import pytest

from tidegate.errors import LedgerError
from tidegate.ledger import migrations
from tidegate.ledger.migrations import STEPS, check, migrate


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
        "origin", "position", "memory", "decision", "evidence", "outcome", "capture"
    }  # fmt: skip
    assert set(ours.values()) == {1}
