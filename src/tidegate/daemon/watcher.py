"""The watcher: reads what hosts write, decides, remembers, and asks the keeper to act.

Touches sources, ledger, control socket and the gate it is given; runs without any privilege. One
thread, one loop. Limits: whatever fails is said once, the rest goes on, and it recovers by itself.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import suppress
from itertools import chain

from tidegate.chronicle.store import Chronicle
from tidegate.daemon import chronicling, halting
from tidegate.daemon.act import Actor
from tidegate.daemon.answer import Answerer
from tidegate.daemon.build import Plan
from tidegate.daemon.clock import now_micros
from tidegate.daemon.ears import Ears
from tidegate.daemon.engines import Engines
from tidegate.daemon.fleeting import Fleeting
from tidegate.daemon.guarding import Guarding
from tidegate.daemon.host import ourselves, protected, sessions
from tidegate.daemon.incidents import Incidents
from tidegate.daemon.journaling import Journaling
from tidegate.daemon.notices import Notices
from tidegate.daemon.owners import OwnerNotices
from tidegate.daemon.pipeline import Pipeline
from tidegate.daemon.pooling import Pooling
from tidegate.daemon.quote import told
from tidegate.daemon.telling import Telling
from tidegate.daemon.troubles import Troubles
from tidegate.daemon.wiring import Wiring
from tidegate.decision.allow import Surroundings
from tidegate.errors import (
    FleetError,
    GateError,
    LedgerError,
    OperatorError,
    SourceError,
    TidegateError,
)
from tidegate.model import MINUTE, SECOND, Block, Change, Micros
from tidegate.source.port import Source

log = logging.getLogger("tidegate.watcher")

CHECKPOINT_EVERY: Micros = 2 * SECOND
TICK: Micros = SECOND
_OF_FLEET = frozenset({"fleet", "published policy"})


class Watcher:
    """The loop and everything it holds together."""

    def __init__(
        self,
        wiring: Wiring,
        alive: Callable[[bytes], None],
        title: Callable[[str], None] = lambda _title: None,
    ) -> None:
        self.wiring = wiring
        self.alive = alive
        self.title = title
        self.pipeline: Pipeline = wiring.pipeline
        self.sources: dict[str, Source] = wiring.sources
        self.actor = Actor(wiring.ledger, wiring.gate)
        policy = self.pipeline.policy
        self.notices = Notices(policy.notices)
        self.owners = OwnerNotices(policy.owners, wiring.ledger, self.notices)
        self.incidents = Incidents()
        self.chronicle = chronicling.chronicle(wiring.events, lambda: wiring.plan)
        self.pipeline.tap = self.chronicle
        self.guarding = Guarding(
            policy, self.pipeline.guards, wiring.ledger, wiring.gate, wiring.switches,
            wiring.readings, Telling(policy, self.notices),
        )  # fmt: skip
        self.guarding.save = self._checkpoint
        self.guarding.halts = lambda now: halting.gates(
            self.pipeline.policy, self.actor.confining.cut_users(now)
        )
        self._troubles = Troubles()
        self.journaling = Journaling(self, wiring.library)
        self.fleeting = Fleeting(self, wiring.fleet)
        self.fleeting.published = self.journaling.report
        self.guarding.pooling = Pooling(self.fleeting)
        self._engines = Engines(policy.fleet)
        self.answerer = Answerer(self)
        self.started = self.loaded_at = now_micros()
        self.stopping = False
        self.reload_asked = False
        self.knocks = 0
        self._ears = Ears()
        self._last_tick: Micros = 0
        self._last_checkpoint: Micros = 0
        self._last_expiry: Micros = 0
        self._last_count: Micros = 0
        self._dirty = False
        self._unsaved: dict[tuple[str, str], Change] = {}

    def run(self) -> None:
        """Work until told to stop."""
        self._restore()
        self._look()
        # Where reading begins is remembered before the first line: killed on a quiet day, we must
        # not begin at the end again.
        self._checkpoint(now_micros())
        self.title(self.wiring.title())
        self.alive(b"R")
        while not self.stopping:
            self._wait()
            self._hear(now_micros())
            if self.reload_asked:
                self.reload_asked = False
                self.reload(now_micros())
            self._read()
            self._answer()
            self._guard(now_micros())
            self._confer(now_micros())
            self._tick(now_micros())
        self.notices.close(now_micros())
        self._checkpoint(now_micros())
        self.chronicle.close()
        for source in self.sources.values():
            source.close()
        self.wiring.ledger.close()
        self.wiring.control.close()

    # -- one turn of the loop ---------------------------------------------------------------

    def _wait(self) -> None:
        more = any(source.more for source in self.sources.values())
        self._listen()
        left = self._last_tick + TICK - now_micros()
        ready = self._ears.wait(0 if more else min(max(0, left), TICK) / SECOND)
        if self.wiring.gate_fd() in ready:
            self._heed()
        if self.wiring.wake_fd in ready:
            with suppress(BlockingIOError):
                os.read(self.wiring.wake_fd, 4096)

    def _heed(self) -> None:
        """The keeper said something by itself, or is gone: then the master starts both anew."""
        try:
            self.actor.heed(now_micros())
        except GateError as error:
            log.error("gate: %s", error)
            self.stopping = True

    def _hear(self, now: Micros) -> None:
        """Who is closed for and tries again: a score may keep it closed for longer."""
        knocks = self.wiring.knocks()
        if not knocks:
            return
        self.knocks += len(knocks)
        self._dirty = True
        decisions = [
            told(decision, None, self.sources.values())
            for subject, port in knocks
            for decision in self.pipeline.knock(subject, port, now)
        ]
        if decisions:
            self.fleeting.said(self.actor.act(decisions, now))

    def _listen(self) -> None:
        wanted: dict[int, object] = {
            fd: source for source in self.sources.values() for fd in source.fds()
        }
        own = (self.wiring.control.fileno(), self.wiring.gate_fd(), self.wiring.wake_fd)
        for fd in (*own, self.wiring.fleet.fileno(), *self.guarding.fds()):
            if fd is not None and fd >= 0:
                wanted[fd] = self
        self._ears.listen(wanted)

    def _read(self) -> None:
        for source in list(self.sources.values()):
            try:
                blocks = source.read(now_micros())
            except SourceError as error:
                self.say(f"source {source.name}", str(error))
                continue
            for block in blocks:
                self._process(source, block)

    def _process(self, source: Source, block: Block) -> None:
        self._dirty = True
        decisions, batch = self.pipeline.feed(block)
        self.owners.noticed(batch, block)
        for line in batch.quarantined:
            log.warning(
                "source %s: the line at byte %d was set aside, detector %s: %s",
                source.name, line.offset, line.detector, line.reason,
            )  # fmt: skip
        for name in batch.disabled:
            log.warning("detector %s is switched off: three lines in ten minutes broke it", name)
        for note in self.pipeline.judge.take_notes():
            log.warning("%s", note.text)
        if decisions:
            lines = [told(one, block, self.sources.values()) for one in decisions]
            self.fleeting.said(self.actor.act(lines, now_micros()))

    def _answer(self) -> None:
        for call in self.wiring.control.take():
            self.answerer.answer(call, now_micros())

    def _guard(self, now: Micros) -> None:
        """Readings in, gates closed and opened; a helper that is gone has the master start anew."""
        if not self.guarding.busy:
            return
        try:
            if self.guarding.tick(now):
                self._dirty = True
        except (SourceError, GateError) as error:
            log.error("%s; the master starts all anew", error)
            self.stopping = True
        self.pipeline.tide = self.pipeline.guards.tide(now)
        if self.guarding.telling.tick(now):
            self._dirty = True

    def _confer(self, now: Micros) -> None:
        """With the other hosts: what was counted out, what they decided in."""
        try:
            self.fleeting.share()
            if self.fleeting.hear(now):
                self._dirty = True
            published, self.fleeting.journal = self.fleeting.journal, []
            self.journaling.hear(published, now)
        except FleetError as error:
            log.error("%s; the master starts all anew", error)
            self.stopping = True

    def _publish(self, now: Micros) -> None:
        """What the fleet has published: does it harm here, is it on trial no more."""
        try:
            self.journaling.tick(now)
        except FleetError as error:
            log.error("%s; the master starts all anew", error)
            self.stopping = True

    # -- every second -----------------------------------------------------------------------

    def _tick(self, now: Micros) -> None:
        if not _due(self._last_tick, TICK, now):
            return
        self._last_tick = now
        self.alive(b".")
        self._look()
        self.actor.tick(now)
        deaf = self.wiring.deaf()
        self.say("knocks", f"{deaf}; bans hold, but who tries again is not noticed" if deaf else "")
        if self.wiring.gate_fd() == -1:
            log.error("gate: given up; the master starts both anew")
            self.stopping = True
        for source in self.sources.values():
            health = source.health()
            self.say(f"source {source.name}", "" if health.state == "ok" else health.detail)
        if self.notices.tick(now):
            self._dirty = True
        self.chronicle.tick(now)
        self.say("events", self.chronicle.trouble and chronicling.told(self.chronicle.trouble))
        for place, why in self.notices.failures().items():
            self.say(f"notices to {place}", why)
        if _due(self._last_count, MINUTE, now):
            self.count_drops(now)
        if self.fleeting.tick(now, self.actor.in_force):
            self._dirty = True
        self._publish(now)
        if self._dirty and _due(self._last_checkpoint, CHECKPOINT_EVERY, now):
            self._checkpoint(now)
        if _due(self._last_expiry, 10 * MINUTE, now):
            self._last_expiry = now
            self.pipeline.expire(now)
            parts = {one.part for one in self._memories} | self.fleeting.parts
            if self.actor.forget(now, self.pipeline.parts() | parts):
                self._last_expiry = 0  # there is more to drop: go on at the next tick
        if self.owners.tick(now):  # behind `forget`: rows that it drops are numbered anew
            self._checkpoint(now)
        for notes in (self.wiring.ledger.notes, self.wiring.control.notes):
            while notes:
                log.warning("%s", notes.pop())

    def count_drops(self, now: Micros) -> None:
        """Add what the kernel has dropped since last asked; a report asks too."""
        self._last_count = now
        with suppress(GateError):  # said by the tick that finds the gate out of step
            self.pipeline.drops.take(self.wiring.gate.dropped(), now)
            self._dirty = True

    def _look(self) -> None:
        here = (*protected(), *ourselves(), *self._engines.protected())
        self.pipeline.judge.look(Surroundings(here, sessions()))

    @property
    def _memories(self) -> tuple[Notices, OwnerNotices, Incidents, Chronicle, Journaling]:
        """What is remembered beside the core's memory."""
        return self.notices, self.owners, self.incidents, self.chronicle, self.journaling

    def _checkpoint(self, now: Micros) -> None:
        positions = [place for source in self.sources.values() for place in source.positions()]
        self._last_checkpoint = now
        # What a full disk refused is kept, coalesced, and tried again with what came since.
        beside = (*self._memories, self.fleeting)
        changes = chain(self.pipeline.changes(), *(one.changes() for one in beside))
        self._unsaved.update(((one.part, one.key), one) for one in changes)
        try:
            self.wiring.ledger.checkpoint(positions, self._unsaved.values())
            self._dirty = False
            self._unsaved = {}
            self.say("ledger", "")
        except LedgerError as error:
            self.say("ledger", f"{error}; bans go on, counts are kept in memory")

    def _restore(self) -> None:
        left = self.pipeline.restore(self.wiring.ledger.memory())
        beside = (*self._memories, self.fleeting)
        left = [one for one in left if not any(part.restore(one) for part in beside)]
        if left:
            log.info("%d remembered counts belong to no rule any more", len(left))
        try:
            self.actor.resume(self.pipeline.policy, now_micros())
        except GateError as error:
            self.say("gate", str(error))
        self.guarding.start()
        self.owners.begin()
        self.chronicle.begin(now_micros())
        self.fleeting.begin()
        self.journaling.begin(now_micros())

    # -- what people ask for ------------------------------------------------------------------

    def say(self, about: str, text: str) -> None:
        """This is so; "": it is well. Said once."""
        self._troubles.say(about, text)

    def troubled(self) -> int:
        """How much is wrong just now, but for the fleet."""
        return self._troubles.count(_OF_FLEET)

    def checkpoint(self, now: Micros) -> None:
        """Save now: after everything a person did."""
        self._checkpoint(now)

    def reload(self, now: Micros, tried: Plan | None = None) -> list[str]:
        """New policy and detectors in, nothing lost; the faults if the old one stays. `tried`: they
        were read just now."""
        self._checkpoint(now)  # a source that goes may come back: it goes on where it was
        try:
            fresh = self.wiring.reloaded() if tried is None else self.wiring.reloaded(tried)
        except (OperatorError, LedgerError) as error:
            return self._not_reloaded(error)
        before, after = self.pipeline.policy, fresh.pipeline.policy
        try:
            changed = self.actor.reload(before, after)
        except GateError as error:
            return self._not_reloaded(error)
        fresh.pipeline.take_over(self.pipeline)
        self.sources = self.wiring.exchange_sources(self.sources, fresh)
        self.wiring.sources = self.sources
        self.pipeline = self.wiring.pipeline = fresh.pipeline
        self.title(self.wiring.title())
        self.loaded_at = now
        self._dirty = True
        self._last_expiry = 0  # what a removed rule remembered must not wait for it to come back
        self.guarding.replace(after, fresh.pipeline.guards)
        self.notices.reload(after.notices)
        self.owners.reload(after.owners)
        self.chronicle.reload(chronicling.most(self.wiring.events, after), now)
        self.fleeting.reload()
        self._engines = Engines(after.fleet)
        self.actor.reloaded(after, changed, now)
        self._checkpoint(now)
        log.info("reloaded: policy %s", self.pipeline.policy.hash)
        return []

    @staticmethod
    def _not_reloaded(error: TidegateError) -> list[str]:
        faults = str(error).splitlines()
        log.error("reload: the old policy stays: %s", "; ".join(faults))
        return faults


def _due(last: Micros, every: Micros, now: Micros) -> bool:
    """Whether it is time again; also when somebody has set the clock back."""
    return not 0 <= now - last < every
