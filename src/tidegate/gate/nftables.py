"""The nftables gate: owns `table inet tidegate` whole; bans are hash-set elements with an end.

Touches the kernel's packet filter: the layout by the `nft` program, elements by netlink; needs
CAP_NET_ADMIN. Kernel timeouts open without us. Limits: one thread; one gate to a network namespace.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence

from tidegate.errors import GateError
from tidegate.gate import layout, sockets
from tidegate.gate.book import Book, Plan, Scope, closed, requests_of
from tidegate.gate.closings import Closings
from tidegate.gate.netfilter import Netfilter
from tidegate.gate.outward import layout as outward
from tidegate.gate.port import CAPACITY, Closed, Dropped, Refusal, Request, Throttled
from tidegate.gate.table import Table
from tidegate.gate.transaction import Refused, TableMissing, transactions
from tidegate.model import MINUTE, SECOND, Ban, GateReport, Micros
from tidegate.policy.guards import GateSpec
from tidegate.subject import Network

Sever = Callable[[Mapping[Scope, Collection[bytes]], Sequence[Network]], int]

_BETWEEN_CUTS = 0.05  # seconds


def delete_table() -> bool:
    """Open everything: delete our tables, the one of what leaves as well, with neither nft nor a
    daemon. False: there was none."""
    found = False
    for table in (layout.TABLE, outward.TABLE):
        netfilter = Netfilter(table)
        try:
            found |= netfilter.delete_table()
        finally:
            netfilter.close()
    return found


class NftablesGate:
    """A `Gate` that drops packets at prerouting, before anything else looks at them.

    `allow` is accepted before any ban; `gates` are those of guards that `switch` closes; `capacity`
    elements fit one set; `sever` destroys the sockets of the newly banned (None: leave them to
    their timeouts).
    """

    def __init__(
        self,
        allow: Sequence[Network] = (),
        *,
        gates: Sequence[GateSpec] = (),
        capacity: int = CAPACITY,
        sever: Sever | None = sockets.destroy,
    ) -> None:
        self._allow = tuple(allow)
        self._sever = sever
        # The kernel is told of a quarter more than fits: within a transaction an element that is
        # renewed counts twice, and one that is over until it is swept.
        self._slack = max(1024, capacity // 4)
        self._table = Table(capacity + self._slack)
        self._book = Book(capacity)
        self._closings = Closings(gates)
        self._uncut: dict[Scope, dict[bytes, Micros]] = {}
        self._next_cut = 0.0
        self._next_prune: Micros = 0

    @property
    def allow(self) -> tuple[Network, ...]:
        """The static allowlist. Another one is in force with the next change; until then the
        table counts as drifted."""
        return self._allow

    @allow.setter
    def allow(self, networks: tuple[Network, ...]) -> None:
        if networks != self._allow:
            self._allow = networks
            self._table.forget()

    @property
    def gates(self) -> tuple[GateSpec, ...]:
        """The gates of guards that the kernel keeps; others are in force with the next change."""
        return self._closings.specs

    @gates.setter
    def gates(self, specs: tuple[GateSpec, ...]) -> None:
        if self._closings.govern(specs):
            self._table.forget()

    @property
    def evicted(self) -> int:
        """How many closings gave way because a set was full."""
        return self._book.evicted

    @property
    def deaf(self) -> str:
        """Why the kernel does not tell of the banned who try again; "" where it does."""
        return self._table.deaf

    def close(self) -> None:
        """Give the netlink socket back. The table stays, and its elements end by themselves."""
        self._table.close()

    def apply(self, requests: Sequence[Request], now: Micros) -> list[Refusal]:
        """Carry out requests; see `Gate.apply`. One transaction, unless there are very many."""
        if not self._table.known:
            self._adopt(now)
        if now >= self._next_prune:
            self._book.prune(now)
            self._next_prune = now + MINUTE
        plan = self._book.take(requests, now)
        try:
            refusals = plan.refusals + self._commit(plan, requests, now)
        except TableMissing:
            refusals = plan.refusals
            self._put_in(now)
        except GateError:
            self._table.forget()
            raise
        self._cut(plan.puts)
        return refusals

    def replace(self, bans: Sequence[Ban], allows: Sequence[Ban], now: Micros) -> list[Refusal]:
        """Make the table exactly this; see `Gate.replace`."""
        plan = self._anew().take(requests_of(bans, allows), now)
        self._put_in(now)
        self._cut(plan.puts)
        return plan.refusals

    def drifted(self) -> bool:
        """Whether the table is no longer as we left it: about 20 µs while nobody changes anything.

        Also finishes what is left of a burst: sockets of the banned that are still to be cut.
        """
        self._cut({})
        # By the system's clock, as everything else; one that ends this second may be over already.
        moment = time.time_ns() // 1000 + SECOND
        return self._table.drifted(self._book.sets, self._closings.standing(moment))

    def observe(self, now: Micros) -> list[Closed]:
        """What the kernel holds, by its own clock; elements without an end are not ours."""
        return [
            closed(scope, element.key, now + element.left * 1000)
            for scope in self._table.scopes()
            for element in self._table.elements(scope)
            if element.left is not None
        ]

    def dropped(self) -> list[Dropped]:
        """What was dropped so far, by set, since the rules were put in."""
        return self._table.dropped()

    def switch(self, wanted: Mapping[str, Micros], now: Micros) -> list[GateReport]:
        """Close exactly these gates of guards; see `Gate.switch`. One small transaction."""
        if not self._table.known:
            self._adopt(now)
        reports = self._closings.take(wanted, now)
        try:
            self._table.switch(self._closings, now)
        except TableMissing:
            self._put_in(now)
        except GateError:
            self._table.forget()
            raise
        return [self._told(one, now) for one in reports]

    def _told(self, report: GateReport, now: Micros) -> GateReport:
        """A report, and what the kernel can't do of it."""
        if report.state != "closed":
            return report
        if why := self._table.lacking.get(report.gate):
            return GateReport(report.gate, "refused", now, why)
        if why := self._table.plainer.get(report.gate):
            return report._replace(detail=f"{why}; connections are refused")
        return report

    def throttled(self) -> list[Throttled]:
        """What the gates of guards have cut or refused, since the rules were put in."""
        return self._table.throttled()

    def open_all(self) -> None:
        """Delete the table, by netlink: this works where nft is missing."""
        self._anew()
        self._closings.open_all()
        self._table.delete()

    def _anew(self) -> Book:
        evicted = self._book.evicted
        self._book = Book(self._book.capacity)
        self._book.evicted = evicted
        return self._book

    def _adopt(self, now: Micros) -> None:
        """Start from what the kernel holds: bans of an earlier life stay, in a layout of ours."""
        requests = [
            Request("allow" if found.allow else "ban", found.subject, found.ports, found.until)
            for found in self.observe(now)
        ]
        self._anew().take(requests, now)
        self._put_in(now)

    def _put_in(self, now: Micros) -> None:
        if not self._closings.known:  # an earlier life's closings stay until the watcher has spoken
            self._closings.adopt(self._table.closed(self._closings.specs, now), now)
        self._table.put_in(self._allow, self._book.sets, now, self._closings)

    def _commit(self, plan: Plan, requests: Sequence[Request], now: Micros) -> list[Refusal]:
        if plan.fresh:
            self._table.add(plan.fresh)
        refused: Refused = {}
        for jobs in transactions(plan, now, self._slack):
            self._table.transact(jobs, refused)
        if not refused:
            return []
        for scope, bits in refused:
            self._book.forget(scope, bits)
        indexes = Book.indexes(requests)
        return [
            Refusal(indexes[element], reason)
            for element, reason in refused.items()
            if element in indexes
        ]

    def _cut(self, puts: Mapping[Scope, dict[bytes, Micros]]) -> None:
        """Destroy sockets of the newly banned; in a burst of bans together, with `drifted` at
        the latest, since the kernel walks every bucket of its table to find them (0.5 ms)."""
        for scope, new in puts.items():
            if new and scope.verb == "ban":
                self._uncut[scope] = {**self._uncut.get(scope, {}), **new}
        moment = time.monotonic()
        if self._sever is None or not self._uncut or moment < self._next_cut:
            return
        spared = [
            Network(scope.family, scope.length, bits)
            for scope, held in self._book.sets.items()
            if scope.verb == "allow"
            for bits in held
        ]
        banned, self._uncut = self._uncut, {}
        self._next_cut = moment + _BETWEEN_CUTS
        self._sever(banned, [*self._allow, *spared])
