"""Which kernel gates of guards are closed, since when, until when: what all their keepers share.

Touches nothing. Every closing has its end, LEASE ahead at the most, and is over without a word.
Limits: the names of policy only; what is asked of any other is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tidegate.gate.doors import fault, kept
from tidegate.model import GateReport, Micros
from tidegate.policy.guards import KERNEL, LEASE, GateSpec


class Closings:
    """The gates of a policy and which of them are closed.

    `known` is false until somebody has said which: then those stay that the kernel holds.
    """

    def __init__(self, specs: Iterable[GateSpec] = ()) -> None:
        self.specs: tuple[GateSpec, ...] = ()
        self.known = False
        self._faulty: dict[str, str] = {}
        self._until: dict[str, Micros] = {}
        self._since: dict[str, Micros] = {}
        self.govern(specs)

    def govern(self, specs: Iterable[GateSpec]) -> bool:
        """These are the gates now; whether that changes what the kernel has to hold."""
        wanted = [spec for spec in specs if isinstance(spec.terms, KERNEL)]
        found = kept(wanted)
        names = {spec.name for spec in found}
        self._faulty = {
            spec.name: fault(spec) or "there are too many gates, or two of that name"
            for spec in wanted
            if spec.name not in names
        }
        changed, self.specs = found != self.specs, found
        self._until = {name: until for name, until in self._until.items() if name in names}
        self._since = {name: since for name, since in self._since.items() if name in names}
        return changed

    def take(self, closed: Mapping[str, Micros], now: Micros) -> list[GateReport]:
        """Exactly these are closed from now on, each until its end; how every gate stands then,
        and why any could not be closed."""
        self.known = True
        refusals = []
        wanted = {}
        names = {spec.name for spec in self.specs}
        for name, until in closed.items():
            if name not in names:
                reason = self._faulty.get(name, "policy has no such gate of the kernel")
                refusals.append(GateReport(name, "refused", now, reason))
            elif until > now:
                wanted[name] = min(until, now + LEASE)
        standing = self.standing(now)
        for name in names:
            if name in wanted:
                if name not in standing:
                    self._since[name] = now
            elif name in self._until:
                self._since[name] = min(now, self._until[name])  # it may have ended by itself
            else:
                self._since.setdefault(name, now)
        self._until = wanted
        return self.reports(now) + refusals

    def reports(self, now: Micros) -> list[GateReport]:
        """How every gate stands."""
        found = []
        for spec in self.specs:
            until = self._until.get(spec.name, 0)
            since = self._since.get(spec.name, now)
            if until > now:
                found.append(GateReport(spec.name, "closed", since))
            else:
                found.append(GateReport(spec.name, "open", max(since, until)))
        return found

    def adopt(self, standing: Mapping[str, Micros], now: Micros) -> None:
        """Take over what an earlier life has closed, until somebody says otherwise."""
        self.known = True
        names = {spec.name for spec in self.specs}
        self._until = {name: until for name, until in standing.items() if name in names}
        self._since = dict.fromkeys(self._until, now)

    def standing(self, now: Micros) -> dict[str, Micros]:
        """What is closed, and until when: LEASE ahead at the most, also if a clock was set back."""
        latest = now + LEASE
        return {name: min(until, latest) for name, until in self._until.items() if until > now}

    def open_all(self) -> None:
        """Nothing is closed any more."""
        self._until, self._since = {}, {}
