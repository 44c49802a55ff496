"""The nftables gate: owns `table inet tidegate` whole; bans are hash-set elements with an end.

Touches the kernel's packet filter: the layout by the `nft` program, elements by netlink; needs
CAP_NET_ADMIN. Kernel timeouts open without us. Limits: one thread; one gate to a network namespace.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from tidegate.errors import GateError
from tidegate.gate import layout, sockets
from tidegate.gate.book import Book, Plan, Scope, closed, faulty_ports, named
from tidegate.gate.netfilter import Netfilter
from tidegate.gate.port import WIDEST, Closed, Refusal, Request
from tidegate.gate.transaction import TableMissing, transact, transactions
from tidegate.model import Ban, Micros
from tidegate.subject import Network

CAPACITY = 131_072
"""Elements in one set. The kernel sets aside 16 bytes for each, and is told of a quarter more:
within a transaction an element that is renewed counts twice, and one that is over until swept."""

Sever = Callable[[Mapping[Scope, Collection[bytes]], Sequence[Network]], int]

_PATH = "/usr/sbin:/sbin:/usr/bin:/bin"
_BETWEEN_CUTS = 0.05  # seconds
_PATIENCE = 120.0  # seconds; a million elements take about ten


def delete_table() -> bool:
    """Open everything: delete the table, with neither nft nor a daemon. False: there was none."""
    netfilter = Netfilter(layout.TABLE)
    try:
        return netfilter.delete_table()
    finally:
        netfilter.close()


class NftablesGate:
    """A `Gate` that drops packets at prerouting, before anything else looks at them.

    `allow` is accepted before any ban; `capacity` elements fit one set; `sever` destroys the
    sockets of the newly banned (None: leave them to their timeouts).
    """

    def __init__(
        self,
        allow: Sequence[Network] = (),
        *,
        capacity: int = CAPACITY,
        sever: Sever | None = sockets.destroy,
    ) -> None:
        self._allow = tuple(allow)
        self._sever = sever
        self._slack = max(1024, capacity // 4)
        self._size = capacity + self._slack
        self._book = Book(capacity)
        self._open_netfilter: Netfilter | None = None
        self._generation: int | None = None
        self._fingerprint = b""
        self._uncut: dict[Scope, dict[bytes, Micros]] = {}
        self._next_cut = 0.0

    @property
    def allow(self) -> tuple[Network, ...]:
        """The static allowlist. Another one is in force with the next change; until then the
        table counts as drifted."""
        return self._allow

    @allow.setter
    def allow(self, networks: tuple[Network, ...]) -> None:
        if networks != self._allow:
            self._allow = networks
            self._generation = None

    @property
    def evicted(self) -> int:
        """How many closings gave way because a set was full."""
        return self._book.evicted

    @property
    def _netfilter(self) -> Netfilter:
        if self._open_netfilter is None:
            self._open_netfilter = Netfilter(layout.TABLE)
        return self._open_netfilter

    def close(self) -> None:
        """Give the netlink socket back. The table stays, and its elements end by themselves."""
        if self._open_netfilter is not None:
            self._open_netfilter.close()
            self._open_netfilter = None

    def apply(self, requests: Sequence[Request], now: Micros) -> list[Refusal]:
        """Carry out requests; see `Gate.apply`. One transaction, unless there are very many."""
        if self._generation is None:
            self._adopt(now)
        plan = self._book.take(requests, now)
        try:
            refusals = plan.refusals + self._commit(plan, requests, now)
        except TableMissing:
            refusals = plan.refusals
            self._rebuild(now)
        except GateError:
            self._generation = None
            raise
        self._cut(plan.puts)
        return refusals

    def replace(self, bans: Sequence[Ban], allows: Sequence[Ban], now: Micros) -> list[Refusal]:
        """Put the whole table in anew, in one transaction; see `Gate.replace`."""
        book = Book(self._book.capacity)
        requests = [Request("ban", *ban) for ban in bans]
        requests += [Request("allow", *allow) for allow in allows]
        plan = book.take(requests, now)
        book.evicted += self._book.evicted
        self._book = book
        self._rebuild(now)
        self._cut(plan.puts)
        return plan.refusals

    def drifted(self) -> bool:
        """Whether the table is no longer as we left it: about 30 µs while nobody changes anything.

        When the ruleset's generation moved without us: whether the layout is ours, and an
        element that we put into every set is still there.
        """
        self._cut({})
        if self._generation is None:
            return True
        generation = self._netfilter.generation()
        if generation == self._generation:
            return False
        if self._netfilter.fingerprint() != self._fingerprint or not self._sentinels():
            self._generation = None
            return True
        self._generation = generation
        return False

    def observe(self, now: Micros) -> list[Closed]:
        """What the kernel holds, by its own clock; elements without an end are not ours."""
        return [
            closed(scope, element.key, now + element.left * 1000)
            for scope in self._scopes()
            for element in self._netfilter.elements(scope.name)
            if element.left is not None
        ]

    def open_all(self) -> None:
        """Delete the table, by netlink: this works where nft is missing."""
        self._netfilter.delete_table()
        evicted = self._book.evicted
        self._book = Book(self._book.capacity)
        self._book.evicted = evicted
        self._generation = None

    def _scopes(self) -> list[Scope]:
        found = [named(name) for name in self._netfilter.sets()]
        return [
            scope
            for scope in found
            if scope is not None
            and WIDEST[scope.family] <= scope.length <= (32 if scope.family == 4 else 128)
            and not faulty_ports(scope.ports)
        ]

    def _sentinels(self) -> bool:
        held = self._netfilter.holds
        return all(
            held(name, layout.ALWAYS_SENTINEL[family]) for family, name in layout.ALWAYS.items()
        ) and all(held(scope.name, scope.sentinel) for scope in self._book.sets)

    def _adopt(self, now: Micros) -> None:
        """Start from what the kernel holds: bans of an earlier life stay, in a layout of ours."""
        requests = [
            Request("allow" if found.allow else "ban", found.subject, found.ports, found.until)
            for found in self.observe(now)
        ]
        self._book = Book(self._book.capacity)
        self._book.take(requests, now)
        self._rebuild(now)

    def _rebuild(self, now: Micros) -> None:
        """Put in the table as the book has it. Again if somebody else changed something meanwhile,
        since what they changed might be ours; the third time it is taken as it is."""
        self._generation = None
        for _attempt in range(3):
            text = "".join(layout.whole(self._allow, self._book.sets, self._size, now))
            before = self._netfilter.generation()
            self._nft(text)
            self._fingerprint = self._netfilter.fingerprint()
            generation = self._netfilter.generation()
            if generation == before + 1:
                break
        self._generation = generation

    def _commit(self, plan: Plan, requests: Sequence[Request], now: Micros) -> list[Refusal]:
        if plan.fresh:
            self._add_scopes(plan.fresh)
        refused: dict[tuple[Scope, bytes], str] = {}
        for jobs in transactions(plan, now, self._slack):
            if transact(self._netfilter, jobs, refused) and self._generation is not None:
                self._generation += 1
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

    def _add_scopes(self, scopes: Iterable[Scope]) -> None:
        """New sets with their rules, in one transaction: 5 ms, whatever stands in the others."""
        before = self._netfilter.generation()
        if before != self._generation and self._netfilter.fingerprint() != self._fingerprint:
            raise TableMissing
        try:
            self._nft("".join(layout.scope_text(scope, self._size) for scope in scopes))
        except GateError as error:
            if self._netfilter.fingerprint() == self._fingerprint:
                raise
            raise TableMissing from error
        self._fingerprint = self._netfilter.fingerprint()
        if self._netfilter.generation() != before + 1:
            raise TableMissing  # somebody else was busy in between: make sure
        self._generation = before + 1

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

    def _nft(self, text: str) -> None:
        path = f"{os.environ.get('PATH', '')}:{_PATH}"
        program = shutil.which("nft", path=path)
        if program is None:
            raise GateError("nft is not installed: install the package nftables")
        try:
            done = subprocess.run(
                [program, "-f", "-"],
                input=text.encode("ascii"),
                capture_output=True,
                env={"PATH": path, "LC_ALL": "C"},
                check=False,
                timeout=_PATIENCE,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise GateError(f"nft could not be run: {error}") from error
        if done.returncode:
            raise GateError(_complaint(done.stderr.decode("utf-8", "replace")))


def _complaint(text: str) -> str:
    """What nft said, in one line, with what to do about it where we know."""
    if "Operation not permitted" in text:
        return "no permission to change the packet filter: the process needs CAP_NET_ADMIN"
    first = next((line for line in text.splitlines() if "rror" in line), text.strip()[:200])
    return f"nft refused the layout: {first}"
