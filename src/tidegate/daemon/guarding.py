"""Between the guards and the world: samples in, moves written down, gates closed and opened.

Touches ledger, readings, switches and the gate it is given; the guards themselves are pure.
Every closing is renewed while it is wanted, so that it opens when we are gone. Limits: without a
ledger no service is stopped (who would know what to start again?), only the kernel's gates close.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

from tidegate.daemon.moves import PREFIX, decision_of, kernel_gates, log_line, spec_of
from tidegate.daemon.pooling import Pooling
from tidegate.daemon.telling import Telling
from tidegate.daemon.unknowns import Unknowns
from tidegate.decision.guards import Guards
from tidegate.errors import GateError, GoneError, LedgerError, SourceError
from tidegate.gate.port import Gate
from tidegate.gate.switches.port import LEASE, Switches
from tidegate.ledger.port import Ledger
from tidegate.model import SECOND, Decision, GateReport, Micros, Move, Outcome, Sample
from tidegate.policy.guards import GuardSpec
from tidegate.policy.models import Policy
from tidegate.source.readings.port import Readings

log = logging.getLogger("tidegate.watcher")

RENEW_EVERY: Micros = 5 * SECOND

_SETTLED: Mapping[str, tuple[Literal["applied", "refused", "skipped"], str]] = {
    "closed": ("applied", ""),
    "open": ("applied", ""),
    "refused": ("refused", ""),
    "away": ("skipped", "a person had stopped it already"),
    "taken": ("skipped", "a person has started it"),
}
_CONTRARY = {"close": "open", "open": "closed"}
"""What a gate still reports of the time before: that settles nothing."""
_SHUT = ("closed", "closing")
_OUT = (*_SHUT, "away")
_AIMS = {"close": "closed", "open": "open"}
_QUIET = frozenset({"warn", "clear", "give-up", "hold", "resume"})
"""Verbs that no report of a gate will settle."""


@dataclass(slots=True)
class _Waiting:
    """A closing that waits for its capture: so that what is kept was seen before it. Not for longer
    than `patience`, not even where the clock is set back meanwhile."""

    since: Micros
    patience: Micros
    gates: set[str] = field(default_factory=set)


class Guarding:
    """Drives the guards of one policy; `replace` brings in those of the next."""

    def __init__(
        self, policy: Policy, guards: Guards, ledger: Ledger, gate: Gate,
        switches: Switches, readings: Readings, telling: Telling,
    ) -> None:  # fmt: skip
        self.policy = policy
        self.guards = guards
        self.ledger = ledger
        self.gate = gate
        self.switches = switches
        self.readings = readings
        self.telling = telling
        self.states: dict[str, GateReport] = {}
        self.trouble = ""
        self.pooling = Pooling()
        self.save: Callable[[Micros], None] = lambda _now: None
        self.halts: Callable[[Micros], Mapping[str, Micros]] = lambda _now: {}
        self._halted: frozenset[str] = frozenset()
        self._kernel = kernel_gates(policy)
        self._dropped: frozenset[str] = frozenset()
        # Gate → the decision that its report settles: its id, and what is to be done.
        self._pending: dict[str, tuple[str, str]] = {}
        self._captures: dict[str, list[str]] = {}  # guard → decisions that wait for its capture
        self._waiting: dict[str, _Waiting] = {}
        self._renewed: Micros = 0
        self._changed = True
        self._said: dict[str, str] = {}
        self._unknowns = Unknowns()
        self._asked: Mapping[str, Micros] = {}  # the readings that are wanted, and how often

    def start(self) -> None:
        """After a start: say which readings are wanted, and what was begun before a crash."""
        self._want()
        try:
            begun = [one for one in self.ledger.unsettled() if one.subject.startswith(PREFIX)]
        except LedgerError:
            return  # said where the ledger is written next
        lost = []
        now = max((one.time for one in begun), default=0)
        shut = self.guards.closed(now)
        for one in begun:
            gate = one.subject.removeprefix(PREFIX)
            # What the guards do not remember will not be done, and nobody will report it.
            forgotten = (one.action == "close") != (gate in shut)
            if one.action in _QUIET or one.action == "fire" or forgotten:
                lost.append(one.id)
            else:
                lost += [self._pending[gate][0]] if gate in self._pending else []
                self._pending[gate] = one.id, one.action
        self._settle([Outcome(one, "skipped", "cut off by a crash", now) for one in lost])

    def replace(self, policy: Policy, guards: Guards) -> None:
        """After a reload: the same gates under another policy; what it lacks opens."""
        self.policy, self.guards, self.telling.policy = policy, guards, policy
        before, self._kernel = self._kernel, kernel_gates(policy)
        # The keeper has dropped these with the policy, and won't speak of them again.
        self._dropped = before - self._kernel
        self._changed = True
        self.readings.reload()
        self._want()
        self._unknowns.keep(self._asked)
        try:
            self.switches.reload()
        except GateError as error:
            self._lost(str(error))

    @property
    def busy(self) -> bool:
        """Whether `tick` has to be called: also where the last guard has left the policy, since
        what it closed is still to be opened, and somebody has to listen to `fds`."""
        return self.policy.guarded or bool(self.states or self.fds())

    def fds(self) -> list[int]:
        """Descriptors that become readable when there is something to hear."""
        return [fd for fd in (self.readings.fileno(), self.switches.fileno()) if fd >= 0]

    def tick(self, now: Micros) -> bool:
        """Hear what has arrived, let the guards move, carry it out; whether there is anything to
        save: also that something closed was renewed, or after a crash it would count as lapsed.

        Called at each tick and whenever one of `fds` is readable. Raises SourceError or GateError
        where sampler or service keeper are gone: then the master starts all anew.
        """
        reports = self._reports()
        self.guards.pools.words = self.pooling.known(self.policy, now)
        moves = self.guards.step(now, self._read(now), reports)
        leaving = frozenset(self.guards.pools.leaving)
        self._take_captures(now)
        self._carry_out(moves, now)
        self._bring_about(now)
        self.pooling.tell(self.policy, leaving, self._out(now), now)
        return bool(moves or reports) or (self._renewed == now and bool(self.closed(now)))

    def order(
        self, verb: Literal["close", "open", "hold", "resume"], gate: str, now: Micros,
        until: Micros, by: str, note: str,
    ) -> Sequence[Move]:  # fmt: skip
        """What a person wants done with a gate, or with every gate of a guard."""
        moves = self.guards.order(verb, gate, now, until, by, note)
        self._carry_out(moves, now)
        if verb == "resume":  # what its guard closes at once is not opened before
            self._carry_out(self.guards.step(now, (), ()), now)
        with suppress(GoneError):  # the loop finds the same, and saves this order first
            self._bring_about(now)
        return moves

    def enforced(self, guard: str) -> bool:
        """Whether this guard's moves are carried out, not only recorded."""
        spec = spec_of(self.policy, guard)
        return self.policy.mode == "enforce" and (spec is None or spec.mode == "enforce")

    def closed(self, now: Micros) -> dict[str, Micros]:
        """The gates that are to be closed in the world, each until when; of what only observes
        those that a person closed."""
        return self.guards.closed(now)

    def _out(self, now: Micros) -> set[str]:
        """The gates that are closed, wanted so or not: by whom is all one to others."""
        told = (gate for gate, one in self.states.items() if one.state in _OUT)
        return {*told, *self.closed(now)}

    def _want(self) -> None:
        self._asked = self.guards.readings()
        self.readings.want(self._asked)

    # -- hearing ------------------------------------------------------------------------------

    def _read(self, now: Micros) -> Sequence[Sample]:
        samples = [one for one in self.readings.take() if one.reading in self._asked]
        lost, well = self._unknowns.take(samples)
        every = min(self._asked.values(), default=0)
        if said := self._unknowns.silence(bool(samples), every, now):
            log.warning("%s", said)
        if self.readings.trouble and self.readings.trouble != self._said.get("sampler"):
            log.warning("sampler: %s", self.readings.trouble)
        self._said["sampler"] = self.readings.trouble
        for line in lost:
            log.warning("%s", line)
        for line in well:
            log.info("%s", line)
        return samples

    def _reports(self) -> list[GateReport]:
        reports = list(self.switches.reports())
        for line in self.switches.troubles():
            log.warning("service keeper: %s", line)
        outcomes = []
        for one in reports:
            outcomes += self._heard(one)
        self._settle(outcomes)
        return reports

    def _heard(self, report: GateReport) -> list[Outcome]:
        self.states[report.gate] = report
        said = f"{report.state}{': ' + report.detail if report.detail else ''}"
        if self._said.get(report.gate) != said:
            level = logging.WARNING if report.state in ("refused", "taken") else logging.INFO
            log.log(level, "gate %s: %s", report.gate, said)
            self._said[report.gate] = said
        settled = _SETTLED.get(report.state)
        number, verb = self._pending.get(report.gate, ("", ""))
        if settled is None or not number or report.state == _CONTRARY.get(verb):
            return []
        del self._pending[report.gate]
        state, detail = settled
        return [Outcome(number, state, report.detail or detail, report.since)]

    def _take_captures(self, now: Micros) -> None:
        for name, time, text in self.readings.captured():
            self._waiting.pop(name, None)
            self._changed = True
            for number in self._captures.pop(name, ()):
                self.telling.captured(number, text)
                try:
                    self.ledger.attach(number, time, text)
                except LedgerError as error:
                    log.warning("ledger: %s; what was captured for %s is lost", error, name)
        for name, one in list(self._waiting.items()):
            if not 0 <= now - one.since < one.patience:
                del self._waiting[name]
                self._changed = True

    # -- carrying out -------------------------------------------------------------------------

    def _carry_out(self, moves: Sequence[Move], now: Micros) -> None:
        if not moves:
            return
        decisions = [
            decision_of(move, "enforce" if self._meant(move) else "observe", now) for move in moves
        ]
        written = True
        try:
            self.ledger.intend(decisions, durable=True)
        except LedgerError as error:
            written = False
            log.error("ledger: %s; no service is stopped that nobody would start again", error)
        # Before the effect: keepers forget what a person opened once nobody wants it closed, and
        # what we forgot we would close again; and what we forgot to have closed we would open.
        self.save(now)
        refused = []
        for move, decision in zip(moves, decisions, strict=True):
            self._tell(move, decision)
            if not written and self._needs_ledger(move):
                detail = "the ledger can't be written, so it is not closed"
                refused.append(GateReport(move.gate, "refused", now, detail))
                continue
            self._begin(move, decision, now)
            captured = move.guard in self._captures
            observed = decision.mode == "observe"
            self.telling.owe(move, decision.id, now, captured=captured, observed=observed)
        self._changed = True
        if refused:
            self._carry_out(self.guards.step(now, (), refused), now)

    def _begin(self, move: Move, decision: Decision, now: Micros) -> None:
        """Before the effect: what it waits for, and what settles it."""
        spec = spec_of(self.policy, move.guard)
        terms = spec.capture if isinstance(spec, GuardSpec) else None
        told = self.states.get(move.gate)
        if move.verb in ("close", "warn", "fire") and terms is not None:
            with suppress(SourceError):  # the loop finds the same, and the order is saved first
                self.readings.capture(move.guard)
            self._captures.setdefault(move.guard, []).append(decision.id)
            stands = told is not None and told.state in _SHUT  # a person may say it again
            if move.verb == "close" and terms.commands and not stands:
                fresh = _Waiting(now, terms.timeout + SECOND)
                self._waiting.setdefault(move.guard, fresh).gates.add(move.gate)
        if decision.mode == "observe":
            self._settle([Outcome(decision.id, "observed", "", now)])
        elif move.verb in _QUIET or move.gate in self._dropped:
            self._settle([Outcome(decision.id, "applied", "", now)])
        else:
            if earlier := self._pending.get(move.gate):
                self._settle([Outcome(earlier[0], "skipped", "overtaken by the next", now)])
            self._pending[move.gate] = decision.id, move.verb
            if told is not None and told.state == _AIMS.get(move.verb):  # so already: not told anew
                self._settle([one._replace(time=now) for one in self._heard(told)])
            if move.verb == "fire":
                self.switches.fire(move.gate, now)

    def _bring_about(self, now: Micros) -> None:
        """Have closed what is wanted closed, each with its end; again now and then, to renew it."""
        halts = self.halts(now)
        self._changed |= halts.keys() != self._halted
        self._halted = frozenset(halts)
        if not self._changed and 0 <= now - self._renewed < RENEW_EVERY:
            return
        self._changed, self._renewed = False, now
        held_back = {gate for one in self._waiting.values() for gate in one.gates}
        wanted = {
            gate: min(until, now + LEASE)
            for gate, until in self.closed(now).items()
            if gate not in held_back
        }
        kernel = {gate: until for gate, until in wanted.items() if gate in self._kernel}
        others = {gate: until for gate, until in wanted.items() if gate not in self._kernel}
        others |= {gate: min(until, now + LEASE) for gate, until in halts.items()}
        self.switches.want(others, now)
        if self._kernel:
            try:
                reports = self.gate.switch(kernel, now)
                self.trouble = ""
            except GoneError:
                raise  # it refused nothing: the master starts all anew, and it closes then
            except GateError as error:
                self._lost(str(error))
                reports = [GateReport(gate, "refused", now, str(error)) for gate in kernel]
            self._settle([outcome for one in reports for outcome in self._heard(one)])
            self._carry_out(self.guards.step(now, (), reports), now)

    def _needs_ledger(self, move: Move) -> bool:
        return move.verb in ("close", "fire") and move.gate not in self._kernel

    def _meant(self, move: Move) -> bool:
        told = self.states.get(move.gate)
        undoes = move.verb == "open" and told is not None and told.state in _SHUT
        return undoes or self.enforced(move.guard) or move.by != "guard"

    def _tell(self, move: Move, decision: Decision) -> None:
        loud = move.verb in ("close", "fire", "warn", "give-up")
        log.log(logging.WARNING if loud else logging.INFO, "%s", log_line(move, decision.mode))

    def _settle(self, outcomes: Iterable[Outcome]) -> None:
        found = list(outcomes)
        if not found:
            return
        try:
            self.ledger.settle(found)
        except LedgerError as error:
            log.warning("ledger: %s; what became of %d moves is not written", error, len(found))

    def _lost(self, why: str) -> None:
        if self.trouble != why:
            log.error("gate: %s; it is tried again every second", why)
        self.trouble = why
        self._changed = True
