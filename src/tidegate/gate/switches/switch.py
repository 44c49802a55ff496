"""One gate: what is wanted of it, what is recorded of it, and the next thing to be done.

Touches its record and, through its kind, what its terms name. `step` may take minutes.
Limits: what a person opened or stopped is let be until nobody wants it closed any more.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from tidegate.errors import GateError
from tidegate.gate.switches.kinds import Kind, Once
from tidegate.gate.switches.port import LEASE
from tidegate.gate.switches.record import Before, Record, Records, overdue
from tidegate.gate.switches.restart import too_often
from tidegate.gate.switches.wishes import Wishes, still
from tidegate.model import MINUTE, SECOND, GateReport, Micros
from tidegate.policy.guards import GateSpec, Service

LOOK_EVERY: Micros = 10 * SECOND
RENEW_AFTER: Micros = 30 * SECOND
"""A record's deadline is written anew when it would move by more than this."""
CLOSE_AGAIN: Micros = MINUTE
COMES: Micros = 10 * SECOND
"""For so long a service that was told to stop by a life that ended then may yet stop."""
_FIRST_RETRY, _LAST_RETRY = 5 * SECOND, MINUTE
FIRE_WITHIN: Micros = 6 * MINUTE
"""After this a restart that has not ended is undone by whoever is left."""

_UNKNOWN = "nothing here knows how to close and open it"

Report = Callable[[GateReport], None]


