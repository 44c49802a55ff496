"""What is saved from a damaged file: all rows that can be read, and none that would mislead."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tidegate.ledger.migrations import migrate
from tidegate.ledger.salvage import salvage
from tidegate.ledger.sqlite import SqliteLedger
from tidegate.model import SECOND, Change, Decision, Evidence, Outcome, Position

NOW = 1_700_000_000 * SECOND
Decide = Callable[..., Decision]


@pytest.fixture
def old(tmp_path: Path, decide: Decide) -> str:
    path = str(tmp_path / "old.db")
    ledger = SqliteLedger(path)
    ledger.origin("a", "/m", "1:x", True)
    ledger.checkpoint([Position("a", "/m", "1:x", 7)], [Change("p", "k", b"v")])
    ledger.intend([decide(str(n), evidence=(Evidence(NOW, "/m", n, "x"),)) for n in range(3)])
    ledger.settle([Outcome("1", "applied", "", NOW)])
    ledger.close()
    return path


def saved(old: str, new: str) -> int:
    with contextlib.closing(sqlite3.connect(new, isolation_level=None)) as connection:
        migrate(connection)
        return salvage(old, connection)


def test_of_a_sound_file_everything_is_saved(old: str, tmp_path: Path) -> None:
    assert saved(old, str(tmp_path / "new.db")) == 10
    first, second = SqliteLedger(old), SqliteLedger(str(tmp_path / "new.db"))
    assert first.history(9) == second.history(9)
    assert first.positions() == second.positions()
    assert list(first.memory()) == list(second.memory())
    assert first.origins() == second.origins()
    first.close()
    second.close()


def test_rows_on_both_sides_of_the_damage_are_saved(tmp_path: Path, decide: Decide) -> None:
    path = tmp_path / "old.db"
    ledger = SqliteLedger(str(path))
    ledger.intend([decide(f"id-{n:04}", subject=f"10.0.{n >> 8}.{n & 255}") for n in range(1000)])
    ledger.close()
    pages = bytearray(path.read_bytes())
    where = -1
    while (where := pages.find(b"id-0500", where + 1)) >= 0:
        start = where // 4096 * 4096
        pages[start : start + 100] = b"\xa5" * 100
    path.write_bytes(pages)
    saved(str(path), str(tmp_path / "new.db"))
    ledger = SqliteLedger(str(tmp_path / "new.db"))
    names = {entry.decision.id for entry in ledger.history(2000)}
    assert {"id-0000", "id-0400", "id-0600", "id-0999"} <= names
    assert "id-0500" not in names
    ledger.close()


def test_what_lost_its_decision_is_dropped(old: str, tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(old)) as connection:
        connection.execute("DELETE FROM decision WHERE id = '1'")
        connection.commit()
    saved(old, str(tmp_path / "new.db"))
    with contextlib.closing(sqlite3.connect(str(tmp_path / "new.db"))) as connection:
        assert connection.execute("SELECT decision FROM evidence").fetchall() == [(1,), (3,)]
        assert connection.execute("SELECT decision FROM outcome").fetchall() == []


def test_a_value_of_a_wrong_type_costs_its_row_only(old: str, tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(old)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_schema SET sql = replace(sql, ') STRICT', ')')")
        connection.commit()
    with contextlib.closing(sqlite3.connect(old)) as connection:
        connection.execute("UPDATE decision SET until = 'soon' WHERE id = '2'")
        connection.commit()
    saved(old, str(tmp_path / "new.db"))
    ledger = SqliteLedger(str(tmp_path / "new.db"))
    assert sorted(entry.decision.id for entry in ledger.history(9)) == ["0", "1"]
    ledger.close()


@pytest.mark.parametrize("column", ["x", "number"])
def test_of_another_schema_nothing_is_saved(tmp_path: Path, column: str) -> None:
    path = str(tmp_path / "old.db")
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(f"CREATE TABLE decision ({column})")
        connection.execute("INSERT INTO decision VALUES (1)")
        connection.commit()
    if column == "x":
        assert saved(path, str(tmp_path / "new.db")) == 0
    else:
        with pytest.raises(sqlite3.OperationalError, match="columns"):
            saved(path, str(tmp_path / "new.db"))
    ledger = SqliteLedger(str(tmp_path / "new.db"))
    assert ledger.history(9) == []
    ledger.close()


def test_a_file_of_an_older_version_is_saved_too(old: str, tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(old)) as connection:
        connection.execute("DROP INDEX decision_confining")
        connection.execute("ALTER TABLE decision DROP COLUMN watched")
        connection.commit()
    assert saved(old, str(tmp_path / "new.db")) == 10
