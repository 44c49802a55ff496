"""Flows of one direction each → contacts: who began, and whether there was an answer.

Touches nothing. A failed try is told of before a connection that lasts: contacts are held for `LAG`
and come in the order in which they began, or the failures of a busy host would look like a scan
until its successes were told of. What never came back is believed only of exporters that otherwise
show both ways: sampled ones, and those that see one direction, would make scanners of everybody.
Limits: `WAITING` flows wait for their way back, as many contacts for their turn; more go early.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heappop, heappush

from tidegate import subject as subjects
from tidegate.model import MINUTE, SECOND, Micros, Subject
from tidegate.policy.outward import OutwardSpec
from tidegate.prefixes import PrefixSet
from tidegate.traffic import Contact, Flow, Outcome

WAIT = 10 * SECOND
"""So long after a flow the one of the way back is waited for."""
LAG = 75 * SECOND
"""An exporter that tells of what goes on each minute has told of everything after this long."""
WAITING = 65_536
OLDEST = 5 * MINUTE
"""An exporter's clock is believed this far back, and not at all ahead."""
ENOUGH = 20
"""Two-way connections that an exporter must have shown before its silence means anything."""
EXPORTERS = 256

_SYN, _RST, _ACK = 2, 4, 16
_TCP = 6
_Key = tuple[str, int, str, int, str, int]


class _Exporter:
    """How many connections that surely had two ways were seen in both, and in one."""

    __slots__ = ("every", "paired", "single")

    def __init__(self) -> None:
        self.every = 1
        self.paired = self.single = 0

    @property
    def believed(self) -> bool:
        seen = self.paired + self.single
        return self.every <= 1 and seen >= ENOUGH and self.paired * 5 >= seen * 4

    def saw(self, *, both: bool) -> None:
        if both:
            self.paired += 1
        else:
            self.single += 1
        if self.paired + self.single > 4096:
            self.paired //= 2
            self.single //= 2


