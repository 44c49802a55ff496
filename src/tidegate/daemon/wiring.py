"""Puts the watcher's parts together from a policy: sources, pipeline, ledger, gate, control socket.

Touches what it opens. Everything that a reload exchanges is made here, the rest once.
Limits: one ledger and one gate a process.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tidegate.control.server import ControlServer
from tidegate.daemon import garbage, published
from tidegate.daemon.build import Plan, journal_matches, plan, prove, with_policy
from tidegate.daemon.flows import FlowSource
from tidegate.daemon.outward import OutwardSource
from tidegate.daemon.pipeline import Pipeline
from tidegate.detector.budget import Budget
from tidegate.errors import PolicyError, SourceError
from tidegate.fleet.journal.librarian import Library
from tidegate.fleet.port import Fleet, MemoryFleet
from tidegate.gate.port import Gate, Knock
from tidegate.gate.switches.memory import MemorySwitches
from tidegate.gate.switches.port import Switches
from tidegate.ledger.port import Ledger
from tidegate.model import Origin, Position
from tidegate.policy.models import Policy, SourceSpec
from tidegate.policy.outward import OutwardSpec
from tidegate.policy.overlay import Published
from tidegate.source.file import FileSource
from tidegate.source.journal import JournalSource
from tidegate.source.port import Source
from tidegate.source.readings.memory import MemoryReadings
from tidegate.source.readings.port import Readings
from tidegate.source.stdin import StdinSource
from tidegate.source.traffic.port import MemoryTraffic, Traffic


class Saved(NamedTuple):
    """What the ledger knows of files: how far each was read, and which numbers they have."""

    places: Sequence[Position] = ()
    origins: Sequence[Origin] = ()


@dataclass(slots=True)
class Fresh:
    """What a reload brings: a pipeline without memory, and the sources that are wanted."""

    plan: Plan
    pipeline: Pipeline
    saved: Saved


@dataclass(slots=True)
class Wiring:
    """The watcher's parts."""

    config: Path | None
    plan: Plan
    pipeline: Pipeline
    sources: dict[str, Source]
    ledger: Ledger
    gate: Gate
    gate_kind: str
    control: ControlServer
    wake_fd: int
    observe: bool
    trusted: bool
    switches: Switches = field(default_factory=MemorySwitches)
    readings: Readings = field(default_factory=MemoryReadings)
    traffic: Traffic = field(default_factory=MemoryTraffic)
    fleet: Fleet = field(default_factory=MemoryFleet)
    events: Path | None = None
    """Where what is seen is kept for a day; None: it is not."""
    library: Library | None = None

    def title(self) -> str:
        """Role and duty, for the list of processes."""
        rules = self.plan.loaded.policy.stated_rules
        parts = [_many(len(self.sources), "source"), _many(rules, "rule")]
        if guards := len(self.plan.loaded.policy.guards):
            parts.append(_many(guards, "guard"))
        return f"tidegate: watcher ({', '.join(parts)})"

    def is_off(self) -> bool:
        """Whether the break-glass switch is set."""
        return os.path.exists(self.plan.loaded.policy.paths.off)

    def gate_fd(self) -> int | None:
        """A descriptor that becomes readable when the gate has something to say."""
        fileno = getattr(self.gate, "fileno", None)
        return fileno() if fileno is not None else None

    def knocks(self) -> list[Knock]:
        """Tries of the banned since last asked, where the gate hears them."""
        knocks = getattr(self.gate, "knocks", None)
        return knocks() if knocks is not None else []

    def deaf(self) -> str:
        """Why the gate hears no tries of the banned; "" while it does."""
        return getattr(self.gate, "deaf", "")

    def reloaded(self, tried: Plan | None = None) -> Fresh:
        """Policy and detectors read anew, or as they were `tried` just now. Raises OperatorError or
        LedgerError; then nothing has changed."""
        fresh = tried or planned(
            self.config, observe=self.observe, trusted=self.trusted, budget=self.plan.budget
        )
        if why := self._unprepared(fresh.loaded.policy):
            raise PolicyError([why])
        found = Fresh(fresh, fresh.pipeline(), saved(self.ledger))
        garbage.give_back()
        return found

    def _unprepared(self, after: Policy) -> str:
        """Why this policy can't be had without starting anew; "" if it can."""
        before = self.plan.loaded.policy
        for needed, here, what in (
            (after.has_switches, before.has_switches, "the first guard"),
            (after.guarded, before.guarded, "the first guard"),
            (after.outward is not None, before.outward is not None, "[outward]"),
            (after.fleet is not None, before.fleet is not None, "[fleet]"),
        ):
            if needed and not here and self.trusted:
                return f"{what} needs a process of its own: systemctl restart tidegate"
        return ""

    def rehearsed(self, wanted: str) -> tuple[Plan, str]:
        """Try the policy with this one of those that the fleet has published (its id; "": none);
        with why it can't be had without starting anew, "" if it can. OperatorError: it can't."""
        fresh = planned(
            self.config, observe=self.observe, trusted=self.trusted, budget=self.plan.budget,
            published=partial(published.chosen, wanted, trusted=self.trusted),
        )  # fmt: skip
        return fresh, self._unprepared(fresh.loaded.policy)

    def exchange_sources(self, old: dict[str, Source], fresh: Fresh) -> dict[str, Source]:
        """The sources of the new policy; one that reads the same as before just goes on."""
        before = {spec.name: _read(spec, self.plan) for spec in self.plan.sources}
        after = {spec.name: _read(spec, fresh.plan) for spec in fresh.plan.sources}
        # A source that was away goes on where it was saved, the others where they are.
        places = [place for place in fresh.saved.places if place.source not in old]
        places += [place for source in old.values() for place in source.positions()]
        known = Saved(places, fresh.saved.origins)
        kept = {}
        for name, source in old.items():
            if before.get(name) == after.get(name):
                kept[name] = source
            else:
                source.close()
        self.plan = fresh.plan
        self._govern(kept.values())
        return {
            spec.name: kept.get(spec.name)
            or open_source(spec, fresh.plan, self.ledger, known, self.traffic, self.gate)
            for spec in fresh.plan.sources
        }

    def _govern(self, kept: Iterable[Source]) -> None:
        """What leaves is listened to by the new policy."""
        policy = self.plan.loaded.policy
        if isinstance(self.traffic, MemoryTraffic):
            self.traffic.trouble = unmetered(policy)
        with suppress(SourceError):  # the source itself says that the meter is gone
            self.traffic.reload()
        for source in kept:
            if isinstance(source, OutwardSource) and policy.outward is not None:
                source.govern(policy.outward)


