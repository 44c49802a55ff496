"""What members say to one of them alone: a stream in the engine for each, read where it blocks.

Touches nothing: `rounds` carries it over a connection of its own, which waits at the engine for
something to come. Limits: a box keeps the last MOST messages for a minute or two; what is lost is
asked again when the lease of a crossing is over. The engine reads along, as with all that is said.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from tidegate.fleet import stream
from tidegate.fleet.counting import Ask
from tidegate.fleet.fields import Malformed
from tidegate.fleet.stream import Command, Reply
from tidegate.model import MINUTE, SECOND, Micros

MOST = 256
WAITS: Micros = 10 * SECOND
"""How long the engine holds a question to which there is no answer yet."""
_LIVES = b"%d" % (2 * MINUTE // 1000)
_KEY = stream.STREAM.decode()  # in the same slot


def box(host: str) -> bytes:
    """Where a host looks for what is said to it alone."""
    return b"{tg:decisions}:to:" + host.encode("ascii")


def post(body: bytes, hosts: Collection[str]) -> list[Command]:
    """Say it to these: two commands for each."""
    found: list[Command] = []
    for host in hosts:
        name = box(host)
        found.append((b"XADD", name, b"MAXLEN", b"~", b"%d" % MOST, b"*", b"m", body))
        found.append((b"PEXPIRE", name, _LIVES))
    return found


class Mailbox:
    """Reads the own box, for `rounds`; `hear` is given each message. `needed` says whether there is
    any mail in this fleet: without, not even a connection is made."""

    def __init__(
        self, host: str, hear: Callable[[bytes, Micros], None], needed: Callable[[], bool]
    ) -> None:
        self._box, self._hear, self._needed = box(host), hear, needed
        self._last = b"0-0"
        self._busy = False

    @property
    def urgent(self) -> bool:
        """Whether to ask again at once."""
        return not self._busy and self._needed()

    def asks(self, now: Micros, *, urgent: bool = False) -> list[Ask]:
        """A question that waits for its answer."""
        if not self.urgent:
            return []
        self._busy = True
        waits = b"%d" % (WAITS // 1000)
        most = b"%d" % stream.AT_ONCE
        asked = (b"XREAD", b"COUNT", most, b"BLOCK", waits, b"STREAMS", self._box, self._last)
        return [Ask("mail", _KEY, [asked])]

    def answered(self, ask: Ask, replies: Sequence[Reply], now: Micros) -> None:
        """What came. Malformed where it makes no sense."""
        self._busy = False
        (reply,) = replies
        if isinstance(reply, Exception):
            return
        found = stream.messages(reply, self._box)
        if found and stream.place(found[-1][0]) <= stream.place(self._last):
            raise Malformed("mail that comes again")
        for place, body in found:
            self._last = place
            if body:
                self._hear(body, now)

    def lost(self, ask: Ask) -> None:
        """Nobody knows whether something came: it is still in the box."""
        self._busy = False

    def reads_elsewhere(self) -> None:
        """The box is read where it lies."""