class Conversations:
    """Puts the two ways of each connection together."""

    def __init__(self, spec: OutwardSpec | None) -> None:
        spec = spec or OutwardSpec()
        self._customers = tuple(
            (one, found) for one in spec.customers if (found := subjects.network(one)) is not None
        )
        self._networks = PrefixSet(spec.networks)
        self._waiting: dict[_Key, tuple[Micros, Flow]] = {}
        self._exporters: dict[str, _Exporter] = {}
        self._turns: list[tuple[Micros, Contact]] = []
        self.evicted = self.doubted = 0

    def __len__(self) -> int:
        return len(self._waiting) + len(self._turns)

    def sampled(self, exporter: str, every: int) -> None:
        """This exporter looks at one packet of so many."""
        self._of(exporter).every = every

    @property
    def doubted_exporters(self) -> list[str]:
        """Whose silence means nothing: sampled, or seen in one direction only, or too new."""
        return sorted(name for name, one in self._exporters.items() if not one.believed)

    def feed(self, flows: Iterable[Flow], now: Micros) -> list[Contact]:
        """Take these in; the contacts that are sure by now, in the order in which they began."""
        for flow in sorted(flows):
            self._flow(flow, now)
        self._settle(now)
        found = []
        while self._turns:
            early = len(self._turns) > WAITING
            if not early and now - self._turns[0][0] < LAG:
                break
            self.evicted += early
            found.append(heappop(self._turns)[1])
        return found

    def subject(self, address: str) -> Subject:
        """Whose traffic this address's is: a customer's network, or itself (IPv6: its /64)."""
        own = subjects.of_address(address) or Subject(address)
        if self._customers and (network := subjects.network(own)) is not None:
            for customer, range_ in self._customers:
                if range_.holds(network):
                    return customer
        return own

    def governs(self, address: str) -> bool:
        """Whether it is one of those that policy says we answer for."""
        own = subjects.network(subjects.of_address(address) or Subject(address))
        if own is None:
            return False
        held = any(range_.holds(own) for _customer, range_ in self._customers)
        return held or self._networks.holds(own)

    def _of(self, name: str) -> _Exporter:
        found = self._exporters.get(name)
        if found is None:
            if len(self._exporters) >= EXPORTERS:
                del self._exporters[next(iter(self._exporters))]
                self.evicted += 1
            found = self._exporters[name] = _Exporter()
        return found

    def _flow(self, flow: Flow, now: Micros) -> None:
        key = _key(flow)
        known = self._waiting.get(key)
        if known is not None and _ends(known[1]) == _ends(flow):
            # More of the same way: a long connection is exported in parts.
            since, before = known
            flags = before.flags | flow.flags
            self._waiting[key] = (since, before._replace(last=flow.last, flags=flags))
            return
        if known is not None:
            del self._waiting[key]
            self._both(known[1], flow, now)
            return
        if len(self._waiting) >= WAITING:
            _since, gone = self._waiting.pop(next(iter(self._waiting)))
            self.evicted += 1
            if _bare(gone):
                self._unanswered(gone, now, "unanswered")
        self._waiting[key] = (now, flow)

    def _both(self, one: Flow, other: Flow, now: Micros) -> None:
        begun, back = (one, other) if _began(one, other) else (other, one)
        if begun.protocol != _TCP or not (begun.flags or back.flags):
            self._say(begun, "answered", now)
            return
        if begun.flags & back.flags & _ACK:
            self._of(begun.exporter).saw(both=True)
        if not begun.flags & _SYN:
            return  # the middle of a long one, or its end: who began it is not told
        if begun.flags & _ACK or (back.flags & _SYN and self.governs(begun.source)):
            self._say(begun, "answered", now)
        else:
            self._unanswered(begun, now, "refused" if back.flags & _RST else "unanswered")

    def _settle(self, now: Micros) -> None:
        """Those whose way back never came."""
        while self._waiting:
            key = next(iter(self._waiting))
            since, flow = self._waiting[key]
            if now - since < WAIT:
                return
            del self._waiting[key]
            if flow.protocol == _TCP and flow.flags & _ACK:
                self._of(flow.exporter).saw(both=False)
                if flow.source_port >= flow.port:
                    self._say(flow, "answered", now)
            elif flow.protocol != _TCP or not flow.flags or _bare(flow):
                self._unanswered(flow, now, "unanswered")

    def _unanswered(self, flow: Flow, now: Micros, outcome: Outcome) -> None:
        if self._believed(flow):
            self._say(flow, "tried", now)
            if self.governs(flow.source):
                self._say(flow, outcome, now)

    def _believed(self, flow: Flow) -> bool:
        believed = self._of(flow.exporter).believed
        self.doubted += not believed
        return believed

    def _say(self, flow: Flow, outcome: Outcome, now: Micros) -> None:
        time = min(max(flow.first, now - OLDEST), now)
        source = self.subject(flow.source)
        one = Contact(time, source, flow.destination, flow.protocol, flow.port, outcome)
        if outcome == "answered" and not self.governs(flow.source):
            heappush(self._turns, (time, one._replace(outcome="tried")))  # arrived
        heappush(self._turns, (time, one))


def _bare(flow: Flow) -> bool:
    """Whether it only ever said SYN: a try that nothing is known to have come of."""
    return flow.protocol == _TCP and flow.flags & (_SYN | _ACK | _RST) == _SYN


def _key(flow: Flow) -> _Key:
    """The same for both ways, of one exporter: another may see only one of them."""
    one, other = (flow.source, flow.source_port), (flow.destination, flow.port)
    low, high = (one, other) if one <= other else (other, one)
    return flow.exporter, flow.protocol, *low, *high


def _ends(flow: Flow) -> tuple[str, int]:
    return flow.source, flow.source_port


def _began(one: Flow, other: Flow) -> bool:
    """Whether `one` is of the side that began: by what it said, by time, by its port."""
    if one.protocol == _TCP:
        first, second = _bare(one), _bare(other)
        if first != second:
            return first
    if one.first != other.first:
        return one.first < other.first
    return one.source_port >= other.source_port
