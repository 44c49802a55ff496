"""A real engine whose functions are told the time, so that minutes pass in no time.

Touches the server it is given, which it empties. Limits: keys expire when `advance` is called.
"""

from __future__ import annotations

from tidegate.fleet.counting import functions
from tidegate.fleet.engine.connection import Connection


def told_the_time(library: str) -> str:
    """The functions with the list `clock` (seconds, microseconds) for a clock."""
    read = "redis.call('TIME')"
    assert library.count(read) == 1
    return library.replace(read, "redis.call('LRANGE', 'clock', 0, 1)")


class Timed:
    """A server whose functions are told the time, and whose keys expire by that time too."""

    def __init__(self, connection: Connection, now: int) -> None:
        self.connection, self.now = connection, now
        source = told_the_time(functions.library())
        self.call(("FLUSHALL",), ("FUNCTION", "LOAD", "REPLACE", source))
        self._tell()

    def call(self, *commands: functions.Command) -> list[object]:
        replies = self.connection.call(commands, 30)
        for reply in replies:
            assert not isinstance(reply, Exception), reply
        return replies

    def advance(self, by: int) -> None:
        """Let so many milliseconds pass: whatever expires until then is gone."""
        (keys,) = self.call(("KEYS", "{tg:*"))
        assert isinstance(keys, list)
        for key in keys:
            (left,) = self.call(("PTTL", key))
            assert isinstance(left, int)
            assert left != -1, f"{key!r} never expires"
            self.call(("DEL", key) if left <= by else ("PEXPIRE", key, left - by))
        self.now += by
        self._tell()

    def _tell(self) -> None:
        self.call(
            ("DEL", "clock"),
            ("RPUSH", "clock", self.now // 1000, self.now % 1000 * 1000),
        )
