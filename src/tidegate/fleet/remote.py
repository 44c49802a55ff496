"""The watcher's end of the conversation with the fleet's process.

Touches one socket, and never waits. Limits: what finds no room waits here, in order; of what was
counted, what is beyond `MOST` is left out and counted.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from tidegate.errors import FleetError
from tidegate.fleet import frames
from tidegate.fleet.port import Health, Heard, Place, Quote, What
from tidegate.frames import Channel, Closed, Frame, Malformed
from tidegate.model import Change, Decision, Micros, Shared, Subject

GONE = "the fleet's process is gone: this host counts and decides alone until it is back"
MOST = 50_000
"""Frames of anything, and things counted, that wait for the process to take them."""


class RemoteFleet:
    """The fleet behind its process. Every method raises FleetError where that is gone."""

    def __init__(self, connection: socket.socket) -> None:
        self._channel = Channel(connection)
        self.health = Health("starting")
        self.trouble = ""
        self.dropped = 0
        self._out: deque[Frame] = deque()
        self._waiting = 0  # things counted in it
        self._asked = 0

    def fileno(self) -> int:
        """Readable when something has arrived, or the process has gone."""
        return self._channel.fileno()

    def share(self, counted: Sequence[Shared]) -> None:
        """This was counted here."""
        self._share("share", counted)

    def remember(self, counted: Sequence[Shared]) -> None:
        """This was counted here before this start."""
        self._share("remember", counted)

    def _share(self, kind: str, counted: Sequence[Shared]) -> None:
        for rows in frames.chunks(counted):
            if self._waiting + len(rows) > MOST:
                self.dropped += len(rows)
                continue
            self._waiting += len(rows)
            self._out.append({"type": kind, "rows": rows})
        self._flush()

    def say(self, decisions: Sequence[Decision]) -> None:
        """This was decided here."""
        for rows in frames.chunks(decisions):
            self._put({"type": "say", "rows": [frames.decision_row(one) for one in rows]})

    def settled(self, number: str, until: Micros) -> None:
        """What came of a conviction or closing."""
        self._put({"type": "settled", "id": number, "until": until})

    def explain(self, subject: Subject, rule: str, until: Micros, quotes: Sequence[Quote]) -> None:
        """The lines that this host counted."""
        rows = next(frames.fitting(list(one) for one in quotes), [])
        self._put(
            {"type": "explain", "subject": subject, "rule": rule, "until": until, "rows": rows}
        )

    def look(self, listed: Sequence[Subject]) -> None:
        """Who must never be closed for."""
        parts = list(frames.chunks(listed, 20_000)) or [[]]
        for place, rows in enumerate(parts):
            self._put({"type": "look", "rows": rows, "done": place == len(parts) - 1})

    def restore(self, changes: Sequence[Change]) -> None:
        """What was written down before."""
        parts = list(frames.fitting(map(frames.change_row, changes))) or [[]]
        for place, rows in enumerate(parts):
            self._put({"type": "restore", "rows": rows, "done": place == len(parts) - 1})

    def reload(self) -> None:
        """The policy is another one now."""
        self.trouble = ""
        self._put({"type": "reload"})

    def report(self, more: Mapping[str, Any]) -> None:
        """What others should see."""
        self._put({"type": "report", "more": dict(more)})

    def pools(self, places: Sequence[Place]) -> None:
        """How this host is in its pools."""
        self._put({"type": "pools", "rows": [list(one) for one in places]})

    def ask(self, what: What, subject: Subject | str = "") -> int:
        """Ask what all hosts know; the answer comes in `take`."""
        self._asked += 1
        self._put({"type": "ask", "number": self._asked, "what": what, "subject": subject})
        return self._asked

    def take(self) -> Heard:
        """What has arrived since last asked, as far as it was taken in with one reading."""
        found: list[Heard] = []
        try:
            self._channel.fill()
            while (frame := self._channel.next()) is not None:
                if frame["type"] == "heard":
                    found.append(frames.read_heard(frame))
                else:
                    self._hear(frame)
        except (Closed, Malformed, OSError) as error:
            raise FleetError(GONE) from error
        self._flush()
        if not found:
            return Heard()
        return Heard(*(sum(parts, ()) for parts in zip(*found, strict=True)))

    def _hear(self, frame: Frame) -> None:
        if frame["type"] == "health":
            try:
                found = frames.read_health(frame)
            except (ValueError, TypeError, KeyError, AttributeError):
                return
            self.health = found._replace(dropped=found.dropped + self.dropped)
        elif frame["type"] == "error":
            self.trouble = frames.text(frame.get("reason"))

    def _put(self, frame: Frame) -> None:
        self._out.append(frame)
        if len(self._out) > MOST:
            raise FleetError(f"the fleet's process takes nothing: {MOST} messages wait for it")
        self._flush()

    def _flush(self) -> None:
        try:
            while self._out and self._channel.offer(self._out[0]):
                sent = self._out.popleft()
                if sent["type"] in ("share", "remember"):
                    self._waiting -= len(sent["rows"])
        except (Closed, OSError) as error:
            raise FleetError(GONE) from error
