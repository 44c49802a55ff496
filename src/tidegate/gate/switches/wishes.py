"""What is wanted of one gate: said by any thread, taken by the one that acts on it.

Touches nothing but a condition between threads. Limits: only the newest word counts; how often a
gate was asked to be fired meanwhile is a number, and several are done as one.
"""

from __future__ import annotations

import threading
from typing import NamedTuple

from tidegate.model import MINUTE, Micros


def still(moment: Micros, now: Micros) -> Micros:
    """For how long that lies ahead; 0 also where no pause is so long: a clock was set back."""
    wait = moment - now
    return wait if 0 < wait <= MINUTE else 0


class Wish(NamedTuple):
    """`until`: closed until then, 0: open, None: nobody has said anything yet; `off`: switched
    off, so open whatever is wanted; `fired`: it was asked for since the last time."""

    until: Micros | None
    off: bool
    fired: bool


class Wishes:
    """`want`, `fire`, `off`, `end` may be said by any thread; `take` and `wait` by one only."""

    def __init__(self) -> None:
        self._until: Micros | None = None
        self._off = self._fired = self._ended = self._news = self._at_work = False
        self._changed = threading.Condition()

    def want(self, until: Micros) -> None:
        """Closed until then; 0: open."""
        with self._changed:
            renewed = bool(self._until) and bool(until)
            self._until = until
            if not renewed:
                self._notify()

    def fire(self) -> None:
        """Restart or run, once."""
        with self._changed:
            self._fired = True
            self._notify()

    def off(self, off: bool) -> None:
        """Switched off: open, and stay so."""
        with self._changed:
            self._off = off
            self._notify()

    def end(self) -> None:
        """Nothing more is to be done; what is closed stays so."""
        with self._changed:
            self._ended = True
            self._notify()

    def take(self) -> Wish:
        """What is wanted now."""
        with self._changed:
            found = Wish(self._until, self._off, self._fired)
            self._fired = self._news = False
            self._at_work = True
        return found

    def wait(self, seconds: float) -> bool:
        """Until there is news, at most so long; False once it has ended."""
        with self._changed:
            self._at_work = False
            if not self._ended and not self._news:
                self._changed.wait(min(max(seconds, 0.01), 60.0))
            return not self._ended

    @property
    def idle(self) -> bool:
        """Whether it was told to be open, has done that, and has heard nothing since."""
        with self._changed:
            return self._until == 0 and not (self._at_work or self._news)

    def _notify(self) -> None:
        self._news = True
        self._changed.notify()
