"""Proofs: successes that are known by the bytes before their literal's end, and need no match.

Touches nothing. Nine lines in ten of a mail server say the same of the same hosts; once one of them
has matched, the next with the same bytes, address included, is only counted.
Limits: who copies those bytes into another line counts for that host, which one success would too.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from tidegate.detector.timestamps import Stamps
from tidegate.model import Micros, Subject, Success

SURE = 32
"""Bytes before the end of a literal that hold the whole address, and the byte before it."""
_REMEMBERED = 65_536
_ZONE = b"+-Z "

Read = Callable[[int, int], Micros]
"""The time of the line from here to there."""


class Proof:
    """Whose success it is, and how often it was seen in this block: `first` to `last`, by line end.

    `length` is that of the stamp that the line begins with.
    """

    __slots__ = ("count", "first", "last", "length", "subject")

    def __init__(self, subject: Subject, length: int) -> None:
        self.subject = subject
        self.length = length
        self.count = self.first = self.last = 0


class Proofs(dict[bytes, Proof]):
    """The proofs by their bytes. `seen` are those of this block."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Proof] = []

    def note(self, data: bytes, hit: int, found: re.Match[bytes], slot: int, who: Subject) -> None:
        """Remember a match whose literal ends at `hit`, if its address is close before that."""
        first, last = found.span(slot)
        if hit - SURE < first and last < hit and found.start(1) == found.start():
            if len(self) >= _REMEMBERED:
                self.clear()
            self[data[hit - SURE : hit]] = Proof(who, found.end(1) - found.start(1))

    def successes(
        self, data: bytes, base: int, stamps: Stamps, latest: Micros, time: Read
    ) -> list[tuple[Subject, Success]]:
        """What was counted in this block, and begin anew.

        `time` reads a line the long way; it is asked where a stamp is no stamp, or after `latest`.
        """
        made = []
        for proof in self.seen:
            places = []
            for stop in (proof.first, proof.last):
                start = data.rfind(b"\n", 0, stop) + 1
                end = start + proof.length
                moment = stamps[data[start:end]] if data[end + 1] not in _ZONE else None
                if moment is None or moment > latest:
                    moment = time(start, stop)
                places.append((start, moment))
            (start, early), (_, late) = places
            if early > late:
                early, late = late, early
            made.append((proof.subject, Success(proof.count, base + start, early, late)))
            proof.count = 0
        self.seen.clear()
        return made
