"""What the ledger file lets go of: decisions long over, memory of nobody, files of long ago.

Touches the open connection it is given, inside the caller's transaction.
Limits: never drops what still closes or opens something, nor the core's memory of known parts.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Sequence

from tidegate.ledger.port import AT_ONCE
from tidegate.ledger.rows import clean

OVER = "coalesce(undone, max(time, until, watched))"
"""Since when a decision closes, opens or undoes nothing any more."""


def drop(
    connection: sqlite3.Connection, where: str, values: Sequence[object], limit: int = AT_ONCE
) -> int:
    """Drop the oldest decisions that answer to `where`, with what belongs to them."""
    numbers = connection.execute(
        "SELECT number FROM (SELECT decision.*, outcome.decision IS NOT NULL AS settled"  # noqa: S608
        " FROM decision LEFT JOIN outcome ON outcome.decision = number)"
        f" WHERE {where} ORDER BY time, number LIMIT ?",
        (*values, limit),
    ).fetchall()
    for table in ("evidence", "outcome", "capture", "remark"):
        connection.executemany(f"DELETE FROM {table} WHERE decision = ?", numbers)  # noqa: S608
    connection.executemany("DELETE FROM decision WHERE number = ?", numbers)
    return len(numbers)


def forget_places(connection: sqlite3.Connection, parts: Collection[str] | None) -> None:
    """Drop memory of unknown parts, and positions and files of long ago, the newest always kept."""
    if parts is not None:
        connection.execute(
            "DELETE FROM memory WHERE part NOT IN (SELECT value FROM json_each(?))",
            (json.dumps([clean(part) for part in parts]),),
        )
    connection.execute(
        "DELETE FROM position WHERE changed IN (SELECT changed FROM (SELECT changed, row_number()"
        " OVER (PARTITION BY source, path ORDER BY changed DESC) AS age FROM position) "
        " WHERE age > 8)"
    )
    connection.execute(
        "DELETE FROM origin WHERE number <= (SELECT max(number) FROM origin) - 1000"
        " AND (source, identity) NOT IN (SELECT source, identity FROM position)"
    )


def used(connection: sqlite3.Connection) -> int:
    """Bytes of the file that hold something."""
    page, pages, free = (
        connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_size", "page_count", "freelist_count")
    )
    return int(page * (pages - free))


def give_back(connection: sqlite3.Connection) -> None:
    """Return free pages to the file system, 40 MB at most. Outside of any transaction."""
    # A script, because it takes one step for each page and `execute` takes one step only.
    connection.executescript("PRAGMA incremental_vacuum(10000)")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
