"""The watcher's end of the sampler: readings asked for and samples taken in, over a Unix socket.

Touches that socket only; never waits, but for one second where the sampler does not take a frame.
Limits: what the sampler says is looked at as if it were a stranger's; what is odd is left out.
"""

from __future__ import annotations

import math
import socket
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from tidegate.errors import SourceError
from tidegate.frames import Channel, Closed, Frame, Malformed
from tidegate.model import Micros, Sample
from tidegate.source.readings.port import Captured
from tidegate.text import printable

_PATIENCE = 1.0
_MOST_CAPTURES = 100
_LONGEST_WHY = 400
_LATEST: Micros = 1 << 60


class RemoteReadings:
    """Readings behind a sampler. Every method raises SourceError where that is gone.

    `trouble`: what the sampler last complained of (a policy that can't be read); "" when none.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._channel = Channel(connection)
        self._wanted: dict[str, Micros] | None = None
        self._samples: list[Sample] = []
        self._captured: list[Captured] = []
        self.trouble = ""

    def fileno(self) -> int:
        """Readable when samples have arrived, or the sampler has gone."""
        return self._channel.fileno()

    def want(self, wanted: Mapping[str, Micros]) -> None:
        """From now on take exactly these, each so often."""
        if self._wanted != wanted:
            self._say({"type": "want", "wanted": dict(wanted)})
            self._wanted = dict(wanted)

    def take(self) -> Sequence[Sample]:
        """What has arrived since last asked."""
        self._listen()
        found, self._samples = self._samples, []
        return found

    def capture(self, name: str) -> None:
        """Ask for a capture by this guard's terms."""
        self._say({"type": "capture", "name": name})

    def captured(self) -> Sequence[Captured]:
        """Captures that have arrived since last asked."""
        found, self._captured = self._captured, []
        return found

    def reload(self) -> None:
        """Have the sampler read the policy again."""
        self.trouble = ""
        self._say({"type": "reload"})

    def close(self) -> None:
        """End the conversation."""
        self._channel.close()

    def _say(self, frame: Frame) -> None:
        try:
            self._channel.send(frame, _PATIENCE)
        except (Closed, OSError) as error:  # TimeoutError is one
            raise SourceError(
                "the sampler is gone: readings are unknown until it is back"
            ) from error

    def _listen(self) -> None:
        try:
            self._channel.fill()
            while (frame := self._channel.next()) is not None:
                self._hear(frame)
        except (Closed, Malformed, OSError) as error:
            raise SourceError(
                "the sampler is gone: readings are unknown until it is back"
            ) from error

    def _hear(self, frame: Frame) -> None:
        if frame["type"] == "samples":
            rows = frame.get("samples")
            self._samples += filter(None, map(_sample, rows if isinstance(rows, list) else ()))
        elif frame["type"] == "captured":
            name, time, text = (frame.get(key) for key in ("name", "time", "text"))
            if isinstance(name, str) and _moment(time) and isinstance(text, str):
                self._captured.append(Captured(name, time, text))
                del self._captured[:-_MOST_CAPTURES]
        elif frame["type"] == "error":
            self.trouble = printable(str(frame.get("reason"))[:_LONGEST_WHY])


def _sample(row: Any) -> Sample | None:
    """A sample, if it is one."""
    if not isinstance(row, list) or len(row) != 5:
        return None
    reading, time, value, whole, why = row
    if not isinstance(reading, str) or not isinstance(why, str):
        return None
    if not _moment(time):
        return None
    if not all(part is None or _number(part) for part in (value, whole)):
        return None
    return Sample(reading, time, value, whole, printable(why[:_LONGEST_WHY]))


def _number(part: object) -> bool:
    if isinstance(part, int) and not isinstance(part, bool):
        return abs(part) <= _LATEST  # of any larger one the sampler would make a float
    return isinstance(part, float) and not math.isnan(part)


def _moment(part: object) -> TypeGuard[int]:
    return isinstance(part, int) and not isinstance(part, bool) and 0 <= part <= _LATEST
