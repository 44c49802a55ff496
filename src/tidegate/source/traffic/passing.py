"""Looks at what passes for a while, and says who sends most: for `tidegate top`.

Touches a ring of packets, and asks who is behind them while their sockets still stand. Limits:
`MOST` packets a second are looked at, of more one in two, four ...; `ASKED` new flows a look
are looked up, the others are taken for their likes'.
"""

from __future__ import annotations

import select
import time
from typing import NamedTuple

from tidegate.evidence.path import Path, Who
from tidegate.evidence.talkers import Talker, Talkers
from tidegate.source.traffic import vantage
from tidegate.source.traffic.owners import Owners
from tidegate.source.traffic.packets import Head, address_text, head_of
from tidegate.source.traffic.ring import MOST_THIN, Frame, Ring
from tidegate.source.traffic.sockets import Flow

MOST = 10_000
ASKED = 20
_LOOK = 0.05
_FRESH = 10.0
_TCP, _SYN, _ACK = 6, 0x02, 0x10
_ECHO = {1: 8, 58: 128}


class Report(NamedTuple):
    """One span: the rows, packets and bytes a second each way, one packet in how many was looked
    at, and how many passed by unseen because the ring was full."""

    talkers: list[Talker]
    packets: dict[str, float]
    bytes: dict[str, float]
    thinned: int
    lost: int
    seconds: float


class Passing:
    """Open from the beginning; raises SourceError where packets can't be seen."""

    def __init__(self) -> None:
        self._ring = Ring()
        self._owners = Owners()
        self._talkers = Talkers()
        self._who: dict[Path, Who] = {}
        self._ends: dict[tuple[int, bytes, int], Who] = {}
        self.vantage = vantage.look()
        self._looked = self._began = self._fresh = time.monotonic()
        self._frames = self._stood = 0  # looked at, and for how many they stood

    def close(self) -> None:
        """Give everything back."""
        self._ring.close()
        self._owners.close()

    def report(self, until: float, other: int | None = None) -> Report:
        """Look until then (seconds, monotonic), or until a file (`other`) is readable."""
        watched = [self._ring.fileno(), *([] if other is None else [other])]
        while (left := until - time.monotonic()) > 0:
            ready = select.select(watched, [], [], min(_LOOK, left))[0]
            self._take()
            if other in ready:
                break
            # A pause gathers more for the next look; the ring has room for it.
            time.sleep(max(0.0, min(_LOOK / 2, until - time.monotonic())))
        return self._told()

    def _take(self) -> None:
        now = time.monotonic()
        count = stood = asked = 0
        for frame in self._ring.take():
            count += 1
            stood += frame.weight
            path = self._count(frame)
            if path is not None and asked < ASKED:
                asked += self._ask(path)
        self._frames += count
        self._stood += stood
        self._ring.thin(paced(self._ring.weight, stood / max(now - self._looked, 0.001)))
        self._looked = now

    def _count(self, frame: Frame) -> Path | None:
        """Count one packet; its path, where this host is an end of it and it was not seen yet."""
        head = head_of(frame.head)
        if head is None:
            return None
        passing = self.vantage.of(head.source, head.destination, frame.interface, frame.kind)
        if passing is None:
            return None
        path = Path(
            passing.way, passing.here, passing.forged, frame.interface, head.protocol,
            head.source, head.destination, head.source_port, head.port,
        )  # fmt: skip
        fresh = self._talkers.add(path, frame.length, _begins(frame.head, head), frame.weight)
        return path if fresh and passing.here else None

    def _ask(self, path: Path) -> bool:
        """Find out who is behind a flow of this host; whether the kernel had to be asked."""
        local = path.source if path.way == "out" else path.destination
        port = path.source_port if path.way == "out" else path.port
        end = (path.protocol, local, port)
        known = self._ends.get(end)
        if known is not None:
            self._who[path] = known
            return False
        flow = Flow(path.protocol, address_text(local), port, *(
            (address_text(path.destination), path.port)
            if path.way == "out"
            else (address_text(path.source), path.source_port)
        ))  # fmt: skip
        found = self._owners.find(flow, raw=path.way == "out")
        if found is not None:
            who = Who(found.user, str(found))
            self._who[path] = who
            if found.sure and port:
                self._ends[end] = who
        return True

    def _told(self) -> Report:
        now = time.monotonic()
        seconds, self._began = now - self._began, now
        missed = self._ring.missed()
        scale = missed.packets / max(1, missed.packets - missed.lost)
        rows = self._talkers.rows(seconds, self._who, scale)
        self._who.clear()
        self._ends.clear()
        if now - self._fresh > _FRESH:
            self.vantage, self._fresh = vantage.look(), now
        thinned = max(1, round(self._stood / max(1, self._frames)))
        self._frames = self._stood = 0
        packets, sizes = {"in": 0.0, "out": 0.0}, {"in": 0.0, "out": 0.0}
        for row in rows:
            packets[row.way] += row.packets
            sizes[row.way] += row.volume
        return Report(rows, packets, sizes, thinned, missed.lost, seconds)


def paced(weight: int, rate: float) -> int:
    """For how many packets one is to stand (a power of two) where so many pass in a second: as
    few as `MOST` allows, and not fewer than now before it is clear that there are fewer."""
    wanted = 1
    while rate > wanted * MOST and wanted < MOST_THIN:
        wanted *= 2
    return wanted if wanted > weight or wanted <= weight // 4 else weight


def _begins(packet: bytes, head: Head) -> bool:
    """Whether it may be the first packet of something."""
    echo = _ECHO.get(head.protocol)
    if head.protocol != _TCP and echo is None:
        return True
    at = (packet[0] & 15) * 4 if len(head.source) == 4 else 40
    if echo is not None:
        return packet[at : at + 1] == bytes([echo])
    flags = packet[at + 13] if len(packet) > at + 13 else 0
    return flags & (_SYN | _ACK) == _SYN
