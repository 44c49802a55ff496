"""How decisions travel: a capped stream of what is said, and a snapshot of all that still holds.

Touches nothing: it gives commands for the engine and reads its replies, in the shapes of RESP2 and
RESP3. Limits: what is carried are sealed messages, believed by nobody until trust has judged them;
an engine whose replies have no sense is Malformed; it can keep things from us, and we can't see it.

`stream` has at least the last CAP messages. `held` has every message whose last decision has not
ended, by id, and `ends` the same ids by their ends. One transaction writes all three, so that what
is in the stream is in the snapshot. Who comes late notes where the stream ends, reads the snapshot
and then the stream from there: whatever was said before the note is in one, after it in the other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

from tidegate.fleet.fields import Malformed
from tidegate.model import MINUTE, SECOND, Micros

STREAM = b"{tg:decisions}:stream"
HELD = b"{tg:decisions}:held"
ENDS = b"{tg:decisions}:ends"

CAP = 10_000
"""The messages that the stream has at least (it drops older ones in whole nodes)."""
MOST_HELD = 200_000
"""Of more messages in the snapshot, those that end first are taken out."""
AT_ONCE = 100
"""Messages asked for in one go, of the stream and of the snapshot."""
CHECK: Micros = 5 * SECOND
"""How often to ask whose copy of the data this is; after a pause this long, at once."""
GRACE: Micros = 2 * MINUTE
"""How long a message that has ended stays, for clocks that are behind."""

Command = tuple[bytes, ...]
Reply = Any
"""As hiredis gives it: int, bytes, str, None, list, dict, or an exception that the engine sent."""

_ID = re.compile(rb"\d{1,20}-\d{1,20}")
_LINEAGE = re.compile(rb"^master_replid:([0-9a-f]{40})\r?$", re.MULTILINE)
_CUT_OFF = re.compile(rb"^master_link_status:down\r?$", re.MULTILINE)


class Parcel(NamedTuple):
    """A sealed message as it lies in the engine: its id, when its last decision ends, its bytes."""

    id: bytes
    until: Micros
    body: bytes


class Heard(NamedTuple):
    """What came of one exchange. `bodies` are unjudged. `behind`: more is waiting, ask at once.

    `moved`: another copy of the data answers than before, after a failover or a restart, and what
    was said last may be missing in it. `stale`: a replica answered that has lost its primary.
    `trouble`: what the engine refused, "" if nothing.
    """

    bodies: tuple[bytes, ...] = ()
    behind: bool = False
    moved: bool = False
    stale: bool = False
    trouble: str = ""


def say(parcel: Parcel) -> list[Command]:
    """Say it to all, and keep it for those who come late. The last reply tells: see `was_said`."""
    until = b"%d" % parcel.until
    return [
        (b"MULTI",),
        (b"XADD", STREAM, b"MAXLEN", b"~", b"%d" % CAP, b"*", b"m", parcel.body),
        (b"HSET", HELD, parcel.id, parcel.body),
        (b"ZADD", ENDS, until, parcel.id),
        (b"EXEC",),
    ]


def was_said(replies: Sequence[Reply]) -> bool:
    """Whether the engine has it now; False: nothing of it was done."""
    last = replies[-1] if replies else None
    return isinstance(last, list | tuple) and not any(isinstance(r, Exception) for r in last)


def sweep(now: Micros) -> list[Command]:
    """Ask what may go: see `swept`."""
    before = b"(%d" % (now - GRACE)
    return [
        (b"ZRANGE", ENDS, b"-inf", before, b"BYSCORE", b"LIMIT", b"0", b"%d" % AT_ONCE),
        (b"ZCARD", ENDS),
        (b"ZRANGE", ENDS, b"0", b"%d" % (AT_ONCE - 1)),
    ]


def swept(replies: Sequence[Reply]) -> tuple[list[Command], int]:
    """The commands that take out what has ended, and how many more that there is no room for.

    Several hosts may do it at once: what has ended once is not wanted again.
    """
    if len(replies) != 3 or any(isinstance(reply, Exception) for reply in replies):
        return [], 0
    ended, size, first = _ids(replies[0]), replies[1], _ids(replies[2])
    if not isinstance(size, int):
        raise Malformed("a size that is no number")
    excess = max(0, size - len(ended) - MOST_HELD)
    crowded = [one for one in first if one not in set(ended)][:excess]
    out = [*ended, *crowded]
    if not out:
        return [], 0
    return [
        (b"MULTI",), (b"HDEL", HELD, *out), (b"ZREM", ENDS, *out), (b"EXEC",),
    ], len(crowded)  # fmt: skip


def _ids(reply: Reply) -> list[bytes]:
    if not isinstance(reply, list) or not all(isinstance(one, bytes) for one in reply):
        raise Malformed("ids that are none")
    return reply


def messages(reply: Reply) -> list[tuple[bytes, bytes]]:
    """The messages in a reply to XREAD on our stream, with their places. Malformed if it is none.

    RESP2 gives `[[key, [[id, [field, value, ...]], ...]], ...]`, RESP3 `{key: [...]}`; nothing new
    is None in both.
    """
    if reply is None:
        return []
    pairs = reply.items() if isinstance(reply, dict) else _pairs(reply)
    return [found for key, entries in pairs if key == STREAM for found in _entries(entries)]


def _pairs(reply: Reply) -> Iterable[tuple[Any, Any]]:
    if not isinstance(reply, list):
        raise Malformed("a stream that is none")
    for pair in reply:
        if not isinstance(pair, list) or len(pair) != 2:
            raise Malformed("a stream that is none")
        yield pair[0], pair[1]


def _entries(entries: Reply) -> Iterable[tuple[bytes, bytes]]:
    for place, fields in _pairs(entries):
        if not isinstance(place, bytes) or not _ID.fullmatch(place):
            raise Malformed("a place in a stream that is none")
        values = _flat(fields)
        # An entry of other fields is nobody's of us; its place has to be passed all the same.
        ours = isinstance(values, list) and len(values) == 2 and values[0] == b"m"
        body = values[1] if ours else b""
        if not isinstance(body, bytes):
            raise Malformed("a message that is no bytes")
        yield place, body


def page(reply: Reply) -> tuple[bytes, list[bytes]]:
    """The next cursor and the messages in a reply to HSCAN. Malformed if it is none."""
    if not isinstance(reply, list) or len(reply) != 2:
        raise Malformed("a page that is none")
    cursor, found = reply
    values = _flat(found)
    if not isinstance(cursor, bytes) or not cursor.isdigit() or not isinstance(values, list):
        raise Malformed("a page that is none")
    if len(values) % 2 or not all(isinstance(one, bytes) for one in values):
        raise Malformed("a page that is none")
    return cursor, values[1::2]


def place(text: bytes) -> tuple[int, int]:
    """A place in a stream, to compare."""
    milliseconds, _, number = text.partition(b"-")
    return int(milliseconds), int(number)


def _flat(found: Reply) -> Reply:
    """Fields and values one behind another, where a client has made a dictionary of them."""
    return [each for pair in found.items() for each in pair] if isinstance(found, dict) else found


def _within(last: Micros | None, now: Micros) -> bool:
    return last is not None and 0 <= now - last < CHECK


Phase = Literal["start", "snapshot", "stream"]


class Listener:
    """Hears all that is said, each time `commands` were sent and `take` got their replies.

    It begins with the snapshot, and goes back to it whenever it may have missed something: when the
    copy of the data is another one, or it slept until the stream had dropped what it had not read.
    """

    def __init__(self) -> None:
        self.phase: Phase = "start"
        self.lineage = b""
        self.snapshots = 0
        self.last = b"0-0"
        self._cursor = b"0"
        self._backlog = 0
        self._checked: Micros | None = None
        self._before: Micros | None = None
        self._asked: list[str] = []

    def reconnected(self) -> None:
        """Another connection: ask first whose data is behind it."""
        self._checked = self._before = None
        self._asked = []
        if self.phase == "snapshot":  # a cursor means nothing to another server
            self.phase = "start"

    def commands(self, now: Micros) -> list[Command]:
        """What to ask now; the replies to exactly these go to `take`."""
        read = (b"XREAD", b"COUNT", b"%d" % AT_ONCE, b"STREAMS", STREAM, self.last)
        asked: dict[str, Command] = {}
        if not _within(self._checked, now):
            asked["lineage"] = (b"INFO", b"replication")
            self._checked = now
        if not _within(self._before, now):
            asked["first"] = (b"XRANGE", STREAM, b"-", b"+", b"COUNT", b"1")
        self._before = now
        if self.phase == "start":
            asked["lineage"] = (b"INFO", b"replication")
            asked.pop("first", None)
            asked["end"] = (b"XREVRANGE", STREAM, b"+", b"-", b"COUNT", b"1")
        else:
            if self.phase == "snapshot":
                asked["page"] = (b"HSCAN", HELD, self._cursor, b"COUNT", b"%d" % AT_ONCE)
            asked["read"] = read
        self._asked = list(asked)
        return list(asked.values())

    def take(self, replies: Sequence[Reply]) -> Heard:
        """What was heard. Malformed where the replies have no sense: leave that connection."""
        if len(replies) != len(self._asked):
            raise Malformed(f"{len(replies)} replies to {len(self._asked)} questions")
        got = dict(zip(self._asked, replies, strict=True))
        for reply in replies:
            if isinstance(reply, Exception):
                self._checked = self._before = None
                return Heard(trouble=str(reply))
        stale = moved = False
        if "lineage" in got:
            stale, moved = self._look(got["lineage"])
        if "end" in got:
            found = list(_entries(got["end"]))
            self.last = found[-1][0] if found else b"0-0"
            self.phase, self._cursor, self._backlog = "snapshot", b"0", 0
            self.snapshots += 1
            return Heard(behind=True, moved=moved, stale=stale)
        first = list(_entries(got.get("first", [])))
        missed = bool(first) and self.last != b"0-0" and place(first[0][0]) > place(self.last)
        bodies = self._page(got["page"]) if "page" in got else []
        bodies += self._read(got["read"])
        if moved or missed or self._backlog >= CAP:
            self.phase = "start"
        behind = self.phase != "stream" or self._backlog > 0
        return Heard(tuple(bodies), behind, moved, stale)

    def _look(self, reply: Reply) -> tuple[bool, bool]:
        text = reply.encode() if isinstance(reply, str) else reply
        found = _LINEAGE.search(text) if isinstance(text, bytes) else None
        if found is None:
            raise Malformed("INFO that tells nothing of replication")
        before, self.lineage = self.lineage, found[1]
        return bool(_CUT_OFF.search(text)), before not in (b"", self.lineage)

    def _page(self, reply: Reply) -> list[bytes]:
        self._cursor, bodies = page(reply)
        if self._cursor == b"0" and self.phase == "snapshot":
            self.phase = "stream"
        return bodies

    def _read(self, reply: Reply) -> list[bytes]:
        found = messages(reply)
        if found:
            if place(found[-1][0]) <= place(self.last):
                raise Malformed("a stream that runs backwards")
            self.last = found[-1][0]
        # The stream drops nothing of its last CAP messages: who has read fewer has missed none.
        self._backlog = self._backlog + len(found) if len(found) >= AT_ONCE else 0
        return [body for _place, body in found if body]