class Switch(Wishes):
    """One gate. What is wanted may be said by any thread (see `Wishes`); `step` by one only.

    `plan` is called before each effect, so that its end is sure; `kind_of` tells what undoes a
    record. `kind` None: nothing here knows its terms.
    """

    def __init__(
        self,
        spec: GateSpec,
        kind: Kind | Once | None,
        records: Records,
        report: Report,
        now: Callable[[], Micros],
        record: Record | None = None,
        kind_of: Callable[[Record], Kind | None] = lambda _record: None,
        plan: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__()
        self.spec = spec
        self._kind = kind
        self._records = records
        self._report = report
        self._now = now
        self._record = record
        self._kind_of = kind_of
        self._plan = plan
        self._undoing = self._asked = False
        self._let_be = record is not None and record.stage == "taken"
        self._cut_off = record is not None and record.stage == "closing"
        self._told: tuple[str, str] | None = None
        self._next_look = self._next_try = 0
        self._pause = _FIRST_RETRY

    def change(self, spec: GateSpec, kind: Kind | Once | None) -> None:
        """Policy says something else of it now; what is closed by the old terms is opened."""
        with self._changed:
            self.spec, self._kind, self._told = spec, kind, None
            self._notify()

    @property
    def closed(self) -> bool:
        """Whether there is something to be undone."""
        return self._record is not None and self._record.stage != "taken"

    def run(self) -> None:
        """In a thread of its own: do what is to be done until told to end."""
        while self.wait(self.step() / SECOND):
            pass

    def step(self) -> Micros:
        """Do the next thing; for how long there is nothing more to do unless something is said."""
        wanted, off, fired = self.take()
        now = self._now()
        if fired and not off:
            self._fire()
        until = 0 if off else min(wanted or 0, now + LEASE)
        record = self._record
        if record is not None and not self._let_be:
            if wanted is None and not off and record.stage != "opening":
                until = min(record.deadline, now + LEASE)  # taken over: nobody has said anything
            if until <= now or self._undoing or record.terms != self.spec.terms:
                return self._open(record, now)
            return self._hold(record, until, now)
        if record is not None and wanted is None and not off and not overdue(record, now):
            self._tell("taken", "a person has opened it")  # nobody has said yet what is wanted
            return LOOK_EVERY
        if until <= now:
            return self._idle()
        if not self._asked and self._told is not None and self._told[0] == "refused":
            self._told = None  # the same refusal is news to who asks now
        self._asked = True
        if self._let_be:
            if record is not None:
                self._renew(record, until)
            return LOOK_EVERY
        if wait := still(self._next_try, now):
            return wait
        return self._close(until, now)

    def _idle(self) -> Micros:
        """Nobody wants it closed, and it is not."""
        asked, self._asked = self._asked, False
        self._next_try, self._pause = 0, _FIRST_RETRY
        if self._let_be:
            self._let_be = False
            self._forget()
        if self._told is None or (asked and self._told[0] == "refused"):
            self._first_look()  # what is still in the way stays told
        elif self._told[0] not in ("open", "refused") or asked:
            self._tell("open", self._told[1] if self._told[0] == "open" else "")
        return MINUTE

    def _first_look(self) -> None:
        """What would keep it from being closed is found, and told, before it is needed."""
        if self._kind is None:
            self._tell("refused", _UNKNOWN)
        elif not isinstance(self._kind, Kind):
            self._tell("open")
        else:
            try:
                self._tell("open", str(self._kind.look(self.spec.terms).get("away", "")))
            except GateError as error:
                self._tell("refused", str(error))

    def _close(self, until: Micros, now: Micros) -> Micros:
        kind = self._kind
        if not isinstance(kind, Kind):
            return self._refuse(_UNKNOWN if kind is None else "it is fired, never closed", now)
        try:
            before = kind.look(self.spec.terms)
            if why := before.get("away"):
                self._let_be = True
                self._tell("away", f"{why}; nothing is closed")
                return LOOK_EVERY
            record = Record(self.spec.name, self.spec.terms, before, "closing", now, until)
            self._write(record)
            self._plan()
        except GateError as error:
            return self._refuse(str(error), now)
        return self._bring_about(kind, record, now)

    def _bring_about(self, kind: Kind, record: Record, now: Micros) -> Micros:
        """Have it closed; said again where a former life has begun, since half may be done."""
        self._tell("closing")
        try:
            said = kind.close(record.terms, record.before)
        except GateError as error:
            # Whatever of it was done is undone; where that fails too, it is tried for ever.
            self._refuse(str(error), now)
            self._undoing = True
            self._next_try = 0
            wait = self._open(record, now, quiet=True)
            self._next_try = max(self._next_try, now + CLOSE_AGAIN * (not self._undoing))
            return wait
        self._write_if_possible(record.at("closed"))
        self._next_look = self._now() + LOOK_EVERY
        self._tell("closed", said)
        return 0

    def _hold(self, record: Record, until: Micros, now: Micros) -> Micros:
        """It is closed and shall be."""
        kind = self._kind_of(record)
        if kind is None:
            return self._refuse(_UNKNOWN, now)
        record = self._renew(record, until)
        if wait := still(self._next_look, now):
            return min(wait, until - now)
        self._next_look = now + LOOK_EVERY
        try:
            standing, why = kind.state(record.terms, record)
        except GateError as error:
            self._tell("closed", f"how it stands is not known: {error}")
            return LOOK_EVERY
        if standing == "taken":
            self._tell("taken", why)
            self._let_be = True
            self._write_if_possible(record.at("taken"))
        elif standing == "open" and self._until is None and self._may_come(record, now):
            self._next_look = 0
            self._tell("open", why)
            return SECOND
        elif standing == "open":
            self._forget()  # we died before it took effect; if it is still wanted, from the start
            if self._until is None:
                self._tell("open", why)
            return 0
        elif record.stage == "closing":
            if self._until is not None:
                return self._bring_about(kind, record, now)
            self._next_look = 0  # nobody has said yet whether it is to be gone on with
        else:
            if record.stage != "closed":
                self._write_if_possible(record.at("closed"))
            if self._told is None or self._told[0] != "closed":
                self._tell("closed", "taken over from the time before")
        return min(LOOK_EVERY, until - now)

    def _open(self, record: Record, now: Micros, *, quiet: bool = False) -> Micros:
        if (wait := still(self._next_try, now)) and not self._off:
            return wait
        kind = self._kind_of(record)
        if kind is None:
            return self._refuse(f"{_UNKNOWN}: open it by hand", now)
        try:
            standing, why = kind.state(record.terms, record)
        except GateError as error:
            standing, why = "closed", str(error)
        if standing == "closed":
            return self._undo(kind, quiet=quiet)
        waits = standing == "open" and self._may_come(record, now)
        if not waits:
            self._forget()
        if not quiet:
            self._tell("taken" if standing == "taken" else "open", why)
        return SECOND if waits else 0

    def _may_come(self, record: Record, now: Micros) -> bool:
        """Whether a stop that a former life began may yet come true: its daemon was told to end,
        and is about to. Forgotten now, it would be started by nobody."""
        within = min(record.terms.stop_within, COMES) if isinstance(record.terms, Service) else 0
        return self._cut_off and record.since <= now < record.since + within

    def _undo(self, kind: Kind, *, quiet: bool = False) -> Micros:
        record = self._record
        if record is None:
            return 0
        self._write_if_possible(record.at("opening"))
        if not quiet:
            self._tell("opening")
        try:
            said = kind.open(record.terms, record.before)
        except GateError as error:
            self._next_try = self._now() + self._pause
            self._tell("refused", f"it can't be opened, and is tried again: {error}")
            pause, self._pause = self._pause, min(self._pause * 2, _LAST_RETRY)
            return pause
        self._forget()
        if not quiet:
            self._tell("open", said)
        return 0

    def _renew(self, record: Record, until: Micros) -> Record:
        """Move its deadline along, not more often than need be."""
        if not until - RENEW_AFTER <= record.deadline <= until:
            record = replace(record, deadline=until)
            self._write_if_possible(record)
        return record

    def _fire(self) -> None:
        kind, terms = self._kind, self.spec.terms
        if kind is None or isinstance(kind, Kind):
            self._tell("refused", _UNKNOWN if kind is None else "it is closed, never fired")
            return
        now = self._now()
        if why := too_often(self._records, self.spec, now):
            self._tell("refused", why)
            return

        def begun(undo: Any, before: Before) -> None:
            until = now + FIRE_WITHIN
            self._write(Record(self.spec.name, undo, before, "closing", now, until))
            self._plan()

        self._tell("closing")
        try:
            said = kind.fire(terms, begun)
        except GateError as error:
            self._tell("refused", str(error))
            self._undoing = self._record is not None
            return
        self._forget()
        self._tell("open", said)

    def _refuse(self, why: str, now: Micros) -> Micros:
        self._next_try = now + CLOSE_AGAIN
        self._tell("refused", why)
        return CLOSE_AGAIN

    def _tell(self, state: Any, detail: str = "") -> None:
        if self._told != (state, detail):
            self._told = (state, detail)
            self._report(GateReport(self.spec.name, state, self._now(), detail))

    def _write(self, record: Record) -> None:
        self._records.write(record)
        self._record = record

    def _write_if_possible(self, record: Record) -> None:
        """Where the disk refuses, what stands there still undoes it."""
        with suppress(GateError):
            self._records.write(record)
        self._record = record

    def _forget(self) -> None:
        self._record, self._undoing = None, False
        with suppress(GateError):
            self._records.remove(self.spec.name)
