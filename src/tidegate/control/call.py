"""One request on its way from a person to the main loop and back.

Touches nothing but memory shared by two threads. The main loop answers, the socket's thread waits.
Limits: answered once; a call whose sender gave up is never handed to the main loop.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from tidegate.control.peer import Peer


class Answer(NamedTuple):
    """A status and one JSON value; or, with `lines`, JSON values to stream, one a line."""

    status: int
    value: Any = None
    lines: Iterable[Any] | None = None


class Call:
    """A request: `method` (GET or POST), `path`, `query`, `body` (of a POST), `peer`.

    The main loop must answer by `reply`, `stream` or `refuse`; from then on what it handed over is
    the socket thread's: hand over values nobody changes, and no ledger (which is thread-bound).
    """

    def __init__(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Mapping[str, Any],
        peer: Peer,
    ) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.body = body
        self.peer = peer
        self._answered = threading.Event()
        self._answer: Answer | None = None
        self._state = threading.Lock()
        self._given_up = False

    def __repr__(self) -> str:
        return f"Call({self.method} {self.path} by {self.peer.label})"

    def reply(self, status: int, value: Any) -> None:
        """Answer with one JSON value."""
        self._put(Answer(status, value))

    def refuse(self, status: int, message: str) -> None:
        """Answer that it can't be done, in one line that says what to do."""
        self._put(Answer(status, {"error": message}))

    def stream(self, lines: Iterable[Any], status: int = 200) -> None:
        """Answer with JSON values, one a line; the iterator runs in the socket's thread."""
        self._put(Answer(status, None, lines))

    def _put(self, answer: Answer) -> None:
        with self._state:
            if self._answer is None:
                self._answer = answer
        self._answered.set()

    def wait(self, seconds: float) -> Answer | None:
        """The answer, for the socket's thread; None if there was none in time: then it gave up."""
        self._answered.wait(seconds)
        with self._state:
            self._given_up = self._answer is None
            return self._answer

    @property
    def given_up(self) -> bool:
        """Whether nobody waits for the answer any more."""
        with self._state:
            return self._given_up
