"""The scanner: one pass over a block that finds every place where a literal ends.

Touches nothing but memory; Vectorscan (by pyperscan) or Python's `re`, with identical results.
Limits: exact bytes only, no patterns; a literal of at least one byte; not to be shared by threads.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from typing import Literal, Protocol

EngineName = Literal["auto", "vectorscan", "re"]

Hits = list[tuple[int, int]]
"""(end offset, index of the literal), by end offset, then by index."""


class Scanner(Protocol):
    """Finds literals in a block of bytes."""

    name: str

    def scan(self, data: bytes) -> Hits:
        """Every place where a literal ends; the list is the caller's until the next scan."""


class ReScanner:
    """Literals one after the other, by Python's own search."""

    name = "re"

    def __init__(self, literals: Sequence[bytes]) -> None:
        self._literals = list(literals)

    def scan(self, data: bytes) -> Hits:
        """Every place where a literal ends."""
        hits: Hits = []
        for index, literal in enumerate(self._literals):
            size = len(literal)
            start = data.find(literal)
            while start >= 0:
                hits.append((start + size, index))
                start = data.find(literal, start + 1)
        hits.sort()
        return hits


class VectorScanner:
    """Literals by Vectorscan. The callback costs about 0.4 µs, hence: rare literals."""

    name = "vectorscan"

    def __init__(self, literals: Sequence[bytes]) -> None:
        import pyperscan  # here: where it has no wheel the other scanner serves

        going_on = pyperscan.Scan.Continue

        def found(
            note: Callable[[tuple[int, int]], None], tag: int, _from: int, end: int, /
        ) -> pyperscan.Scan:
            note((end, tag))
            return going_on

        self._hits: Hits = []
        patterns = [
            pyperscan.Pattern(b"".join(b"\\x%02x" % byte for byte in literal), tag=index)
            for index, literal in enumerate(literals)
        ]
        database = pyperscan.BlockDatabase(*patterns)
        self._scan = database.build(self._hits.append, found).scan

    def scan(self, data: bytes) -> Hits:
        """Every place where a literal ends."""
        self._hits.clear()
        self._scan(data)
        self._hits.sort()  # in order already, or nearly: Vectorscan promises less than we do
        return self._hits


def choose(name: EngineName, literals: Sequence[bytes], cpu_flags: str | None = None) -> Scanner:
    """The scanner of that name; `auto`: Vectorscan where it can run, else `re`.

    `cpu_flags`: the flags line of /proc/cpuinfo. On x86 without SSE4.2 Vectorscan would end the
    process with an illegal instruction, so it is not even loaded there.
    """
    if not literals or name == "re":
        return ReScanner(literals)
    if name == "auto" and not can_vectorscan(cpu_flags):
        return ReScanner(literals)
    return VectorScanner(literals)


def flags_of(cpuinfo: str) -> str | None:
    """The flags line of the text of /proc/cpuinfo, for `choose`; None if it has none."""
    for line in cpuinfo.splitlines():
        if line.startswith("flags"):
            return line.partition(":")[2]
    return None


def can_vectorscan(cpu_flags: str | None) -> bool:
    """Whether Vectorscan has a wheel here and this processor can run it."""
    intel = platform.machine() in ("x86_64", "AMD64")
    if intel and cpu_flags is not None and "sse4_2" not in cpu_flags.split():
        return False
    try:
        import pyperscan  # noqa: F401
    except ImportError:
        return False
    return True
