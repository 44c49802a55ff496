"""Saves from a damaged ledger file what can still be read, so that bans and positions live on.

Touches the damaged file (SQLite merges its `-wal`) and the new one, in one transaction.
Limits: rows on unreadable pages are lost; a file whose schema can't be read gives nothing.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator

# Parents first; with the column that orders each table, to read it from both ends.
_TABLES = (
    ("origin", "number"),
    ("position", "changed"),
    ("memory", "part"),
    ("decision", "number"),
    ("evidence", "decision"),
    ("outcome", "decision"),
    ("remark", "number"),
)

_ADDED = {("decision", 19): (0,)}
"""What a row of an older version lacks, by the number of its columns."""


def salvage(path: str, connection: sqlite3.Connection) -> int:
    """Copy what can be read from the file at `path`; returns the rows saved.

    Raises sqlite3.Error where nothing can be saved; the new file is then as it was.
    """
    saved = 0
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as old:
        connection.execute("BEGIN IMMEDIATE")
        try:
            old.execute("PRAGMA locking_mode = EXCLUSIVE").fetchall()
            for table, order in _TABLES:
                for row in _readable(old, table, order):
                    row = (*row, *_ADDED.get((table, len(row)), ()))
                    put = f"INSERT OR IGNORE INTO {table} VALUES ({','.join('?' * len(row))})"  # noqa: S608
                    with contextlib.suppress(sqlite3.IntegrityError):  # a value of a wrong type
                        saved += connection.execute(put, row).rowcount
            # What lost its decision would one day speak of another.
            for table in ("evidence", "outcome", "remark"):
                connection.execute(
                    f"DELETE FROM {table} WHERE decision NOT IN (SELECT number FROM decision)"  # noqa: S608
                )
            connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise
    return saved


def _readable(old: sqlite3.Connection, table: str, order: str) -> Iterator[tuple[object, ...]]:
    """The rows from the first on until it breaks; if it did, from the last back likewise."""
    for direction in ("ASC", "DESC"):
        try:
            yield from old.execute(
                f"SELECT * FROM {table} NOT INDEXED ORDER BY {order} {direction}"  # noqa: S608
            )
        except sqlite3.DatabaseError:
            continue
        return
