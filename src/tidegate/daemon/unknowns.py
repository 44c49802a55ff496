"""Says which readings can't be taken: once when it has lasted for two looks, once when it is over.
The same of all of them, where whoever takes them says nothing any more.

Touches nothing. One look is no trouble: rates are unknown at their first, what hangs may be back.
Limits: a reading that fails again within ten minutes of being told is not told again.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from tidegate.model import MINUTE, SECOND, Micros, Sample

LOOKS = 2
SILENT: Micros = 20 * SECOND
"""Nothing at all for so long, beyond three intervals of what is taken most often, is a trouble."""
QUIET: Micros = 10 * MINUTE


@dataclass(slots=True)
class _Trouble:
    looks: int = 0
    why: str = ""
    said: bool = False
    at: Micros | None = None  # when it was said last


class Unknowns:
    """Remembers of each reading how it failed. `take` every sample, in order."""

    def __init__(self) -> None:
        self._troubles: dict[str, _Trouble] = {}
        self._heard: Micros = 0  # when anything came last
        self._silent = False

    def take(self, samples: Sequence[Sample]) -> tuple[list[str], list[str]]:
        """What is to be said now: of readings that are unknown, and of those well again."""
        lost, well = [], []
        for sample in samples:
            if sample.value is None:
                lost += self._lost(sample)
            elif (trouble := self._troubles.get(sample.reading)) is not None:
                if trouble.said:
                    well.append(f"reading {sample.reading}: well again (was: {trouble.why})")
                trouble.looks, trouble.said = 0, False
        return lost, well

    def silence(self, heard: bool, every: Micros, now: Micros) -> str:
        """What is to be said of it that nothing arrives, or that something does again; `every`: how
        often the most frequent reading is taken (0: nothing is)."""
        if heard or not every or not 0 < self._heard <= now:
            self._heard = now
            was, self._silent = self._silent, False
            return "readings: well again, they arrive" if was and heard else ""
        if self._silent or now - self._heard < 3 * every + SILENT:
            return ""
        self._silent = True
        silence = (now - self._heard) // SECOND
        return f"readings: none has arrived for {silence} s; all are unknown, and close nothing"

    def keep(self, readings: Collection[str]) -> None:
        """After a reload: of others nothing is remembered."""
        self._troubles = {name: one for name, one in self._troubles.items() if name in readings}

    def _lost(self, sample: Sample) -> list[str]:
        trouble = self._troubles.setdefault(sample.reading, _Trouble())
        trouble.looks += 1
        if trouble.looks < LOOKS or trouble.said:
            return []
        if trouble.at is not None and 0 <= sample.time - trouble.at < QUIET:
            return []
        trouble.why, trouble.said, trouble.at = sample.why, True, sample.time
        return [f"reading {sample.reading} is unknown, and closes nothing: {sample.why}"]
