"""Connections as conntrack tells of them → contacts: tried, and what became of it.

Touches nothing; told the time. A try is told only when nothing came back for `HOLD`, so that most
contacts are one value. Limits: `MOST_PENDING` connections waited for, the oldest are given up on
first; one contact a source and destination within half a minute to a minute.
"""

from __future__ import annotations

import struct
from collections import Counter, deque
from collections.abc import Callable

from tidegate.model import SECOND, Micros, Subject
from tidegate.nfnetlink import attributes
from tidegate.source.traffic import filters
from tidegate.source.traffic.filters import V4, V6, Layout, Share, heard
from tidegate.source.traffic.packets import PORTED, address_text
from tidegate.source.traffic.port import Counted
from tidegate.source.traffic.reach import LOCAL, Reach, folded
from tidegate.traffic import Contact, Outcome

HOLD: Micros = 3 * SECOND // 10
PATIENCE: Micros = 5 * SECOND
GENERATION: Micros = 30 * SECOND
MOST_PENDING, MOST_SEEN = 16_384, 65_536
MOST_PORTS = 1024

_CLOSED, _TCP, _PROTOCOL_INFO = 8, 6, 4
_LAYOUTS = {
    (2, 0x34): V4, (2, 0x3C): V4._replace(end=80, status=152),  # ICMP: number, type and code
    (10, 0x4C): V6, (10, 0x54): V6._replace(end=104, status=200),
}  # fmt: skip
"""By family, and the length of the first tuple."""
_TUPLE = 0x8001  # CTA_TUPLE_ORIG, nested
_PLACE = struct.Struct("=HH").unpack_from
_STATE = bytes.fromhex("10000480" if filters.LITTLE else "00108004")

UserOf = Callable[[int, str, int, str, int], Subject | None]
"""(protocol, local address, port, remote address, port) → `uid:N`; None where nobody knows."""


class _Pending:
    __slots__ = ("begun", "destination", "key", "port", "protocol", "source", "target", "told")

    def __init__(self, begun: Micros, source: Subject, destination: str, key: int) -> None:
        self.begun, self.source, self.destination, self.key = begun, source, destination, key
        self.protocol = self.port = self.target = 0
        self.told = False


