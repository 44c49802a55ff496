"""The statements of the ledger file: what is in force, what a new decision undoes, what is known.

Touches the open connection it is given, inside the caller's transaction.
Limits: SQL is made of our own words only; every value is bound.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from tidegate.ledger.port import AT_ONCE, Entry
from tidegate.ledger.rows import (
    COLUMNS,
    UNDOES,
    clean,
    decision_of,
    decision_row,
    evidence_of,
    evidence_text,
    place,
    places_about,
    ports_of,
    whose,
)
from tidegate.model import Action, Ban, Decision, Micros, Subject

# Word for word as the partial index has it: SQLite proves nothing beyond that.
STANDING = (
    "undone IS NULL AND mode = 'enforce' AND spared = '' AND action IN ('ban', 'allow')"
    " AND until > ?"
)
CONFINING = (
    "undone IS NULL AND mode = 'enforce' AND spared = '' AND action IN ('quarantine', 'release')"
    " AND max(until, watched) > ?"
)

PUT_DECISION = (
    f"INSERT INTO decision ({COLUMNS}, place, number)"  # noqa: S608 (our own column names)
    f" VALUES ({','.join('?' * (COLUMNS.count(',') + 3))})"
)
ENTRIES = (
    f"SELECT {COLUMNS.replace('time', 'decision.time')}, lines, state, detail, outcome.time"  # noqa: S608
    " FROM decision LEFT JOIN outcome ON outcome.decision = number"
    " LEFT JOIN evidence ON evidence.decision = number "
)

DEEDS = (
    "SELECT id, decision.time, action, subject, rule, by, ports, until, undone, count, mode,"
    " spared, collateral, coalesce(state, 'intended'), coalesce(detail, '')"
    " FROM decision LEFT JOIN outcome ON outcome.decision = number"
    " WHERE decision.time >= ? ORDER BY decision.time, number"
)

# Beside max(), SQLite takes the other columns from the row that holds the maximum.
IN_FORCE = (
    f"SELECT {COLUMNS.replace('time', 'latest.time')}, state, detail, outcome.time FROM"  # noqa: S608
    f" (SELECT {COLUMNS}, number, max(until) FROM decision WHERE action = 'ban' AND {STANDING}"
    " {about} GROUP BY subject, ports) AS latest LEFT JOIN outcome ON outcome.decision = number"
)


PUT_REMARK = (
    "INSERT INTO remark (decision, time, by, text)"
    " SELECT number, ?, ?, ? FROM decision WHERE id = ?"
)
REMARKS = (
    "SELECT remark.time, remark.by, remark.text, id FROM remark"
    " JOIN decision ON decision.number = remark.decision ORDER BY remark.time, remark.number"
)


def after(
    connection: sqlite3.Connection, row: int, actions: Collection[str]
) -> tuple[int, list[tuple[int, Entry]]]:
    """The newest row of all, and what stands behind `row` of these actions, with its evidence."""
    (top,) = connection.execute("SELECT coalesce(max(number), 0) FROM decision").fetchone()
    if top <= row:
        return top, []
    rows = connection.execute(
        ENTRIES.replace("SELECT ", "SELECT number, ", 1)  # noqa: S608
        + "WHERE number > ? AND action IN (SELECT value FROM json_each(?))"
        " ORDER BY number LIMIT ?",
        (row, json.dumps(list(actions)), AT_ONCE),
    )
    found = []
    for number, *columns, lines, state, detail, time in rows:
        decision = decision_of(columns, evidence_of(lines))
        found.append((number, Entry(decision, state or "intended", detail or "", time)))
    return top, found


def about(subject: Subject | None) -> tuple[str, list[object]]:
    """The condition that a decision is about the subject, and its values."""
    if subject is None:
        return "", []
    around, first, last = places_about(clean(subject))
    condition = f"AND (place IN ({','.join('?' * len(around))}) OR place BETWEEN ? AND ?)"
    return condition, [*around, first, last]


def in_force(
    connection: sqlite3.Connection, action: Action, now: Micros, places: Sequence[bytes] = ()
) -> list[Ban]:
    """The bans (or allows) that stand, by subject and ports the last end; of these places alone."""
    # Few subjects are found by their places; the planner would walk all that stands.
    index = "INDEXED BY decision_place" if places else ""
    theirs = f"AND place IN ({','.join('?' * len(places))})" if places else ""
    rows = connection.execute(
        f"SELECT subject, ports, until FROM decision {index}"  # noqa: S608
        f" WHERE action = '{action}' AND {STANDING} {theirs} ORDER BY until",
        (now, *places),
    ).fetchall()
    # The last end of each, by a dictionary: half of what GROUP BY and its sorting would take.
    latest = {(subject, ports): until for subject, ports, until in rows}
    keys = sorted(latest)
    return [Ban(Subject(key[0]), ports_of(key[1]), latest[key]) for key in keys]


def confining(
    connection: sqlite3.Connection, now: Micros, subject: Subject | None = None
) -> list[Entry]:
    """Every quarantine and release that is neither over nor undone, in their order."""
    condition, values = about(subject)
    rows = connection.execute(
        f"SELECT {COLUMNS.replace('time', 'decision.time')}, state, detail, outcome.time"  # noqa: S608
        " FROM decision INDEXED BY decision_confining"
        " LEFT JOIN outcome ON outcome.decision = number"
        f" WHERE {CONFINING} {condition} ORDER BY number",
        (now, *values),
    )
    return [bare(row) for row in rows.fetchall()]


def ends(connection: sqlite3.Connection, now: Micros) -> Iterable[tuple[str, str, Micros, Micros]]:
    """The same, as far as it says who is cut off or watched until when: asked at every quarantine,
    and without making decisions of the rows it takes a tenth of the time."""
    return connection.execute(
        "SELECT subject, action, until, watched FROM decision INDEXED BY decision_confining"  # noqa: S608
        f" WHERE {CONFINING}",
        (now,),
    )


def bare(row: Sequence[Any]) -> Entry:
    """The entry behind a row of `COLUMNS` and its outcome, without evidence."""
    *columns, state, detail, time = row
    return Entry(decision_of(columns, ()), state or "intended", detail or "", time)


def put_memory(
    connection: sqlite3.Connection, changed: list[tuple[str, bytes, bytes | None]]
) -> None:
    """Write changes in their order: the last of a key holds, also across writing and forgetting."""
    last = {change[:2]: change[2] for change in changed}
    connection.executemany(
        "INSERT INTO memory VALUES (?, ?, ?)"
        " ON CONFLICT (part, key) DO UPDATE SET value = excluded.value",
        [(*key, value) for key, value in last.items() if value is not None],
    )
    connection.executemany(
        "DELETE FROM memory WHERE part = ? AND key = ?",
        [key for key, value in last.items() if value is None],
    )


def unknown(connection: sqlite3.Connection, decisions: Sequence[Decision]) -> list[Decision]:
    """Those whose id is neither in the file nor earlier in the list."""
    first: dict[str, Decision] = {}
    for decision in decisions:
        first.setdefault(clean(decision.id), decision)
    known = connection.execute(
        "SELECT id FROM decision WHERE id IN (SELECT value FROM json_each(?))",
        (json.dumps(list(first)),),
    )
    for (name,) in known.fetchall():
        del first[name]
    return list(first.values())


def undo(connection: sqlite3.Connection, numbered: list[tuple[int, Decision]]) -> None:
    """Mark what the new decisions undo among all those before each of them."""
    connection.executemany(
        "UPDATE decision SET undone = ? WHERE place = ? AND number < ? AND action = ?"
        " AND undone IS NULL AND (? = '' OR ports = ?) AND (? = '' OR rule = ?)"
        " AND (? = '' OR by = ?)",
        [
            (row[1], place(row[3]), number, undone, row[5], row[5], row[4], row[4], by, row[13])
            for number, decision in numbered
            if decision.action in UNDOES and decision.mode == "enforce" and not decision.spared
            for row in (decision_row(decision),)
            for by in (whose(row[13]),)
            for undone in UNDOES[decision.action]
        ],
    )


def put_decisions(connection: sqlite3.Connection, decisions: Sequence[Decision]) -> list[Decision]:
    """In a transaction: those not known before, with their evidence, and what they undo."""
    fresh = unknown(connection, decisions)
    (top,) = connection.execute("SELECT coalesce(max(number), 0) FROM decision").fetchone()
    numbered = list(enumerate(fresh, top + 1))
    connection.executemany(
        PUT_DECISION, [(*decision_row(d), place(clean(d.subject)), n) for n, d in numbered]
    )
    connection.executemany(
        "INSERT INTO evidence VALUES (?, ?)",
        [(n, evidence_text(d)) for n, d in numbered if d.evidence],
    )
    undo(connection, numbered)
    return fresh
