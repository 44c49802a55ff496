"""The outward gate in the kernel: owns `table inet tidegate_outward`; works when we are dead.

Touches the kernel's packet filter: the layout by the `nft` program, who is cut off by netlink;
needs CAP_NET_ADMIN. What the kernel remembers of destinations is never flushed.
Limits: one thread; one gate to a network namespace; the kernel needs conntrack, jhash and NFLOG.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence

from tidegate.errors import GateError
from tidegate.gate.netfilter import Change, Netfilter
from tidegate.gate.nft import run_nft
from tidegate.gate.outward import reading
from tidegate.gate.outward.cover import judge
from tidegate.gate.outward.given import FREE, SENTINEL
from tidegate.gate.outward.lanes import place
from tidegate.gate.outward.layout import TABLE, Layout, laid
from tidegate.gate.outward.port import MOST_TOLD, OutwardState
from tidegate.gate.port import LONGEST, Refusal
from tidegate.model import Confined, Micros, Subject
from tidegate.policy.outward import OutwardSpec

_AGAIN, _LOOK = 60.0, 5.0
"""Seconds until what the kernel refused is tried again; and between two looks at the layout, while
somebody changes the ruleset (as our own bans do) all the time."""

_NEEDS = {
    "jhash": "hashes in rules (CONFIG_NFT_HASH)",
    "ct ": "connection tracking (CONFIG_NF_CONNTRACK, CONFIG_NFT_CT)",
    "log ": "NFLOG (CONFIG_NFT_LOG, CONFIG_NETFILTER_NETLINK_LOG)",
    "limit ": "limits (CONFIG_NFT_LIMIT)",
    "@ih": "looking into the data of packets (Linux 5.16); set irc = false in [outward]",
}


_LINE = re.compile(r"stdin:(\d+):")


class NftablesOutward:
    """An `OutwardGate` in this network namespace."""

    def __init__(self, *, put_in: Callable[[str], None] = run_nft) -> None:
        self._netfilter = Netfilter(TABLE)
        self._put_in = put_in
        self._spec: OutwardSpec | None = None
        self._spared: tuple[Subject, ...] = ()
        self._layout: Layout | None = None  # as it was put in
        self._cutting = False  # its rules that cut off are in
        self._fingerprint = b""
        self._generation: int | None = None
        self._why, self._again, self._looked = "", 0.0, float("-inf")

    def close(self) -> None:
        """Give the socket back; the caps stay."""
        self._netfilter.close()

    def govern(self, spec: OutwardSpec | None, spared: Sequence[Subject]) -> None:
        """These caps are wanted; see `OutwardGate.govern`."""
        if (spec, tuple(spared)) != (self._spec, self._spared):
            self._spec, self._spared = spec, tuple(spared)
            self._why, self._again = "", 0.0

    def confine(self, confined: Sequence[Confined], now: Micros) -> list[Refusal]:
        """Exactly these are cut off or watched; see `OutwardGate.confine`."""
        if self._spec is None:
            self.open_all()
            return []
        if self._why and time.monotonic() < self._again:
            raise GateError(self._why)
        fit, refusals = judge(confined, self._spec, self._spared, now, LONGEST)
        wanted = laid(self._spec, self._spared)
        try:
            cutting = any(one.until > now for one in fit)
            if wanted != self._layout or self.drifted():
                self._lay(wanted, cutting)
            elif cutting and not self._cutting:
                self._put(wanted.text_of_cutting())
                self._cutting = True
            if not self._refill(wanted, fit, now):
                self._lay(wanted, cutting)
                if not self._refill(wanted, fit, now):
                    raise GateError("the kernel refuses who is to be cut off")
            if self._cutting and not cutting:
                self._put(wanted.text_of_cutting(cutting=False))
                self._cutting = False
        except GateError as error:
            self._generation = None
            self._why, self._again = str(error), time.monotonic() + _AGAIN
            raise
        self._why = ""
        return refusals

    def drifted(self) -> bool:
        """Whether somebody else changed our table; about 10 µs while nobody changes anything."""
        if self._spec is None or self._why:
            return False  # nothing to stand; or it can't, and that is said
        if self._layout is None:
            return False  # nobody has asked for it yet
        if self._generation is None:
            return True
        generation = self._netfilter.generation()
        if generation == self._generation:
            return False
        if 0 <= time.monotonic() - self._looked < _LOOK:
            return False
        self._looked = time.monotonic()
        if self._netfilter.fingerprint() != self._fingerprint or not self._sentinels():
            self._generation = None
            return True
        self._generation = generation
        return False

    def state(self, now: Micros) -> OutwardState:
        """How it stands; see `OutwardGate.state`."""
        if self._spec is None:
            return OutwardState("there is no [outward] in the policy")
        if self._why:
            return OutwardState(self._why)
        return OutwardState(
            "",
            tuple(reading.capped(self._netfilter, self._spec, MOST_TOLD)),
            tuple(reading.filtered(self._netfilter, self._spec)),
            tuple(reading.confined(self._netfilter, self._spec, now)),
        )

    def open_all(self) -> None:
        """The table goes; see `OutwardGate.open_all`."""
        self._generation = self._layout = None
        self._netfilter.delete_table()

    # -- the parts ------------------------------------------------------------------------------

    def _put(self, text: str) -> None:
        self._generation = None
        self._put_in(text)
        self._fingerprint = self._netfilter.fingerprint()
        self._generation = self._netfilter.generation()

    def _lay(self, wanted: Layout, cutting: bool) -> None:
        """Put the layout in: over what stands where that is part of it, so that the kernel's
        memory stays, else in its place."""
        self._layout = self._generation = None
        sets, chains = wanted.names
        standing = {name for name in self._netfilter.sets() if not name.startswith("__")}
        fits = sets >= standing and chains.issuperset(self._netfilter.chains())
        for whole in (False, True) if fits else (True,):
            try:
                self._put(wanted.text(whole=whole, cutting=cutting))
                break
            except GateError as error:
                if whole:
                    raise GateError(_lacking(str(error), wanted.text(whole=True))) from error
        self._layout, self._cutting = wanted, cutting

    def _refill(self, wanted: Layout, fit: Sequence[Confined], now: Micros) -> bool:
        """Exchange who is cut off and watched, in one transaction."""
        spec = self._spec
        assert spec is not None
        ends: dict[str, dict[bytes, Micros]] = {name: {} for name in wanted.held}
        for one in fit:
            found = place(spec, one.subject)
            if isinstance(found, str):
                continue
            kind, key = found
            for word, until in (("cut", one.until), ("watched", one.watched)):
                if until > now:
                    ends[f"{word}_{kind}"][key] = min(until, now + LONGEST)
        changes: list[Change] = []
        for name, held in wanted.held.items():
            keys = list(ends[name])
            left = [(until - now + 999) // 1000 for until in ends[name].values()]
            changes += [
                Change("flush", name, ()),
                Change("create", name, [held.sentinel]),
                Change("create", name, keys, left),
            ]
        if self._netfilter.transact(changes):
            return False
        self._generation = self._netfilter.generation()
        return True

    def _sentinels(self) -> bool:
        layout = self._layout
        if layout is None:
            return False
        holds = self._netfilter.holds
        free = ((name, SENTINEL[family]) for family, name in FREE.items() if name in layout.fixed)
        return all(holds(name, key) for name, key in free) and all(
            holds(name, kind.sentinel) for name, kind in layout.held.items()
        )


def _lacking(complaint: str, text: str) -> str:
    """What nft said, and what the kernel lacks where the line that it points at tells."""
    if (at := _LINE.search(complaint)) is None or "Could not process rule" not in complaint:
        return f"nothing is capped: {complaint}"
    line = text.splitlines()[int(at[1]) - 1 :][:1]
    needs = next((need for word, need in _NEEDS.items() if word in "".join(line)), "")
    said = f"the kernel lacks {needs}; " if needs else ""
    return f"nothing is capped: {said}{complaint}"
