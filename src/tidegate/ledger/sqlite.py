"""The ledger in one SQLite file: what `port.py` promises, durable and bounded.

Touches its file through `connection.py` only. Times are given, never read from a clock.
Limits: thread-bound; WAL with synchronous=NORMAL unless a call asks for `durable`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Literal

from tidegate.ledger.connection import LedgerFile
from tidegate.ledger.keeping import OVER, drop, forget_places, give_back, used
from tidegate.ledger.port import AT_ONCE, KEEP, Deed, Entry, Remark, Standing
from tidegate.ledger.queries import (
    DEEDS,
    ENTRIES,
    IN_FORCE,
    PUT_REMARK,
    REMARKS,
    STANDING,
    about,
    after,
    bare,
    confining,
    ends,
    in_force,
    put_decisions,
    put_memory,
)
from tidegate.ledger.rows import (
    capture_text,
    clean,
    confined,
    decision_of,
    deed_of,
    evidence_of,
    lasting,
    latest,
    place,
    remark_text,
    whole,
)
from tidegate.model import (
    Action,
    Ban,
    Change,
    Confined,
    Decision,
    Micros,
    Origin,
    Outcome,
    Position,
    Subject,
)

MAX_FILE = 256 << 20
_SLICE = 250


class SqliteLedger:
    """A `Ledger` on disk. The file is opened by the first call, or by `open`.

    `keep`: how long decisions stay after they are over; `max_bytes`: the cap for the file.
    """

    def __init__(self, path: str, keep: Micros = KEEP, max_bytes: int = MAX_FILE) -> None:
        self._file = LedgerFile(path)
        self._keep = keep
        self._max_bytes = max_bytes
        self._positions: dict[tuple[str, str, str], Position] = {}
        self._opened = 0
        self._crowded = False

    @property
    def notes(self) -> list[str]:
        """What a person should hear of; the caller says it and empties it."""
        return self._file.notes

    def open(self) -> None:
        """Open the file now, to learn at start whether that works. Raises LedgerError."""
        with self._file.reading("open"):
            pass

    # Sources: which files there are, and how far they were read.

    def origin(self, source: str, path: str, identity: str, rereadable: bool) -> Origin:
        """The origin with this source and identity, numbered from 1 (a new row the first time)."""
        values = (clean(source), clean(path), clean(identity), int(rereadable))
        with self._file.writing("remember a file") as connection:
            row = connection.execute(
                "INSERT INTO origin (source, path, identity, rereadable) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (source, identity) DO UPDATE"
                " SET path = excluded.path, rereadable = excluded.rereadable RETURNING number",
                values,
            ).fetchone()
        return Origin(row[0], values[0], values[1], values[2], rereadable)

    def origins(self) -> list[Origin]:
        """Every origin that evidence, memory or a position may still point at, by number."""
        with self._file.reading("read the files") as connection:
            rows = connection.execute(
                "SELECT number, source, path, identity, rereadable FROM origin ORDER BY number"
            ).fetchall()
        return [Origin(n, s, p, i, bool(again)) for n, s, p, i, again in rows]

    def positions(self) -> list[Position]:
        """Where each file had been read to at the last checkpoint."""
        with self._file.reading("read the positions") as connection:
            rows = connection.execute(
                "SELECT source, path, identity, byte, cursor FROM position ORDER BY changed"
            ).fetchall()
        return [Position(*row) for row in rows]

    def memory(self) -> Iterator[Change]:
        """The core's memory as of the last checkpoint, by part and key."""
        with self._file.reading("read the memory") as connection:
            rows = connection.execute("SELECT part, key, value FROM memory ORDER BY part, key")
            while chunk := rows.fetchmany(1000):
                for part, key, value in chunk:
                    yield Change(part, key.decode("utf-8", "surrogatepass"), value)

    def checkpoint(self, positions: Sequence[Position], changes: Iterable[Change]) -> None:
        """Positions and changed memory, together or not at all; unchanged positions are free."""
        if self._opened != self._file.opened:
            self._positions = {position[:3]: position for position in self.positions()}
            self._opened = self._file.opened
        moved = {k: p for k, p in latest(positions).items() if self._positions.get(k) != p}
        changed = [
            (clean(part), key.encode("utf-8", "surrogatepass"), value)
            for part, key, value in changes
        ]
        if not moved and not changed:
            return
        with self._file.writing("save a checkpoint") as connection:
            put_memory(connection, changed)
            connection.executemany(
                "REPLACE INTO position (source, path, identity, byte, cursor)"
                " VALUES (?, ?, ?, ?, ?)",
                moved.values(),
            )
        self._positions |= moved

    # Decisions: intend, settle, and what follows from them.

    def intend(self, decisions: Sequence[Decision], durable: bool = False) -> list[Decision]:
        """Write down what will be done, with its evidence; return those not known before by id."""
        if not decisions:
            return []
        doing = "write down decisions"
        if durable:
            return self._file.durably(doing, lambda one: put_decisions(one, decisions))
        with self._file.writing(doing) as connection:
            return put_decisions(connection, decisions)

    def settle(self, outcomes: Sequence[Outcome]) -> None:
        """Write down what became of them; the last outcome of an id holds."""
        if not outcomes:
            return
        with self._file.writing("write down outcomes") as connection:
            connection.executemany(
                "REPLACE INTO outcome SELECT number, ?, ?, ? FROM decision WHERE id = ?",
                [(o.state, clean(o.detail), whole(o.time), clean(o.id)) for o in outcomes],
            )

    def attach(self, number: str, time: Micros, text: str) -> None:
        """Keep with a decision what the host looked like."""
        with self._file.writing("keep what was captured") as connection:
            connection.execute(
                "REPLACE INTO capture SELECT number, ?, ? FROM decision WHERE id = ?",
                (whole(time), capture_text(text), clean(number)),
            )

    def captured(self, number: str) -> tuple[Micros, str] | None:
        """What was kept with a decision, and when it was taken."""
        with self._file.reading("read what was captured") as connection:
            row = connection.execute(
                "SELECT capture.time, text FROM capture JOIN decision ON decision = number"
                " WHERE id = ?",
                (clean(number),),
            ).fetchone()
        return None if row is None else (row[0], row[1])

    def remark(self, one: Remark) -> bool:
        """Keep what a person says with a decision."""
        values = (whole(one.time), clean(one.by), remark_text(one.text), clean(one.number))
        return self._file.durably(
            "keep a note", lambda there: there.execute(PUT_REMARK, values).rowcount > 0
        )

    def remarks(self) -> list[Remark]:
        """Everything that people said; the oldest first."""
        with self._file.reading("read the notes") as connection:
            return [Remark(*row) for row in connection.execute(REMARKS)]

    def entries(self, numbers: Collection[str]) -> list[Entry]:
        """The decisions of these ids, in the order of their times."""
        ids = json.dumps([clean(one) for one in numbers])
        where = "WHERE id IN (SELECT value FROM json_each(?)) ORDER BY decision.time, number"
        return self._entries(where, (ids,))

    def after(self, row: int, actions: Collection[Action]) -> tuple[int, list[tuple[int, Entry]]]:
        """What was written down behind that row, and the newest row of all."""
        with self._file.reading("read what is new") as connection:
            return after(connection, whole(row), actions)

    def unsettled(self) -> list[Decision]:
        """Intended but not settled, in the order they were intended."""
        return [
            entry.decision
            for entry in self._entries("WHERE outcome.decision IS NULL ORDER BY number", ())
        ]

    def wanted(self, now: Micros, subjects: Collection[Subject] | None = None) -> list[Ban]:
        """The bans in force: per (subject, ports) the latest end."""
        if subjects is None:
            return self._in_force("ban", now)
        places = [place(clean(subject)) for subject in dict.fromkeys(subjects)]
        found: list[Ban] = []
        for first in range(0, len(places), _SLICE):
            found += self._in_force("ban", now, places[first : first + _SLICE])
        return sorted(found)

    def allowed(self, now: Micros) -> list[Ban]:
        """Temporary allows by hand that are not over."""
        return self._in_force("allow", now)

    def quarantined(self, now: Micros) -> list[Confined]:
        """Who is cut off or still watched, each once, with the latest end of either."""
        with self._file.reading("read who is cut off") as connection:
            return confined(ends(connection, whole(now)), now)

    def standing(
        self, now: Micros, subject: Subject | None = None, action: Standing = "ban"
    ) -> list[Entry]:
        """The decisions behind `wanted` or `quarantined`, in the same order, without evidence."""
        condition, values = about(subject)
        with self._file.reading("read what stands") as connection:
            if action == "quarantine":
                return lasting(confining(connection, whole(now), subject), now)
            rows = connection.execute(IN_FORCE.format(about=condition), (whole(now), *values))
            return [bare(row) for row in rows.fetchall()]

    def ruling(self, now: Micros) -> set[str]:
        """The rules that have a ban standing."""
        with self._file.reading("read which rules ban") as connection:
            rows = connection.execute(
                "SELECT DISTINCT rule FROM decision"  # noqa: S608
                f" WHERE action = 'ban' AND by = 'rule' AND {STANDING}",
                (whole(now),),
            )
            return {rule for (rule,) in rows.fetchall()}

    def history(
        self, limit: int, subject: Subject | None = None, before: Micros | None = None
    ) -> list[Entry]:
        """The newest entries first; with `subject`, itself and networks around or inside it."""
        condition, values = about(subject)
        if before is not None:
            condition += " AND decision.time < ?"
            values.append(whole(before))
        return self._entries(
            f"WHERE true {condition} ORDER BY decision.time DESC, number DESC LIMIT ?",
            (*values, max(0, whole(limit))),
        )

    def deeds(self, since: Micros) -> Iterator[Deed]:
        """Every decision from that event time on, the oldest first."""
        with self._file.reading("read decisions") as connection:
            for row in connection.execute(DEEDS, (whole(since),)):
                yield deed_of(row)

    def _in_force(
        self, action: Literal["ban", "allow"], now: Micros, places: Sequence[bytes] = ()
    ) -> list[Ban]:
        with self._file.reading("read what is in force") as connection:
            return in_force(connection, action, whole(now), places)

    def _entries(self, tail: str, values: Sequence[object]) -> list[Entry]:
        with self._file.reading("read decisions") as connection:
            return [
                Entry(decision_of(row, evidence_of(lines)), state or "intended", detail or "", time)
                for *row, lines, state, detail, time in connection.execute(ENTRIES + tail, values)
            ]

    # Keeping it bounded.

    def forget(self, now: Micros, parts: Collection[str] | None = None) -> int:
        """Drop what is past its keeping time or over the size cap, and give the space back."""
        self._file.check_place()
        with self._file.writing("drop what is over") as connection:
            forget_places(connection, parts)
            horizon = whole(now - self._keep)
            dropped = drop(connection, f"settled AND time <= ? AND {OVER} <= ?", (horizon,) * 2)
        for settled in ("settled", "NOT settled"):
            while dropped < AT_ONCE and self._used() > self._max_bytes:
                with self._file.writing("hold the size") as connection:
                    over = f"{settled} AND {OVER} <= ?"
                    count = drop(connection, over, (whole(now),), _SLICE)
                dropped += count
                if not count:
                    break
        with self._file.reading("give space back") as connection:
            give_back(connection)
        self._file.keep_room()
        self._say_if_crowded(dropped)
        return dropped

    def _used(self) -> int:
        with self._file.reading("measure") as connection:
            return used(connection)

    def _say_if_crowded(self, dropped: int) -> None:
        crowded = self._used() > self._max_bytes and dropped < AT_ONCE
        if crowded and not self._crowded:
            self.notes.append(
                f"{self._file.path}: over its cap of {self._max_bytes} bytes, and everything in it"
                " is still needed; nothing more can be dropped"
            )
        self._crowded = crowded

    def size(self) -> int:
        """Bytes on disk."""
        return self._file.size()

    def close(self) -> None:
        """Flush and close; twice is harmless."""
        self._file.close()
