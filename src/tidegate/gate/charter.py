"""What a keeper may do, read from root-owned policy, and the judging of requests by it.

Touches nothing. Every request of the watcher is hostile until judged: types, spelling, width,
ports, end, whom it would hit, and how fast they come. Limits: about 2 µs a request.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tidegate.gate.book import faulty_ports, place
from tidegate.gate.port import LONGEST, Refusal, Request
from tidegate.model import SECOND, Micros, Subject
from tidegate.policy.guards import GateSpec
from tidegate.policy.outward import OutwardSpec
from tidegate.subject import Network

_Faults = list[tuple[int, str]]

VERBS = frozenset({"ban", "unban", "allow", "disallow"})

_NEVER = (
    Network(4, 8, bytes(4)),  # this host (RFC 1122 §3.2.1.3)
    Network(4, 8, bytes([127, 0, 0, 0])),
    Network(4, 16, bytes([169, 254, 0, 0])),  # link-local; where clouds keep their services
    Network(6, 127, bytes(16)),  # unspecified and loopback
    Network(6, 10, bytes([0xFE, 0x80]) + bytes(14)),
)


class Ranges:
    """Networks as sorted, merged ranges of numbers: one bisection an answer."""

    def __init__(self, networks: Iterable[Network]) -> None:
        self._firsts: dict[int, list[int]] = {4: [], 6: []}
        self._lasts: dict[int, list[int]] = {4: [], 6: []}
        for network in sorted(networks, key=lambda network: (network.family, network.first)):
            firsts, lasts = self._firsts[network.family], self._lasts[network.family]
            if lasts and network.first <= lasts[-1] + 1:
                lasts[-1] = max(lasts[-1], network.last)
            else:
                firsts.append(network.first)
                lasts.append(network.last)

    def hold(self, family: int, first: int, last: int) -> bool:
        """Whether all of first…last is in."""
        place = bisect_right(self._firsts[family], first) - 1
        return place >= 0 and last <= self._lasts[family][place]

    def touch(self, family: int, first: int, last: int) -> bool:
        """Whether any of first…last is in."""
        place = bisect_right(self._firsts[family], last) - 1
        return place >= 0 and first <= self._lasts[family][place]


@dataclass(frozen=True)
class Charter:
    """The limits of a keeper. What it is given by policy, it keeps whatever it is asked.

    `allow`: the user's allowlist, accepted before any ban; a ban wholly inside it is refused, one
    that overlaps it stands behind it. `protected`: own addresses, gateway, resolvers, peers; no
    ban may touch one (loopback and link-local never). `widest4`, `widest6`: the shortest prefix
    of a ban. `longest`: its longest duration. `rate`, `burst`: new bans a second, and at once.
    `ports`: those a ban may name (None: any); `everything`: whether it may name none. `gates`:
    those of guards that the kernel keeps: a watcher may say which are closed, never what they are.
    `outward`: the caps of what leaves (None: none); `spared`: who is never capped nor cut off.
    """

    allow: tuple[Network, ...] = ()
    protected: tuple[Network, ...] = ()
    widest4: int = 16
    widest6: int = 48
    longest: Micros = LONGEST
    rate: int = 20_000
    burst: int = 200_000
    verbs: frozenset[str] = VERBS
    ports: frozenset[int] | None = None
    everything: bool = True
    gates: tuple[GateSpec, ...] = ()
    outward: OutwardSpec | None = None
    spared: tuple[Subject, ...] = ()
    _allowed: Ranges = field(init=False, repr=False, compare=False)
    _spared: Ranges = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_allowed", Ranges(self.allow))
        object.__setattr__(self, "_spared", Ranges((*self.protected, *_NEVER)))

    def judge(self, items: Sequence[Any], now: Micros) -> tuple[list[Request], list[int], _Faults]:
        """Items of a frame, each `[verb, subject, ports, until]`: those that may be done, where
        each of them stood in the list, and the place and fault of the others."""
        requests: list[Request] = []
        places: list[int] = []
        faults: _Faults = []
        scopes: dict[str, tuple[int, ...] | None] = {}
        make, latest = tuple.__new__, now + self.longest
        for index, item in enumerate(items):
            try:
                verb, subject, ports, until = item
                key = str(ports)
            except (TypeError, ValueError, RecursionError):
                faults.append((index, "not a request"))
                continue
            if verb.__class__ is not str or verb not in self.verbs:
                fault = "not a permitted verb"
            elif subject.__class__ is not str or until.__class__ is not int:
                fault = "a subject is text and an end is a whole number"
            elif until > latest and (verb == "ban" or verb == "allow"):
                fault = "it ends later than is permitted"
            elif key not in scopes and (fault := self._scope(ports, key, scopes)):
                pass
            elif isinstance(where := place(subject), str):
                fault = where
            else:
                fault = self._forbidden(*where, scopes[key]) if verb == "ban" else ""
            if fault:
                faults.append((index, fault))
            else:
                requests.append(make(Request, (verb, subject, scopes[key], until)))
                places.append(index)
        return requests, places, faults

    def _scope(self, ports: Any, key: str, scopes: dict[str, tuple[int, ...] | None]) -> str:
        """Why these ports can't be; else they are kept in `scopes` under their text, which tells
        1 from 1.0 and true, as their hash does not."""
        if ports is None:
            scopes[key] = None
            return ""
        if ports.__class__ is not list or any(port.__class__ is not int for port in ports):
            return "ports must be a list of whole numbers"
        if self.ports is not None and not self.ports.issuperset(ports):
            return "a port that is not permitted"
        fault = faulty_ports(ports)
        if not fault:
            scopes[key] = tuple(ports)
        return fault

    def _forbidden(
        self, family: int, length: int, bits: bytes, ports: tuple[int, ...] | None
    ) -> str:
        """Why this must not be closed for; "" if it may be."""
        if length < (self.widest4 if family == 4 else self.widest6):
            return "wider than is permitted"
        if not ports and not self.everything:
            return "a ban must name its ports"
        first = int.from_bytes(bits)
        last = first | ((1 << (len(bits) * 8 - length)) - 1)
        if self._spared.touch(family, first, last):
            return "it would hit a protected address"
        if self._allowed.hold(family, first, last):
            return "it lies inside the allowlist"
        return ""


class Tempo:
    """How many new bans there may still be: a bucket of `burst` that fills at `rate` a second."""

    def __init__(self, charter: Charter, now: Micros) -> None:
        self._rate, self._burst = charter.rate, charter.burst
        self._level = charter.burst * SECOND
        self._since = now

    def take(self, wanted: int, now: Micros) -> int:
        """How many of so many are permitted now. A clock that was set back fills nothing."""
        gained = max(0, now - self._since) * self._rate
        self._level = min(self._burst * SECOND, self._level + gained)
        self._since = now
        taken = min(wanted, self._level // SECOND)
        self._level -= taken * SECOND
        return taken


def judge_all(
    items: Sequence[Any], charter: Charter, tempo: Tempo, now: Micros
) -> tuple[list[Request], list[int], list[Refusal]]:
    """What may be done, where each of these stood in the list, and what may not."""
    requests, places, faults = charter.judge(items, now)
    bans = [number for number, request in enumerate(requests) if request[0] == "ban"]
    taken = tempo.take(len(bans), now)
    for number in reversed(bans[taken:]):
        faults.append((places.pop(number), "more new bans than are permitted at once"))
        del requests[number]
    return requests, places, [Refusal(index, reason) for index, reason in faults]
