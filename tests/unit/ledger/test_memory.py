"""The twin answers every question as the ledger on disk does, whatever happened before."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.ledger.memory import MemoryLedger
from tidegate.ledger.port import Ledger
from tidegate.ledger.sqlite import SqliteLedger
from tidegate.model import DAY, Change, Decision, Evidence, Outcome, Position, Subject

# Few names and short times, so that things meet.
NAMES = st.sampled_from(["1", "2", "3", "4", "5", "é", "\udc80"])
SUBJECTS = st.sampled_from(
    [
        "192.0.2.7",
        "192.0.2.0/24",
        "192.0.2.0/25",
        "2001:db8::/64",
        "2001:db8::1",
        "uid:7",
        "a\udcff",
    ]
)
TIMES = st.integers(0, 40) | st.integers(-(2**70), 2**70)
TEXTS = st.sampled_from(["", "x", "é\udcff\0", "ü" * 800])
EVIDENCE = st.lists(st.builds(Evidence, TIMES, TEXTS, TIMES, TEXTS), max_size=25)
DECISIONS = st.builds(
    Decision,
    id=NAMES,
    time=TIMES,
    action=st.sampled_from(["ban", "ban", "unban", "allow", "disallow"]),
    subject=SUBJECTS,
    rule=TEXTS,
    ports=st.sampled_from([(), (25,), (25, 80), (80, 25, 25)]),
    until=TIMES,
    duration=TIMES,
    count=st.integers(0, 99),
    step=st.integers(0, 9),
    mode=st.sampled_from(["enforce", "enforce", "enforce", "observe"]),
    reason=TEXTS,
    spared=st.sampled_from(["", "", "", "allowlist"]),
    note=TEXTS,
    evidence=EVIDENCE.map(tuple),
    collateral=st.booleans(),
)
STATES = st.sampled_from(["applied", "refused", "skipped"])
SOURCES = st.sampled_from(["a", "b", "\udc80"])
STEPS = st.one_of(
    st.tuples(st.just("intend"), st.lists(DECISIONS, max_size=4)),
    st.tuples(
        st.just("settle"), st.lists(st.builds(Outcome, NAMES, STATES, TEXTS, TIMES), max_size=4)
    ),
    st.tuples(
        st.just("checkpoint"),
        st.lists(st.builds(Position, SOURCES, SOURCES, SOURCES, TIMES, TEXTS), max_size=4),
        st.lists(st.builds(Change, SOURCES, NAMES, st.none() | st.binary(max_size=5)), max_size=4),
    ),
    st.tuples(st.just("origin"), SOURCES, SOURCES, NAMES, st.booleans()),
    st.tuples(st.just("forget"), TIMES, st.none() | st.lists(SOURCES)),
)


def everything(ledger: Ledger) -> list[Any]:
    """The answers to every question there is."""
    answers: list[Any] = [
        ledger.origins(),
        ledger.positions(),
        list(ledger.memory()),
        ledger.unsettled(),
        ledger.history(99),
        ledger.history(2, before=10),
    ]
    for now in (-1, 0, 5, 20, 2**63):
        answers += [ledger.wanted(now), ledger.allowed(now), ledger.standing(now)]
    for subject in ("192.0.2.7", "192.0.2.0/25", "2001:db8::1", "uid:7", "a\udcff"):
        answers += [ledger.history(9, Subject(subject)), ledger.standing(0, Subject(subject))]
    return answers


@settings(deadline=None, max_examples=100)
@given(st.lists(STEPS, max_size=12))
def test_any_sequence_of_steps_leaves_both_with_the_same_answers(
    steps: list[tuple[Any, ...]],
) -> None:
    with tempfile.TemporaryDirectory(prefix="tidegate-test-") as folder:
        disk = SqliteLedger(str(Path(folder) / "ledger.db"), keep=10)
        twin = MemoryLedger(keep=10)
        for name, *values in steps:
            assert getattr(disk, name)(*values) == getattr(twin, name)(*values)
        assert everything(disk) == everything(twin)
        disk.close()
        again = SqliteLedger(str(Path(folder) / "ledger.db"), keep=10)
        assert everything(again) == everything(twin)
        assert again.notes == []
        again.close()


def test_nothing_is_on_any_disk() -> None:
    ledger = MemoryLedger()
    ledger.checkpoint([], [Change("a", "b", b"c")])
    assert ledger.size() == 0
    assert ledger.forget(DAY) == 0
    assert ledger.notes == []
