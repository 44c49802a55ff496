"""A progress bar with rate and time left, for readings that take longer than two seconds.

Touches standard error, only where it is a terminal. Limits: bytes; lines are not known before.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

PATIENCE = 1.5


class Measured(Protocol):
    """Something that knows how far it has come."""

    done: int
    total: int


@contextmanager
def progress(parts: Sequence[Measured]) -> Iterator[Callable[[], None]]:
    """Yields a function to call after each block; draws nothing in the first seconds."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    bar = _Bar(parts)
    try:
        yield bar.tick
    finally:
        bar.stop()


class _Bar:
    def __init__(self, parts: Sequence[Measured]) -> None:
        self._parts = parts
        self._start = self._last = time.monotonic()
        self._drawn: object = None

    def tick(self) -> None:
        now = time.monotonic()
        if now - self._last < 0.1 or now - self._start < PATIENCE:
            return
        self._last = now
        if self._drawn is None:
            self._begin()
        self._bar.update(self._task, completed=sum(part.done for part in self._parts))

    def _begin(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn
        from rich.progress import TransferSpeedColumn as Speed

        self._bar = Progress(
            BarColumn(),
            DownloadColumn(),
            Speed(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._drawn = self._bar
        self._bar.start()
        total = sum(part.total for part in self._parts)
        self._task = self._bar.add_task("reading", total=total or None)

    def stop(self) -> None:
        if self._drawn is not None:
            self._bar.stop()
