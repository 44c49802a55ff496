"""The load average, whole and for each core, and whose load it is.

Touches /proc/loadavg, and what `container` does. Inside a container the kernel shows the load of
the whole machine: it is then shared by all cores of the machine, not by those of the container.
Limits: lxcfs shows a container's own load only if it runs with --enable-loadavg.
"""

from __future__ import annotations

from collections.abc import Iterable

from tidegate.source.readings import container
from tidegate.source.readings.taking import Held, Places, Shared, Taken, Taker

AVERAGES = {"la1": 0, "la5": 1, "la15": 2}
_CORES_EVERY = 60
"""Looks after which the cores are counted again: they may be plugged in."""


def whose_load(names: Iterable[str], places: Places = container.HERE) -> str:
    """In a container and where one of these is a load: whose it is, for people; else ""."""
    if not any(name.partition(".")[0] in AVERAGES for name in names):
        return ""
    return Load(places).describe() if container.kind(places) else ""


class Load:
    """The three averages; `per_core` divides by the cores that share this load."""

    def __init__(self, places: Places) -> None:
        self._places = places
        held = Held(f"{places.proc}/loadavg")
        self._averages = Shared(lambda: tuple(map(float, held.read().split()[:3])))
        self._cores = 0.0
        self._counted = -_CORES_EVERY

    def taker(self, name: str, *, per_core: bool) -> Taker:
        """The taker of `la1`, `la5` or `la15`, or of what each core has of it."""
        index = AVERAGES[name]

        def take(look: int) -> Taken:
            load = self._averages.at(look)[index]
            return Taken(load / self.cores(look) if per_core else load)

        return Taker(take)

    def cores(self, look: int = 0) -> float:
        """How many cores share this load."""
        if look - self._counted >= _CORES_EVERY or not self._cores:
            own = container.own_load(self._places)
            self._cores = (
                container.allowed(self._places) if own else float(container.online(self._places))
            )
            self._counted = look
        return self._cores

    def describe(self) -> str:
        """For people: whose load this is, and shared by how many cores."""
        inside = container.kind(self._places)
        cores = f"{self.cores():g} core{'s' if self.cores() != 1 else ''}"
        if not inside:
            return f"the load of this host, shared by {cores}"
        if container.own_load(self._places):
            return f"the load of this container ({inside}, by lxcfs), which may use {cores}"
        return (
            f"the load of the whole machine, shared by {cores}, not of this container ({inside}),"
            f" which may use {container.allowed(self._places):g}: better guard by unit.cpu or psi"
        )
