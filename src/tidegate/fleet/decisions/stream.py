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

import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from tidegate.fleet.fields import Malformed
from tidegate.model import MINUTE, Micros

STREAM = b"{tg:decisions}:stream"
HELD = b"{tg:decisions}:held"
ENDS = b"{tg:decisions}:ends"

CAP = 10_000
"""The messages that the stream has at least (it drops older ones in whole nodes)."""
MOST_HELD = 200_000
"""Of more messages in the snapshot, those that end first are taken out."""
AT_ONCE = 100
"""Messages asked for in one go, of the stream and of the snapshot."""
GRACE: Micros = 2 * MINUTE
"""How long a message that has ended stays, for clocks that are behind."""

COMMANDS = (
    "multi", "exec", "xadd", "xread", "xrange", "fcall_ro", "xinfo|stream", "info",
    "get", "set", "pexpire", "hset", "hdel", "hscan", "hstrlen", "zadd", "zrem", "zrange", "zcard",
)  # fmt: skip
"""What a host must be allowed to do here, with keys that begin with `{tg:`."""

Command = tuple[bytes, ...]
Reply = Any
"""As hiredis gives it: int, bytes, str, None, list, dict, or an exception that the engine sent."""

_ID = re.compile(rb"\d{1,20}-\d{1,20}")


class Parcel(NamedTuple):
    """A sealed message as it lies in the engine: its id (a hash of it, as of `wire.Sealed`), when
    its last decision ends, its bytes."""

    id: bytes
    until: Micros
    body: bytes

    @classmethod
    def of(cls, body: bytes, until: Micros) -> Parcel:
        """The parcel of a sealed message."""
        return cls(identity(body), until, body)


def identity(body: bytes) -> bytes:
    """The id of a sealed message, before it is looked into: who holds it needs no more of it."""
    return hashlib.sha256(body).digest()[:16]


def say(parcel: Parcel, *, quiet: bool = False) -> list[Command]:
    """Say it to all, and keep it for those who come late; `quiet`: only keep it. The last reply
    tells: see `was_said`."""
    until = b"%d" % parcel.until
    return [
        (b"MULTI",),
        *([] if quiet else [tell(parcel.body)]),
        (b"HSET", HELD, parcel.id, parcel.body),
        (b"ZADD", ENDS, b"GT", until, parcel.id),
        (b"EXEC",),
    ]


def size(*, quiet: bool = False) -> int:
    """How many commands `say` gives."""
    return 4 if quiet else 5


def tell(body: bytes) -> Command:
    """Say it to those who are awake, and keep it for nobody."""
    return (b"XADD", STREAM, b"MAXLEN", b"~", b"%d" % CAP, b"*", b"m", body)


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


def messages(reply: Reply, key: bytes = STREAM) -> list[tuple[bytes, bytes]]:
    """The messages in a reply to XREAD on a stream, with their places. Malformed if it is none.

    RESP2 gives `[[key, [[id, [field, value, ...]], ...]], ...]`, RESP3 `{key: [...]}`; nothing new
    is None in both.
    """
    if reply is None:
        return []
    pairs = reply.items() if isinstance(reply, dict) else _pairs(reply)
    return [one for name, found in pairs if name == key for one in entries(found)]


def _pairs(reply: Reply) -> Iterable[tuple[Any, Any]]:
    if not isinstance(reply, list):
        raise Malformed("a stream that is none")
    for pair in reply:
        if not isinstance(pair, list) or len(pair) != 2:
            raise Malformed("a stream that is none")
        yield pair[0], pair[1]


def entries(reply: Reply) -> Iterable[tuple[bytes, bytes]]:
    """The messages in a stream's entries, with their places. Malformed if they are none."""
    for place, fields in _pairs(reply):
        if not isinstance(place, bytes) or not _ID.fullmatch(place):
            raise Malformed("a place in a stream that is none")
        values = _flat(fields)
        # An entry of other fields is nobody's of us; its place has to be passed all the same.
        ours = isinstance(values, list) and len(values) == 2 and values[0] == b"m"
        body = values[1] if ours else b""
        if not isinstance(body, bytes):
            raise Malformed("a message that is no bytes")
        yield place, body


