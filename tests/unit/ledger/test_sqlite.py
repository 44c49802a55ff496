"""The ledger on disk: whole transactions or none, wherever it is killed; speed that shows in words.

What both ledgers promise is tried in `test_port.py`, accidents of the file in `test_connection.py`.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tidegate.errors import LedgerError
from tidegate.ledger.queries import CONFINING, STANDING
from tidegate.ledger.sqlite import SqliteLedger
from tidegate.model import SECOND, Change, Decision, Evidence, Outcome, Position

NOW = 1_700_000_000 * SECOND
Decide = Callable[..., Decision]
BATCH = 20


def work(path: str, decide: Decide, start: int, ready: int) -> None:
    """Checkpoint, intend and settle until killed; every step carries the number of its round."""
    ledger = SqliteLedger(path)
    for turn in range(start, start + 1_000_000):
        ledger.checkpoint(
            [Position(name, "/m", "1:x", turn) for name in "abc"],
            [Change("p", str(n), b"%d" % turn) for n in range(BATCH)],
        )
        line = (Evidence(NOW, "/m", turn, "line"),)
        bans = [decide(f"{turn}/{n}", time=NOW + turn, evidence=line) for n in range(BATCH)]
        ledger.intend(bans)
        ledger.settle([Outcome(ban.id, "applied", "", NOW) for ban in bans])
        if turn % 50 == 0:
            ledger.forget(NOW)
        if turn == start:
            os.write(ready, b".")


def killed_at_work(path: str, decide: Decide, start: int, seconds: float) -> None:
    """Let a child process work on the ledger and kill it after so long."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            work(path, decide, start, write)
        finally:
            os._exit(1)
    os.close(write)
    assert os.read(read, 1) == b"."
    os.close(read)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])


def test_killed_at_any_moment_it_holds_whole_steps_only(tmp_path: Path, decide: Decide) -> None:
    path = str(tmp_path / "ledger.db")
    dice = random.Random(7)
    last = 0
    for _ in range(12):
        killed_at_work(path, decide, last + 1, dice.random() / 20)
        ledger = SqliteLedger(path)
        offsets = {position.offset for position in ledger.positions()}
        values = {int(change.value or b"") for change in ledger.memory()}
        assert len(offsets) == 1
        assert offsets == values
        (turn,) = offsets
        assert turn > last
        entries = ledger.history(2 * BATCH)
        newest = int(entries[0].decision.id.partition("/")[0])
        assert newest in (turn, turn - 1)
        of_newest = [e for e in entries if e.decision.id.startswith(f"{newest}/")]
        assert len(of_newest) == BATCH
        assert all(len(entry.decision.evidence) == 1 for entry in of_newest)
        assert len({entry.state for entry in of_newest}) == 1
        assert len(ledger.unsettled()) in (0, BATCH)
        ledger.settle([Outcome(one.id, "applied", "", NOW) for one in ledger.unsettled()])
        assert ledger.notes == []
        ledger.close()
        last = turn


def test_a_failure_halfway_leaves_nothing_of_the_step(tmp_path: Path, decide: Decide) -> None:
    ledger = SqliteLedger(str(tmp_path / "ledger.db"))
    ledger.checkpoint([Position("a", "/m", "1:x", 1)], [Change("p", "k", b"1")])
    too_large = bytes((1 << 30) + 1)
    with pytest.raises(LedgerError, match="too big"):
        ledger.checkpoint(
            [Position("a", "/m", "1:x", 2)], [Change("p", "k", b"2"), Change("p", "l", too_large)]
        )
    assert ledger.positions() == [Position("a", "/m", "1:x", 1)]
    assert list(ledger.memory()) == [Change("p", "k", b"1")]
    ledger.checkpoint([Position("a", "/m", "1:x", 2)], [Change("p", "k", b"2")])
    assert ledger.positions() == [Position("a", "/m", "1:x", 2)]
    ledger.close()


def test_a_value_of_a_wrong_type_is_refused_and_over_with_the_next_call(tmp_path: Path) -> None:
    ledger = SqliteLedger(str(tmp_path / "ledger.db"))
    wrong = [Change("p", "k", b"1"), Change("p", "l", "no bytes")]  # type: ignore[arg-type]
    with pytest.raises(LedgerError, match="cannot store TEXT"):
        ledger.checkpoint([], wrong)
    ledger.checkpoint([], [Change("q", "k", b"1")])
    assert list(ledger.memory()) == [Change("q", "k", b"1")]
    ledger.close()


def test_a_checkpoint_without_changes_writes_nothing(tmp_path: Path) -> None:
    ledger = SqliteLedger(str(tmp_path / "ledger.db"))
    ledger.checkpoint([Position("a", "/m", "1:x", 1)], [])
    before = (tmp_path / "ledger.db-wal").read_bytes()
    ledger.checkpoint([Position("a", "/m", "1:x", 1)], [])
    assert (tmp_path / "ledger.db-wal").read_bytes() == before
    ledger.close()


def test_durable_decisions_are_synced_others_are_not(
    tmp_path: Path, decide: Decide, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = SqliteLedger(str(tmp_path / "ledger.db"))
    ledger.open()
    seen: list[str] = []
    with ledger._file.reading("watch") as connection:
        connection.set_trace_callback(seen.append)
    ledger.intend([decide("1")])
    assert not [statement for statement in seen if "synchronous" in statement]
    ledger.intend([decide("2")], durable=True)
    levels = [statement for statement in seen if "synchronous" in statement]
    assert levels == ["PRAGMA synchronous = FULL", "PRAGMA synchronous = NORMAL"]
    assert seen.index(levels[0]) < seen.index("BEGIN IMMEDIATE", 5) < seen.index(levels[1])
    ledger.close()


def test_reading_memory_and_writing_meanwhile_do_not_disturb_each_other(tmp_path: Path) -> None:
    ledger = SqliteLedger(str(tmp_path / "ledger.db"))
    ledger.checkpoint([], [Change("p", f"{n:04}", b"1") for n in range(3000)])
    reading = ledger.memory()
    assert next(reading).key == "0000"
    ledger.checkpoint([Position("a", "/m", "1:x", 1)], [Change("q", "k", b"1")])
    assert len(list(reading)) >= 2999
    assert ledger.positions() == [Position("a", "/m", "1:x", 1)]
    ledger.close()


def test_what_stands_is_answered_from_its_index_alone(tmp_path: Path) -> None:
    ledger = SqliteLedger(str(tmp_path / "ledger.sqlite"))
    ledger.open()
    ledger.close()
    question = f"SELECT subject, ports, until FROM decision WHERE action = 'ban' AND {STANDING}"
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as connection:
        plan = connection.execute(f"EXPLAIN QUERY PLAN {question}", (0,)).fetchall()
    assert "USING COVERING INDEX decision_standing" in plan[0][3]


def test_who_is_cut_off_is_found_however_many_were_before(tmp_path: Path) -> None:
    path = str(tmp_path / "ledger.db")
    ledger = SqliteLedger(path)
    ledger.open()
    ledger.close()
    with closing(sqlite3.connect(path)) as connection:
        question = f"SELECT subject FROM decision WHERE {CONFINING}"
        plan = connection.execute(f"EXPLAIN QUERY PLAN {question}", (0,)).fetchall()
    assert "USING INDEX decision_confining (<expr>>?)" in plan[0][3]
