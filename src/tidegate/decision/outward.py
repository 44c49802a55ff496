"""Who may be cut off from what leaves: sources that policy names, and nobody it leaves alone.

Touches nothing. A network is spared only where all of it is: an own address inside a customer's
network stays free in the kernel, which lets it pass first. Limits: users, interfaces, single
addresses (IPv6: a /64), customers' networks as a whole.
"""

from __future__ import annotations

from tidegate import subject as subjects
from tidegate.model import Subject
from tidegate.policy.outward import OutwardSpec
from tidegate.prefixes import PrefixSet

ROOT = Subject("uid:0")
_INTERFACE = "interface:"
_SINGLE = {4: 32, 6: 64}
_NOBODY = (1 << 32) - 1
"""The number that stands for no user at all."""


class Sources:
    """The sources of `[outward]`, and the busy ones among them."""

    def __init__(self, spec: OutwardSpec | None) -> None:
        self._spec = spec
        terms = OutwardSpec() if spec is None else spec
        self._covered = PrefixSet([*terms.networks, *terms.customers])
        self._customers = frozenset(terms.customers)
        self._names = {Subject(_INTERFACE + name) for name in terms.interfaces}
        self._busy = PrefixSet(terms.busy)
        self._left = frozenset(terms.busy)

    def spared(self, subject: Subject) -> str:
        """Why this source must not be cut off, by policy alone; "" if it may be."""
        if subject == ROOT:
            return "root"
        if self._spec is None:
            return "no [outward] in the policy"
        if subject in self._left:
            return "busy"
        found = subjects.network(subject)
        if found is None:
            return "" if self._names_it(subject) else "no source of [outward]"
        if self._busy.holds(found):
            return "busy"
        single = found.length == _SINGLE[found.family] and self._covered.holds(found)
        return "" if single or subject in self._customers else "no source of [outward]"

    def _names_it(self, subject: Subject) -> bool:
        number = subject.removeprefix("uid:")
        if number == subject:
            return subject in self._names
        known = self._spec is not None and self._spec.uids
        return known and int(number) < _NOBODY and str(int(number)) == number
