"""Proxies: whose request it was that a declared proxy passed on; and who looks like one undeclared.

Touches nothing. The forwarded addresses are read from the right: what stands left of the first that
is no declared proxy was written by somebody we know nothing of. Limits: where the list holds
anything but addresses, the proxy itself is meant, which is never closed for.
"""

from __future__ import annotations

from collections.abc import Sequence

from tidegate import subject as subjects
from tidegate.model import Subject
from tidegate.prefixes import PrefixSet

REMEMBERED = 65_536
WATCHED = 1_000
DIFFERENT = 20
"""So many different addresses passed on by one make it look like a proxy."""


class Proxies:
    """The declared proxies, and those that look like some: `told` of once each."""

    def __init__(self, declared: Sequence[Subject] = ()) -> None:
        self._declared = PrefixSet(declared)
        self._known: dict[Subject, bool] = {}
        self._passed: dict[Subject, set[Subject]] = {}
        self._told: set[Subject] = set()
        self.suspects: list[Subject] = []

    def declared(self, who: Subject) -> bool:
        """Whether an address is one of a declared proxy."""
        found = self._known.get(who)
        if found is None:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            network = subjects.network(who)
            found = self._known[who] = network is not None and self._declared.holds(network)
        return found

    def behind(self, who: Subject, forwarded: bytes) -> Subject:
        """Whose request it is that came from `who`, with this list of addresses."""
        if not self.declared(who):
            self._watch(who, forwarded)
            return who
        for stated in reversed(forwarded.split(b",")):
            found = subjects.of_address(stated.strip().decode("latin-1"))
            if found is None:
                return who
            if not self.declared(found):
                return found
        return who

    def _watch(self, who: Subject, forwarded: bytes) -> None:
        """Note who passes on requests without being declared."""
        if who in self._told:
            return
        last = subjects.of_address(forwarded.rpartition(b",")[2].strip().decode("latin-1"))
        if last is None or last == who:
            return
        passed = self._passed.pop(who, set())
        passed.add(last)
        if len(passed) >= DIFFERENT:
            self._told.add(who)
            self.suspects.append(who)
            return
        if len(self._passed) >= WATCHED:
            del self._passed[next(iter(self._passed))]
        self._passed[who] = passed
