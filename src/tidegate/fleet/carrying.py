"""Carries what somebody asks to the engine, and the replies back: five times a second.

Touches sockets, and a thread while it connects. Never waits. Limits: what was on the way when a
connection breaks is lost to whoever asked, who asks again; an engine that is away is tried again
after ever longer rests, `LONGEST` seconds at most.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple, Protocol

from tidegate.errors import FleetError
from tidegate.fleet.counting.counting import Ask
from tidegate.fleet.decisions import stream
from tidegate.fleet.engine import topology
from tidegate.fleet.engine.connection import Connection
from tidegate.fleet.engine.copies import Copies
from tidegate.fleet.engine.engine import Engine
from tidegate.fleet.fields import Malformed
from tidegate.fleet.together import Together, together
from tidegate.model import Micros

PERIOD = 0.2
PATIENCE = 3.0
"""Seconds that an answer may take."""
LONGEST = 10.0
READ = stream.STREAM.decode()
_PARTING = 1.0  # seconds; a name that nobody resolves must not hold up the end
_URGENT = 64
"""Exchanges that may follow one another within a round."""


def now() -> Micros:
    """Now, by the system's clock."""
    return time.time_ns() // 1000


class _Sent(NamedTuple):
    asks: tuple[Ask, ...]
    together: Together
    deadline: float


class Talker(Protocol):
    """Who has something to ask: a `Member`, and its mailbox."""

    @property
    def urgent(self) -> bool:
        """Whether something should not wait for the next round."""

    def asks(self, now: Micros, *, urgent: bool = False) -> list[Ask]:
        """What to send now."""

    def answered(self, ask: Ask, replies: Sequence[Any], now: Micros) -> None:
        """What came of it. Malformed where that has no sense."""

    def lost(self, ask: Ask) -> None:
        """Nobody knows what became of it."""

    def reads_elsewhere(self) -> None:
        """Another connection than before is read from."""


