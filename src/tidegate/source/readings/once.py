"""Readings taken once, for people who ask what they are now: `tidegate guard try` and its like.

Touches what the readings touch, with the rights of who asks. Waits for the slowest of them; rates
are looked at twice, a second apart. Limits: what needs more rights is unknown, and says so.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from tidegate.model import Micros, Sample
from tidegate.policy.guards import ReadingSpec
from tidegate.policy.needs import source_of
from tidegate.source.readings.catalogue import Catalogue
from tidegate.source.readings.taking import NO_RATE, Taker
from tidegate.source.readings.workers import Workers, sample

APART = 1.0
"""Seconds between the two looks of a rate."""


def once(
    names: Iterable[str],
    clock: Callable[[], Micros],
    specs: Iterable[ReadingSpec] = (),
    tell: Callable[[str], None] = lambda _line: None,
) -> dict[str, Sample]:
    """A sample of each, by name; one that does not answer in its time is unknown. `tell` hears what
    takes longer than a moment.

    What is derived from a slope (`disk.full-in`) needs samples over some time: it is unknown.
    """
    catalogue = Catalogue(specs)
    found: dict[str, Sample] = {}
    todo = []
    for name in dict.fromkeys(names):
        if source_of(name) == name:
            todo.append(name)
        else:
            why = "it follows from how a number changes: the daemon knows it after a while"
            found[name] = Sample(name, clock(), None, None, why)
    try:
        found |= _look({name: catalogue.taker(name) for name in todo}, clock, 0)
        rates = [name for name in todo if found[name].why == NO_RATE]
        if rates:
            tell(f"{', '.join(rates)}: looking again in {APART:g} s")
            time.sleep(APART)
            found |= _look({name: catalogue.taker(name) for name in rates}, clock, 1)
    finally:
        catalogue.close()
    return found


def _look(takers: dict[str, Taker], clock: Callable[[], Micros], look: int) -> dict[str, Sample]:
    bell = threading.Event()
    workers = Workers(clock, bell.set)
    found = {}
    elsewhere: dict[str, dict[str, Taker]] = {}
    for name, taker in takers.items():
        if taker.worker:
            elsewhere.setdefault(taker.worker, {})[name] = taker
        else:
            found[name] = sample(name, clock, taker.attempt(look))
    for worker, some in elsewhere.items():
        workers.submit(worker, some, look)
    try:
        while workers.busy:
            bell.wait(max(0.0, (workers.next() or 0.0) - time.monotonic()))
            bell.clear()
            workers.late()
        for one in workers.samples():
            found.setdefault(one.reading, one)
    finally:
        workers.close()
    return found
