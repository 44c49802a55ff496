"""`table inet tidegate` as we left it: putting it in, changing it, noticing what others change.

Touches the kernel's packet filter: the layout by the `nft` program, elements by netlink; needs
CAP_NET_ADMIN. Limits: one thread; a stranger who takes out single elements is not noticed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

from tidegate.errors import GateError
from tidegate.gate import layout
from tidegate.gate.book import Scope, faulty_ports, named
from tidegate.gate.netfilter import Change, Element, Netfilter
from tidegate.gate.port import WIDEST, Dropped
from tidegate.gate.transaction import Job, Refused, TableMissing, transact
from tidegate.model import Micros
from tidegate.subject import Network

Sets = Mapping[Scope, Mapping[bytes, Micros]]

_PATH = "/usr/sbin:/sbin:/usr/bin:/bin"
_PATIENCE = 120.0  # seconds; a million elements take about ten
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
        self.deaf = ""  # why the kernel does not tell of knocks

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

    def put_in(self, allow: Sequence[Network], sets: Sets, now: Micros) -> None:
        """Make the table exactly this, so that no packet slips through in between.

        Where chains and sets stand as we would make them, the rules are put in anew over them,
        then the elements exchanged in one netlink transaction; that is twice as fast as the whole
        table in one of nft's, which is the way where anything is strange. Where the kernel refuses
        to tell of knocks (it may lack NFLOG), the bans stand without that.
        """
        try:
            self._put_in(allow, sets, now, heard=True)
            self.deaf = ""
        except GateError as error:
            self._put_in(allow, sets, now, heard=False)
            self.deaf = str(error)

    def _put_in(self, allow: Sequence[Network], sets: Sets, now: Micros, *, heard: bool) -> None:
        for attempt in range(_TRIES):
            try:
                if attempt < _TRIES - 1 and self._fits(sets):
                    undisturbed = self._lay(allow, sets, heard) and self._refill(sets, now)
                else:
                    text = "".join(layout.whole(allow, sets, self._size, now, heard=heard))
                    undisturbed = self._by_nft(text)
            except TableMissing:
                continue
            except GateError:
                self.forget()
                raise
            if undisturbed:
                break
        # Somebody who changes something else all the time can't keep us from going on: the last
        # time it is taken as it is.
        self._allow = allow
        if self._generation is None:
            self._generation = self._netfilter.generation()

    def _fits(self, sets: Sets) -> bool:
        """Whether what stands (if anything) is no more than a part of what is wanted."""
        wanted = dict.fromkeys(layout.ALWAYS.values(), 0)
        wanted |= dict.fromkeys(layout.KNOCKED.values(), layout.KNOCKED_SIZE)
        wanted |= {scope.name: self._size for scope in sets}
        return set(layout.CHAINS).issuperset(self._netfilter.chains()) and all(
            wanted.get(name) == size or name.startswith("__")
            for name, size in self._netfilter.sets().items()
        )

    def _lay(self, allow: Sequence[Network], sets: Sets, heard: bool) -> bool:
        """Chains, rules and sets; nothing to do where they stand as we left them."""
        quiet = heard and self.deaf  # to be tried again
        if self.known and allow == self._allow and not quiet and not self.drifted(()):
            standing = self._netfilter.sets()
            if all(scope.name in standing for scope in sets):
                return True
        return self._by_nft(layout.laid(allow, sets, self._size, heard=heard))

    def _refill(self, sets: Sets, now: Micros) -> bool:
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
        if self._netfilter.transact(changes):
            self.forget()
            raise TableMissing
        if changes and self._generation is not None:
            self._generation += 1
        return True

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

    def drifted(self, scopes: Iterable[Scope]) -> bool:
        """Whether it is no longer as we left it: about 20 µs while nobody changes anything.

        When the ruleset's generation moved without us: whether the layout is ours, and an element
        that we put into every set is still there.
        """
        if self._generation is None:
            return True
        generation = self._netfilter.generation()
        if generation == self._generation:
            return False
        if self._netfilter.fingerprint() != self._fingerprint or not self._sentinels(scopes):
            self._generation = None
            return True
        self._generation = generation
        return False

    def _sentinels(self, scopes: Iterable[Scope]) -> bool:
        holds = self._netfilter.holds
        return all(
            holds(name, layout.ALWAYS_SENTINEL[family]) for family, name in layout.ALWAYS.items()
        ) and all(holds(scope.name, scope.sentinel) for scope in scopes)

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


def run_nft(text: str) -> None:
    """One transaction by the nft program. Raises GateError with what nft said, in one line."""
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
