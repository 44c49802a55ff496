"""The watcher's switches: tells the service keeper what shall be closed, hears what became of it.

Touches that socket only, and never waits: what the other side does not take now is said again, the
newest wants in place of older ones. Limits: one that takes nothing for a minute counts as gone.
"""

from __future__ import annotations

import socket
import time
from collections import deque
from collections.abc import Mapping, Sequence

from tidegate.errors import GoneError
from tidegate.frames import Channel, Closed, Frame, Malformed
from tidegate.gate.switches.protocol import VERSION
from tidegate.model import GateReport, Micros

_PATIENCE = 60.0
_MOST_WAITING = 1000
_MOST_TROUBLES = 100
_GONE = "the service keeper is gone"
_STATES = ("open", "closing", "closed", "opening", "away", "taken", "refused")


class RemoteSwitches:
    """`Switches` behind a service keeper. `troubles` are lines for people, of which it takes and
    forgets each; the oldest go where nobody asks."""

    def __init__(self, connection: socket.socket, *, patience: float = _PATIENCE) -> None:
        self._channel = Channel(connection)
        self._patience = patience
        self._wants: Frame | None = None
        self._waiting: deque[Frame] = deque([{"type": "hello", "version": VERSION}])
        self._since: float | None = None  # since when it takes nothing
        self._reports: list[GateReport] = []
        self._troubles: deque[str] = deque(maxlen=_MOST_TROUBLES)
        self._say()

    def fileno(self) -> int:
        """Readable when a report has arrived, or the service keeper has gone."""
        return self._channel.fileno()

    def want(self, closed: Mapping[str, Micros], now: Micros) -> None:
        """Exactly these shall be closed; see `Switches.want`."""
        self._wants = {"type": "want", "closed": dict(closed)}
        self._say()

    def fire(self, gate: str, now: Micros) -> None:
        """Restart or run this one, once."""
        self._queue({"type": "fire", "gate": gate})

    def reports(self) -> Sequence[GateReport]:
        """What has changed since last asked. Raises GoneError where the service keeper is gone."""
        try:
            self._channel.fill()
            while (frame := self._channel.next()) is not None:
                self._take(frame)
        except (Closed, Malformed) as error:
            raise GoneError(_GONE) from error
        self._say()
        found, self._reports = self._reports, []
        return found

    def troubles(self) -> list[str]:
        """What hinders the service keeper, in words, of what has arrived since last asked."""
        found = list(self._troubles)
        self._troubles.clear()
        return found

    def reload(self) -> None:
        """Have the policy read anew."""
        self._queue({"type": "reload"})

    def open_all(self) -> None:
        """Open everything now."""
        self._wants = {"type": "want", "closed": {}}
        self._queue({"type": "open-all"})

    def close(self) -> None:
        """End the conversation; what is closed stays until its end."""
        self._channel.close()

    def _queue(self, frame: Frame) -> None:
        if len(self._waiting) >= _MOST_WAITING:
            raise GoneError("the service keeper does not answer")
        self._waiting.append(frame)
        self._say()

    def _say(self) -> None:
        """As much as it takes without waiting."""
        try:
            while self._waiting and self._channel.offer(self._waiting[0]):
                self._waiting.popleft()
                self._since = None
            if not self._waiting and self._wants is not None and self._channel.offer(self._wants):
                self._wants = self._since = None
            self._channel.flush()
        except Closed as error:
            raise GoneError(_GONE) from error
        if self._waiting or self._wants is not None:
            self._since = self._since or time.monotonic()
            if time.monotonic() - self._since > self._patience:
                raise GoneError("the service keeper does not answer")

    def _take(self, frame: Frame) -> None:
        if frame["type"] == "trouble":
            self._troubles.append(str(frame["line"]))
        if frame["type"] != "reports":
            return
        try:
            for gate, state, since, detail in frame["reports"]:
                if state in _STATES:
                    made = GateReport(str(gate), state, int(since), str(detail))
                    self._reports.append(made)
        except (KeyError, TypeError, ValueError) as error:
            raise Malformed("no reports") from error
