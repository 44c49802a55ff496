"""What is let go of when the file is too large, and that the file then is smaller."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tidegate.ledger.port import AT_ONCE, KEEP
from tidegate.ledger.sqlite import SqliteLedger
from tidegate.model import DAY, SECOND, Change, Decision, Evidence, Outcome

NOW = 1_700_000_000 * SECOND
Decide = Callable[..., Decision]
LINES = (Evidence(NOW, "/var/log/exim4/mainlog", 0, "x" * 900),) * 20


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "ledger.db")


def fill(ledger: SqliteLedger, decide: Decide, count: int, settled: bool = True) -> None:
    """So many finished bans of 18 KB each, a second apart."""
    bans = [decide(f"{n:05}", time=NOW + n * SECOND, evidence=LINES) for n in range(count)]
    ledger.intend(bans)
    if settled:
        ledger.settle([Outcome(ban.id, "applied", "", NOW) for ban in bans])


def test_over_the_cap_the_oldest_finished_go_and_the_file_shrinks(
    path: str, decide: Decide
) -> None:
    ledger = SqliteLedger(path, max_bytes=20 << 20)
    fill(ledger, decide, 3000)
    ledger.intend([decide("stands", time=NOW - DAY, until=NOW + 99 * DAY, evidence=LINES)])
    before = ledger.size()
    assert before > 50 << 20
    dropped = ledger.forget(NOW + DAY)
    assert 0 < dropped < 3000
    assert ledger.forget(NOW + DAY) == 0  # gives back what one call could not
    assert 19 << 20 < ledger.size() <= 20 << 20 < before
    left = [entry.decision.id for entry in ledger.history(5000)]
    assert left[-1] == "stands"
    assert left[:-1] == [f"{n:05}" for n in range(2999, dropped - 1, -1)]
    assert ledger.forget(NOW + DAY) == 0
    assert ledger.notes == []
    ledger.close()


def test_under_the_cap_nothing_goes_early(path: str, decide: Decide) -> None:
    ledger = SqliteLedger(path, max_bytes=20 << 20)
    fill(ledger, decide, 500)
    assert ledger.forget(NOW + KEEP) == 0
    assert ledger.forget(NOW + KEEP + DAY) == 500
    assert ledger.size() < 1 << 20
    ledger.close()


def test_settled_ones_go_before_the_unsettled(path: str, decide: Decide) -> None:
    ledger = SqliteLedger(path, max_bytes=1)
    fill(ledger, decide, 10, settled=False)
    ledger.settle([Outcome("00009", "applied", "", NOW)])
    dropped = ledger.forget(NOW + DAY)
    assert dropped == 10
    fill(ledger, decide, 10, settled=False)
    assert ledger.forget(NOW) == 0
    ledger.close()


def test_what_is_needed_stays_even_over_the_cap_and_that_is_said_once(
    path: str, decide: Decide
) -> None:
    ledger = SqliteLedger(path, max_bytes=1 << 20)
    ledger.intend([decide("stands", until=NOW + DAY)])
    ledger.checkpoint([], [Change("p", str(n), bytes(1000)) for n in range(3000)])
    assert ledger.forget(NOW) == ledger.forget(NOW) == 0
    (note,) = ledger.notes
    assert "over its cap of 1048576 bytes" in note
    assert len(ledger.wanted(NOW)) == 1
    assert len(list(ledger.memory())) == 3000
    ledger.checkpoint([], [Change("p", str(n), None) for n in range(3000)])
    ledger.forget(NOW)
    assert ledger.size() < 1 << 20
    assert ledger.notes == [note]
    ledger.close()


def test_so_many_at_once_and_no_more(path: str, decide: Decide) -> None:
    ledger = SqliteLedger(path)
    bans = [decide(str(n), subject=f"10.0.{n >> 8}.{n & 255}") for n in range(AT_ONCE + 10)]
    ledger.intend(bans)
    ledger.settle([Outcome(ban.id, "applied", "", NOW) for ban in bans])
    assert ledger.forget(NOW + 99 * DAY) == AT_ONCE
    assert ledger.forget(NOW + 99 * DAY) == 10
    assert ledger.history(9) == []
    ledger.close()


def test_dropping_takes_evidence_and_outcome_along(path: str, decide: Decide) -> None:
    ledger = SqliteLedger(path)
    fill(ledger, decide, 5)
    ledger.forget(NOW + 99 * DAY)
    with ledger._file.reading("look") as connection:
        for table in ("decision", "evidence", "outcome"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
    ledger.close()
