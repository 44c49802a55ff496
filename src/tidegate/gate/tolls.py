"""What stands in the kernel for gates of guards: which are closed, and who was cut how often.

Touches the kernel through the given `Netfilter`, and only reads. Limits: the heaviest sources are
those of the last minutes, of at most `doors.HEAVIEST` of each family that are counted.
"""

from __future__ import annotations

from collections.abc import Iterable

from tidegate.gate import doors
from tidegate.gate.netfilter import Netfilter
from tidegate.gate.port import Throttled
from tidegate.model import Micros, Subject
from tidegate.policy.guards import GateSpec, Throttle
from tidegate.subject import Network, from_network

_NAMED = 10  # sources


def closed(netfilter: Netfilter, specs: Iterable[GateSpec], now: Micros) -> dict[str, Micros]:
    """Which of these gates are closed, and until when."""
    found: dict[str, Micros] = {}
    for spec in specs:
        for element in netfilter.elements(doors.ports_of(spec.name)):
            if element.left is not None:
                until = now + element.left * 1000
                found[spec.name] = max(found.get(spec.name, 0), until)
    return found


def throttled(netfilter: Netfilter, specs: Iterable[GateSpec]) -> list[Throttled]:
    """What each gate has cut or refused since its rules were put in."""
    packets: dict[str, int] = {}
    sizes: dict[str, int] = {}
    for (ports, *_sources), number, size in netfilter.counters(doors.CHAIN):
        packets[ports] = packets.get(ports, 0) + number
        sizes[ports] = sizes.get(ports, 0) + size
    return [
        Throttled(spec.name, packets[ports], sizes[ports], _heaviest(netfilter, spec))
        for spec in specs
        if (ports := doors.ports_of(spec.name)) in packets
    ]


def _heaviest(netfilter: Netfilter, spec: GateSpec) -> tuple[tuple[Subject, int], ...]:
    if not isinstance(spec.terms, Throttle):
        return ()
    found = [
        (from_network(Network(family, length, key)), packets)
        for family, length in ((4, 32), (6, 64))
        for key, packets in netfilter.counted(doors.heaviest_of(spec.name, family))
    ]
    found.sort(key=lambda one: (-one[1], one[0]))
    return tuple(found[:_NAMED])
