"""Logged packets → cuts: what one cap kept back of one source, summed up, with who is behind it.

Touches nothing itself; whoever can say which program it was is handed in. The first packet of a
source and cap is told at once, what follows a quarter of a second later, and then as often as the
number of those that are told of allows. Limits: `MOST` sources and
caps at once, `SHOWN` destinations each; what is beyond is counted. Of the packets themselves only
those are counted that the kernel logs.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Protocol

from tidegate.model import SECOND, Micros, Subject
from tidegate.source.traffic.nflog import Kept
from tidegate.source.traffic.packets import Head, address_text, destination_text, head_of
from tidegate.source.traffic.reach import LOCAL, Reach
from tidegate.traffic import Cut

MOST, SHOWN = 4096, 5
EVERY: Micros = SECOND // 4
RATE = 100
"""Cuts a second in all, about, of those that were told of before."""
NAMED_FOR: Micros = 2 * SECOND
"""How long a user's program is taken for the one that was found last."""

_PREFIX = "tg:"
_FORWARD, _OUTPUT = 2, 3
_WORDS = frozenset({"destinations", "syn", "udp", "smtp", "irc"})
_ODD: Micros = 10 * SECOND
_MOST_NAMED = 256


class Owner(Protocol):
    """Says which program is behind a flow, as `/var/tmp/x (pid 4711)`, or "unknown"."""

    def owner_of(
        self, protocol: int, local: str, local_port: int,
        remote: str = "", remote_port: int = 0, user: int | None = None,
    ) -> str:  # fmt: skip
        """Who is behind it."""


class _Sum:
    __slots__ = ("destinations", "first", "head", "last", "packets", "told", "turns", "uid")

    def __init__(self, now: Micros) -> None:
        self.first = self.last = now
        self.told: Micros = 0
        self.packets = self.turns = 0
        self.destinations: dict[str, None] = {}
        self.head: Head | None = None
        self.uid: int | None = None


class Cuts:
    """Sums under way. `name_of`: an interface's name by its number."""

    def __init__(
        self,
        reach: Reach,
        owner: Owner | None = None,
        name_of: Callable[[int], str] = socket.if_indextoname,
    ) -> None:
        self.reach = reach
        self._owner, self._name_of = owner, name_of
        self._sums: dict[tuple[Subject, str], _Sum] = {}
        self._named: dict[int, tuple[Micros, str]] = {}
        self.beyond = self.foreign = 0
        self._fresh: list[tuple[Subject, str]] = []
        self._swept: Micros = 0
        self.urgent = False

    def __len__(self) -> int:
        return len(self._sums)

    def add(self, kept: Kept, now: Micros) -> None:
        """Take in one packet."""
        what = _what(kept.prefix)
        head = head_of(kept.packet)
        if what is None or head is None:
            return
        source = self._source(kept, head)
        if source is None:
            self.foreign += 1
            return
        time = kept.time if abs(kept.time - now) < _ODD else now
        one = self._sums.get((source, what))
        if one is None:
            if len(self._sums) >= MOST:
                self.beyond += 1
                return
            one = self._sums[source, what] = _Sum(time)
            self._fresh.append((source, what))
        if not one.packets:
            one.first = time
        one.packets += 1
        one.last = max(one.last, time)
        one.head, one.uid = head, kept.uid if kept.hook == _OUTPUT else None
        if len(one.destinations) < SHOWN:
            text = destination_text(head.destination, head.protocol, head.port)
            one.destinations[text] = None

    def _source(self, kept: Kept, head: Head) -> Subject | None:
        """Whose packet it is; None where it is nobody's here."""
        if kept.hook == _OUTPUT:
            return None if kept.uid is None else Subject(f"uid:{kept.uid}")
        found = self.reach.source(head.source)
        if found is not None and found.subject != LOCAL and not _by_interface(found.subject):
            return found.subject
        if kept.interface and self.reach.interfaces:
            try:
                name = self._name_of(kept.interface)
            except OSError:
                return None
            if name in self.reach.interfaces:
                return Subject(f"interface:{name}")
        return None

    def take(self, now: Micros) -> list[Cut]:
        """What is to be told by now. `urgent` afterwards: something that was not told before."""
        fresh, self._fresh = self._fresh, []
        found = [self._cut(key, now) for key in fresh]
        self.urgent = bool(found)
        if not 0 <= now - self._swept < EVERY // 2:
            self._swept = now
            found += self._sweep(now)
        return found

    def _sweep(self, now: Micros) -> list[Cut]:
        """Those that were told of before."""
        found = []
        seldom = max(EVERY, len(self._sums) * SECOND // RATE)
        for key, one in list(self._sums.items()):
            if not 0 <= now - one.told < (EVERY if one.turns < 2 else seldom):
                if one.packets:
                    found.append(self._cut(key, now))
                else:
                    del self._sums[key]
        return found

    def _cut(self, key: tuple[Subject, str], now: Micros) -> Cut:
        one = self._sums[key]
        shown, span = tuple(one.destinations), one.last - one.first
        found = Cut(one.last, *key, one.packets, span, shown, self._by(one, now))
        one.told, one.packets, one.turns, one.destinations = now, 0, one.turns + 1, {}
        return found

    def due(self) -> bool:
        """Whether something waits to be told or forgotten."""
        return bool(self._sums)

    def _by(self, one: _Sum, now: Micros) -> str:
        """The program behind it, asked for once in a while for each user."""
        head, uid = one.head, one.uid
        if self._owner is None or head is None or uid is None:
            return ""
        since, name = self._named.get(uid, (0, ""))
        if name and 0 <= now - since < NAMED_FOR:
            return name
        said = self._owner.owner_of(
            head.protocol, address_text(head.source), head.source_port,
            address_text(head.destination), head.port, uid,
        )  # fmt: skip
        if said == "unknown":
            return name
        if len(self._named) >= _MOST_NAMED:
            self._named.clear()
        self._named[uid] = now, said
        return said


def _what(prefix: str) -> str | None:
    """The cap behind a rule's prefix; None where it is none of ours."""
    word = prefix.removeprefix(_PREFIX)
    if word == prefix:
        return None
    return word if word in _WORDS or word.startswith("filter ") else None


def _by_interface(subject: Subject) -> bool:
    """The packet itself says by which interface it came; the routes only where it should have."""
    return subject.startswith("interface:")
