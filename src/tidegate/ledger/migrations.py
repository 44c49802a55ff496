"""The schema of the ledger file, as numbered steps that only ever grow.

Touches the open connection it is given. `PRAGMA user_version` holds the number of the last step.
Limits: forwards only; a file from a newer version is refused, never guessed at.
"""

from __future__ import annotations

import sqlite3

from tidegate.errors import LedgerError

APPLICATION = 0x54494445
"""`PRAGMA application_id`: the letters TIDE."""

STEPS = (
    """
    CREATE TABLE origin (
        number INTEGER PRIMARY KEY,
        source TEXT NOT NULL, path TEXT NOT NULL, identity TEXT NOT NULL,
        rereadable INTEGER NOT NULL,
        UNIQUE (source, identity)
    ) STRICT;

    -- The row number says which changed last: a changed position is a new row.
    CREATE TABLE position (
        changed INTEGER PRIMARY KEY,
        source TEXT NOT NULL, path TEXT NOT NULL, identity TEXT NOT NULL,
        byte INTEGER NOT NULL, cursor TEXT NOT NULL,
        UNIQUE (source, path, identity)
    ) STRICT;

    CREATE TABLE memory (
        part TEXT NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL,
        PRIMARY KEY (part, key)
    ) STRICT, WITHOUT ROWID;

    -- `place` sorts addresses and networks (rows.py); `undone` is when a later decision undid this.
    CREATE TABLE decision (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        time INTEGER NOT NULL, action TEXT NOT NULL, subject TEXT NOT NULL, rule TEXT NOT NULL,
        ports TEXT NOT NULL, until INTEGER NOT NULL, duration INTEGER NOT NULL,
        count INTEGER NOT NULL, step INTEGER NOT NULL, mode TEXT NOT NULL, reason TEXT NOT NULL,
        spared TEXT NOT NULL, by TEXT NOT NULL, note TEXT NOT NULL, collateral INTEGER NOT NULL,
        place BLOB NOT NULL, undone INTEGER
    ) STRICT;
    CREATE INDEX decision_time ON decision (time);
    CREATE INDEX decision_place ON decision (place);
    -- What stands is answered from this index alone, however long the history behind it is.
    CREATE INDEX decision_standing ON decision (action, until, subject, ports, undone, mode, spared)
        WHERE undone IS NULL AND mode = 'enforce' AND spared = '' AND action IN ('ban', 'allow');

    CREATE TABLE evidence (
        decision INTEGER PRIMARY KEY,
        lines TEXT NOT NULL
    ) STRICT;

    CREATE TABLE outcome (
        decision INTEGER PRIMARY KEY,
        state TEXT NOT NULL, detail TEXT NOT NULL, time INTEGER NOT NULL
    ) STRICT;
    """,
    """
    -- What the host looked like when a guard moved; it arrives after the decision.
    CREATE TABLE capture (
        decision INTEGER PRIMARY KEY,
        time INTEGER NOT NULL, text TEXT NOT NULL
    ) STRICT;
    """,
    """
    -- Until when a source that was cut off stays on probation, after a quarantine or a release.
    ALTER TABLE decision ADD COLUMN watched INTEGER NOT NULL DEFAULT 0;
    CREATE INDEX decision_confining ON decision (max(until, watched))
        WHERE undone IS NULL AND mode = 'enforce' AND spared = ''
        AND action IN ('quarantine', 'release');
    """,
    """
    -- What people say of an incident, with a decision of it; several to one.
    CREATE TABLE remark (
        number INTEGER PRIMARY KEY,
        decision INTEGER NOT NULL,
        time INTEGER NOT NULL, by TEXT NOT NULL, text TEXT NOT NULL
    ) STRICT;
    CREATE INDEX remark_decision ON remark (decision);
    """,
)


def check(connection: sqlite3.Connection) -> None:
    """Raise LedgerError for a file of a newer version or of another program. Changes nothing."""
    version = _version(connection)
    if version > len(STEPS):
        raise LedgerError(
            f"written by a newer version of Tidegate (schema {version}, known: {len(STEPS)});"
            " install that version again, or move the file away to begin a new one"
        )
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if tables and application != APPLICATION:
        raise LedgerError("it is the database of another program; name another path")


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the file to the newest schema, each step in a transaction of its own."""
    version = _version(connection)
    for number, step in enumerate(STEPS[version:], version + 1):
        try:
            connection.executescript(
                f"BEGIN IMMEDIATE; PRAGMA application_id = {APPLICATION};"
                f"{step}; PRAGMA user_version = {number}; COMMIT;"
            )
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
