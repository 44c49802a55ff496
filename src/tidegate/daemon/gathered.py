"""From the ledger's deeds to closings: what was really closed, until when, and who opened it.

Touches nothing. What was refused, skipped, spared or only observed has closed nothing. Limits: what
a gate takes away is known by the policy of today; of a gate that left it, by its name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from functools import lru_cache

from tidegate.daemon.moves import PREFIX
from tidegate.decision.incidents import Cause, Closing, Mishap, What
from tidegate.gate.switches.port import LEASE
from tidegate.ledger.port import Deed
from tidegate.model import Micros, Subject
from tidegate.policy.guards import (
    Command,
    Freeze,
    Haproxy,
    Properties,
    Refuse,
    Restart,
    Run,
    Service,
    Terms,
    Throttle,
)
from tidegate.policy.models import Policy

MOST_MISHAPS = 10_000
OUTWARD = ("outward",)
EVERY_PORT = ("every port",)
_NOT_DONE = frozenset({"refused", "skipped"})
_MILD = frozenset({"throttle", "properties", "haproxy", "agent", "keepalived"})


class Gathered:
    """One walk through deeds, the oldest first. `shut`: the gates that are closed now."""

    def __init__(self, policy: Policy, shut: Collection[str], now: Micros) -> None:
        self.mishaps: list[Mishap] = []
        self._shut, self._now = shut, now
        self._gates = {gate.name: gate.terms for gate in policy.gates}
        self._standing: dict[str, Closing] = {}
        self._undone: dict[tuple[Subject, Micros], list[Closing]] = {}

    def closings(self, deeds: Iterable[Deed]) -> Iterator[Closing]:
        """Each closing as soon as all of it is known. Read it to the end, then `mishaps`."""
        for deed in deeds:
            if deed.action in ("ban", "quarantine"):
                yield from self._source(deed)
            elif deed.action in ("unban", "allow", "release"):
                self._opened(deed)
            elif deed.subject.startswith(PREFIX):
                yield from self._gate(deed)
        for name, one in self._standing.items():
            # Nobody wrote down when it opened: what is not renewed opens by itself.
            yield one if name in self._shut else one._replace(end=one.start + LEASE)

    def _source(self, deed: Deed) -> Iterator[Closing]:
        if deed.mode != "enforce":
            return
        ban = deed.action == "ban"
        services = _ports(deed.ports) if ban else OUTWARD
        what: What = "ban" if ban else "quarantine"
        end = deed.until if deed.undone is None else min(deed.undone, deed.until)
        one = Closing(
            deed.id, deed.time, max(end, deed.time), what, deed.rule, deed.subject, services,
            deed.by, undone=deed.undone is not None and deed.undone < deed.until,
        )  # fmt: skip
        if deed.spared:
            if deed.spared == "good record":
                self._admit(Mishap(deed.time, one.cause, "spared", deed.subject))
            return
        if deed.state in _NOT_DONE:
            if deed.state == "refused":
                why = deed.detail
                self._admit(Mishap(deed.time, one.cause, "refused", deed.subject, detail=why))
            return
        if one.undone and deed.undone is not None:
            self._undone.setdefault((deed.subject, deed.undone), []).append(one)
        if deed.collateral and not is_person(deed.by):
            self._admit(Mishap(deed.time, one.cause, "good", deed.subject))
        yield one

    def _opened(self, deed: Deed) -> None:
        closed = self._undone.pop((deed.subject, deed.time), ())
        if not is_person(deed.by):
            return
        causes = {one.cause: one for one in closed if not is_person(one.by)}
        for cause, one in causes.items():
            span = max(0, deed.time - one.start)
            self._admit(Mishap(deed.time, cause, "opened", deed.subject, deed.by, span))

    def _gate(self, deed: Deed) -> Iterator[Closing]:
        name = deed.subject.removeprefix(PREFIX)
        if deed.mode != "enforce" or deed.action not in ("close", "open", "fire"):
            return
        before = self._standing.get(name)
        if deed.action == "open":
            if before is not None:
                del self._standing[name]
                yield self._ended(before, deed)
            return
        what, services = self._what(name, deed)
        if deed.state in _NOT_DONE:
            if deed.state == "refused":
                cause = Cause("guard", deed.rule)
                self._admit(Mishap(deed.time, cause, "refused", deed.subject, detail=deed.detail))
            return
        one = Closing(deed.id, deed.time, None, what, deed.rule, deed.subject, services, deed.by)
        if deed.action == "fire":
            yield one._replace(what="run", end=deed.time)
        elif before is None:  # else it is said again, by a person for instance
            self._standing[name] = one

    def _ended(self, one: Closing, deed: Deed) -> Closing:
        if not is_person(deed.by):
            return one._replace(end=deed.time)
        if not is_person(one.by):
            span = max(0, deed.time - one.start)
            self._admit(Mishap(deed.time, one.cause, "opened", one.subject, deed.by, span))
        return one._replace(end=deed.time, undone=True, opened_by=deed.by)

    def _what(self, name: str, deed: Deed) -> tuple[What, tuple[str, ...]]:
        terms = self._gates.get(name)
        if terms is not None:
            return taken(terms, deed.rule)
        return ("limit" if name.rpartition(".")[2] in _MILD else "stop"), (deed.rule,)

    def _admit(self, mishap: Mishap) -> None:
        if len(self.mishaps) < MOST_MISHAPS:
            self.mishaps.append(mishap)


def taken(terms: Terms, guard: str) -> tuple[What, tuple[str, ...]]:
    """What such a gate takes away from whom while it is closed. A drain takes nothing: somebody
    else serves meanwhile."""
    match terms:
        case Service(service):
            return "stop", (service,)
        case Freeze(unit):
            return "stop", (unit,)
        case Refuse(ports):
            return "stop", _ports(ports)
        case Command():
            return "stop", (guard,)
        case Throttle(ports):
            return "limit", _ports(ports)
        case Properties(unit):
            return "limit", (unit,)
        case Haproxy(_, backend, server):
            return "limit", (f"{backend}/{server}",)
        case Restart(service):
            return "run", (service,)
        case Run():
            return "run", (guard,)
        case _:
            return "limit", (guard,)


def is_person(by: str) -> bool:
    """Whether that is a person's hand: `anna (uid 1000)`, here or on another host of the fleet
    (`anna (uid 1000) at web2`), or one that nobody saw."""
    named, _at, _host = by.partition(") at ")
    return by == "person" or ("(uid " in named and (named != by or by.endswith(")")))


@lru_cache(maxsize=1024)
def _ports(ports: tuple[int, ...]) -> tuple[str, ...]:
    return tuple(f"port {port}" for port in ports) or EVERY_PORT
