"""Who sends most, in and out: packets counted by source and sender, the most harmful first.

Touches nothing. `add` counts one packet (or many that one stands for), `rows` closes a span.
Limits: `KNOWN` contacts are remembered, and as many again from before; estimates where only one
packet in many was looked at; "looks like" is a hint for people, by the figures beside it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from tidegate.evidence.path import NOBODY, Path, Who

KNOWN = 65536
SCAN, SYNS, DATAGRAMS = 10.0, 50.0, 100.0
"""From how many new destinations, SYN, or unanswered UDP packets a second on it looks like harm."""
_TCP, _UDP = 6, 17
_FOLD, _PART = 20, 0.05
_NAMED = 3
_PORT_SHARE = 0.8


class Talker(NamedTuple):
    """One row: a source and what it sends by one protocol. Figures are a second's, `volume` bytes.

    `source` packed ("" of forged ones, and of many); `sources`: how many it stands for; `port`: the
    destination's, or with `answers` the source's own; 0 where there are many. `destinations`: some.
    `looked`: how many packets were looked at.
    """

    way: Literal["in", "out"]
    source: bytes
    sources: int
    forged: bool
    interface: int
    who: Who | None
    protocol: int
    port: int
    answers: bool
    packets: float
    volume: float
    new: float
    looks: str
    destinations: tuple[tuple[bytes, int], ...]
    looked: int


@dataclass(slots=True)
class _Flow:
    packets: int = 0
    volume: int = 0
    begun: int = 0
    looked: int = 0


@dataclass(slots=True)
class _Sum:
    """What one row adds up."""

    packets: float = 0
    volume: float = 0
    begun: float = 0
    replies: float = 0
    looked: int = 0
    sources: int = 1
    fresh: dict[bytes, int] = field(default_factory=dict)  # new destinations, how often looked at
    ports: Counter[int] = field(default_factory=Counter)
    own_ports: Counter[int] = field(default_factory=Counter)
    destinations: Counter[tuple[bytes, int]] = field(default_factory=Counter)
    interfaces: Counter[int] = field(default_factory=Counter)

    @property
    def new(self) -> float:
        """How many new destinations; where only some packets were looked at, with those unseen:
        by how many were seen once and twice (Chao: Nonparametric Estimation of the Number of
        Classes in a Population, 1984), yet no more than packets."""
        seen = Counter(self.fresh.values())
        unseen = seen[1] * (self.packets / max(1, self.looked) - 1)
        return len(self.fresh) + min(unseen, seen[1] ** 2 / (2 * max(1, seen[2])))

    def join(self, other: _Sum) -> None:
        """Add another row's."""
        self.packets += other.packets
        self.volume += other.volume
        self.begun += other.begun
        self.fresh |= other.fresh
        self.replies += other.replies
        self.looked += other.looked
        self.ports += other.ports
        self.own_ports += other.own_ports
        self.destinations += other.destinations
        self.interfaces += other.interfaces


_Contact = tuple[int, bytes, bytes]


class _Key(NamedTuple):
    way: Literal["in", "out"]
    source: bytes
    forged: bool
    here: bool
    who: Who
    protocol: int


class Talkers:
    """Counts until `rows` is asked for, then from nothing again; what is known stays known."""

    def __init__(self) -> None:
        self._flows: dict[Path, _Flow] = {}
        self._contacts: dict[_Contact, int] = {}  # how many packets that begin something, looked at
        self._known: set[_Contact] = set()
        self._before: set[_Contact] = set()

    def add(self, path: Path, length: int, begins: bool, weight: int = 1) -> bool:
        """Count one packet of `length` bytes that stands for `weight`. `begins`: it may be the
        first of something (a SYN, any UDP packet, an echo request). Whether the path is new."""
        flow = self._flows.get(path)
        fresh = flow is None
        if flow is None:
            flow = self._flows[path] = _Flow()
        flow.packets += weight
        flow.volume += weight * length
        flow.looked += 1
        if begins:
            flow.begun += weight
            contact = _contact(path)
            if contact in self._contacts:
                self._contacts[contact] += 1
            elif not self._knows(contact) and not self._is_answer(path):
                self._contacts[contact] = 1
        return fresh

    def _knows(self, contact: _Contact) -> bool:
        return contact in self._known or contact in self._before

    def _is_answer(self, path: Path) -> bool:
        """Whether the other end spoke first. A SYN is never an answer."""
        back = (path.protocol, path.destination, path.source)
        return path.protocol != _TCP and (self._knows(back) or back in self._contacts)

    def rows(self, seconds: float, who: Mapping[Path, Who], scale: float = 1.0) -> list[Talker]:
        """Who talked most in this span, the most harmful first. `who`: of those paths that somebody
        was found for; `scale`: what was counted stands for so many times as much."""
        sums = self._sums(_likely(self._flows, who))
        rate = scale / max(seconds, 0.001)
        rows = [_row(key, found, rate) for key, found in _folded(sums).items()]
        self._remember()
        return sorted(rows, key=lambda row: (-row.packets, -row.new, row.source))

    def _sums(self, who: Mapping[Path, Who]) -> dict[_Key, _Sum]:
        towards: Counter[_Contact] = Counter()
        for path, flow in self._flows.items():
            towards[_contact(path)] += flow.packets
        sums: dict[_Key, _Sum] = {}
        counted: set[_Contact] = set()
        for path, flow in self._flows.items():
            found = sums.setdefault(_key(path, who.get(path, NOBODY)), _Sum())
            contact = _contact(path)
            found.packets += flow.packets
            found.volume += flow.volume
            found.begun += flow.begun
            found.looked += flow.looked
            if path.port or path.source_port:
                found.ports[path.port] += flow.packets
                found.own_ports[path.source_port] += flow.packets
            found.destinations[path.destination, path.port] += flow.packets
            found.interfaces[path.interface] += flow.packets
            if contact in counted:
                continue
            counted.add(contact)
            found.replies += towards[path.protocol, path.destination, path.source]
            if looked := self._contacts.get(contact, 0):
                found.fresh[path.destination] = looked
        return sums

    def _remember(self) -> None:
        for path in self._flows:
            if len(self._known) >= KNOWN:
                self._known, self._before = set(), self._known
            self._known.add(_contact(path))
        self._flows.clear()
        self._contacts.clear()


