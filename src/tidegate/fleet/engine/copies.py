"""A copy of the engine's data to read from, so that the one that leads has less to do.

Touches a socket, and a thread while it connects. Limits: one copy at a time, any of them; where
there is none, or it has lost whom it copies, whoever leads is read from.
"""

from __future__ import annotations

import threading

from tidegate.errors import FleetError
from tidegate.fleet.engine.connection import Connection
from tidegate.fleet.engine.engine import Engine

AGAIN = 10.0
"""Seconds until another copy is looked for."""
_PARTING = 1.0  # a name that nobody resolves must not hold up the end


class Copies:
    """`connection` is the copy's, where there is one."""

    def __init__(self, engine: Engine, key: str) -> None:
        self._engine, self._key = engine, key
        self._found: Connection | None = None
        self._thread: threading.Thread | None = None
        self._next = 0.0

    @property
    def connection(self) -> Connection | None:
        """Where to read."""
        found = self._found
        return None if found is None or found.fileno() < 0 else found

    def tend(self, moment: float) -> None:
        """Look for one where there is none."""
        if self._thread is not None and not self._thread.is_alive():
            self._thread = None
        if self._thread is None and self.connection is None and moment >= self._next:
            self._next = moment + AGAIN
            self._thread = threading.Thread(target=self._look, name="copies", daemon=True)
            self._thread.start()

    def leave(self, moment: float) -> None:
        """This one is no good."""
        if self._found is not None:
            self._found.close()
        self._next = moment + AGAIN

    def close(self) -> None:
        """End it."""
        if self._thread is not None:
            self._thread.join(_PARTING)
        if self._found is not None:
            self._found.close()

    def _look(self) -> None:
        try:
            self._found = self._engine.copy(self._key)
        except FleetError:
            self._found = None
