"""Threads for readings that may wait: a hung disk, probe or command only holds up its own kind.

Touches one thread for each name of a worker, made when first needed and ended when no longer
wanted. Limits: a thread can't be ended from outside; one that hangs is left to hang, its readings
are unknown meanwhile, and no second one is started for it. At most 200 threads.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Collection, Mapping

from tidegate.model import Micros, Sample
from tidegate.source.readings.taking import Taken, Taker

MOST = 200
_Task = tuple[Mapping[str, Taker], int]


class _Worker:
    """One thread, the readings it is at, and since when."""

    def __init__(self, name: str, run: Callable[[_Worker], None]) -> None:
        self.tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self.pending: frozenset[str] = frozenset()
        self.since = self.deadline = 0.0
        self.told = False  # that it is late
        threading.Thread(target=run, args=(self,), name=name, daemon=True).start()


class Workers:
    """Takes readings elsewhere. `clock` stamps the samples; `wake` is called, in a worker, when
    some are there to be fetched by `samples`. All other methods are for one thread."""

    def __init__(self, clock: Callable[[], Micros], wake: Callable[[], None]) -> None:
        self._clock = clock
        self._wake = wake
        self._workers: dict[str, _Worker] = {}
        self._samples: queue.SimpleQueue[Sample] = queue.SimpleQueue()

    def submit(self, worker: str, takers: Mapping[str, Taker], look: int) -> None:
        """Have these taken by this worker; if it is still at work and late, they are unknown."""
        found = self._workers.get(worker)
        if found is None:
            if len(self._workers) >= MOST:
                self._say(takers, f"more than {MOST} readings that may wait are wanted at once")
                return
            try:
                found = _Worker(worker, self._run)
            except RuntimeError:  # the host has no room for another thread
                self._say(takers, "no thread can be started for it: the host is at its limits")
                return
            self._workers[worker] = found
        if found.pending:
            if found.told:
                waited = time.monotonic() - found.since
                self._say(takers, f"no answer for {waited:.0f} s; it is still waited for")
            return
        found.since, found.told = time.monotonic(), False
        found.deadline = found.since + max(taker.deadline for taker in takers.values())
        found.pending = frozenset(takers)
        found.tasks.put((takers, look))

    def late(self) -> None:
        """Say of readings past their deadline, once, that they are unknown."""
        now = time.monotonic()
        for found in self._workers.values():
            if found.pending and not found.told and now >= found.deadline:
                found.told = True
                waited = found.deadline - found.since
                self._say(found.pending, f"no answer within {waited:g} s; it is still waited for")

    def next(self) -> float | None:
        """When the next deadline is, by the monotonic clock; None where nothing is waited for."""
        return min(
            (one.deadline for one in self._workers.values() if one.pending and not one.told),
            default=None,
        )

    @property
    def busy(self) -> bool:
        """Whether somebody works who is not known to be late."""
        return any(one.pending and not one.told for one in self._workers.values())

    def samples(self) -> list[Sample]:
        """What was taken since last asked."""
        found = []
        while not self._samples.empty():
            found.append(self._samples.get())
        return found

    def keep(self, names: Collection[str]) -> None:
        """End the workers with other names; one that is at work ends later."""
        for name in [name for name in self._workers if name not in names]:
            if not self._workers[name].pending:
                self._workers.pop(name).tasks.put(None)

    def close(self) -> None:
        """End them all; one that hangs does so with the process."""
        for found in self._workers.values():
            found.tasks.put(None)
        self._workers.clear()

    def _say(self, names: Collection[str], why: str) -> None:
        now = self._clock()
        for name in names:
            self._samples.put(Sample(name, now, None, None, why))

    def _run(self, worker: _Worker) -> None:
        while (task := worker.tasks.get()) is not None:
            takers, look = task
            for name, taker in takers.items():
                self._samples.put(sample(name, self._clock, taker.attempt(look)))
            worker.pending = frozenset()
            self._wake()


def sample(name: str, clock: Callable[[], Micros], taken: Taken) -> Sample:
    """What was taken, as a sample of now."""
    value, whole, why = taken
    if value is not None and value != value:
        value, why = None, "it is not a number"
    return Sample(name, clock(), value, whole, why)
