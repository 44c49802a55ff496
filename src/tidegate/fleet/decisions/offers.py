"""What a host holds of all that was said, so that an engine that lost it is given it again.

Touches nothing; gives commands, reads replies, is told the time. What is held are sealed messages
that trust admitted. Limits: `most` messages and `MOST_BYTES`; of who has said most, and is neither
this host nor the desk, those that end first go.
A member that writes other bytes of the same length into the snapshot is seen only by who reads it.

Own messages are said until the engine confirms. After a failover each host looks for its own at
once, then for a share of everybody's: the host that said something may be gone. A hash of host,
message and round chooses the share, so that some `WARDENS` hosts look after each message in a
round, and others in the next one.
"""

from __future__ import annotations

import hashlib
from collections import Counter, OrderedDict
from collections.abc import Sequence
from heapq import heapify, heappop, heappush, nsmallest
from itertools import islice

from tidegate.fleet.decisions import stream
from tidegate.fleet.decisions.stream import Command, Parcel, Reply
from tidegate.fleet.trust.members import DESK
from tidegate.fleet.wire import Kind, sender
from tidegate.model import MINUTE, Micros

WARDENS = 8
"""Hosts that look after a message in a round, on average: one in 3,000 has none (e to the -8)."""
ROUND: Micros = 5 * MINUTE
"""How often a share is looked at, also where nothing seems to have happened."""
MOST_BYTES = 128 << 20
_SAID_AT_ONCE = 20
_ASKED_AT_ONCE = 100


