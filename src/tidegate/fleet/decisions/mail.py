"""What members say to one of them alone: a stream in the engine for each, read where it blocks.

Touches nothing: `rounds` carries it over a connection of its own, which waits at the engine for
something to come. Limits: a box keeps the last MOST messages, for two minutes at least; what is
lost is asked again when the lease of a crossing is over. The engine reads all of it along.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from tidegate.fleet.counting.counting import Ask
from tidegate.fleet.decisions import mending, stream
from tidegate.fleet.decisions.stream import Command, Reply
from tidegate.fleet.fields import Malformed
from tidegate.model import MINUTE, SECOND, Micros

MOST = 256
WAITS: Micros = 10 * SECOND
"""How long the engine holds a question to which there is no answer yet."""
_LIVES = b"%d" % (3 * MINUTE // 1000)
_AHEAD: Micros = 10 * MINUTE
_KEY = stream.STREAM.decode()  # in the same slot


def box(host: str) -> bytes:
    """Where a host looks for what is said to it alone."""
    return b"{tg:decisions}:to:" + host.encode("ascii")


class Post:
    """Mail to others. A box is told to expire once a minute, not with each message."""

    def __init__(self) -> None:
        self._told: dict[str, Micros] = {}

    def letters(self, body: bytes, hosts: Collection[str], now: Micros) -> list[Command]:
        """Say it to these."""
        found: list[Command] = []
        for host in sorted(hosts):
            name = box(host)
            found.append((b"XADD", name, b"MAXLEN", b"~", b"%d" % MOST, b"*", b"m", body))
            if not 0 <= now - self._told.get(host, -MINUTE) < MINUTE:
                found.append((b"PEXPIRE", name, _LIVES))
                self._told[host] = now
        return found


class Mailbox:
    """Reads the own box, for `rounds`; `hear` is given each message. `joined`: whether there can be
    any; before, not even a connection is made."""

    def __init__(
        self, host: str, hear: Callable[[bytes, Micros], None], joined: Callable[[], bool]
    ) -> None:
        self._box, self._hear, self._joined = box(host), hear, joined
        self._last = b"0-0"
        self._busy = self._rests = self._spoiled = False
        self._looked: Micros | None = None

    @property
    def urgent(self) -> bool:
        """Whether to ask again at once."""
        return not self._busy and not self._rests and self._joined()

    def asks(self, now: Micros, *, urgent: bool = False) -> list[Ask]:
        """A question that waits for its answer. Once a minute, and where the box looks so, first
        whether somebody has spoiled it: of one that takes no more mail there is nothing to hear."""
        self._rests = self._rests and urgent
        if not self.urgent:
            return []
        self._busy = True
        waited = MINUTE if self._looked is None else now - self._looked
        if self._looked is None and not self._spoiled:
            self._looked = now
        elif not 0 <= waited < MINUTE:
            self._looked, self._spoiled = now, False
            return [Ask("mend", _KEY, [mending.mend((self._box, b"stream"))])]
        waits = b"%d" % (WAITS // 1000)
        most = b"%d" % stream.AT_ONCE
        asked = (b"XREAD", b"COUNT", most, b"BLOCK", waits, b"STREAMS", self._box, self._last)
        return [Ask("mail", _KEY, [asked])]

    def answered(self, ask: Ask, replies: Sequence[Reply], now: Micros) -> None:
        """What came. Malformed where it makes no sense."""
        self._busy = False
        (reply,) = replies
        if isinstance(reply, Exception):
            self._rests = True  # not over and over: what it refuses it refuses at once
            self._spoiled |= mending.is_spoiled(reply)
            return
        if ask.part == "mend":
            self._last = b"0-0" if reply else self._last
            return
        found = stream.messages(reply, self._box)
        for place, body in found:
            milliseconds, _number = at = stream.place(place)
            # Whoever writes at the end of time would have us hear nothing more: it is not passed.
            if at <= stream.place(self._last) or milliseconds * 1000 > now + _AHEAD:
                self._spoiled = True
                raise Malformed("mail that comes again, or from the future")
            self._last = place
            if body:
                self._hear(body, now)

    def lost(self, ask: Ask) -> None:
        """Nobody knows whether something came: it is still in the box."""
        self._busy = False
        if ask.part == "mend":
            self._looked, self._spoiled = None, True  # what else it asks may end the connection

    def reads_elsewhere(self) -> None:
        """The box is read where it lies."""
