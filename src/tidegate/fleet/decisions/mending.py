"""Mends what somebody has spoiled in the engine: keys of another type, streams that take no more.

Touches nothing: sees replies, gives a command, is told the time. Limits: once a minute; who has the
engine's password can spoil it again at once, so `trouble` says that somebody has.

One function of ours looks at the keys and removes all of them together, or none: many hosts may ask
at once. Then each says again what it holds, as to an engine that came back empty.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tidegate.fleet.counting.functions import Command
from tidegate.fleet.decisions import stream
from tidegate.fleet.decisions.stream import Reply
from tidegate.model import HOUR, MINUTE, Micros

COMMANDS = ("fcall", "time", "type", "unlink", "xinfo|stream")
"""What a host must be allowed to do for it."""
_SIGNS = (
    "WRONGTYPE", "exhausted", "equal or smaller", "tidegate: no such stream",
    "invalid start ID",
)  # fmt: skip
"""How the engine refuses to read or write a key that is none of ours any more."""
_KEPT = ((stream.STREAM, b"stream"), (stream.HELD, b"hash"), (stream.ENDS, b"zset"))
_OURS = {key for key, _type in _KEPT}


def is_spoiled(reply: Reply) -> bool:
    """Whether the engine refused since a key is none of ours; also one of a transaction."""
    if isinstance(reply, list) and len(reply) <= len(_KEPT):
        return any(isinstance(one, Exception) and is_spoiled(one) for one in reply)
    return isinstance(reply, Exception) and any(sign in str(reply) for sign in _SIGNS)


def mend(*keys: tuple[bytes, bytes]) -> Command:
    """Have these go, each with its type, where one is spoiled; the reply: how many went."""
    names, types = zip(*keys, strict=True)
    return (b"FCALL", b"tg1_mend", b"%d" % len(keys), *names, *types)


class Mending:
    """An errand, of which `again` is told: all may be gone, say and hear it once more."""

    part = "mend"
    key = stream.STREAM.decode()

    def __init__(self, again: Callable[[Micros], None]) -> None:
        self._again = again
        self._spoiled = False
        self._asked: Micros | None = None
        self._mended: Micros | None = None
        self._refused = ""

    def see(self, commands: Sequence[Command], replies: Sequence[Reply]) -> None:
        """What the engine said to these. A box of somebody else is mended by him."""
        for command, reply in zip(commands, replies, strict=False):
            if is_spoiled(reply) and (len(command) == 1 or _OURS & set(command)):
                self._spoiled = True

    def trouble(self, now: Micros) -> str:
        """What to show to people; "" if nothing."""
        if self._refused:
            return (
                "what all have decided was overwritten in the engine and can't be mended"
                f" ({self._refused}): run tidegate fleet init once more, and compare the engine's"
                " users with tidegate fleet acl"
            )
        if self._mended is None or not 0 <= now - self._mended < HOUR:
            return ""
        return (
            "what all have decided was overwritten in the engine, and said again: somebody has the"
            " engine's password; give out another"
        )

    def commands(self, now: Micros) -> Sequence[Command]:
        """What to ask now."""
        recent = self._asked is not None and 0 <= now - self._asked < MINUTE
        if not self._spoiled or recent:
            return []
        self._spoiled, self._asked = False, now
        return [mend(*_KEPT)]

    def take(self, replies: Sequence[Reply], now: Micros) -> None:
        """What came of it. Where nothing went, another was faster, and hosts say it again now."""
        (reply,) = replies
        self._refused = str(reply)[:200] if isinstance(reply, Exception) else ""
        if not self._refused:
            self._mended = now if reply else self._mended
            self._again(now)

    def lost(self) -> None:
        """The connection broke."""
        self._spoiled = True
