"""Sets of networks that answer whether they hold, or overlap, another.

Touches nothing. Sets of numbers per prefix length, so that a look-up costs one hash per length.
Limits: addresses and networks; names and other subjects are in no such set.
"""

from __future__ import annotations

from collections.abc import Iterable

from tidegate import subject as subjects
from tidegate.model import Subject
from tidegate.subject import Network


class PrefixSet:
    """A set of networks that answers which of them holds, or overlaps, another."""

    def __init__(self, members: Iterable[Subject] = ()) -> None:
        self._lengths: dict[int, dict[int, set[int]]] = {4: {}, 6: {}}
        self._longest = {4: -1, 6: -1}
        self.members: list[Network] = []
        for member in members:
            found = subjects.network(member)
            if found is not None:
                self.add(found)

    def add(self, member: Network) -> None:
        """Put a network in."""
        width = len(member.bits) * 8
        self.members.append(member)
        self._longest[member.family] = max(self._longest[member.family], member.length)
        lengths = self._lengths[member.family]
        lengths.setdefault(member.length, set()).add(member.first >> (width - member.length))

    def holds(self, other: Network) -> bool:
        """Whether a member holds all of `other`."""
        width, first = len(other.bits) * 8, int.from_bytes(other.bits)
        for length, numbers in self._lengths[other.family].items():
            if length <= other.length and first >> (width - length) in numbers:
                return True
        return False

    def overlaps(self, other: Network) -> bool:
        """Whether any address is in a member and in `other`."""
        if self.holds(other):
            return True
        # A member inside `other`: only possible where members are narrower.
        if self._longest[other.family] <= other.length:
            return False
        return any(other.holds(member) for member in self.members)
