"""The in-memory twin of the packet filter: the same words, no kernel, no privilege.

Touches nothing. Serves tests, `--observe` and the demo where there is no root.
Limits: what is over is forgotten only when the gate is next used.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence

from tidegate.gate.book import Book, requests_of
from tidegate.gate.closings import Closings
from tidegate.gate.outward.port import OutwardState
from tidegate.gate.port import CAPACITY, Closed, Dropped, Knock, Refusal, Request, Throttled
from tidegate.model import Ban, Confined, GateReport, Micros, Subject
from tidegate.policy.guards import GateSpec
from tidegate.subject import Network


class MemoryGate:
    """A `Gate` that only remembers. `disturb` makes it drift and `knock` is a try of somebody who
    is closed for, for tests of what follows; `missed` and `deaf` are as a `RemoteGate` has them.
    """

    missed = 0
    deaf = ""

    def __init__(
        self,
        allow: Sequence[Network] = (),
        *,
        gates: Sequence[GateSpec] = (),
        capacity: int = CAPACITY,
    ) -> None:
        self.allow = tuple(allow)
        self._closings = Closings(gates)
        self._book = Book(capacity)
        self._disturbed = False
        self._knocks: list[Knock] = []
        self.confined: tuple[Confined, ...] = ()

    @property
    def gates(self) -> tuple[GateSpec, ...]:
        """The gates of guards that `switch` closes."""
        return self._closings.specs

    @gates.setter
    def gates(self, specs: tuple[GateSpec, ...]) -> None:
        self._closings.govern(specs)

    @property
    def evicted(self) -> int:
        """How many closings gave way because a set was full."""
        return self._book.evicted

    def apply(self, requests: Sequence[Request], now: Micros) -> list[Refusal]:
        """Carry out requests; see `Gate.apply`."""
        self._book.prune(now)
        return self._book.take(requests, now).refusals

    def replace(self, bans: Sequence[Ban], allows: Sequence[Ban], now: Micros) -> list[Refusal]:
        """Make exactly this the state; see `Gate.replace`."""
        book = Book(self._book.capacity)
        refusals = book.take(requests_of(bans, allows), now).refusals
        book.evicted += self._book.evicted
        self._book = book
        self._disturbed = False
        return refusals

    def drifted(self) -> bool:
        """Whether `disturb` was called since the last `replace`."""
        return self._disturbed

    def observe(self, now: Micros) -> list[Closed]:
        """Everything that is not over."""
        return list(self._book.standing(now))

    def dropped(self) -> list[Dropped]:
        """Nothing: no packet comes by here."""
        return []

    def switch(self, wanted: Mapping[str, Micros], now: Micros) -> list[GateReport]:
        """Remember which gates of guards are closed; see `Gate.switch`."""
        return self._closings.take(wanted, now)

    def switched(self, now: Micros) -> dict[str, Micros]:
        """Which gates of guards are closed, and until when."""
        return self._closings.standing(now)

    def throttled(self) -> list[Throttled]:
        """Nothing: no packet comes by here."""
        return [Throttled(spec.name, 0, 0) for spec in self._closings.specs]

    def confine(self, confined: Sequence[Confined], now: Micros) -> list[Refusal]:
        """Remember who is cut off or watched; see `OutwardGate.confine`."""
        self.confined = tuple(confined)
        return []

    def outward_state(self, now: Micros) -> OutwardState:
        """Who is cut off or watched now; nothing is capped here."""
        ahead = (one._replace(until=one.until if one.until > now else 0) for one in self.confined)
        return OutwardState(
            "", confined=tuple(one for one in ahead if max(one.until, one.watched) > now)
        )

    def open_all(self) -> None:
        """Forget everything; like the kernel's table, which is then gone."""
        self.confined = ()
        evicted = self._book.evicted
        self._book = Book(self._book.capacity)
        self._book.evicted = evicted
        self._closings.open_all()
        self._disturbed = True

    def disturb(self) -> None:
        """Lose everything, as by a stranger's `nft flush ruleset`."""
        self._book.sets.clear()
        self.confined = ()
        self._disturbed = True

    def knock(self, subject: Subject, port: int) -> None:
        """Somebody tries this port."""
        self._knocks.append(Knock(subject, port))

    def knocks(self) -> list[Knock]:
        """The tries since last asked."""
        found, self._knocks = self._knocks, []
        return found

    def passes(self, address: str, port: int, now: Micros) -> bool:
        """Whether a packet from this address to this port would get through: allowlist, timed
        allows, then bans, in the order of the kernel's rules."""
        family = 6 if ":" in address else 4
        bits = socket.inet_pton(socket.AF_INET6 if family == 6 else socket.AF_INET, address)
        sender = Network(family, len(bits) * 8, bits)
        if any(network.holds(sender) for network in self.allow):
            return True
        verdict = True
        for scope, held in self._book.sets.items():
            mask = int.from_bytes(scope.sentinel)
            element = (sender.first & mask).to_bytes(len(bits)) if scope.family == family else b""
            if held.get(element, 0) > now and (not scope.ports or port in scope.ports):
                if scope.verb == "allow":
                    return True
                verdict = False
        return verdict
