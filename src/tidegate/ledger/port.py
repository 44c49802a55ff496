"""What the ledger is: what we meant, what happened, the evidence for it, and how far we had read.

Touches nothing itself. Each method is one transaction; the order is intend → apply → settle.
Limits: any method may raise LedgerError; the caller keeps protecting and says so.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Literal, NamedTuple, Protocol

from tidegate.model import (
    DAY,
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

KEEP: Micros = 30 * DAY
"""How long a decision is kept after it is over."""

AT_ONCE = 5_000
"""How many decisions one `forget` drops at most, so that the loop is not held up for long."""


class Entry(NamedTuple):
    """A decision with what became of it: `state` is `intended` or that of its outcome.

    `settled` is when the outcome was written down, None while there is none.
    """

    decision: Decision
    state: str
    detail: str
    settled: Micros | None


Standing = Literal["ban", "quarantine"]


class Deed(NamedTuple):
    """A decision as reports need it, with what became of it: no evidence, no free text.

    `undone`: when a later decision undid it, None where none did.
    """

    id: str
    time: Micros
    action: Action
    subject: Subject
    rule: str
    by: str
    ports: tuple[int, ...]
    until: Micros
    undone: Micros | None
    count: int  # type: ignore[assignment]  # the word is ours, not tuple.count
    mode: str
    spared: str
    collateral: bool
    state: str
    detail: str


class Remark(NamedTuple):
    """What a person says of an incident: when, who, what, and the decision that it stands with."""

    time: Micros
    by: str
    text: str
    number: str


class Ledger(Protocol):
    """Durable memory. Thread-bound: used from the watcher's main loop only.

    Decisions stand in the order in which they were intended. What a ban or allow still closes or
    opens depends on that order alone, not on the times (which are event times): a later `unban` or
    `allow` undoes every earlier ban of the same subject, a later `disallow` every earlier allow,
    a later `release` every earlier quarantine and release (which may itself watch its subject).
    An undoing with `ports` undoes those of exactly these ports; with none, of every scope. One that
    names a rule undoes that rule's alone; one by `fleet:HOST` only what came from that host.
    Only decisions of mode `enforce` that are not spared close, open or undo anything.

    What is stored of a decision is bounded: `refs` are not kept (the evidence is), evidence to 20
    lines of 1,000 bytes, free text to 1,000 bytes; `ports` come back sorted, without repeats.
    """

    @property
    def notes(self) -> list[str]:
        """What a person should hear of (a damaged file …); the caller says it and empties it."""

    def origin(self, source: str, path: str, identity: str, rereadable: bool) -> Origin:
        """The origin with this source and identity, numbered from 1 (a new row the first time).

        Path and `rereadable` are those given last: a rotated file keeps its number.
        """

    def origins(self) -> list[Origin]:
        """Every origin that evidence, memory or a position may still point at, by number."""

    def positions(self) -> list[Position]:
        """Where each file had been read to at the last checkpoint, the latest change last."""

    def memory(self) -> Iterator[Change]:
        """The core's memory as of the last checkpoint, by part and key. Read it to the end."""

    def checkpoint(self, positions: Sequence[Position], changes: Iterable[Change]) -> None:
        """Positions and changed memory, together or not at all.

        A position replaces the one of the same source, path and identity; others stay. Of two
        changes of one key the later holds.
        """

    def intend(self, decisions: Sequence[Decision], durable: bool = False) -> list[Decision]:
        """Write down what will be done, with its evidence; return those not known before by id.

        `durable`: on the disk before this returns, whatever happens to the power (services);
        otherwise a power cut may lose the last moments, a crash of ours nothing.
        """

    def settle(self, outcomes: Sequence[Outcome]) -> None:
        """Write down what became of them; the last of an id holds, unknown ids are passed over."""

    def attach(self, number: str, time: Micros, text: str) -> None:
        """Keep with the decision of this id what the host looked like; 64 KiB, the last holds."""

    def captured(self, number: str) -> tuple[Micros, str] | None:
        """What was kept with the decision of this id, and when it was taken."""

    def remark(self, one: Remark) -> bool:
        """Keep what a person says with the decision of this id, durably; False: there is none."""

    def remarks(self) -> list[Remark]:
        """Everything that people said, as long as its decision is kept; the oldest first."""

    def entries(self, numbers: Collection[str]) -> list[Entry]:
        """The decisions of these ids, as far as they are kept, in the order of their times."""

    def after(self, row: int, actions: Collection[Action]) -> tuple[int, list[tuple[int, Entry]]]:
        """What was written down behind that row (0: the first), of these actions; rows ascend, at
        most `AT_ONCE`. With it the newest row of all, which is less than `row` where the newest
        were dropped: go on from there then."""

    def unsettled(self) -> list[Decision]:
        """Intended but not settled: we died in between. In the order they were intended."""

    def wanted(self, now: Micros, subjects: Collection[Subject] | None = None) -> list[Ban]:
        """The bans in force: per (subject, ports) the latest end, not undone, not over, not spared.

        With `subjects`, only theirs: exactly them, neither networks around nor addresses inside.
        A second ban never shortens the first; to shorten, unban and ban. Sorted by subject
        and ports, both as text.
        """

    def allowed(self, now: Micros) -> list[Ban]:
        """Temporary allows by hand that are not over, likewise."""

    def quarantined(self, now: Micros) -> list[Confined]:
        """Who is cut off or still watched, each once, with the latest end of either; sorted."""

    def standing(
        self, now: Micros, subject: Subject | None = None, action: Standing = "ban"
    ) -> list[Entry]:
        """The decisions behind `wanted`, one for each of its bans, in the same order; or those
        behind `quarantined` (of who is only watched it may be a release).

        With `subject`, only those about it, as in `history`. Without their evidence: there may be
        a hundred thousand of them, and `history` has it.
        """

    def ruling(self, now: Micros) -> set[str]:
        """The rules that have a ban standing; quick, however many bans there are."""

    def history(
        self, limit: int, subject: Subject | None = None, before: Micros | None = None
    ) -> list[Entry]:
        """The newest entries first (by event time, then by order), older than `before`.

        With `subject`, only those about it: itself, networks it lies in, and what lies inside it.
        """

    def deeds(self, since: Micros) -> Iterator[Deed]:
        """Every decision from that event time on, the oldest first. Read it to the end."""

    def forget(self, now: Micros, parts: Collection[str] | None = None) -> int:
        """Drop what is past its keeping time or over the size cap; returns the decisions dropped.

        `parts`: the parts of memory that are known; all others are dropped. When `AT_ONCE` or
        more were dropped there may be others: call again soon.
        """

    def size(self) -> int:
        """Bytes on disk."""

    def close(self) -> None:
        """Flush and close; twice is harmless."""
