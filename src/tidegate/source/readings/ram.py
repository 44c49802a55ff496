"""Memory and swap, free and used, in bytes; their whole is what there is of them.

Touches /proc/meminfo. `memfree` counts buffers and caches as free (so also files in a tmpfs),
`memused` is the rest; `memavailable` is the kernel's own estimate and the best of the three.
Limits: in a container it is the machine's memory, unless lxcfs shows the container's.
"""

from __future__ import annotations

import re

from tidegate.source.readings.taking import Held, Places, Shared, Taken, Taker

NAMES = ("memfree", "memused", "memavailable", "swapfree", "swapused")
_LINE = re.compile(
    rb"^(MemTotal|MemFree|MemAvailable|Buffers|Cached|SwapTotal|SwapFree):\s+(\d+)", re.M
)


class Memory:
    """What /proc/meminfo says, in bytes."""

    def __init__(self, places: Places) -> None:
        held = Held(f"{places.proc}/meminfo")
        self._lines = Shared(
            lambda: {key: int(kilo) << 10 for key, kilo in _LINE.findall(held.read())}
        )

    def taker(self, name: str) -> Taker:
        """The taker of one of `NAMES`."""
        return Taker(lambda look: _taken(name, self._lines.at(look)))


def _taken(name: str, lines: dict[bytes, int]) -> Taken:
    if name.startswith("swap"):
        whole = lines[b"SwapTotal"]
        if not whole:
            return Taken(None, why="this host has no swap")
        free = lines[b"SwapFree"]
        return Taken(free if name == "swapfree" else whole - free, whole)
    whole = lines[b"MemTotal"]
    if name == "memavailable":
        available = lines.get(b"MemAvailable")
        if available is None:
            return Taken(None, why="this kernel does not estimate what memory is available")
        return Taken(available, whole)
    free = lines[b"MemFree"] + lines[b"Buffers"] + lines[b"Cached"]
    return Taken(free if name == "memfree" else whole - free, whole)
