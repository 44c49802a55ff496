"""Between the guards and the fleet: how this host is in its pools, and what the fleet says to it.

Touches the fleet's process by `Fleeting`. What it says is put before the guards, who decide.
Limits: an answer is believed for some seconds; where none comes, it is as without a fleet. Whether
what is in service is well, only probes tell.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, Protocol

from tidegate.decision.pools import Word
from tidegate.fleet.port import Health, Place, PoolWord, Seat
from tidegate.model import SECOND, Micros
from tidegate.policy.guards import Pool
from tidegate.policy.models import Policy

EVERY: Micros = SECOND
PATIENCE: Micros = 5 * SECOND
"""For so long a host waits for an answer before it leaves a pool without one, and believes one."""
GRACE: Micros = 15 * SECOND
"""For so long too few must be in service before a host that is out comes back: after the engine was
away, all need a while to say again that they are."""


class Talk(Protocol):
    """What of `Fleeting` is needed here."""

    seats: list[Seat]

    @property
    def health(self) -> Health | None:
        """How the conversation is; None where there is no fleet."""

    def pools(self, places: Sequence[Place]) -> None:
        """All pools that this host is in, and how."""


class _Told(NamedTuple):
    """Our own word about a pool, its number, and when it was first said."""

    word: PoolWord
    number: int
    since: Micros


class Pooling:
    """What is known, and what is said, of the pools of a policy. `talk` None: nobody is asked."""

    def __init__(self, talk: Talk | None = None) -> None:
        self._talk = talk
        self._told: dict[str, _Told] = {}
        self._seats: dict[str, tuple[Seat, Micros]] = {}
        self._few: dict[str, Micros] = {}  # out, and too few are in: since when
        self._spoke: Micros = 0

    def known(self, policy: Policy, now: Micros) -> Mapping[str, Word]:
        """What the fleet says now of the pools that this host is in."""
        if self._talk is None or (health := self._talk.health) is None:
            return {}
        for one in self._talk.seats:
            told = self._told.get(one.pool)
            if told is not None and told.number == one.number:
                self._seats[one.pool] = one, now
        self._talk.seats.clear()
        there = health.state in ("joined", "starting")
        return {
            pool.name: self._word(pool.name, now) if there else Word("away")
            for pool in pools_of(policy)
        }

    def _word(self, name: str, now: Micros) -> Word:
        told = self._told.get(name)
        if told is None or told.word == "in":
            return Word("unasked")
        seat, heard = self._seats.get(name, (None, 0))
        if seat is None or seat.number != told.number or not 0 <= now - heard < PATIENCE:
            self._few.pop(name, None)
            return Word("unasked" if 0 <= now - told.since < PATIENCE else "away")
        if told.word == "leave":
            return Word("may" if seat.may else "stay", seat.others)
        if seat.may:
            self._few.pop(name, None)
            return Word("may", seat.others)
        since = min(self._few.setdefault(name, now), now)
        return Word("stay", seat.others, back=now - since >= GRACE)

    def tell(
        self, policy: Policy, leaving: Collection[str], closed: Collection[str], now: Micros
    ) -> None:
        """Say how this host is in each pool: pools that it is about to leave, gates closed now."""
        if self._talk is None or self._talk.health is None:
            return
        places, changed = [], False
        out = {gate.pool for one in policy.guards for gate in one.gates if gate.name in closed}
        for pool in pools_of(policy):
            word: PoolWord = "in"
            if pool.name in out:
                word = "out"
            elif pool.name in leaving:
                word = "leave"
            told = self._told.get(pool.name)
            if told is None or told.word != word:
                number = max(now, told.number + 1 if told is not None else 0)
                told = self._told[pool.name] = _Told(word, number, now)
                self._few.pop(pool.name, None)
                changed = True
            places.append(Place(pool.name, pool.least, word, told.number))
        if places and (changed or not 0 <= now - self._spoke < EVERY):
            self._spoke = now
            self._talk.pools(places)


def pools_of(policy: Policy) -> list[Pool]:
    """The pools that a guard of this policy is in, and that the fleet is asked about."""
    if policy.fleet is None:
        return []
    inside = {gate.pool for one in policy.guards if one.enabled for gate in one.gates}
    return [pool for pool in policy.pools if pool.fleet and pool.name in inside]