def _contact(path: Path) -> _Contact:
    """Who turns to whom; all forged addresses are one sender."""
    return path.protocol, b"" if path.forged else path.source, path.destination


def _likely(flows: Iterable[Path], who: Mapping[Path, Who]) -> dict[Path, Who]:
    """Of whom nobody was found, but whose likes are all one's, that one's: a scanner begins more
    flows than can be looked up."""
    alike: dict[tuple[object, ...], Counter[Who]] = {}
    for path, found in who.items():
        alike.setdefault(_alike(path), Counter())[found] += 1
    full = {}
    for path in flows:
        if path.here:
            votes = alike.get(_alike(path))
            if path in who:
                full[path] = who[path]
            elif votes:
                first, count = votes.most_common(1)[0]
                if count >= _PORT_SHARE * votes.total():
                    full[path] = first
    return full


def _alike(path: Path) -> tuple[object, ...]:
    return path.way, path.forged, path.protocol, path.port


def _key(path: Path, who: Who) -> _Key:
    source = b"" if path.forged else path.source
    if len(source) == 16 and not (path.here and path.way == "out") and source[0] & 0xE0 == 0x20:
        source = source[:8]  # of global addresses a /64 is one sender
    return _Key(path.way, source, path.forged, path.here, who, path.protocol)


def _folded(sums: Mapping[_Key, _Sum]) -> dict[_Key, _Sum]:
    """Many small sources with one aim are one row: a flood under forged addresses has thousands."""
    groups: dict[tuple[object, ...], list[_Key]] = {}
    for key, found in sums.items():
        port, answers = _port(found)
        group = (key.way, key.here, key.protocol, key.who, port, answers)
        groups.setdefault(group, []).append(key)
    result: dict[_Key, _Sum] = {}
    for keys in groups.values():
        limit = _PART * sum(sums[key].packets for key in keys)
        small = {key for key in keys if sums[key].packets < limit}
        if len(small) < _FOLD:
            small = set()
        whole = _Sum(sources=len(small))
        for key in keys:
            if key in small:
                whole.join(sums[key])
            else:
                result[key] = sums[key]
        if small:
            first = next(iter(small))
            result[first._replace(source=b"")] = whole
    return result


def _port(found: _Sum) -> tuple[int, bool]:
    """The port that nearly all of it goes to, or comes from, whichever is the more one."""
    if not found.ports:
        return 0, False
    ((port, count),) = found.ports.most_common(1)
    ((own, answers),) = found.own_ports.most_common(1)
    if answers > count or (answers == count and own < port and own < 1024):
        return (own, True) if answers >= _PORT_SHARE * found.packets else (0, False)
    return (port, False) if count >= _PORT_SHARE * found.packets else (0, False)


def _row(key: _Key, found: _Sum, rate: float) -> Talker:
    port, answers = _port(found)
    return Talker(
        way=key.way,
        source=key.source,
        sources=found.sources,
        forged=key.forged,
        interface=found.interfaces.most_common(1)[0][0],
        who=key.who if key.here else None,
        protocol=key.protocol,
        port=port,
        answers=answers,
        packets=found.packets * rate,
        volume=found.volume * rate,
        new=found.new * rate,
        looks=_looks(key.protocol, found, rate),
        destinations=tuple(one for one, _count in found.destinations.most_common(_NAMED)),
        looked=found.looked,
    )


def _looks(protocol: int, found: _Sum, rate: float) -> str:
    """What it looks like by its figures; "" for nothing in particular."""
    said = []
    unanswered = found.replies < found.packets / 10
    if found.new * rate >= SCAN and unanswered:
        said.append("scan")
    if protocol == _TCP and found.begun * rate >= SYNS and found.begun > found.packets / 2:
        said.append("SYN flood")
    if protocol == _UDP and found.packets * rate >= DATAGRAMS and unanswered:
        said.append("UDP flood")
    return ", ".join(said)
