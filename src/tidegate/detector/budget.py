"""The budget: how long matching one block may take before it counts as a run-away.

Touches signal handling (SIGVTALRM) where the real one is used; the default does nothing at all.
Limits: the main thread only, as Python runs signal handlers nowhere else.

It stands behind a protocol because the engine is pure otherwise. It counts the CPU time of this
process (ITIMER_VIRTUAL), not the clock on the wall, so that a busy machine never trips it. Python's
`re` looks for signals while it matches, so that even one single match that runs away is stopped.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Protocol

SECONDS = 2.0
"""About a hundred times what a block of nothing but abuse takes."""


class RanAway(Exception):  # noqa: N818  (an event, caught by the engine; never leaves the package)
    """The budget was used up."""


class Budget(Protocol):
    """Started before each block and stopped after it; raises RanAway in between when used up."""

    def start(self) -> None:
        """Count from zero."""

    def stop(self) -> None:
        """Count no more; from here on nothing is raised."""


class Unlimited:
    """No budget: nothing is ever stopped."""

    def start(self) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""


class CpuBudget:
    """So many seconds of this process's CPU time. Used in the main thread only; closed after use.

    There may be several, one for each engine, as long as they take turns.
    """

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._counting = False
        self._before = signal.getsignal(signal.SIGVTALRM) or signal.SIG_DFL

    def start(self) -> None:
        """Count from zero."""
        self._counting = True
        signal.signal(signal.SIGVTALRM, self._used_up)  # another budget may have had it since
        signal.setitimer(signal.ITIMER_VIRTUAL, self._seconds)

    def stop(self) -> None:
        """Count no more."""
        self._counting = False
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)

    def close(self) -> None:
        """Give the signal back to whoever had it."""
        self.stop()
        signal.signal(signal.SIGVTALRM, self._before)

    def _used_up(self, _number: int, _frame: FrameType | None) -> None:
        if self._counting:
            self._counting = False
            raise RanAway(f"matching took more than {self._seconds:g} s of CPU time")


def budget_here(seconds: float = SECONDS) -> Budget:
    """A real budget in the main thread; in any other none, as no signal would arrive there."""
    if threading.current_thread() is threading.main_thread():
        return CpuBudget(seconds)
    return Unlimited()
