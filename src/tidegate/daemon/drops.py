"""What the kernel dropped for our bans, hour by hour, added up from counters that begin anew.

Touches nothing: it is told what the counters say. A counter that stands lower than before was put
in anew. Limits: `HOURS` hours with drops of each scope; what was counted between the last look and
a restart is lost, a minute's worth.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from struct import Struct

from tidegate.gate.port import Dropped
from tidegate.model import HOUR, Change, Micros

HOURS = 10_000
_PART = "dropped"
_PAIR = Struct(">2Q")

Ports = tuple[int, ...]


class Drops:
    """Packets and bytes by hour and ports."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, int]] = {}
        self._hours: dict[tuple[int, Ports], tuple[int, int]] = {}
        self._dirty: set[tuple[int, Ports]] = set()

    def take(self, readings: Iterable[Dropped], now: Micros) -> None:
        """Add what the counters have moved since they were read last."""
        for one in readings:
            packets, size = self._seen.get(one.name, (0, 0))
            if one.packets < packets:
                packets = size = 0
            self._seen[one.name] = (one.packets, one.bytes)
            if one.packets > packets:
                key = (now // HOUR, one.ports)
                before = self._hours.get(key, (0, 0))
                moved = (one.packets - packets, max(0, one.bytes - size))
                self._hours[key] = (before[0] + moved[0], before[1] + moved[1])
                self._dirty.add(key)
        while len(self._hours) > HOURS:
            oldest = min(self._hours)
            del self._hours[oldest]
            self._dirty.add(oldest)

    def since(self, moment: Micros) -> dict[Ports, tuple[int, int]]:
        """Packets and bytes by ports, of the hour that a moment lies in and all later ones."""
        found: dict[Ports, tuple[int, int]] = {}
        for (hour, ports), (packets, size) in self._hours.items():
            if hour >= moment // HOUR:
                before = found.get(ports, (0, 0))
                found[ports] = (before[0] + packets, before[1] + size)
        return found

    def changes(self) -> Iterator[Change]:
        """What changed since the last call, for a checkpoint."""
        dirty, self._dirty = self._dirty, set()
        for key in sorted(dirty):
            value = self._hours.get(key)
            name = f"{key[0]} {','.join(map(str, key[1]))}"
            yield Change(_PART, name, None if value is None else _PAIR.pack(*value))

    def restore(self, change: Change) -> bool:
        """Take back one saved change; False if it is not ours."""
        if change.part != _PART or change.value is None or len(change.value) != _PAIR.size:
            return False
        hour, _space, ports = change.key.partition(" ")
        try:
            key = (int(hour), tuple(int(port) for port in ports.split(",") if port))
        except ValueError:
            return False
        packets, size = _PAIR.unpack(change.value)
        self._hours[key] = (packets, size)
        return True
