"""Who is in service in a pool: each member says so every second, and asks before it leaves.

Touches nothing: gives commands for the engine, takes replies. Limits: what the engine says is one
more condition for leaving, never a reason to; a host that does not say so for ten seconds, or that
the watcher forgot for five, counts as gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tidegate.fleet.counting.functions import Command
from tidegate.fleet.decisions.stream import STREAM, Reply
from tidegate.fleet.fields import Malformed
from tidegate.fleet.port import Place, Seat
from tidegate.fleet.trust.members import Roster
from tidegate.model import SECOND, Micros
from tidegate.text import printable

POOL = b"{tg:decisions}:pool:"
EVERY: Micros = SECOND
_BELIEVED: Micros = 5 * SECOND
"""For how long the watcher's word holds: one that hangs must not seem to be in service."""
_MOST = 1 << 31
COMMANDS = ("fcall", "time", "set", "zadd", "zrem", "zcard", "zrangebyscore", "pexpire")
"""What a host must be allowed to do here, with keys that begin with `{tg:`."""


def command(pool: str, host: str, word: str, least: int) -> Command:
    """Say how this host is in a pool, or ask whether it may leave."""
    return (b"FCALL", b"tg1_pool", b"1", POOL + pool.encode(), host.encode(), word, b"%d" % least)


def read(reply: Reply) -> tuple[bool, int]:
    """Whether it may be out, and how many others are in service. Malformed where it is neither."""
    if not isinstance(reply, list | tuple) or len(reply) != 2:
        raise Malformed("no answer about a pool")
    may, others = reply
    if may not in (0, 1) or not isinstance(others, int) or not 0 <= others < _MOST:
        raise Malformed("no answer about a pool")
    return may == 1, others


class Pools:
    """The own word out; `told` is emptied by whoever takes it. Who was told that it may leave is
    out for all others until it says otherwise, even if it has not left yet."""

    part = "pools"
    key = STREAM.decode()

    def __init__(self, host: str, roster: Roster) -> None:
        self.host = host
        self.told: list[Seat] = []
        self.trouble = ""
        """Why the engine does not answer, where it does not."""
        self._roster = roster
        self._places: tuple[Place, ...] = ()
        self._followed: Micros | None = None
        self._may: dict[str, int] = {}  # pool: the number of the word that may leave
        self._sent: dict[str, tuple[int, Micros]] = {}
        self._asked: list[Place] = []

    def follow(self, places: Iterable[Place], now: Micros) -> None:
        """The watcher says so now: all pools that this host is in."""
        self._places, self._followed = tuple(places), now

    def commands(self, now: Micros) -> Sequence[Command]:
        """What changed at once, all else every second."""
        known = self._followed is not None and 0 <= now - self._followed < _BELIEVED
        if not known or self.host not in self._roster.members:
            return ()
        self._asked = [one for one in self._places if self._is_due(one, now)]
        for one in self._asked:
            self._sent[one.pool] = one.number, now
        return [command(one.pool, self.host, self._word(one), one.least) for one in self._asked]

    def _is_due(self, one: Place, now: Micros) -> bool:
        number, sent = self._sent.get(one.pool, (-1, 0))
        return number != one.number or not 0 <= now - sent < EVERY

    def _word(self, one: Place) -> str:
        left = one.word == "leave" and self._may.get(one.pool) == one.number
        return "out" if left else one.word

    def take(self, replies: Sequence[Reply], now: Micros) -> None:
        """What came of it; of what the engine refuses, nothing: then the probes are asked alone."""
        if len(replies) != len(self._asked):
            raise Malformed(f"{len(replies)} replies about {len(self._asked)} pools")
        asked, self._asked = self._asked, []
        self.trouble = ""
        for one, reply in zip(asked, replies, strict=True):
            if isinstance(reply, Exception):
                self.trouble = (
                    f"the engine does not say who is in service in pool {one.pool}, so probes alone"
                    f" decide: {printable(str(reply)[:200])}; tidegate fleet init at the desk loads"
                    " the functions of this version"
                )
                continue
            may, others = read(reply)
            if may and one.word == "leave":
                self._may[one.pool] = one.number
            else:
                self._may.pop(one.pool, None)
            self.told.append(Seat(one.pool, one.number, may, others))

    def lost(self) -> None:
        """All is said again."""
        self._asked = []
        self._sent.clear()
