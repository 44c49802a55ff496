"""Hears what is said through the engine: from the snapshot on, and nothing is missed.

Touches nothing: it says what to ask, and takes the replies; it is told the time. Limits: what it
hears is unjudged; an engine whose replies have no sense is Malformed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

from tidegate.fleet.decisions import stream
from tidegate.fleet.decisions.stream import Command, Reply
from tidegate.fleet.fields import Malformed
from tidegate.model import MINUTE, SECOND, Micros

CHECK: Micros = 5 * SECOND
"""How often to ask whose copy of the data this is, and how much was ever said; and after every
connection. In a large fleet seldomer, see `Assembly`: the answers are as long as ten decisions."""
DOUBT: Micros = MINUTE
"""How soon a count that is not ours makes us read the snapshot again."""

SETTLED: Micros = 10 * SECOND
"""When to read the snapshot once more after it was begun with: what others had only claimed by then
stands in it a moment later, and nobody says it again."""

_LINEAGE = re.compile(rb"^master_replid:([0-9a-f]{40})\r?$", re.MULTILINE)
_CUT_OFF = re.compile(rb"^master_link_status:down\r?$", re.MULTILINE)


class Heard(NamedTuple):
    """What came of one exchange. `bodies` are unjudged. `behind`: more is waiting, ask at once.

    `moved`: another copy of the data answers than before, after a failover or a restart, and what
    was said last may be missing in it. `stale`: a replica answered that has lost its primary.
    `trouble`: what the engine refused, "" if nothing. So many of the first `bodies` are out of the
    snapshot, said long ago perhaps.
    """

    bodies: tuple[bytes, ...] = ()
    behind: bool = False
    moved: bool = False
    stale: bool = False
    trouble: str = ""
    kept: int = 0


Phase = Literal["start", "snapshot", "stream"]


class Listener:
    """Hears all that is said, each time `commands` were sent and `take` got their replies.

    It begins with the snapshot, and goes back to it whenever it may have missed something: when
    the copy of the data is another one; when it slept until the stream had dropped what it had not
    read; and when the engine's own count of what was ever said is not what was heard.
    """

    def __init__(self) -> None:
        self.phase: Phase = "start"
        self.brief = False
        self._plain = False  # our function was refused on this connection
        self.lineage = b""
        self.snapshots = 0
        self.check = CHECK
        self.last = b"0-0"
        self._said = 0  # what the engine's count must be if we heard all up to `last`
        self._cursor = b"0"
        self._backlog = 0
        self._now: Micros = 0
        self._checked: Micros | None = None
        self._doubted: Micros | None = None
        self._settle: Micros | None = None
        self._more = False
        self._asked: list[str] = []

    def reconnected(self) -> None:
        """Another connection: ask first whose data is behind it."""
        self._plain = False  # read as before: XREAD would bring messages however large
        self._checked = None
        self._asked = []
        if self.phase == "snapshot":  # a cursor means nothing to another server
            self.phase = "start"

    def shorten(self) -> None:
        """The engine has our functions: read by one of them from now on, if it lets us."""
        self.brief = not self._plain

    def again(self) -> None:
        """Read the snapshot once more, as where a quota left out what came with the first time.
        The stream is read on meanwhile: claims stand nowhere else."""
        if self.phase == "stream":
            self.phase, self._cursor = "snapshot", b"0"
        else:
            self._more = self.phase == "snapshot"

    def anew(self) -> None:
        """All that was there may be gone: begin as at first."""
        self.phase, self._checked = "start", None

    def commands(self, now: Micros) -> list[Command]:
        """What to ask now; the replies to exactly these go to `take`."""
        count = (b"XINFO", b"STREAM", stream.STREAM)
        asked: dict[str, Command] = {}
        self._now = now
        settling = self._settle is not None and self.phase == "stream"
        if settling and not _within(self._settle, now, SETTLED):
            self._settle = None
            self.again()
        if self.phase == "start":
            asked["end"] = count
        else:
            if self.phase == "snapshot":
                asked["page"] = stream.scan(self._cursor, brief=self.brief)
            asked["read"] = stream.read(self.last, brief=self.brief)
        if self.phase == "start" or not _within(self._checked, now, self.check):
            asked["lineage"] = (b"INFO", b"replication")
            if self.phase != "start":  # behind the read, so that it counts what was read
                asked["count"] = count
            self._checked = now
        self._asked = list(asked)
        return list(asked.values())

    def take(self, replies: Sequence[Reply]) -> Heard:
        """What was heard. Malformed where the replies have no sense: leave that connection."""
        if len(replies) != len(self._asked):
            raise Malformed(f"{len(replies)} replies to {len(self._asked)} questions")
        got = dict(zip(self._asked, replies, strict=True))
        if self.brief and any(stream.is_unknown(got.get(one)) for one in ("read", "page")):
            self.brief, self._plain = False, True  # whatever it lost, decisions are heard
        for name, reply in got.items():
            unsaid = name in ("end", "count") and stream.is_nothing(reply)
            if isinstance(reply, Exception) and not unsaid:
                self._checked = None
                return Heard(trouble=str(reply))
        stale = moved = missed = False
        if "lineage" in got:
            stale, moved = self._look(got["lineage"])
        if "end" in got:
            self.last, self._said = stream.state(got["end"])
            self.phase, self._cursor, self._backlog = "snapshot", b"0", 0
            self.snapshots += 1
            self._settle, self._more = self._now, False
            return Heard(behind=True, moved=moved, stale=stale)
        bodies = self._page(got["page"]) if "page" in got else []
        kept = len(bodies)
        bodies += self._read(got["read"])
        if "count" in got and not moved:
            missed, moved = self._compare(*stream.state(got["count"]))
        if moved or missed or self._backlog >= stream.CAP:
            self.phase = "start"
        behind = self.phase != "stream" or self._backlog > 0
        return Heard(tuple(bodies), behind, moved, stale, kept=kept)

    def _look(self, reply: Reply) -> tuple[bool, bool]:
        text = reply.encode() if isinstance(reply, str) else reply
        found = _LINEAGE.search(text) if isinstance(text, bytes) else None
        if found is None:
            raise Malformed("INFO that tells nothing of replication")
        before, self.lineage = self.lineage, found[1]
        return bool(_CUT_OFF.search(text)), before not in (b"", self.lineage)

    def _page(self, reply: Reply) -> list[bytes]:
        self._cursor, bodies = stream.page(reply)
        if self._cursor == b"0" and self.phase == "snapshot":
            self.phase = "snapshot" if self._more else "stream"
            self._more = False
        return bodies

    def _read(self, reply: Reply) -> list[bytes]:
        if self.brief and not isinstance(reply, list | dict):
            last, found = stream.briefly(reply)
            places = [last] if found else []
        else:
            messages = stream.messages(reply)
            places, found = [one for one, _body in messages], [body for _one, body in messages]
        if places:
            passed = [stream.place(one) for one in (self.last, *places)]
            if any(later <= earlier for earlier, later in pairwise(passed)):
                raise Malformed("a stream that runs backwards")
            self.last = places[-1]
        self._said += len(found)
        # The stream drops nothing of its last CAP messages: who has read fewer has missed none.
        self._backlog = self._backlog + len(found) if len(found) >= stream.AT_ONCE else 0
        return [body for body in found if body]

    def _compare(self, last: bytes, said: int) -> tuple[bool, bool]:
        """Whether we missed something, and whether the data is less than it was: somebody removed
        the stream. Once in a while only: a member could make the count wrong again and again."""
        ours, theirs = stream.place(self.last), stream.place(last)
        less = theirs < ours or said < self._said
        missed = less or (theirs == ours and said != self._said)
        if not missed or _within(self._doubted, self._now, DOUBT):
            return False, False
        self._doubted = self._now
        return True, less


def _within(last: Micros | None, now: Micros, span: Micros) -> bool:
    return last is not None and 0 <= now - last < span