def planned(
    config: Path | None, *, observe: bool, trusted: bool, budget: Budget,
    published: Published | None = None,
) -> Plan:  # fmt: skip
    """The policy as the daemon takes it: every example tried; `--observe` outranks its mode.
    `published`: see `build.plan`."""
    found = plan(config, trusted=trusted, budget=budget, published=published)
    prove(found.packs, found.loaded.policy.engine)
    return with_policy(found, mode="observe") if observe else found


def open_sources(
    found: Plan, ledger: Ledger, traffic: Traffic | None = None, gate: Gate | None = None
) -> dict[str, Source]:
    """Every source of the policy, at its saved position. Raises LedgerError."""
    known = saved(ledger)
    return {
        spec.name: open_source(spec, found, ledger, known, traffic, gate) for spec in found.sources
    }


def unmetered(policy: Policy) -> str:
    """Why nobody listens to what leaves, where there is no meter; "" where nobody need."""
    if policy.outward is None:
        return ""
    return "not root: what leaves is neither capped nor listened to; run: sudo tidegate run"


def saved(ledger: Ledger) -> Saved:
    """What the ledger knows of files. Raises LedgerError."""
    return Saved(ledger.positions(), ledger.origins())


def open_source(
    spec: SourceSpec,
    found: Plan,
    ledger: Ledger,
    known: Saved,
    traffic: Traffic | None = None,
    gate: Gate | None = None,
) -> Source:
    """One source; never raises for what is missing, it recovers by itself. Of what leaves,
    `traffic` tells; the outward gate counts what it keeps back."""
    register = partial(_register, ledger, spec.name)
    mine = [place for place in known.places if place.source == spec.name]
    origins = [one for one in known.origins if one.source == spec.name]
    if spec.stdin:
        return StdinSource(spec.name, register=register)
    if spec.outward:
        return OutwardSource(
            spec.name, found.loaded.policy.outward or OutwardSpec(), traffic or MemoryTraffic(),
            register=register, state_of=getattr(gate, "outward_state", None),
        )  # fmt: skip
    if spec.netflow is not None:
        return FlowSource(spec.name, spec.netflow, found.loaded.policy.outward, register=register)
    if spec.journal is not None:
        matches = journal_matches(spec, found.packs)
        return JournalSource(
            spec.name, matches, register=register, positions=mine, start=spec.start
        )
    return FileSource(
        spec.name, spec.files, register=register, positions=mine, origins=origins, start=spec.start
    )


def _register(ledger: Ledger, source: str, path: str, identity: str, rereadable: bool) -> Origin:
    return ledger.origin(source, path, identity, rereadable)


def _read(spec: SourceSpec, found: Plan) -> tuple[object, ...]:
    """What a source reads; who looks at it, and in which zone, is the engine's business."""
    matches = journal_matches(spec, found.packs) if spec.journal is not None else None
    told = (spec.netflow, found.loaded.policy.outward) if spec.netflow is not None else None
    return spec.files, spec.stdin, spec.outward, matches, told


def _many(count: int, name: str) -> str:
    return f"{count} {name}" + "s" * (count != 1)
