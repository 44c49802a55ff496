"""The meter: the process that listens to the kernel about what leaves, and tells the watcher.

Touches what it listens by, and the socket to the watcher. Frames in: `reload`. Frames out:
`traffic` (`contacts`, `cuts`, `handshakes`: rows), `health`, `error`. Limits: what the watcher does
not take in time is left out beyond `MOST_UNSENT` rows, and counted; nothing is ever waited for.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable
from typing import Any

from tidegate.errors import TidegateError
from tidegate.frames import Channel, Closed, Frame, Malformed
from tidegate.model import SECOND, Micros
from tidegate.policy.models import Policy
from tidegate.policy.outward import OutwardSpec
from tidegate.source.traffic.cuts import Owner
from tidegate.source.traffic.listening import Listening, Own

SLICE = 0.04
"""Seconds that events are gathered while they come one after the other."""
SOON: Micros = SECOND // 10
MOST_UNSENT, MOST_IN_FRAME = 5000, 1000
NOTHING = OutwardSpec(irc=False, syn=None, udp=None, smtp=None)


def now() -> Micros:
    """Now, by the system's clock."""
    return time.time_ns() // 1000


def serve(
    connection: socket.socket,
    load_policy: Callable[[], Policy],
    own: Own,
    owner: Owner | None = None,
    clock: Callable[[], Micros] = now,
) -> None:
    """Listen for the watcher at the other end, until it is gone."""
    meter = Meter(connection, load_policy, own, owner, clock)
    try:
        while meter.turn():
            pass
    finally:
        meter.close()


class Meter:
    """One conversation. Call `turn` until it says that the watcher is gone."""

    def __init__(
        self,
        connection: socket.socket,
        load_policy: Callable[[], Policy],
        own: Own,
        owner: Owner | None = None,
        clock: Callable[[], Micros] = now,
    ) -> None:
        self._channel = Channel(connection)
        self._load_policy, self._clock = load_policy, clock
        self.listening = Listening(load_policy().outward or NOTHING, own, owner, clock())
        self._contacts: list[list[Any]] = []
        self._cuts: list[list[Any]] = []
        self._handshakes: list[list[Any]] = []
        self._errors: list[Frame] = []
        self.unsent = 0
        self._beat = False
        self._heard_at = 0.0
        self._told: Micros = 0
        self._counted: Micros = 0
        self._said: Frame = {}
        self._said_at: Micros = 0

    def turn(self) -> bool:
        """Wait for what comes next and do it; False where the watcher is gone."""
        try:
            ears = self.listening.fds()
            ready = self._wait(ears)
            if self._channel.fileno() in ready:
                self._heed()
            moment = self._clock()
            if not ready.isdisjoint(ears):
                self.listening.hear(moment)
                self._heard_at = time.monotonic()
            self.listening.tick(moment)
            self._collect(moment)
            self._tell(moment)
        except Closed:
            return False
        return True

    def close(self) -> None:
        """End the conversation and the listening."""
        self.listening.close()
        self._channel.close()

    def _wait(self, ears: list[int]) -> set[int]:
        if time.monotonic() - self._heard_at < SLICE / 4:
            time.sleep(SLICE)  # events come one after the other: one waking for many of them
        poll = select.poll()
        flushed = self._channel.flush()
        poll.register(
            self._channel.fileno(), select.POLLIN if flushed else select.POLLIN | select.POLLOUT
        )
        for ear in ears:
            poll.register(ear, select.POLLIN)
        busy = self._contacts or self._cuts or self.listening.cuts.due() or self.listening.outcomes
        return {fd for fd, _events in poll.poll(50 if busy else 1000)}

    def _collect(self, moment: Micros) -> None:
        """Take over what has come of it, within bounds."""
        self._contacts += map(list, self.listening.outcomes.take())
        waited = self.listening.cuts.due()
        self._cuts += map(list, self.listening.cuts.take(moment))
        # The watcher judges when it wakes: also a while after the last packet was kept back.
        self._beat |= self.listening.cuts.urgent or (waited and not self.listening.cuts.due())
        if not 0 <= moment - self._counted < SECOND:
            self._counted = moment
            self._handshakes += map(list, self.listening.outcomes.handshakes(moment))
        for rows in (self._contacts, self._cuts, self._handshakes):
            if (over := len(rows) - MOST_UNSENT) > 0:
                self.unsent += over
                del rows[:over]

    def _tell(self, moment: Micros) -> None:
        """Send what there is: new cuts at once, the rest a few times a second; without waiting."""
        if self._errors and self._channel.offer(self._errors[0]):
            del self._errors[0]
        self._say_health(moment)
        late = not 0 <= moment - self._told < SOON
        something = self._contacts or self._cuts or self._handshakes
        if not (self._beat or (late and something)):
            return
        names = ("contacts", "cuts", "handshakes")
        rows = (self._contacts, self._cuts, self._handshakes)
        first = [one[:MOST_IN_FRAME] for one in rows]
        if self._channel.offer({"type": "traffic", **dict(zip(names, first, strict=True))}):
            self._told, self._beat = moment, False
            for one in rows:
                del one[:MOST_IN_FRAME]

    def _say_health(self, moment: Micros) -> None:
        """How it is, where it is not as last said; once a second at the most."""
        if 0 <= moment - self._said_at < SECOND:
            return
        health = self.health()
        if health != self._said and self._channel.offer({"type": "health", **health}):
            self._said, self._said_at = health, moment

    def health(self) -> Frame:
        """Everything that was lost or left out, and why."""
        listening = self.listening
        sampling = listening.sampling
        return {
            "events": listening.outcomes.events,
            "waiting": len(listening.outcomes),
            "lost": listening.lost,
            "passed_over": listening.nflog.passed_over if listening.nflog is not None else 0,
            "overruns": listening.overruns,
            "unsent": self.unsent,
            "nameless": listening.outcomes.nameless,
            "given_up": listening.outcomes.given_up,
            "share": round(sampling.part, 4),
            "loud": len(sampling.share.loud),
            "cost": round(listening.cost, 4),
            "troubles": list(listening.troubles.values()),
        }

    def _heed(self) -> None:
        self._channel.fill()
        while True:
            try:
                frame = self._channel.next()
                if frame is None:
                    return
                if frame["type"] != "reload":
                    raise Malformed(f"nothing is called {str(frame['type'])[:40]!r} here")
                self._reload()
            except Malformed as error:
                if error.fatal:
                    raise Closed from error
                self._complain(f"malformed: {error}")

    def _reload(self) -> None:
        try:
            policy = self._load_policy()
        except TidegateError as error:
            self._complain(str(error))
            return
        self.listening.govern(policy.outward or NOTHING)

    def _complain(self, reason: str) -> None:
        self._errors.append({"type": "error", "reason": reason})
        del self._errors[:-8]