class Outcomes:
    """What is waited for, and what has come of it since last asked (`take`)."""

    def __init__(self, reach: Reach, user_of: UserOf) -> None:
        self.reach = reach
        self._user_of = user_of
        self._pending: dict[bytes, _Pending] = {}
        self._held: deque[tuple[bytes, _Pending]] = deque()
        self._told: deque[tuple[bytes, _Pending]] = deque()
        self._seen: set[bytes] = set()
        self._before: set[bytes] = set()
        self._turned: Micros = 0
        self._out: list[Contact] = []
        self._begun: Counter[int] = Counter()
        self._finished: Counter[int] = Counter()
        self.by_key: Counter[int] = Counter()
        self.events = self.nameless = self.given_up = self.odd = self.inward = 0
        self.weight = 1.0  # what one connection that comes in stands for

    def __len__(self) -> int:
        return len(self._pending)

    def hear(self, data: bytes, now: Micros) -> None:
        """Take in one message of the kernel, whatever it is."""
        self.events += 1
        layout = None
        if len(data) > 24:
            length, first = _PLACE(data, 20)
            layout = _LAYOUTS.get((data[filters.FAMILY_AT], length)) if first == _TUPLE else None
        if layout is None or len(data) <= layout.status + 4:
            self.odd += 1  # neither ports nor ICMP (GRE); or a kernel that says it in another way
            return
        kind = data[filters.TYPE_AT]
        created = data[filters.FLAGS_AT] & filters.CREATED
        if created and kind != filters.DESTROYED:
            self._begin(data, layout, now)
            return
        pending = self._pending.pop(data[24 : layout.end], None)
        if pending is None:
            if kind != filters.DESTROYED:
                self._finish(data, layout)
            return
        if kind != filters.DESTROYED:
            self._tell(pending, now, "answered")
        else:
            self._tell(pending, now, "refused" if _reset(data, layout) else "unanswered")

    def _begin(self, data: bytes, layout: Layout, now: Micros) -> None:
        source = data[layout.source : layout.source + layout.width]
        target = data[layout.target : layout.target + layout.width]
        found = self.reach.source(source)
        protocol = data[layout.protocol]
        if not self.reach.leaves(target):
            if target in self.reach.own and protocol == _TCP:
                self._count(self._begun, data, layout)
            return
        if found is None:
            return
        whole = folded(target, 4)
        key = whole if found.key is None else found.key
        self.by_key[key] += 1
        pair = (source if found.key is None else found.subject.encode()) + target
        if pair in self._seen or pair in self._before:
            return
        if len(self._seen) < MOST_SEEN:
            self._seen.add(pair)
        source_port = port = 0
        if protocol in PORTED:
            source_port, port = _port(data, layout.protocol + 8), _port(data, layout.protocol + 16)
        subject, destination = found.subject, address_text(target)
        if subject == LOCAL:
            near = address_text(source)
            user = self._user_of(protocol, near, source_port, destination, port)
            if user is None or user in self.reach.spared:
                self.nameless += user is None
                return
            subject = user
        one = _Pending(now, subject, destination, key)
        one.protocol, one.port, one.target = protocol, port, whole
        self._wait(data[24 : layout.end], one)

    def _wait(self, key: bytes, pending: _Pending) -> None:
        if len(self._pending) >= MOST_PENDING:
            old = self._pending.pop(next(iter(self._pending)))
            self.given_up += 1
            if old.told:
                self._tell(old, old.begun, "unheard")
        self._pending[key] = pending
        self._held.append((key, pending))

    def _finish(self, data: bytes, layout: Layout) -> None:
        """A connection that came in shook hands (an update of one that we do not wait for)."""
        if data[layout.protocol] != _TCP or len(data) <= layout.state:
            return
        if data[layout.state] == filters.ESTABLISHED:
            target = data[layout.target : layout.target + layout.width]
            if target in self.reach.own:
                self._count(self._finished, data, layout)

    def _count(self, counts: Counter[int], data: bytes, layout: Layout) -> None:
        self.inward += 1
        port = _port(data, layout.protocol + 16)
        if port in counts or len(counts) < MOST_PORTS:
            counts[port] += 1

    def _tell(self, one: _Pending, now: Micros, outcome: Outcome) -> None:
        self._out.append(Contact(now, one.source, one.destination, one.protocol, one.port, outcome))

    def tick(self, now: Micros) -> None:
        """What nothing came back for is a try by now, and unanswered later."""
        while self._held and (now - self._held[0][1].begun >= HOLD or self._held[0][1].begun > now):
            key, one = self._held.popleft()
            if self._pending.get(key) is one:
                one.told = True
                self._tell(one, one.begun, "tried")
                self._told.append((key, one))
        while self._told and (
            now - self._told[0][1].begun >= PATIENCE or self._told[0][1].begun > now
        ):
            key, one = self._told.popleft()
            if self._pending.get(key) is one:
                del self._pending[key]
                self._tell(one, now, "unanswered")
        if not 0 <= now - self._turned < GENERATION or len(self._seen) >= MOST_SEEN:
            self._turned, self._before, self._seen = now, self._seen, set()

    def take(self) -> list[Contact]:
        """What has come of it since last asked."""
        found, self._out = self._out, []
        return found

    def handshakes(self, now: Micros) -> list[Counted]:
        """What came in since last asked, reckoned up from the share that was listened to."""
        found = [
            Counted(
                now, port,
                round(self._begun[port] * self.weight), round(self._finished[port] * self.weight),
            )
            for port in {**self._begun, **self._finished}
        ]  # fmt: skip
        self._begun.clear()
        self._finished.clear()
        return found

    def forget(self, share: Share | None = None) -> None:
        """Events were lost, or from now on only this share is heard: of what else is waited for
        nobody will ever know."""
        for name, one in list(self._pending.items()):
            if share is None or not heard(share, one.key, one.target):
                del self._pending[name]
                self.given_up += 1
                if one.told:
                    self._tell(one, one.begun, "unheard")


def _port(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2])


def _reset(data: bytes, layout: Layout) -> bool:
    """Whether a connection ended by a reset: the kernel says so from 5.10 on."""
    if data[layout.protocol] != _TCP:
        return False
    at = layout.status + 16  # a message of the end has no timeout
    if data[at - 12 : at - 8] == _STATE:
        return len(data) > at and data[at] == _CLOSED
    # Counters or times stand before it, where the host has these switched on.
    for kind, value in attributes(data, 20):
        if kind == _PROTOCOL_INFO:
            return len(value) > 8 and value[8] == _CLOSED
    return False
