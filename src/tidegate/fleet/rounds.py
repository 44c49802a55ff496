"""A member's rounds: what it asks goes to the engine five times a second; mail comes at once.

Touches sockets, by two carriers: one for the rounds, one that waits for mail. Limits: those of
`carrying`; `turn` must be called in time, and never waits.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from collections.abc import Set as AbstractSet

from tidegate.fleet.carrying import PATIENCE as PATIENCE
from tidegate.fleet.carrying import PERIOD, READ, Carrier
from tidegate.fleet.carrying import now as now
from tidegate.fleet.decisions import mail
from tidegate.fleet.engine.copies import Copies
from tidegate.fleet.engine.engine import Engine
from tidegate.fleet.member import Member
from tidegate.fleet.port import Health
from tidegate.model import SECOND, Micros
from tidegate.subject import of_address


class Rounds(Carrier):
    """A member's rounds, and its mailbox over a connection of its own, where there is any mail."""

    def __init__(
        self, member: Member, engine: Engine, clock: Callable[[], Micros] = now,
        period: float = PERIOD, phase: float | None = None, *, copies: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(member, engine, clock, period, phase)
        self.member = member
        self.copies = Copies(engine, READ) if copies else None
        self._peers: set[str] = set()
        patience = mail.WAITS / SECOND + PATIENCE
        self.ear = Carrier(member.mailbox, engine.twin(), clock, 5 * period, phase, patience)

    def fds(self) -> list[int]:
        """Readable when the engine said something."""
        return [*super().fds(), *self.ear.fds()]

    def pause(self) -> float:
        """Seconds until there is something to do, whatever is readable."""
        return min(super().pause(), self.ear.pause())

    def close(self) -> None:
        """End it all."""
        self.ear.close()
        super().close()

    def turn(self, ready: AbstractSet[int] | None = None) -> None:
        """Take what has come, and begin the next round when it is time: mail first, for what it
        makes this host say goes out with it."""
        if ready is None or self.ear.is_due(ready):
            self.ear.turn(ready)
        super().turn(ready)
        if self.copies is not None and self.member.stale:
            self.member.stale = False
            self.copies.leave(time.monotonic())

    def connected(self) -> None:
        """Where the engine is, nobody closes."""
        peers = self.engine.peers() | self._peers
        if peers != self._peers:
            self._peers = peers
            self.member.trust.guard(one for one in map(of_address, peers) if one is not None)

    def health(self) -> Health:
        """How it is."""
        found = self.member.health(self._clock())
        where = self.engine.where()
        if self.away:
            return found._replace(state="away", detail=self.away, engine=where)
        troubles = (*found.troubles, self.failure) if self.failure else found.troubles
        return found._replace(engine=where, troubles=troubles)