class Offers:
    """The messages that still hold, and which of them the engine may lack.

    `let_go` counts what there was no room for; `offered` what the engine had lost.
    """

    def __init__(self, host: str, most: int = 100_000) -> None:
        self.host = host
        self.let_go = 0
        self.offered = 0
        self._most = most
        self._held: dict[bytes, Parcel] = {}
        self._own: set[bytes] = set()
        self._bytes = 0
        self._sizes: Counter[str] = Counter()  # bytes of each that said something
        self._ends: list[tuple[Micros, bytes]] = []
        self._unsaid: OrderedDict[bytes, bool] = OrderedDict()  # whether only for latecomers
        self._mute: set[bytes] = set()  # that are never for others than latecomers
        self._doubtful: OrderedDict[bytes, None] = OrderedDict()
        self._round: Micros | None = None
        self._asked: list[bytes] = []
        self._saying: list[tuple[bytes, bool]] = []
        self.pressing = False
        """Whether all should hear something as soon as may be."""

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, number: bytes) -> bool:
        return number in self._held

    @property
    def unsaid(self) -> int:
        """How many own messages the engine has not confirmed."""
        return len(self._unsaid) + sum(1 for one in self._doubtful if one in self._own)

    def say(self, parcel: Parcel, *, quiet: bool = False) -> None:
        """Have this said, and said again until the engine confirms or it has ended. `quiet`: only
        in the snapshot, not in the stream; of claims also where the engine has lost it."""
        self.hold(parcel)
        if parcel.id in self._held:
            self._own.add(parcel.id)
            self._unsaid[parcel.id] = quiet
            self.pressing |= not quiet
            if quiet and parcel.body[3:4] == bytes((Kind.CLAIMS,)):
                self._mute.add(parcel.id)

    def hold(self, parcel: Parcel) -> None:
        """Keep what somebody said, for an engine that loses it. Held already: for longer."""
        known = self._held.get(parcel.id)
        if known is not None and known.until >= parcel.until:
            return
        self._held[parcel.id] = parcel
        if known is None:
            self._bytes += len(parcel.body)
            self._sizes[_sender(parcel)] += len(parcel.body)
        heappush(self._ends, (parcel.until, parcel.id))
        while len(self._held) > self._most or self._bytes > MOST_BYTES:
            self._let_go()

    def _let_go(self) -> None:
        """One host that says much must not mute the others, whose bans end sooner than its own."""
        spared = (self.host, DESK)
        loud = max(self._sizes, key=lambda host: (host not in spared, self._sizes[host]))
        of = [(one.until, one.id) for one in self._held.values() if _sender(one) == loud]
        for _until, number in nsmallest(max(1, len(of) // 16), of):
            self._drop(number)
            self.let_go += 1

    def release(self, number: bytes) -> None:
        """Keep this one no longer, and say it no more."""
        if number in self._held:
            self._drop(number)

    def forget(self, now: Micros) -> None:
        """Drop what has ended."""
        while self._held and self._held[self._first()].until <= now:
            self._drop(self._first())

    def bodies(self) -> list[bytes]:
        """What is held, those that end first in front."""
        return [one.body for one in sorted(self._held.values(), key=lambda one: one.until)]

    def lost(self) -> None:
        """The connection broke: nobody knows what became of what was being said."""
        for number, _quiet in self._saying:
            if number in self._held:
                self._unsaid.pop(number, None)
                self._doubtful[number] = None
        self._saying, self._asked = [], []

    def moved(self, hosts: int, now: Micros) -> None:
        """Another copy of the data: look for all own messages now, and for a share of the rest."""
        for number in sorted(self._own):
            if number not in self._unsaid:
                self._doubtful[number] = None
        self._look_after(hosts, now)

    def tend(self, hosts: int, now: Micros) -> None:
        """Look after a share of the messages when it is time; `hosts` is how many are enrolled."""
        if self._round is None or not 0 <= now - self._round < ROUND:
            self._look_after(hosts, now)

    def commands(self) -> list[Command]:
        """What to send now, a part of what is due; the replies to exactly these go to `take`."""
        self.pressing = False
        self._saying = list(islice(self._unsaid.items(), _SAID_AT_ONCE))
        self._asked = list(islice(self._doubtful, _ASKED_AT_ONCE))
        found = [(b"HSTRLEN", stream.HELD, number) for number in self._asked]
        return found + [
            command
            for number, quiet in self._saying
            for command in stream.say(self._held[number], quiet=quiet)
        ]

    def take(self, replies: Sequence[Reply]) -> None:
        """What became of it. What the engine lacks is said again the next time."""
        asked, saying = self._asked, self._saying
        self._asked, self._saying = [], []
        for number, reply in zip(asked, replies, strict=False):
            if not isinstance(reply, int) or number not in self._held:
                continue  # refused just now, as while it loads its data: asked again
            self._doubtful.pop(number, None)
            if reply != len(self._held[number].body):
                self.offered += 1
                self._unsaid[number] = number in self._mute
        at = len(asked)
        for number, quiet in saying:
            size = stream.size(quiet=quiet)
            if stream.was_said(replies[at : at + size]):
                self._unsaid.pop(number, None)
            at += size

    def _look_after(self, hosts: int, now: Micros) -> None:
        self._round = now
        turn = now // ROUND
        for number in self._held:
            if number not in self._unsaid and self._mine(number, turn, hosts):
                self._doubtful[number] = None

    def _mine(self, number: bytes, turn: int, hosts: int) -> bool:
        if hosts <= WARDENS:
            return True
        text = b"%b %b %d" % (self.host.encode(), number, turn)
        drawn = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest())
        return drawn * hosts < WARDENS << 64

    def _first(self) -> bytes:
        while not self._is_end(self._ends[0]):
            heappop(self._ends)
        return self._ends[0][1]

    def _drop(self, number: bytes) -> None:
        gone = self._held.pop(number)
        self._bytes -= len(gone.body)
        self._sizes[_sender(gone)] -= len(gone.body)
        if not self._sizes[_sender(gone)]:
            del self._sizes[_sender(gone)]
        self._own.discard(number)
        self._mute.discard(number)
        self._unsaid.pop(number, None)
        self._doubtful.pop(number, None)
        if len(self._ends) > 2 * len(self._held) + 64:
            self._ends = [one for one in self._ends if self._is_end(one)]
            heapify(self._ends)

    def _is_end(self, one: tuple[Micros, bytes]) -> bool:
        known = self._held.get(one[1])
        return known is not None and known.until == one[0]


def _sender(parcel: Parcel) -> str:
    """Who is named as its sender; "" where it is no sealed message."""
    return sender(parcel.body) if parcel.body[:2] == b"TG" else ""
