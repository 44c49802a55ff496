"""The ledger without a file: what `port.py` promises, for tests, the demo and a disk that is gone.

Touches nothing. It stores the same rows as `sqlite.py` and must answer every question alike.
Limits: everything is lost with the process; no size cap.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from tidegate.errors import LedgerError
from tidegate.ledger.port import AT_ONCE, KEEP, Deed, Entry, Remark, Standing
from tidegate.ledger.rows import (
    UNDOES,
    DecisionRow,
    capture_text,
    clean,
    confined,
    decision_of,
    decision_row,
    deed_of,
    evidence_of,
    evidence_text,
    lasting,
    latest,
    place,
    places_about,
    ports_of,
    remark_text,
    whole,
    whose,
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


@dataclass(slots=True)
class _Row:
    """One decision as stored: its order, values, evidence, undoing and outcome."""

    number: int
    values: DecisionRow
    evidence: str
    place: bytes
    undone: Micros | None = None
    outcome: Outcome | None = None

    @property
    def time(self) -> Micros:
        return int(self.values[1])

    @property
    def counts(self) -> bool:
        """Whether it closes, opens or undoes anything."""
        return self.values[10] == "enforce" and not self.values[12]

    @property
    def over(self) -> Micros:
        return (
            max(self.time, self.values[6], self.values[16]) if self.undone is None else self.undone
        )

    def entry(self) -> Entry:
        decision = decision_of(self.values, evidence_of(self.evidence))
        if self.outcome is None:
            return Entry(decision, "intended", "", None)
        return Entry(decision, self.outcome.state, self.outcome.detail, self.outcome.time)


class MemoryLedger:
    """A `Ledger` that lives and dies with the process."""

    def __init__(self, keep: Micros = KEEP) -> None:
        self.notes: list[str] = []
        self._keep = keep
        self._origins: dict[tuple[str, str], Origin] = {}
        self._positions: dict[tuple[str, str, str], Position] = {}
        self._memory: dict[tuple[str, bytes], bytes] = {}
        self._rows: dict[str, _Row] = {}
        self._captures: dict[str, tuple[Micros, str]] = {}
        self._remarks: list[Remark] = []
        self._closed = False

    def open(self) -> None:
        """Nothing to open."""
        if self._closed:
            raise LedgerError("memory: it has been closed")

    def origin(self, source: str, path: str, identity: str, rereadable: bool) -> Origin:
        """The origin with this source and identity, numbered from 1."""
        self.open()
        key = (clean(source), clean(identity))
        known = self._origins.get(key)
        number = known.number if known else 1 + max((o.number for o in self.origins()), default=0)
        self._origins[key] = Origin(number, key[0], clean(path), key[1], rereadable)
        return self._origins[key]

    def origins(self) -> list[Origin]:
        """Every origin that evidence, memory or a position may still point at, by number."""
        self.open()
        return sorted(self._origins.values(), key=lambda origin: origin.number)

    def positions(self) -> list[Position]:
        """Where each file had been read to at the last checkpoint."""
        self.open()
        return list(self._positions.values())

    def memory(self) -> Iterator[Change]:
        """The core's memory as of the last checkpoint, by part and key."""
        self.open()
        for (part, key), value in sorted(self._memory.items()):
            yield Change(part, key.decode("utf-8", "surrogatepass"), value)

    def checkpoint(self, positions: Sequence[Position], changes: Iterable[Change]) -> None:
        """Positions and changed memory, together."""
        self.open()
        for key, position in latest(positions).items():
            if self._positions.get(key) != position:  # a changed position stands last
                self._positions.pop(key, None)
                self._positions[key] = position
        for part, name, value in changes:
            place_of_change = (clean(part), name.encode("utf-8", "surrogatepass"))
            if value is None:
                self._memory.pop(place_of_change, None)
            else:
                self._memory[place_of_change] = bytes(value)

    def intend(self, decisions: Sequence[Decision], durable: bool = False) -> list[Decision]:
        """Write down what will be done; return those not known before by id."""
        self.open()
        fresh = []
        for decision in decisions:
            values = decision_row(decision)
            if values[0] in self._rows:
                continue
            number = 1 + max((row.number for row in self._last()), default=0)
            row = _Row(number, values, evidence_text(decision), place(values[3]))
            self._undo(row)
            self._rows[values[0]] = row
            fresh.append(decision)
        return fresh

    def _last(self) -> list[_Row]:
        last = next(reversed(self._rows), None)
        return [] if last is None else [self._rows[last]]

    def _undo(self, new: _Row) -> None:
        undone, rule, ports = UNDOES.get(new.values[2], ()), new.values[4], new.values[5]
        by = whose(new.values[13])
        if not new.counts:
            return
        for row in self._rows.values():
            if (
                row.place == new.place
                and row.values[2] in undone
                and row.undone is None
                and ports in ("", row.values[5])
                and rule in ("", row.values[4])
                and by in ("", row.values[13])
            ):
                row.undone = new.time

    def settle(self, outcomes: Sequence[Outcome]) -> None:
        """Write down what became of them; the last outcome of an id holds."""
        self.open()
        for outcome in outcomes:
            row = self._rows.get(clean(outcome.id))
            if row is not None:
                row.outcome = Outcome(
                    clean(outcome.id), outcome.state, clean(outcome.detail), whole(outcome.time)
                )

    def attach(self, number: str, time: Micros, text: str) -> None:
        """Keep with a decision what the host looked like."""
        self.open()
        if clean(number) in self._rows:
            self._captures[clean(number)] = (whole(time), capture_text(text))

    def captured(self, number: str) -> tuple[Micros, str] | None:
        """What was kept with a decision, and when it was taken."""
        self.open()
        return self._captures.get(clean(number))

    def remark(self, one: Remark) -> bool:
        """Keep what a person says with a decision."""
        self.open()
        number = clean(one.number)
        if number not in self._rows:
            return False
        kept = Remark(whole(one.time), clean(one.by), remark_text(one.text), number)
        self._remarks.append(kept)
        return True

    def remarks(self) -> list[Remark]:
        """Everything that people said; the oldest first."""
        self.open()
        return sorted(self._remarks, key=lambda one: one.time)

    def entries(self, numbers: Collection[str]) -> list[Entry]:
        """The decisions of these ids, in the order of their times."""
        self.open()
        rows = [self._rows[one] for one in {clean(one) for one in numbers} & self._rows.keys()]
        return [row.entry() for row in sorted(rows, key=lambda row: (row.time, row.number))]

    def after(self, row: int, actions: Collection[Action]) -> tuple[int, list[tuple[int, Entry]]]:
        """What was written down behind that row, and the newest row of all."""
        self.open()
        top = max((one.number for one in self._last()), default=0)
        new = [one for one in self._rows.values() if one.number > row and one.values[2] in actions]
        return top, [(one.number, one.entry()) for one in new[:AT_ONCE]]

    def unsettled(self) -> list[Decision]:
        """Intended but not settled, in the order they were intended."""
        self.open()
        return [row.entry().decision for row in self._rows.values() if row.outcome is None]

    def wanted(self, now: Micros, subjects: Collection[Subject] | None = None) -> list[Ban]:
        """The bans in force: per (subject, ports) the latest end."""
        bans = [_ban(row) for row in self._in_force("ban", now)]
        return [ban for ban in bans if subjects is None or ban.subject in subjects]

    def allowed(self, now: Micros) -> list[Ban]:
        """Temporary allows by hand that are not over."""
        return [_ban(row) for row in self._in_force("allow", now)]

    def quarantined(self, now: Micros) -> list[Confined]:
        """Who is cut off or still watched, each once, with the latest end of either."""
        rows = (row.values for row in self._confining())
        return confined(((one[3], one[2], one[6], one[16]) for one in rows), now)

    def _confining(self) -> list[_Row]:
        self.open()
        rows = [row for row in self._rows.values() if row.counts and row.undone is None]
        return [row for row in rows if row.values[2] in UNDOES["release"]]

    def standing(
        self, now: Micros, subject: Subject | None = None, action: Standing = "ban"
    ) -> list[Entry]:
        """The decisions behind `wanted` or `quarantined`, in the same order, without evidence."""
        if action == "quarantine":
            found = _about(self._confining(), subject)
            return lasting((replace(row, evidence="").entry() for row in found), now)
        rows = self._in_force("ban", now)
        return [replace(row, evidence="").entry() for row in _about(rows, subject)]

    def ruling(self, now: Micros) -> set[str]:
        """The rules that have a ban standing."""
        self.open()
        return {
            row.values[4]
            for row in self._rows.values()
            if row.values[2] == "ban" and row.values[13] == "rule"
            and row.counts and row.undone is None and row.values[6] > now
        }  # fmt: skip

    def _in_force(self, action: str, now: Micros) -> list[_Row]:
        self.open()
        last: dict[tuple[str, str], _Row] = {}
        for row in self._rows.values():
            key, until = (row.values[3], row.values[5]), row.values[6]
            if row.values[2] != action or not row.counts or row.undone is not None or until <= now:
                continue
            if key not in last or until > last[key].values[6]:
                last[key] = row
        return [last[key] for key in sorted(last)]

    def history(
        self, limit: int, subject: Subject | None = None, before: Micros | None = None
    ) -> list[Entry]:
        """The newest entries first; with `subject`, itself and networks around or inside it."""
        self.open()
        rows = _about(list(self._rows.values()), subject)
        if before is not None:
            rows = [row for row in rows if row.time < before]
        rows.sort(key=lambda row: (row.time, row.number), reverse=True)
        return [row.entry() for row in rows[: max(0, limit)]]

    def deeds(self, since: Micros) -> Iterator[Deed]:
        """Every decision from that event time on, the oldest first."""
        self.open()
        rows = [row for row in self._rows.values() if row.time >= since]
        for row in sorted(rows, key=lambda row: (row.time, row.number)):
            v, outcome = row.values, row.outcome
            told = ("intended", "") if outcome is None else (outcome.state, outcome.detail)
            values = (*v[:5], v[13], v[5], v[6], row.undone, v[8], v[10], v[12], v[15])
            yield deed_of((*values, *told))

    def forget(self, now: Micros, parts: Collection[str] | None = None) -> int:
        """Drop what is past its keeping time."""
        self.open()
        if parts is not None:
            known = {clean(part) for part in parts}
            self._memory = {key: value for key, value in self._memory.items() if key[0] in known}
        self._forget_places()
        horizon = now - self._keep
        old = [
            row
            for row in self._rows.values()
            if row.outcome is not None and row.time <= horizon and row.over <= horizon
        ]
        old.sort(key=lambda row: (row.time, row.number))
        for row in old[:AT_ONCE]:
            del self._rows[row.values[0]]
            self._captures.pop(row.values[0], None)
        self._remarks = [one for one in self._remarks if one.number in self._rows]
        return len(old[:AT_ONCE])

    def _forget_places(self) -> None:
        ages: dict[tuple[str, str], int] = {}
        for key in reversed(list(self._positions)):
            age = ages[key[:2]] = ages.get(key[:2], 0) + 1
            if age > 8:
                del self._positions[key]
        newest = max((origin.number for origin in self._origins.values()), default=0)
        placed = {(source, identity) for source, _path, identity in self._positions}
        self._origins = {
            key: origin
            for key, origin in self._origins.items()
            if key in placed or origin.number > newest - 1000
        }

    def size(self) -> int:
        """No bytes on any disk."""
        return 0

    def close(self) -> None:
        """What comes later is refused."""
        self._closed = True


def _about(rows: list[_Row], subject: Subject | None) -> list[_Row]:
    if subject is None:
        return rows
    around, first, last = places_about(clean(subject))
    return [row for row in rows if row.place in around or first <= row.place <= last]


def _ban(row: _Row) -> Ban:
    return Ban(Subject(row.values[3]), ports_of(row.values[5]), row.values[6])
