"""Every reading by its canonical name: how it is taken.

Touches nothing itself; each module it names says what it touches. Modules are only loaded for
readings that are wanted. Limits: what there is not is an unknown reading with a reason, no error.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from importlib import resources
from typing import Any, ClassVar

from tidegate.errors import SourceError
from tidegate.policy.guards import ReadingSpec
from tidegate.policy.readings import split
from tidegate.source.readings import load, ram
from tidegate.source.readings.taking import Places, Taken, Taker, one_line, unknown

PATIENCE = 5.0
"""Seconds that a probe waits for its answer."""

_HERE = Places()


def preload() -> None:
    """Load every module that a reading may need: later this process may be unable to read them."""
    for entry in resources.files(__package__).iterdir():
        if entry.name.endswith(".py") and entry.name != "__init__.py":
            importlib.import_module(f"{__package__}.{entry.name.removesuffix('.py')}")


class Catalogue:
    """Takers by name, each made once. `specs` are the administrator's own readings."""

    def __init__(self, specs: Iterable[ReadingSpec] = (), places: Places = _HERE) -> None:
        self._specs = {spec.name: spec for spec in specs}
        self._places = places
        self._takers: dict[str, Taker] = {}
        self._parts: dict[str, Any] = {}

    def taker(self, name: str) -> Taker:
        """How this one is taken; of one that can't be, a taker that says why."""
        found = self._takers.get(name)
        if found is None:
            try:
                found = self._made(name) or unknown(f'there is no reading "{name}"')
            except SourceError as error:
                found = unknown(one_line(str(error)))
            self._takers[name] = found
        return found

    def close(self) -> None:
        """Forget all takers, and what they keep open."""
        self._takers.clear()
        self._parts.clear()

    def _made(self, name: str) -> Taker | None:
        if name in self._specs:
            spec = self._specs[name]
            return self._part("custom", "Custom").taker(spec)  # type: ignore[no-any-return]
        family, argument = split(name)
        head, _, part = family.partition(".")
        if not argument:
            return self._bare(family, head, part)
        make = self._FAMILIES.get(head)
        return make(self, family, part, argument) if make else None

    def _bare(self, family: str, head: str, part: str) -> Taker | None:
        """The readings without an argument."""
        if head in load.AVERAGES and part in ("", "core"):
            return self._taker("load", "Load", head, per_core=part == "core")
        if family in ram.NAMES:
            return self._taker("ram", "Memory", family)
        if head == "psi":
            return self._taker("pressure", "Pressure", family)
        if family == "processes":
            return self._taker("processes", "Processes", "")
        if family in ("connections", "conntrack", "listen.overflows"):
            return self._taker("network", "Network", family, "")
        return None

    def _disk(self, family: str, part: str, argument: str) -> Taker | None:
        disk = self._module("disk")
        head = family.partition(".")[0]
        if part not in (disk.SPACE if head == "disk" else disk.INODES):
            return None
        return self._taker("disk", "Disks", head, part, argument)

    def _queue(self, family: str, _part: str, argument: str) -> Taker | None:
        return self._taker("queue", "Queues", argument) if family == "queue" else None

    def _processes(self, family: str, _part: str, argument: str) -> Taker | None:
        return self._taker("processes", "Processes", argument) if family == "processes" else None

    def _unit(self, _family: str, part: str, argument: str) -> Taker | None:
        if part not in ("cpu", "memory", "processes"):
            return None
        # Pid files are looked up in the sweep over all processes, which is shared with those.
        processes = self._part("processes", "Processes")
        units = self._parts.get("Units")
        if units is None:
            units = self._parts["Units"] = self._module("units").Units(self._places, processes)
        return units.taker(part, argument)  # type: ignore[no-any-return]

    def _network(self, family: str, _part: str, argument: str) -> Taker | None:
        return self._taker("network", "Network", family, argument)

    def _probe(self, family: str, _part: str, argument: str) -> Taker | None:
        """Probes and pings: each target waits in a worker of its own."""
        module = self._module("probes" if family in ("up", "latency") else "ping")
        ask: Callable[..., float] = getattr(module, family)
        whole = 100.0 if family == "loss" else None
        return Taker(
            lambda _look: Taken(float(ask(argument, timeout=PATIENCE)), whole),
            worker=f"{family} {argument}",
            deadline=PATIENCE * 3,
        )

    _FAMILIES: ClassVar = {
        "disk": _disk,
        "inodes": _disk,
        "queue": _queue,
        "processes": _processes,
        "unit": _unit,
        "connections": _network,
        "interface": _network,
        "up": _probe,
        "latency": _probe,
        "rtt": _probe,
        "loss": _probe,
    }

    def _taker(self, module: str, part: str, *words: str, **more: bool) -> Taker | None:
        return self._part(module, part).taker(*words, **more)  # type: ignore[no-any-return]

    def _part(self, module: str, part: str) -> Any:
        """The object that takes readings of one sort, made once."""
        found = self._parts.get(part)
        if found is None:
            make = getattr(self._module(module), part)
            found = make() if module in ("disk", "custom", "queue") else make(self._places)
            self._parts[part] = found
        return found

    def _module(self, name: str) -> Any:
        try:
            return importlib.import_module(f"tidegate.source.readings.{name}")
        except ModuleNotFoundError as error:
            raise SourceError(f"this version takes no such reading ({error.name})") from error