def read(last: bytes, *, brief: bool) -> Command:
    """Ask for what was said behind a place. `brief`: by our function, which answers with a third
    less than XREAD; an engine that has lost its functions refuses it."""
    most = b"%d" % AT_ONCE
    if brief:
        return (b"FCALL_RO", b"tg1_heard", b"1", STREAM, last, most)
    return (b"XREAD", b"COUNT", most, b"STREAMS", STREAM, last)


def scan(cursor: bytes, *, brief: bool) -> Command:
    """Ask for a page of what is kept. `brief`: by our function, which passes over what is larger
    than any message, and too large for one answer."""
    most = b"%d" % AT_ONCE
    if brief:
        return (b"FCALL_RO", b"tg1_page", b"1", HELD, cursor, most)
    return (b"HSCAN", HELD, cursor, b"COUNT", most)


def file(number: str, bundle: bytes, span: Micros) -> Command:
    """Keep what proves a decision for those who will not take one host's word."""
    return (b"SET", _proof(number), bundle, b"PX", b"%d" % max(1, span // 1000))


def fetch(number: str) -> Command:
    """Ask for what proves a decision."""
    return (b"GET", _proof(number))


def _proof(number: str) -> bytes:
    return b"{tg:decisions}:proof:" + number.encode("ascii")


def is_unknown(reply: Reply) -> bool:
    """Whether the engine knows our function no more, or may not let us call it."""
    text = str(reply) if isinstance(reply, Exception) else ""
    return "unction not found" in text or text.startswith("NOPERM")


def briefly(reply: Reply) -> tuple[bytes, list[bytes]]:
    """The place of the last message, and all of them; b"" and none where there are none.

    Malformed if it is no reply to a brief `read`."""
    if reply is None:
        return b"", []
    if not isinstance(reply, bytes) or not reply:
        raise Malformed("messages that are none")
    at = 1 + reply[0]
    last, size, found = reply[1:at], len(reply), []
    while at + 3 <= size:
        end = at + 3 + int.from_bytes(reply[at : at + 3])
        found.append(reply[at + 3 : end])
        at = end
    if at != size or not found or not _ID.fullmatch(last):
        raise Malformed("messages that end too early")
    return last, found


def state(reply: Reply) -> tuple[bytes, int]:
    """Where the stream ends and how many messages were ever said in it, of a reply to XINFO STREAM.

    Malformed if it is none; a stream that is not there ends at 0-0.
    """
    if isinstance(reply, Exception):
        return b"0-0", 0
    values = _flat(reply)
    if not isinstance(values, list) or len(values) % 2:
        raise Malformed("a state of a stream that is none")
    found = {
        name: value
        for name, value in zip(values[::2], values[1::2], strict=True)
        if isinstance(name, bytes)
    }
    last, said = found.get(b"last-generated-id"), found.get(b"entries-added")
    if not isinstance(last, bytes) or not _ID.fullmatch(last) or not isinstance(said, int):
        raise Malformed("a state of a stream that is none")
    return last, said


def is_nothing(reply: Reply) -> bool:
    """Whether the engine refused a question about a stream since nothing was ever said."""
    return isinstance(reply, Exception) and "no such key" in str(reply)


def page(reply: Reply) -> tuple[bytes, list[bytes]]:
    """The next cursor and the messages in a reply to HSCAN. Malformed if it is none."""
    cursor, found = rows(reply)
    return cursor, [value for _field, value in found]


def rows(reply: Reply) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """The same with the fields that the messages stand in."""
    if not isinstance(reply, list) or len(reply) != 2:
        raise Malformed("a page that is none")
    cursor, found = reply
    values = _flat(found)
    if not isinstance(cursor, bytes) or not cursor.isdigit() or not isinstance(values, list):
        raise Malformed("a page that is none")
    if len(values) % 2 or not all(isinstance(one, bytes) for one in values):
        raise Malformed("a page that is none")
    return cursor, list(zip(values[::2], values[1::2], strict=True))


def place(text: bytes) -> tuple[int, int]:
    """A place in a stream, to compare."""
    milliseconds, _, number = text.partition(b"-")
    return int(milliseconds), int(number)


def _flat(found: Reply) -> Reply:
    """Fields and values one behind another, where a client has made a dictionary of them."""
    return [each for pair in found.items() for each in pair] if isinstance(found, dict) else found
