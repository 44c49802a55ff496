"""The watcher's part in the policy that its fleet publishes: it tries, takes, goes back, and tells.

Touches the watcher it belongs to, and the librarian by its socket. What it hands on is judged there
and again by every loader. Limits: a published policy that needs a process more (the first guard,
the first [outward]) is taken, and holds when the host's own service is started anew.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from tidegate.daemon.build import Plan
from tidegate.daemon.pipeline import Pipeline
from tidegate.daemon.wiring import Wiring
from tidegate.errors import OperatorError
from tidegate.fleet.journal.carrier import is_message
from tidegate.fleet.journal.course import PART, Book, Course, Signs
from tidegate.fleet.journal.librarian import Library
from tidegate.model import Change, Micros

log = logging.getLogger("tidegate.watcher")


class Daemon(Protocol):
    """The watcher, as far as it is needed here."""

    wiring: Wiring
    pipeline: Pipeline

    def say(self, about: str, text: str) -> None:
        """This is so; "": it is well."""

    def troubled(self) -> int:
        """How much is wrong just now, but for the fleet."""

    def reload(self, now: Micros, tried: Plan | None = None) -> list[str]:
        """New policy in; the faults if the old one stays."""


class Journaling:
    """Which published policy holds here. Without a library there is none, and all does nothing."""

    part = PART

    def __init__(self, watcher: Daemon, library: Library | None) -> None:
        self._watcher, self.library = watcher, library
        self.course = Course()
        self.waits = ""
        """Why what was taken does not hold yet."""
        self._stuck: tuple[str, str, tuple[Book, ...]] | None = None

    def begin(self, now: Micros) -> None:
        """All was restored. FleetError where the librarian is gone."""
        if self.library is None:
            return
        self.library.look()
        used = self.library.book()
        if why := self.course.began(used, self._signs(), now):
            self._back(why, now)
        self.settle(now)

    def hear(self, found: Iterable[bytes], now: Micros) -> None:
        """Policies and papers, as they came. FleetError where the librarian is gone."""
        if self.library is None:
            return
        come = False
        for one in found:
            come = True
            why = self.library.revoke(one) if is_message(one) else self.library.put(one)
            if why:
                log.warning("published policy: not kept: %s", why)
        if come:
            self.settle(now)

    def tick(self, now: Micros) -> None:
        """Every second: does it harm; has somebody to go back; is a trial over."""
        if self.library is None:
            return
        used = self.library.book()
        if why := self.course.look(used, self._signs(), now):
            self._back(why, now)
        self.settle(now)
        self._watcher.say("published policy", self.trouble())

    def settle(self, now: Micros) -> None:
        """Take what should be taken."""
        library = self.library
        if library is None or self._watcher.pipeline.policy.fleet is None:
            return
        for _ in range(len(library.books) + 1):
            wanted = self.course.wanted(library.books, now)
            if wanted == library.current and not self._stale():
                return
            if self._stuck == (wanted, library.current, library.books):
                return
            if self._take(wanted, now):
                return

    def _take(self, wanted: str, now: Micros) -> bool:
        """Whether that is settled; False: look again what else there is."""
        library, before = self.library, self.library.current if self.library else ""
        assert library is not None
        one = library.book(wanted) if wanted else None
        try:
            tried, waits = self._watcher.wiring.rehearsed(wanted)
        except OperatorError as error:
            if one is None or one.id == before:
                return self._rest(wanted, str(error))  # what is loaded holds
            self._refuse(one, str(error))
            return False
        if why := library.use(wanted):
            return self._rest(wanted, why)
        self.waits = waits
        self.course.taken(one, self._signs(), now)
        if waits:
            return True
        if (faults := self._watcher.reload(now, tried)) and one is not None:
            self._refuse(one, "; ".join(faults))
            return False
        log.info("published policy: %s holds", f"number {one.number}" if one else "none")
        return True

    def _rest(self, wanted: str, why: str) -> bool:
        """Nothing can be done about it until something else is published."""
        if self.library is not None:
            self._stuck = wanted, self.library.current, self.library.books
        log.error("published policy: what should hold can't: %s", why)
        return True

    def _stale(self) -> bool:
        """Whether another one is loaded than the librarian says is in use."""
        library, below = self.library, self._watcher.wiring.plan.loaded.below
        if library is None or self.waits:
            return False
        used = library.book()
        return (below.id if below else "") != (used.id if used else "")

    def _back(self, why: str, now: Micros) -> None:
        used = self.library.book() if self.library is not None else None
        if used is not None:
            log.error("published policy: back from number %d: %s", used.number, why)
            self._refuse(used, why)

    def _refuse(self, one: Book, why: str) -> None:
        self.course.refuse(one.id, why)

    def _signs(self) -> Signs:
        pipeline = self._watcher.pipeline
        off = {name for engine in pipeline.engines.values() for name in engine.disabled}
        return Signs(
            pipeline.judge.breaker.trips, pipeline.totals.quarantined, len(off),
            self._watcher.troubled(),
        )  # fmt: skip

    # -- what others see --------------------------------------------------------------------------

    def trouble(self) -> str:
        """What is wrong with what was published, as far as this host is concerned; "": nothing."""
        library = self.library
        if library is None:
            return ""
        for one in library.books:
            if why := self.course.refused.get(one.id, ""):
                used = library.book()
                holds = f"number {used.number}" if used else "this host's own policy alone"
                return f"number {one.number} is not taken ({holds} holds): {why}"
        if self.waits:
            return self.waits
        return library.trouble

    @property
    def number(self) -> int:
        """The number of what holds here; 0: this host's own policy alone."""
        below = self._watcher.wiring.plan.loaded.below
        return below.number if below is not None else 0

    def report(self) -> dict[str, Any]:
        """For the other hosts: which one holds, and which were not taken, and why. Flat, as
        reports are."""
        library = self.library
        if library is None:
            return {}
        below, used = self._watcher.wiring.plan.loaded.below, library.book()
        refused = self.course.refused
        return {
            "published": below.id if below is not None else "",
            "published_hash": used.hash if used is not None else "",
            "trial": used.canary if used is not None else False,
            "not_taken": [
                f"{one.id} {refused[one.id]}" for one in library.books if one.id in refused
            ],
            "waits": self.waits,
            "policy": self.number,
        } | ({"trouble": why} if (why := self.trouble()) else {})

    # -- memory -----------------------------------------------------------------------------------

    def changes(self) -> Iterator[Change]:
        """What has changed since last asked, for a checkpoint."""
        yield from self.course.changes()

    def restore(self, change: Change) -> bool:
        """Take back one change; False where it is not ours."""
        return self.course.restore(change)
