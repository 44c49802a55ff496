"""`table inet tidegate` as we left it: putting it in, changing it, noticing what others change.

Touches the kernel's packet filter: the layout by the `nft` program, elements by netlink; needs
CAP_NET_ADMIN. Limits: one thread; a stranger who takes out single elements is not noticed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

from tidegate.errors import GateError
from tidegate.gate import doors, layout, tolls
from tidegate.gate.book import Scope, faulty_ports, named
from tidegate.gate.closings import Closings
from tidegate.gate.doors import Made
from tidegate.gate.listing import Element
from tidegate.gate.netfilter import Change, Netfilter
from tidegate.gate.nft import run_nft
from tidegate.gate.port import WIDEST, Dropped, Throttled
from tidegate.gate.transaction import Job, Refused, TableMissing, transact
from tidegate.model import Micros
from tidegate.policy.guards import GateSpec
from tidegate.subject import Network

Sets = Mapping[Scope, Mapping[bytes, Micros]]

_TRIES = 3


class Table:
    """The one table of this network namespace. `size` is what each timed set is told to hold.

    `known` is false until it has been put in, and again when it was found changed by others.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._generation: int | None = None
        self._fingerprint = b""
        self._allow: Sequence[Network] = ()
        self._made = Made(True, ())
        self._closed: frozenset[str] = frozenset()
        self.deaf = ""  # why the kernel does not tell of knocks
        self.lacking: dict[str, str] = {}  # gates of guards that the kernel can't keep, and why
        self.plainer: dict[str, str] = {}  # those that refuse instead of saying 421, and why

    @cached_property
    def _netfilter(self) -> Netfilter:
        return Netfilter(layout.TABLE)

    def close(self) -> None:
        """Give the netlink socket back; the table stays."""
        if "_netfilter" in self.__dict__:
            self._netfilter.close()
            del self.__dict__["_netfilter"]

    @property
    def known(self) -> bool:
        """Whether the table is taken to be as we left it."""
        return self._generation is not None

    def forget(self) -> None:
        """Nothing is known of the table any more: it has to be put in anew."""
        self._generation = None

    def delete(self) -> None:
        """Delete the table, by netlink: this works where nft is missing."""
        self.forget()
        self._netfilter.delete_table()

    def put_in(
        self, allow: Sequence[Network], sets: Sets, now: Micros, closings: Closings | None = None
    ) -> None:
        """Make the table exactly this, so that no packet slips through in between.

        Where chains and sets stand as we would make them, the rules are put in anew over them,
        then the elements exchanged in one netlink transaction; that is twice as fast as the whole
        table in one of nft's, which is the way where anything is strange. What the kernel may lack
        (NFLOG, a responder's TPROXY, limits, a reset) is left out where it refuses, so that the
        bans stand in any case; `deaf`, `lacking` and `plainer` say so.
        """
        closings = closings or Closings()
        first = ""
        for made in doors.makes(closings.specs):
            try:
                self._put_in(allow, sets, now, closings, made)
            except GateError as error:
                first = first or str(error)
                refused = error
                continue
            self.deaf = "" if made.heard else first
            self.lacking = {
                spec.name: first for spec in closings.specs if spec.name not in made.names
            }
            self.plainer = {spec.name: first for spec in made.doors if spec not in closings.specs}
            return
        raise refused

    def _put_in(
        self,
        allow: Sequence[Network],
        sets: Sets,
        now: Micros,
        closings: Closings,
        made: Made,
    ) -> None:
        for attempt in range(_TRIES):
            try:
                if attempt < _TRIES - 1 and self._fits(sets, made):
                    undisturbed = self._lay(allow, sets, made)
                    undisturbed = undisturbed and self._refill(sets, closings, made, now)
                else:
                    text = layout.whole(
                        allow, sets, self._size, now, heard=made.heard, doors=made.doors,
                        closed=closings.standing(now),
                    )  # fmt: skip
                    undisturbed = self._by_nft("".join(text))
            except TableMissing:
                continue
            except GateError:
                self.forget()
                raise
            if undisturbed:
                break
        # Somebody who changes something else all the time can't keep us from going on: the last
        # time it is taken as it is.
        self._allow, self._made = allow, made
        self._closed = frozenset(closings.standing(now))
        if self._generation is None:
            self._generation = self._netfilter.generation()

    def _fits(self, sets: Sets, made: Made) -> bool:
        """Whether what stands (if anything) is no more than a part of what is wanted."""
        wanted = dict.fromkeys(layout.ALWAYS.values(), 0)
        wanted |= dict.fromkeys(layout.KNOCKED.values(), layout.KNOCKED_SIZE)
        wanted |= {scope.name: self._size for scope in sets} | doors.sets(made.doors)
        chains = {*layout.CHAINS, *doors.chains(made.doors)}
        return chains.issuperset(self._netfilter.chains()) and all(
            wanted.get(name) == size or name.startswith("__")
            for name, size in self._netfilter.sets().items()
        )

    def _lay(self, allow: Sequence[Network], sets: Sets, made: Made) -> bool:
        """Chains, rules and sets; nothing to do where they stand as we left them."""
        same = (allow, made) == (self._allow, self._made)
        if self.known and same and not self.drifted(()):
            standing = self._netfilter.sets()
            if all(scope.name in standing for scope in sets):
                return True
        return self._by_nft(
            layout.laid(allow, sets, self._size, heard=made.heard, doors=made.doors)
        )

    def _refill(self, sets: Sets, closings: Closings, made: Made, now: Micros) -> bool:
        """Exchange the elements of all sets in one transaction."""
        changes: list[Change] = []
        for scope, held in sets.items():
            items = [item for item in held.items() if item[1] > now]
            changes += [
                Change("flush", scope.name, ()),
                Change("create", scope.name, [scope.sentinel]),
                Change(
                    "create",
                    scope.name,
                    [bits for bits, _until in items],
                    [layout.milliseconds(until, now) for _bits, until in items],
                ),
            ]
        self._exchange([*changes, *doors.closing(made.doors, closings.standing(now), now)])
        return True

    def switch(self, closings: Closings, now: Micros) -> None:
        """Close exactly these gates of guards, in one transaction: 40 µs each.

        Raises TableMissing where the table is not as we left it.
        """
        standing = closings.standing(now)
        specs = [
            spec for spec in self._made.doors if spec.name in standing or spec.name in self._closed
        ]
        self._exchange(doors.closing(specs, standing, now))
        self._closed = frozenset(standing)

    def _exchange(self, changes: Sequence[Change]) -> None:
        if self._netfilter.transact(changes):
            self.forget()
            raise TableMissing
        if changes and self._generation is not None:
            self._generation += 1

    def closed(self, specs: Iterable[GateSpec], now: Micros) -> dict[str, Micros]:
        """Which of these gates of guards are closed in the kernel, and until when."""
        return tolls.closed(self._netfilter, specs, now)

    def throttled(self) -> list[Throttled]:
        """What the gates of guards have cut or refused since their rules were put in."""
        return tolls.throttled(self._netfilter, self._made.doors)

    def add(self, scopes: Iterable[Scope]) -> None:
        """New sets with their rules, in one transaction: 5 ms, whatever stands in the others.

        Raises TableMissing where the table is not as we left it.
        """
        if self.drifted(()):
            raise TableMissing
        text = "".join(layout.scope_text(scope, self._size) for scope in scopes)
        if not self._by_nft(text):
            raise TableMissing  # somebody else was busy in between: make sure

    def transact(self, jobs: list[Job], refused: Refused) -> None:
        """Do the jobs in one transaction; see `transaction.transact`."""
        if transact(self._netfilter, jobs, refused) and self._generation is not None:
            self._generation += 1

    def drifted(
        self, scopes: Iterable[Scope], closed: Mapping[str, Micros] = layout.NOTHING
    ) -> bool:
        """Whether it is no longer as we left it: about 20 µs while nobody changes anything.

        When the ruleset's generation moved without us: whether the layout is ours, and an element
        that we put into every set is still there, and the ports of the gates that are `closed`.
        """
        if self._generation is None:
            return True
        generation = self._netfilter.generation()
        if generation == self._generation:
            return False
        if self._netfilter.fingerprint() != self._fingerprint or not (
            self._sentinels(scopes) and self._shut(closed)
        ):
            self._generation = None
            return True
        self._generation = generation
        return False

    def _sentinels(self, scopes: Iterable[Scope]) -> bool:
        holds = self._netfilter.holds
        return all(
            holds(name, layout.ALWAYS_SENTINEL[family]) for family, name in layout.ALWAYS.items()
        ) and all(holds(scope.name, scope.sentinel) for scope in scopes)

    def _shut(self, closed: Iterable[str]) -> bool:
        holds = self._netfilter.holds
        return all(
            holds(doors.ports_of(spec.name), key)
            for spec in self._made.doors
            if spec.name in closed
            for key in doors.keys_of(spec)
        )

    def dropped(self) -> list[Dropped]:
        """What the sets of bans have dropped since their rules were put in."""
        return [
            Dropped(name, scope.ports, packets, size)
            for sets, packets, size in self._netfilter.counters("banned")
            for name in sets
            if (scope := named(name)) is not None
        ]

    def scopes(self) -> list[Scope]:
        """The timed sets that stand in the kernel and have a name of ours."""
        return [
            scope
            for scope in map(named, self._netfilter.sets())
            if scope is not None
            and WIDEST[scope.family] <= scope.length <= (32 if scope.family == 4 else 128)
            and not faulty_ports(scope.ports)
        ]

    def elements(self, scope: Scope) -> list[Element]:
        """What a set holds."""
        return self._netfilter.elements(scope.name)

    def _by_nft(self, text: str) -> bool:
        """Run nft and remember the layout; False where others changed something at the same time,
        which might be ours."""
        before = self._netfilter.generation()
        self.forget()
        run_nft(text)
        self._fingerprint = self._netfilter.fingerprint()
        generation = self._netfilter.generation()
        if generation != before + 1:
            return False
        self._generation = generation
        return True
