"""The keeper's ear: hears knocks and passes them on to the watcher, within bounds.

Touches the reader of knocks that it opens and the channel to the watcher; never waits for either.
What is too much is counted. Limits: where no reader can be had it says so and tries each minute.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import Protocol

from tidegate.errors import GateError
from tidegate.frames import Channel
from tidegate.gate.port import Knock

A_SECOND = 1000
"""Knocks passed on between two ticks."""
PER_FRAME = 250
"""Knocks in one frame: some 12 KB at most."""

_PAUSE = 60  # ticks


class Reader(Protocol):
    """Something that tells knocks, such as `knocks.Knocks`."""

    @property
    def lost(self) -> int:
        """How many could not be told."""

    def fileno(self) -> int:
        """Readable when somebody knocked."""

    def read(self) -> list[Knock]:
        """Who knocked since last asked, without waiting."""

    def close(self) -> None:
        """Listen no more."""


class Ear:
    """Call `hear` when `fileno` is readable and `tick` each second; both may raise Closed."""

    def __init__(self, channel: Channel, listen: Callable[[], Reader] | None) -> None:
        self._channel = channel
        self._listen = listen
        self._reader: Reader | None = None
        self._left = A_SECOND
        self._missed = 0
        self._why = self._gate = ""
        self._told = (0, "")
        self._pause = 0
        self._open()

    def fileno(self) -> int:
        """Readable when somebody knocked; -1 while nothing can be heard."""
        return self._reader.fileno() if self._reader is not None else -1

    def watched(self, poll: select.poll, before: int) -> int:
        """Have this watched in place of what it was `before`; returns what it is now."""
        descriptor = self.fileno()
        if descriptor != before:
            if before >= 0:
                poll.unregister(before)
            if descriptor >= 0:
                poll.register(descriptor, select.POLLIN)
        return descriptor

    def close(self) -> None:
        """Hear no more."""
        if self._reader is not None:
            self._missed += self._reader.lost
            self._reader.close()
            self._reader = None

    def hear(self) -> None:
        """Pass on who knocked, as many as a second may have."""
        if self._reader is None:
            return
        try:
            knocks = self._reader.read()
        except GateError as error:
            self._why, self._pause = str(error), _PAUSE
            self.close()
            return
        passed = knocks[: self._left]
        self._left -= len(passed)
        self._missed += len(knocks) - len(passed)
        for first in range(0, len(passed), PER_FRAME):
            part = passed[first : first + PER_FRAME]
            if not self._tell(part):
                self._missed += len(part)

    def tick(self, gate: str) -> None:
        """A new second. `gate`: why the gate does not tell the kernel to log knocks; or ""."""
        self._left, self._gate = A_SECOND, gate
        self._open()
        self._channel.flush()
        if self._state() != self._told:
            self._tell([])

    def _open(self) -> None:
        if self._reader is not None or self._listen is None:
            return
        self._pause -= 1
        if self._pause > 0:
            return
        try:
            self._reader, self._why = self._listen(), ""
        except GateError as error:
            self._why, self._pause = str(error), _PAUSE

    def _state(self) -> tuple[int, str]:
        lost = self._reader.lost if self._reader is not None else 0
        return self._missed + lost, self._why or self._gate

    def _tell(self, knocks: list[Knock]) -> bool:
        state = self._state()
        missed, deaf = state
        frame = {"type": "knocks", "knocks": knocks, "missed": missed, "deaf": deaf}
        if not self._channel.offer(frame):
            return False
        self._told = state
        return True
