"""What the ledger is: what we meant, what happened, the evidence for it, and how far we had read.

Touches nothing itself. Each method is one durable transaction: intend → apply → settle.
Limits: any method may raise LedgerError; the caller keeps protecting and says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

from tidegate.model import Ban, Change, Decision, Micros, Origin, Outcome, Position, Subject


class Entry(NamedTuple):
    """A decision and what became of it: intended, applied, refused, skipped, observed, spared."""

    decision: Decision
    state: str
    detail: str
    settled: Micros | None


class Ledger(Protocol):
    """Durable memory. Thread-bound: used from the watcher's main loop only."""

    def origin(self, source: str, path: str, identity: str, rereadable: bool) -> Origin:
        """The origin with this identity, numbered (a new row the first time it is seen)."""

    def origins(self) -> list[Origin]:
        """Every origin that evidence or a position still points at."""

    def positions(self) -> list[Position]:
        """Where each source had been read to at the last checkpoint."""

    def memory(self) -> Iterator[Change]:
        """The core's memory as of the last checkpoint, in the order it was written."""

    def checkpoint(self, positions: Sequence[Position], changes: Iterable[Change]) -> None:
        """Positions and changed memory, together or not at all."""

    def intend(self, decisions: Sequence[Decision]) -> list[Decision]:
        """Write down what will be done, with its evidence; return those not known before by id."""

    def settle(self, outcomes: Sequence[Outcome]) -> None:
        """Write down what became of them."""

    def unsettled(self) -> list[Decision]:
        """Intended but not settled: we died in between."""

    def wanted(self, now: Micros) -> list[Ban]:
        """The bans in force: per (subject, ports) the latest, not undone, not over, not spared."""

    def allowed(self, now: Micros) -> list[Ban]:
        """Temporary allows by hand that are not over."""

    def history(
        self, limit: int, subject: Subject | None = None, before: Micros | None = None
    ) -> list[Entry]:
        """The newest entries first; with `subject`, only those about it."""

    def forget(self, now: Micros) -> int:
        """Drop what is past its keeping time or over the size cap; returns the rows dropped."""

    def size(self) -> int:
        """Bytes on disk."""

    def close(self) -> None:
        """Flush and close."""
