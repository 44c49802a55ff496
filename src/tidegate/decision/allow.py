"""Who must never be closed for: prefix sets, and what of a host is protected.

Touches nothing. Asked once for each conviction, so it costs little where nobody is protected.
Limits: addresses and networks; users and interfaces only outward; a host name never.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain

from tidegate import subject as subjects
from tidegate.decision.outward import Sources
from tidegate.model import Micros, Subject
from tidegate.prefixes import PrefixSet
from tidegate.subject import Network


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the host looked like when last asked; each subject with the reason it is protected.

    `sessions` are the peers of connections established now; only those with a good record are
    protected by it, since whoever guesses passwords is connected too.
    """

    protected: tuple[tuple[Subject, str], ...] = ()
    sessions: frozenset[Subject] = frozenset()


LOOPBACK: tuple[tuple[Subject, str], ...] = (
    (Subject("127.0.0.0/8"), "loopback"),
    (Subject("::1"), "loopback"),
    (Subject("0.0.0.0/8"), "this host"),
    (Subject("169.254.0.0/16"), "link-local"),
    (Subject("fe80::/10"), "link-local"),
)


@dataclass(slots=True)
class Allow:
    """Everything that spares a subject, asked in one place. `everybody`: all addresses that are
    protected for as long as the host and its policy are like this."""

    addresses: tuple[Subject, ...] = ()
    proxies: tuple[Subject, ...] = ()
    surroundings: Surroundings = field(default_factory=Surroundings)
    exempt: dict[Subject, Micros] = field(default_factory=dict)
    sources: Sources = field(default_factory=lambda: Sources(None))
    _listed: PrefixSet = field(init=False)
    _protected: list[tuple[PrefixSet, str]] = field(init=False)
    everybody: tuple[Subject, ...] = field(init=False)
    _everyone: PrefixSet = field(init=False)

    def __post_init__(self) -> None:
        self._listed = PrefixSet(self.addresses)
        self.look(self.surroundings)

    def look(self, surroundings: Surroundings) -> None:
        """Take in what the host looks like now."""
        self.surroundings = surroundings
        groups: dict[str, list[Subject]] = {}
        declared = ((proxy, "proxy") for proxy in self.proxies)
        for subject, reason in (*LOOPBACK, *surroundings.protected, *declared):
            groups.setdefault(reason, []).append(subject)
        self._protected = [(PrefixSet(members), reason) for reason, members in groups.items()]
        everybody = dict.fromkeys([*self.addresses, *chain.from_iterable(groups.values())])
        self.everybody = tuple(one for one in everybody if subjects.network(one) is not None)
        self._everyone = PrefixSet(self.everybody)

    def spared(self, subject: Subject, time: Micros, good: bool) -> str:
        """Why this subject must not be closed for; "" if it may be.

        A ban that overlaps what is protected is refused; one that only overlaps the user's
        allowlist is not, since the kernel accepts the allowlist first.
        """
        found = subjects.network(subject)
        if found is None:
            return "not an address"
        if self._everyone.overlaps(found):  # seldom; only then is asked which, and why
            for members, reason in self._protected:
                if members.overlaps(found):
                    return reason
            if self._listed.holds(found):
                return "allowlist"
        if good and subject in self.surroundings.sessions:
            return "session"
        return "exempt" if self._is_exempt(subject, found, time) else ""

    def spared_outward(self, subject: Subject, time: Micros) -> str:
        """Why this source must not be cut off from what leaves; "" if it may be.

        Only who is protected as a whole is: one protected address in a network lets none of the
        others flood. And no connection to this host protects, since none of them is cut.
        """
        if lasting := self.spared_lastingly(subject):
            return lasting
        found = subjects.network(subject)
        if found is None:
            return "exempt" if time < self.exempt.get(subject, 0) else ""
        return "exempt" if self._is_exempt(subject, found, time) else ""

    def spared_lastingly(self, subject: Subject) -> str:
        """The same without what a person said for a while."""
        found = subjects.network(subject)
        if found is None:
            ours = (why for one, why in self.surroundings.protected if one == subject)
            return self.sources.spared(subject) or next(ours, "")
        for members, reason in self._protected:
            if members.holds(found):
                return reason
        return "allowlist" if self._listed.holds(found) else self.sources.spared(subject)

    def pardons(self, network: Subject, time: Micros) -> bool:
        """Whether somebody in a network is exempt just now."""
        wide = subjects.network(network)
        inside = (subjects.network(one) for one, until in self.exempt.items() if time < until)
        return wide is not None and any(one is not None and wide.overlaps(one) for one in inside)

    def _is_exempt(self, subject: Subject, found: Network, time: Micros) -> bool:
        if time < self.exempt.get(subject, 0):
            return True
        # Pardons of a whole fleet may be many: the networks around it are looked up.
        return bool(self.exempt) and any(
            time < self.exempt.get(subjects.from_network(found._replace(length=length)), 0)
            for length in range(found.length)
        )