class Carrier:
    """Carries what one talker asks. `turn` does what can be done without waiting; call it when one
    of `fds` is readable, and after `pause` seconds at the latest. The period is fixed, its phase
    random: hosts that started together must not come together."""

    def __init__(
        self, talker: Talker, engine: Engine, clock: Callable[[], Micros] = now,
        period: float = PERIOD, phase: float | None = None, patience: float = PATIENCE,
    ) -> None:  # fmt: skip
        self.talker, self.engine, self._patience = talker, engine, patience
        self.failure = ""
        """Why a server of the engine can't be spoken to; "" if all can."""
        self.copies: Copies | None = None
        """Where decisions are read, if not where the engine is led."""
        self.rounds = 0
        self._clock, self._period = clock, period
        offset = random.random() * period if phase is None else phase  # noqa: S311 - no secret
        self._next = time.monotonic() + offset
        self._sent: dict[Connection, deque[_Sent]] = {}
        self._reading: Connection | None = None
        self._urgent = 0
        self._rest = self._apart = 0.0
        self._resting_until = 0.0
        self._connecting: threading.Thread | None = None
        self._wanted: set[str] = set()
        self._failed = ""
        self._renew = False

    @property
    def away(self) -> str:
        """Why there is nobody to hear decisions from; "" if there is."""
        return self.failure if self.engine.open(READ) is None else ""

    def fds(self) -> list[int]:
        """Readable when the engine said something."""
        return [one.fileno() for one in self._sent if one.fileno() >= 0]

    def is_due(self, ready: AbstractSet[int]) -> bool:
        """Whether a turn would do anything, these being readable."""
        if self._connecting is not None or time.monotonic() >= self._next:
            return True
        return bool(ready) and any(one.fileno() in ready for one in self._sent)

    def pause(self) -> float:
        """Seconds until there is something to do, whatever is readable."""
        left = max(0.0, self._next - time.monotonic())
        return min(left, 0.02) if self._connecting is not None else left

    def close(self) -> None:
        """End it all."""
        if self.copies is not None:
            self.copies.close()
        if self._connecting is not None:
            self._connecting.join(_PARTING)
        self.engine.close()

    def turn(self, ready: AbstractSet[int] | None = None) -> None:
        """Take what has come, and begin the next round when it is time. `ready`: which of `fds` are
        readable, where that is known."""
        moment = time.monotonic()
        self._look_after_connecting(moment)
        for connection in list(self._sent):
            if ready is None or connection.fileno() in ready:
                self._receive(connection, moment)
            if (ready is None or moment >= self._next) and connection in self._sent:
                self._look_after(connection, moment)
        if moment >= self._next:
            self._next += self._period * max(1, -(-(moment - self._next) // self._period))
            self._urgent = _URGENT
            self.rounds += 1
            self._choose(moment)
            self._send(self.talker.asks(self._clock()), moment)
        elif self._urgent and self.talker.urgent:
            self._urgent -= 1
            self._send(self.talker.asks(self._clock(), urgent=True), moment)

    def _choose(self, moment: float) -> None:
        """Where to read. Not another one while an answer is on the way."""
        if self.copies is not None:
            self.copies.tend(moment)
        reading = self.copies.connection if self.copies is not None else None
        reading = reading or self.engine.open(READ)
        if reading is self._reading or any(
            ask.anywhere for waiting in self._sent.values() for one in waiting for ask in one.asks
        ):
            return
        self._reading = reading
        self.talker.reads_elsewhere()

    def _send(self, asks: Sequence[Ask], moment: float) -> None:
        shared: dict[Connection, list[Ask]] = {}
        for one in asks:
            reading = self._reading if one.anywhere and self.copies is not None else None
            connection = reading or self.engine.open(one.key)
            if connection is None:
                self.talker.lost(one)
                self._wanted.add(one.key)
            else:
                shared.setdefault(connection, []).append(one)
        for connection, found in shared.items():
            commands = [command for one in found for command in one.commands]
            one_by_one = moment < self._apart or not self.engine.is_one
            sent = Together(commands) if one_by_one else together(commands)
            self._sent.setdefault(connection, deque()).append(
                _Sent(tuple(found), sent, moment + self._patience)
            )
            try:
                connection.send(sent.commands)
            except FleetError as error:
                self._broken(connection, str(error), moment)
        if self._wanted and self._connecting is None and moment >= self._resting_until:
            self._connect()

    def _receive(self, connection: Connection, moment: float) -> None:
        waiting = self._sent[connection]
        try:
            groups = connection.receive()
        except FleetError as error:
            self._broken(connection, str(error), moment)
            return
        for replies in groups:
            sent = waiting.popleft()
            if sent.together.is_refused(replies):
                self._apart = moment + LONGEST
            if not self._deliver(sent, sent.together.spread(replies)):
                self._broken(connection, f"engine {connection.where} makes no sense", moment)
                return

    def _look_after(self, connection: Connection, moment: float) -> None:
        """Send what found no room, and wait for no answer too long."""
        waiting = self._sent[connection]
        try:
            connection.flush()
        except FleetError as error:
            self._broken(connection, str(error), moment)
            return
        if waiting and waiting[0].deadline <= moment:
            self._broken(connection, f"engine {connection.where} does not answer", moment)

    def _deliver(self, sent: _Sent, replies: Sequence[object]) -> bool:
        """Give each ask its replies; False where they have no sense."""
        at = 0
        for place, one in enumerate(sent.asks):
            own = replies[at : at + len(one.commands)]
            at += len(one.commands)
            if any(map(topology.elsewhere, own)):
                self.talker.lost(one)
                self._wanted.add(one.key)
                self._renew = True
                continue
            try:
                self.talker.answered(one, own, self._clock())
            except Malformed:
                for rest in sent.asks[place:]:
                    self.talker.lost(rest)
                return False
        return True

    def _broken(self, connection: Connection, why: str, moment: float) -> None:
        connection.close()
        for sent in self._sent.pop(connection, ()):
            for one in sent.asks:
                self.talker.lost(one)
                self._wanted.add(one.key)
        self._renew = True
        self._rests(why, moment)

    def _rests(self, why: str, moment: float) -> None:
        self.failure = why
        self._rest = min(LONGEST, max(2 * self._rest, self._period))
        self._resting_until = moment + self._rest * random.uniform(0.75, 1.25)  # noqa: S311

    def _connect(self) -> None:
        """Connect in a thread: names that can't be resolved, and hosts that are silent, take long.
        While it runs, nobody else makes or forgets connections."""
        keys, self._wanted = sorted(self._wanted), set()
        renew, self._renew = self._renew, False
        self._failed = ""

        def connect() -> None:
            try:
                if renew:
                    self.engine.renew()
            except FleetError as error:
                self._failed = str(error)
                return
            for key in keys:
                try:
                    self.engine.connection(key)
                except FleetError as error:
                    self._failed = str(error)

        self._connecting = threading.Thread(target=connect, name="connecting", daemon=True)
        self._connecting.start()

    def _look_after_connecting(self, moment: float) -> None:
        if self._connecting is None or self._connecting.is_alive():
            return
        self._connecting = None
        if self._failed:
            self._renew = True
            self._rests(self._failed, moment)
        else:
            self.failure, self._rest = "", 0.0
        self.connected()

    def connected(self) -> None:
        """Connections were made."""
