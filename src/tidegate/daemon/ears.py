"""Which descriptors the watcher's loop listens to, and which of them have something to say.

Touches an epoll of its own. Descriptors come and go between turns, and their numbers are used
again: so each is known by its owner, too. Limits: reading only; who owns what is the loop's matter.
"""

from __future__ import annotations

import selectors
from collections.abc import Mapping
from contextlib import suppress


class Ears:
    """What is listened to just now."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._watched: dict[int, object] = {}

    def listen(self, wanted: Mapping[int, object]) -> None:
        """From now on to these descriptors, each with its owner, and to no others."""
        for fd in [fd for fd in self._watched if self._watched[fd] is not wanted.get(fd)]:
            with suppress(KeyError, ValueError, OSError):  # closed by its owner meanwhile
                self._selector.unregister(fd)
            del self._watched[fd]
        for fd, owner in wanted.items():
            if fd not in self._watched:
                self._selector.register(fd, selectors.EVENT_READ)
                self._watched[fd] = owner

    def wait(self, seconds: float) -> set[int]:
        """The descriptors that became readable, within so many seconds at the most."""
        return {key.fd for key, _events in self._selector.select(seconds)}
