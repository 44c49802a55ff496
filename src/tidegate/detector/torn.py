"""Torn lines: what a client wrote into a log that does not escape newlines, and nobody believes.

Touches nothing. A program that writes names as they came (nginx's error log) can be made to write
whole lines of the client's choosing; but before them stands the beginning of its own line, torn.
Limits: a program writes at most so many bytes at once (the pack says how many); within these behind
a torn line nothing of that pack is believed, so who tears a line hides what follows it, too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from tidegate.detector.definition import Pack, Torn
from tidegate.detector.lean import lean
from tidegate.model import Batch, Block

FILES = 256


class Tears:
    """Drops events of packs whose lines can be torn. `dropped` counts them; `successes` are the
    kinds of these packs that speak for somebody, which have to be events for that."""

    def __init__(self, packs: Sequence[Pack]) -> None:
        torn: Mapping[str, Torn] = {pack.name: pack.torn for pack in packs if pack.torn is not None}
        self._within = {name: one.within for name, one in torn.items()}
        self._torn = {
            name: re.compile(lean(b"(?:" + one.pattern + rb")\r?\Z")).match
            for name, one in torn.items()
        }
        self.successes = frozenset(
            detector.kind.name
            for pack in packs
            if pack.torn is not None
            for detector in pack.detectors
            if detector.kind.klass == "success"
        )
        self._before: dict[tuple[str, int], tuple[int, bytes]] = {}
        self._most = max(self._within.values(), default=0)
        self.dropped = 0

    def __bool__(self) -> bool:
        return bool(self._torn)

    def drop(self, batch: Batch, block: Block) -> None:
        """Take out of a block's batch what stands too close behind a torn line."""
        key = (block.source, block.origin)
        until, before = self._before.pop(key, (-1, b""))
        if until != block.offset:
            before = b""
        if any(event.kind.pack in self._torn for event in batch.events):
            data = before + block.data
            start = block.offset - len(before)
            believed = [
                one
                for one in batch.events
                if not self._behind(one.kind.pack, data, one.offset - start)
            ]
            self.dropped += len(batch.events) - len(believed)
            batch.events[:] = believed
        if len(self._before) >= FILES:
            del self._before[next(iter(self._before))]
        kept = block.data if len(block.data) >= self._most else before + block.data
        self._before[key] = block.offset + len(block.data), kept[-self._most :]

    def _behind(self, pack: str, data: bytes, at: int) -> bool:
        """Whether the line at `at` begins within so many bytes of a torn one."""
        torn = self._torn.get(pack)
        if torn is None:
            return False
        stop, least = at - 1, at - self._within[pack]
        while stop > 0 and stop >= least:
            start = data.rfind(b"\n", 0, stop) + 1
            if start < max(least, 0) and start > 0:
                break
            if torn(data, start, stop):
                return True
            stop = start - 1
        return False
