"""The budget stops what runs away, by CPU time, and leaves everything else alone."""

from __future__ import annotations

import re
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from tidegate.detector.budget import CpuBudget, RanAway, Unlimited, budget_here

ENDLESS = re.compile(b"(?:a|a)*b")


@pytest.fixture
def budget() -> Iterator[CpuBudget]:
    made = CpuBudget(0.05)
    yield made
    made.close()


def test_a_match_that_runs_away_is_stopped(budget: CpuBudget) -> None:
    budget.start()
    with pytest.raises(RanAway, match=r"0\.05 s of CPU time"):
        ENDLESS.match(b"a" * 40)
    budget.stop()


def test_time_that_others_use_does_not_count(budget: CpuBudget) -> None:
    budget.start()
    time.sleep(0.2)
    budget.stop()


def test_nothing_is_raised_after_the_end(budget: CpuBudget) -> None:
    budget.start()
    budget.stop()
    until = time.process_time() + 0.1
    while time.process_time() < until:
        pass


def test_a_signal_that_comes_late_is_ignored(budget: CpuBudget) -> None:
    budget.start()
    budget.stop()
    signal.raise_signal(signal.SIGVTALRM)


def test_it_starts_from_zero_each_time(budget: CpuBudget) -> None:
    for _ in range(4):
        budget.start()
        until = time.process_time() + 0.02
        while time.process_time() < until:
            pass
        budget.stop()


def test_the_signal_is_given_back() -> None:
    before = signal.getsignal(signal.SIGVTALRM)
    CpuBudget(1).close()
    assert signal.getsignal(signal.SIGVTALRM) == before
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)


def test_several_take_turns(budget: CpuBudget) -> None:
    other = CpuBudget(0.05)
    other.start()
    other.stop()
    budget.start()
    with pytest.raises(RanAway):
        ENDLESS.match(b"a" * 40)
    budget.stop()
    other.close()


def test_other_threads_have_none() -> None:
    made: list[object] = []
    thread = threading.Thread(target=lambda: made.append(budget_here()))
    thread.start()
    thread.join()
    assert isinstance(made[0], Unlimited)
    here = budget_here()
    assert isinstance(here, CpuBudget)
    here.close()


def test_no_budget_stops_nothing() -> None:
    unlimited = Unlimited()
    unlimited.start()
    unlimited.stop()
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)
