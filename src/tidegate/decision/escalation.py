"""Escalation: a whole network is closed for when enough different ones in it were each convicted.

Touches nothing. One level at a time: addresses make a /24, /64s a /56, and /56s that were closed
themselves a /48. Never where somebody in it has a good record or was pardoned.
Limits: `capacity` remembered children; those convicted longest ago go first, counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from struct import Struct

from tidegate import subject as subjects
from tidegate.model import Change, Decision, Micros, Ref, Subject
from tidegate.policy.models import Escalation
from tidegate.subject import Network

_CHILD = Struct(">QQQ")
_CHILDREN = {(4, 24): 32, (6, 56): 64, (6, 48): 56}
"""How long the prefixes of a network's children are."""

Hurts = Callable[[Subject], bool]
"""Whether closing a network would hurt somebody who has a good record, or was pardoned."""


class Escalations:
    """Remembers who was convicted in which network; answers with the networks that are due."""

    def __init__(self, terms: Sequence[Escalation], capacity: int = 100_000) -> None:
        self.capacity = capacity
        self.evicted = 0
        self._terms = terms
        # (network, ports) -> child -> when it was convicted, and by which line.
        self._children: dict[tuple[Subject, tuple[int, ...]], dict[Subject, Ref]] = {}
        self._held: dict[tuple[Subject, tuple[int, ...]], Micros] = {}
        self._count = 0
        self._dirty: set[tuple[Subject, tuple[int, ...], Subject]] = set()

    def __len__(self) -> int:
        return self._count

    def due(self, decision: Decision, hurts: Hurts) -> Decision | None:
        """The closing of a network that a decision about one in it makes due; None if none."""
        found = subjects.network(decision.subject)
        if found is None or decision.by != "rule":
            return None
        for terms in self._terms:
            if found.family == terms.family and found.length == _child_length(terms):
                return self._note(decision, found, terms, hurts)
        return None

    def _note(
        self, decision: Decision, found: Network, terms: Escalation, hurts: Hurts
    ) -> Decision | None:
        parent = subjects.from_network(Network(found.family, terms.length, found.bits))
        key, time = (parent, decision.ports), decision.time
        children = self._children.setdefault(key, {})
        if children.pop(decision.subject, None) is None:
            self._count += 1
        last = decision.refs[-1] if decision.refs else Ref(time, 0, 0)  # no line of our own
        children[decision.subject] = last._replace(time=time)
        self._dirty.add((*key, decision.subject))
        if self._count > self.capacity:
            self._evict()
        recent = [ref for ref in children.values() if time - ref.time <= terms.within]
        if (
            len(recent) < terms.children
            or time < self._held.get(key, 0)
            or decision.spared
            or hurts(parent)
        ):
            return None
        # Shorter than what its worst one got: most of a network never did anything.
        duration = min(terms.duration, decision.duration)
        self._held[key] = time + duration
        return replace(
            decision,
            id=f"{decision.id}-{terms.length}",
            subject=parent,
            until=time + duration,
            duration=duration,
            count=len(recent),
            step=0,
            reason=f"{len(recent)} in this network were convicted; the last: {decision.reason}",
            refs=tuple(ref for ref in sorted(recent)[-terms.children :] if ref.origin),
            collateral=False,
        )

    def standing(self, network: Subject, ports: tuple[int, ...]) -> Micros:
        """Until when a whole network is closed for (0: it is not)."""
        return self._held.get((network, ports), 0)

    def hold(self, network: Subject, ports: tuple[int, ...], until: Micros) -> None:
        """Another host has closed for a whole network."""
        self._held[network, ports] = until
        if len(self._held) > self.capacity:
            del self._held[next(iter(self._held))]

    def pardon(self, subject: Subject) -> None:
        """Forget that a subject, or anybody in it, was convicted."""
        found = subjects.network(subject)
        if found is None:
            return
        for key in [key for key in self._held if key[0] == subject]:
            del self._held[key]
        for key, children in list(self._children.items()):
            for child in list(children):
                inside = subjects.network(child)
                if child == subject or (inside is not None and found.holds(inside)):
                    self._drop(key, child)

    def expire(self, now: Micros) -> None:
        """Drop what is too old to count."""
        longest = max((terms.within for terms in self._terms), default=0)
        for key, children in list(self._children.items()):
            for child in [one for one, ref in children.items() if now - ref.time > longest]:
                self._drop(key, child)
        for key in [key for key, until in self._held.items() if until < now]:
            del self._held[key]

    def changes(self) -> Iterator[Change]:
        """What changed since the last call, for a checkpoint."""
        dirty, self._dirty = self._dirty, set()
        for network, ports, child in sorted(dirty):
            ref = self._children.get((network, ports), {}).get(child)
            value = None if ref is None else _CHILD.pack(*ref)
            yield Change("convicted", f"{network} {','.join(map(str, ports))} {child}", value)

    def restore(self, change: Change) -> bool:
        """Take back one saved change; False if it is not ours, or no rule escalates so far."""
        if change.part != "convicted" or change.value is None or len(change.value) != _CHILD.size:
            return False
        try:
            network, stated, child = change.key.split(" ")
            ports = tuple(int(port) for port in stated.split(",") if port)
        except ValueError:
            return False
        found = subjects.network(Subject(network))
        if found is None or not any(
            (one.family, one.length) == (found.family, found.length) for one in self._terms
        ):
            return False
        children = self._children.setdefault((Subject(network), ports), {})
        self._count += child not in children
        children[Subject(child)] = Ref(*_CHILD.unpack(change.value))
        return True

    def take_over(self, old: Escalations) -> None:
        """On reload: who was convicted is kept."""
        for (network, ports), children in old._children.items():
            for child, ref in children.items():
                key = f"{network} {','.join(map(str, ports))} {child}"
                self.restore(Change("convicted", key, _CHILD.pack(*ref)))
        self._held, self._dirty, self.evicted = old._held, old._dirty, old.evicted

    def _drop(self, key: tuple[Subject, tuple[int, ...]], child: Subject) -> None:
        children = self._children[key]
        del children[child]
        self._count -= 1
        self._dirty.add((*key, child))
        if not children:
            del self._children[key]

    def _evict(self) -> None:
        for key in list(islice(self._children, max(1, self.capacity // 64))):
            for child in list(self._children[key]):
                self._drop(key, child)
                self.evicted += 1


def _child_length(terms: Escalation) -> int:
    return _CHILDREN[terms.family, terms.length]
