"""How the outward table stands, read from the kernel: who was cut, and who is cut off or watched.

Touches the kernel's table through the `Netfilter` it is given, only to read.
Limits: of each cap the 4,096 sources that were cut first within ten minutes.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import nlargest

from tidegate.gate.listing import packets, volume
from tidegate.gate.netfilter import Netfilter
from tidegate.gate.outward.caps import caps
from tidegate.gate.outward.lanes import Kind, kinds, subject_of
from tidegate.gate.outward.layout import filter_of
from tidegate.gate.outward.port import Capped, Filtered
from tidegate.model import Confined, Micros, Subject
from tidegate.policy.outward import OutwardSpec


def capped(netfilter: Netfilter, spec: OutwardSpec, most: int) -> list[Capped]:
    """What each cap has kept back of each source: of the `most` that were cut most, those first."""
    return nlargest(most, _capped(netfilter, spec), key=lambda one: one.packets)


def _capped(netfilter: Netfilter, spec: OutwardSpec) -> Iterator[Capped]:
    for kind in kinds(spec):
        for cap in caps(spec):
            for key, item in netfilter.items(f"capped_{cap}_{kind.name}"):
                yield Capped(subject_of(kind.name, key), cap, packets(item), volume(item))


def filtered(netfilter: Netfilter, spec: OutwardSpec) -> Iterator[Filtered]:
    """What each named filter has matched since its rules were put in."""
    for one in spec.filters:
        for _sets, count, size in netfilter.counters(filter_of(one))[:1]:
            yield Filtered(one.name, count, size)


def confined(netfilter: Netfilter, spec: OutwardSpec, now: Micros) -> Iterator[Confined]:
    """Who is cut off or watched, and until when, by the kernel's own timeouts."""
    found: dict[Subject, Confined] = {}
    for kind in kinds(spec):
        for subject, until in _ends(netfilter, f"cut_{kind.name}", kind, now):
            found[subject] = Confined(subject, until, 0)
        for subject, watched in _ends(netfilter, f"watched_{kind.name}", kind, now):
            found[subject] = found.get(subject, Confined(subject, 0, 0))._replace(watched=watched)
    yield from found.values()


def _ends(
    netfilter: Netfilter, name: str, kind: Kind, now: Micros
) -> Iterator[tuple[Subject, Micros]]:
    for key, left in netfilter.elements(name):
        if left is not None:  # the one that stands for ever is nobody
            yield subject_of(kind.name, key), now + left * 1000
