"""What a full disk kept out of the ledger: it holds all the same, and is written down when it can.

Touches nothing but the ledger that it is handed. Limits: 10,000 decisions and as many outcomes;
the oldest give way.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from tidegate.errors import LedgerError
from tidegate.ledger.port import Ledger
from tidegate.model import Action, Ban, Confined, Decision, Micros, Outcome, Subject

log = logging.getLogger("tidegate.watcher")

_LIMIT = 10_000
_UNDOES: dict[Action, tuple[Action, ...]] = {
    "unban": ("ban",),
    "allow": ("ban",),
    "disallow": ("allow",),
}


class Backlog:
    """Decisions and outcomes that wait for the ledger, in their order."""

    def __init__(self) -> None:
        self._decisions: list[Decision] = []
        self._outcomes: list[Outcome] = []

    def __bool__(self) -> bool:
        return bool(self._decisions or self._outcomes)

    def keep(self, decisions: Sequence[Decision]) -> list[Decision]:
        """Keep those not known before by id, and return them."""
        known = {one.id for one in self._decisions}
        fresh = [one for one in decisions if one.id not in known]
        self._decisions = (self._decisions + fresh)[-_LIMIT:]
        return fresh

    def keep_outcomes(self, outcomes: Sequence[Outcome]) -> None:
        """Keep what became of decisions."""
        self._outcomes = [*self._outcomes, *outcomes][-_LIMIT:]

    def write(self, ledger: Ledger) -> None:
        """Try to write it all down."""
        try:
            ledger.intend(self._decisions)
            ledger.settle(self._outcomes)
        except LedgerError:
            return
        self._decisions, self._outcomes = [], []
        log.info("ledger: well again, everything kept back is written down")

    def over(self, action: Action, bans: Sequence[Ban], now: Micros) -> list[Ban]:
        """What the ledger wants (bans or allows), and on top of it what was kept out of it."""
        if not self._decisions:
            return list(bans)
        found = {(ban.subject, ban.ports): ban.until for ban in bans}
        for one in self._decisions:
            key = one.subject, one.ports
            if one.mode == "observe" or one.spared:
                continue
            if one.action == action:
                if one.until > now:
                    found[key] = max(one.until, found.get(key, 0))
            elif action in _UNDOES.get(one.action, ()):
                for other in [k for k in found if k[0] == key[0] and one.ports in ((), k[1])]:
                    del found[other]
        return [Ban(subject, ports, until) for (subject, ports), until in found.items()]

    def confined(self, confined: Sequence[Confined], now: Micros) -> list[Confined]:
        """Whom the ledger wants cut off or watched, likewise."""
        found: dict[Subject, Confined] = {one.subject: one for one in confined}
        for one in self._decisions:
            if one.mode == "observe" or one.spared:
                continue
            before = found.get(one.subject, Confined(one.subject, 0, 0))
            if one.action == "quarantine":
                until = max(before.until, one.until)
                found[one.subject] = Confined(
                    one.subject, until, max(before.watched, until, one.watched)
                )
            elif one.action == "release":
                found[one.subject] = Confined(one.subject, 0, one.watched)
        ahead = (one._replace(until=one.until if one.until > now else 0) for one in found.values())
        return sorted(one for one in ahead if max(one.until, one.watched) > now)
