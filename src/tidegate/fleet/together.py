"""One call to the engine instead of two: to count, and to hear, where one server does both.

Touches nothing. Every host does both five times a second, so half of what it would send goes into
saying so twice. Limits: not in a cluster, where what is counted and what is said are apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tidegate.fleet.counting.functions import Command

_COUNT, _HEARD = ("FCALL", "tg1_count"), (b"FCALL_RO", b"tg1_heard")


class Together(NamedTuple):
    """What to send; `spread` makes replies to what was asked of replies to this. `counting` and
    `hearing`: where the two were that are one now, -1 where they were not."""

    commands: list[Command]
    counting: int = -1
    hearing: int = -1

    def is_refused(self, replies: Sequence[object]) -> bool:
        """Whether both were refused in one, of which one alone might not be: an engine without
        memory still lets hear."""
        return self.counting >= 0 and isinstance(replies[self.counting], Exception)

    def spread(self, replies: list[object]) -> list[object]:
        """The replies as if all had been asked one by one."""
        if self.counting < 0:
            return replies
        both = replies[self.counting]
        one, other = both if isinstance(both, list) and len(both) == 2 else (both, both)
        found = [*replies[: self.counting], one, *replies[self.counting + 1 :]]
        found.insert(self.hearing, other)
        return found


def together(commands: Sequence[Command]) -> Together:
    """The same in fewer calls, if the last that counts comes before the first that hears."""
    found = list(commands)
    counts = [place for place, one in enumerate(found) if one[:2] == _COUNT]
    hears = [place for place, one in enumerate(found) if one[:2] == _HEARD]
    if len(counts) != 1 or len(hears) != 1 or counts[0] > hears[0]:
        return Together(found)
    (count,), (heard,) = counts, hears
    _fcall, _name, number, *rest = found[count]
    keys, arguments = rest[: int(number)], rest[int(number) :]
    stream, place = found.pop(heard)[3:5]
    size = len(keys) + 1
    found[count] = ("FCALL", "tg1_round", size, *keys, stream, *arguments, place)
    return Together(found, count, heard)
