"""All switches of a policy, each with a thread of its own, so that none holds up the others.

Touches threads, and through each `Switch` what it closes. Limits: a gate that policy no longer
names is opened, and stays known until the process ends.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from tidegate.gate.switches.halt import spec_terms
from tidegate.gate.switches.kinds import Kind, Once, Tools, seconds
from tidegate.gate.switches.port import LEASE
from tidegate.gate.switches.record import Record, Records
from tidegate.gate.switches.registry import kinds, onces
from tidegate.gate.switches.switch import Report, Switch
from tidegate.model import GateReport, Micros
from tidegate.policy.guards import KERNEL, GateSpec
from tidegate.policy.models import Policy

log = logging.getLogger("tidegate")

_STACK = 512 << 10  # of a thread: with all memory locked, the usual 8 MiB might be taken at once
_AGAIN = 10.0
MOST_HALTED = 64
"""Users whose programs are halted at a time; each is a thread."""


def gates_of(policy: Policy) -> dict[str, GateSpec]:
    """The gates of this policy that are not the kernel's, by name; of guards that are enabled."""
    found = [gate for guard in policy.guards if guard.enabled for gate in guard.gates]
    found += [one.gate for one in policy.triggers if one.gate is not None]
    return {gate.name: gate for gate in found if not isinstance(gate.terms, KERNEL)}


def pauses_of(policy: Policy) -> dict[str, float]:
    """Of each gate that is only run, the seconds that lie between two runs: half of what policy
    says, since clocks differ; LEASE at the most, since a watcher may have lost its memory."""
    return {
        one.gate.name: seconds(min(one.every // 2, LEASE))
        for one in policy.triggers
        if one.gate is not None
    }


def _halts(policy: Policy) -> str:
    """What is done to suspect programs of a user who is cut off."""
    return policy.outward.stop if policy.outward is not None else "never"


@dataclass(frozen=True)
class World:
    """What switches need of the world; `plan` makes sure of a closing's end before it begins."""

    records: Records
    tools: Tools
    report: Report
    now: Callable[[], Micros]
    plan: Callable[[], None]


class Gates:
    """The switches. `specs`: those of the policy, by name."""

    def __init__(self, world: World, policy: Policy) -> None:
        self._world = world
        self._kinds: dict[type, Kind] = kinds(world.tools)
        self._onces: dict[type, Once] = onces(world.tools)
        self._switches: dict[str, Switch] = {}
        self._threads: list[threading.Thread] = []
        self._off = False
        self._fired: dict[str, float] = {}
        self._pauses = pauses_of(policy)
        self._how = _halts(policy)
        self.specs = gates_of(policy)

    def begin(self, off: bool) -> None:
        """Take over what is recorded, and begin to work."""
        self._off = off
        found = {record.gate: record for record in self._world.records.read()}
        self._world.records.reserve(list(self.specs))
        for name in {**self.specs, **found}:
            self._add(name, found.get(name))

    def change(self, policy: Policy) -> None:
        """Gates that are new or changed begin anew; what is gone from the policy is opened."""
        self.specs, before = gates_of(policy), self.specs
        self._pauses = pauses_of(policy)
        self._how = _halts(policy)
        self._world.records.reserve(list(self.specs))
        for name in before.keys() - self.specs.keys():
            self._switches[name].want(0)
        for name, spec in self.specs.items():
            if name not in self._switches:
                self._add(name, None)
            elif before.get(name) != spec:
                self._switches[name].change(spec, self._kind(spec))

    def want(self, closed: Mapping[str, Micros]) -> None:
        """Exactly these closed, each until then, of those in the policy; every other one open."""
        for name in closed:
            if name not in self._switches and self.halts(name):
                self._add(name, None)
        for name, switch in list(self._switches.items()):
            meant = name in self.specs or self.halts(name)
            until = closed.get(name, 0) if meant else 0
            if meant and name not in self.specs and not until and switch.idle and not switch.closed:
                switch.end()  # there may be others to be halted
                del self._switches[name]
            else:
                switch.want(until)

    def halts(self, name: str) -> bool:
        """Whether this names a user whose programs policy says are to be halted."""
        if name in self.specs or spec_terms(name, self._how) is None:
            return False
        there = sum(spec_terms(one, self._how) is not None for one in self._switches)
        return name in self._switches or there < MOST_HALTED

    def fire(self, gate: str) -> str:
        """Restart or run this one of the policy; why not, where it is too soon."""
        moment, pause = time.monotonic(), self._pauses.get(gate, 0.0)
        if moment - self._fired.get(gate, -pause) < pause:
            return f"{gate} was run less than {pause:.0f} s ago, more often than policy says"
        self._fired[gate] = moment
        self._switches[gate].fire()
        return ""

    def off(self, off: bool) -> None:
        """Open everything and close nothing, or work again."""
        self._off = off
        for switch in self._switches.values():
            switch.off(off)

    def end(self, within: float) -> None:
        """Work no more; what is closed stays so. Whoever is not done by then is left behind."""
        for switch in self._switches.values():
            switch.end()
        deadline = time.monotonic() + within
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    @property
    def closed(self) -> int:
        """How many there are to be undone."""
        return sum(switch.closed for switch in self._switches.values())

    def __iter__(self) -> Iterator[str]:
        return iter(self._switches)

    def _add(self, name: str, record: Record | None) -> None:
        spec = self.specs.get(name)
        if spec is None and record is not None:
            spec = GateSpec(name, record.terms)
        if spec is None and (terms := spec_terms(name, self._how)) is not None:
            spec = GateSpec(name, terms)
        if spec is None:
            return
        world = self._world
        made = Switch(
            spec, self._kind(spec), world.records, world.report, world.now, record,
            lambda found: self._kinds.get(type(found.terms)), world.plan,
        )  # fmt: skip
        made.off(self._off)
        if name not in self.specs and not self.halts(name):
            made.want(0)
        self._switches[name] = made
        threading.stack_size(_STACK)
        thread = threading.Thread(target=self._work, args=(made,), name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _kind(self, spec: GateSpec) -> Kind | Once | None:
        return self._kinds.get(type(spec.terms)) or self._onces.get(type(spec.terms))

    def _work(self, switch: Switch) -> None:
        """A thread's whole life. What goes wrong with one gate is no matter to the others."""
        while True:
            try:
                switch.run()
                return
            except Exception as error:  # the outermost loop of a thread
                log.exception("service keeper: %s: unexpected error", switch.spec.name)
                said = f"unexpected error: {type(error).__name__}: {error}"
                now = self._world.now()
                self._world.report(GateReport(switch.spec.name, "refused", now, said))
                time.sleep(_AGAIN)
