"""What comes here of what other hosts say: their convictions, closings and openings.

Touches the watcher it is given: its pipeline, its ledger, its gate. What others say is judged here
like an own verdict. Limits: what was passed over, as closed already, is looked at again should that
fall with a host; of the latest only, and not after a start, when the fleet says it all again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from typing import Protocol

from tidegate.daemon.act import Actor, Result
from tidegate.daemon.orders import by_hand
from tidegate.daemon.pipeline import Pipeline
from tidegate.daemon.quote import told
from tidegate.daemon.wiring import Wiring
from tidegate.errors import LedgerError
from tidegate.fleet.port import Closing, Conviction, Heard, Opening
from tidegate.model import HOUR, Change, Decision, Micros, Subject
from tidegate.source.port import Source

log = logging.getLogger("tidegate.watcher")

CAUSED = "caused by fleet"
"""The part with what else convictions have closed here, such as networks: just that is opened again
when they fall."""
_MOST_CAUSED = 100_000
_MOST_PASSED = 20_000


class Daemon(Protocol):
    """The watcher, as far as the fleet concerns it."""

    pipeline: Pipeline
    sources: dict[str, Source]
    actor: Actor
    wiring: Wiring

    def say(self, about: str, text: str) -> None:
        """This is so; "": it is well. Said once."""


class Heeding:
    """Carries out what others say, as far as this host's policy has it. `settled(id, until)` is
    told what came of it, `said` what was closed here by what all counted."""

    def __init__(
        self,
        watcher: Daemon,
        settled: Callable[[str, Micros], None],
        said: Callable[[Sequence[Result]], None],
    ) -> None:
        self._watcher = watcher
        self._settled, self._said = settled, said
        self._caused: dict[str, tuple[str, ...]] = {}  # conviction → decisions
        self._passed: dict[str, Conviction | Closing] = {}
        self._fallen: dict[str, int] = {}  # how often these were taken back
        self._late: list[Opening] = []  # the ledger could not say what they open
        self._owed: list[Decision] = []  # undoings that could not be written down yet
        self._changes: dict[str, Change] = {}

    def heed(self, heard: Heard, now: Micros) -> None:
        """All of it, in the order of their moments: of a ban and an unban that came together the
        later one holds."""
        known = self._known([*heard.closings, *heard.openings])
        verdicts: list[Conviction | Closing | Opening] = [
            *heard.convictions, *heard.closings, *heard.openings,
        ]  # fmt: skip
        closings: list[Closing] = []
        for one in sorted(verdicts, key=lambda one: (one.time, isinstance(one, Opening))):
            if isinstance(one, Closing):
                closings.append(one)  # who joins late hears of thousands: written down together
                continue
            self._close(closings, now, known)
            closings.clear()
            if isinstance(one, Conviction):
                self._convicted(one, now)
            else:
                self._opening(one, now, known)
        self._close(closings, now, known)
        self.open_late(now)

    def _known(self, said: Sequence[Closing | Opening]) -> set[str]:
        """What of it has been followed already: after a start the fleet says it all again."""
        try:
            entries = self._watcher.wiring.ledger.entries([one.id for one in said]) if said else ()
        except LedgerError:
            return set()
        return {entry.decision.id for entry in entries}

    def _convicted(self, one: Conviction, now: Micros) -> None:
        pipeline, actor, subject = self._watcher.pipeline, self._watcher.actor, one.subject
        # What fell with a host may come to the same moment, and so the same id, without it.
        fallen = self._fallen.get(one.id, 0)
        number = f"{one.id}-again{fallen}" if fallen else one.id
        decisions = pipeline.convicted(one.rule, subject, one.time, one.count, one.shares, number)
        sources = self._watcher.sources.values()
        results = actor.act([told(each, None, sources) for each in decisions], now)
        self._said([one for one in results if one.decision.subject == subject])
        if len(results) > 1 or fallen:
            self._cause(one.id, [result.decision.id for result in results])
        ends = [each.until for each in decisions if each.subject == subject]
        until = max(ends, default=pipeline.held(one.rule, subject))
        if not decisions and until > now:
            self._pass_over(one)
        self._settled(one.id, until)

    def _close(self, closings: Sequence[Closing], now: Micros, known: Collection[str] = ()) -> None:
        spec = self._watcher.pipeline.policy.fleet
        if spec is None or not spec.bans:
            return
        decisions = []
        for one in closings:
            if one.id not in known:
                accepted = self._accepted(one, now)
                decisions += accepted
                ends = [each.until for each in accepted if not each.spared]
                self._settled(one.id, max(ends, default=0))
        if decisions:
            self._watcher.actor.act(decisions, now)

    def _accepted(self, one: Closing, now: Micros) -> list[Decision]:
        judge = self._watcher.pipeline.judge
        pardoned = judge.allow.exempt.get(one.subject, 0) - HOUR
        if one.by != "rule" and one.time > pardoned > 0 and not self._allowed(one.subject, now):
            judge.exempt(one.subject, 0)  # the last word of a person holds
        decisions = [_theirs(each, one) for each in self._watcher.pipeline.accept(one, now)]
        if not decisions:
            self._pass_over(one)
        return decisions

    def _allowed(self, subject: Subject, now: Micros) -> bool:
        """Whether a person has allowed it on this host, against which no other host's word goes."""
        try:
            return any(one.subject == subject for one in self._watcher.wiring.ledger.allowed(now))
        except LedgerError:
            return True

    def _opening(self, one: Opening, now: Micros, known: set[str]) -> None:
        if one.why != "unban":
            self._take_back(one, now)
        elif one.id not in known and not self._outlived(one, now):
            who, until = f"{one.by} at {one.host}", one.time + HOUR
            found = by_hand("unban", one.subject, one.ports, now, until, by=who, rule=one.rule)
            found = replace(found, id=one.id)
            if one.rule or one.ports:
                self._owed.append(found)
                return
            self._watcher.pipeline.pardon(one.subject, now, max(0, until - now))
            self._watcher.actor.act([found], now)

    def _outlived(self, pardon: Opening, now: Micros) -> bool:
        """Whether something stands that came after a pardon which is heard late: a person's ban, or
        a rule's from behind its hour."""
        try:
            standing = self._watcher.actor.standing(now, pardon.subject)
        except LedgerError:
            return False
        later = (one.decision for one in standing if one.decision.time > pardon.time)
        return any(
            one.subject == pardon.subject and (not one.rule or one.time >= pardon.time + HOUR)
            for one in later
        )

    def _pass_over(self, one: Conviction | Closing) -> None:
        """It was closed here already. Should that fall with a host, this is looked at again."""
        self._passed[one.id] = one
        while len(self._passed) > _MOST_PASSED:
            del self._passed[next(iter(self._passed))]

    def _take_back(self, one: Opening, now: Micros) -> None:
        """What the fleet's word alone has closed here is to be opened again."""
        try:
            entries = self._watcher.wiring.ledger.entries(self._caused.get(one.id, (one.id,)))
        except LedgerError:
            self._late.append(one)
            return
        self._forget(one.id)
        self._passed.pop(one.id, None)
        self._fallen[one.id] = self._fallen.get(one.id, 0) + 1
        while len(self._fallen) > _MOST_PASSED:
            del self._fallen[next(iter(self._fallen))]
        for ban in (entry.decision for entry in entries):
            if ban.action != "ban" or ban.until <= now or ban.mode != "enforce" or ban.spared:
                continue
            if ban.rule:  # what a person closed is held by no rule
                self._watcher.pipeline.reopened(ban.rule, ban.subject, now)
            by = ban.by if ban.by.startswith("fleet:") else "fleet"
            reason = (
                f"{one.host} is revoked" if one.why == "revoked" else f"{one.host} took it back"
            )
            self._owed.append(by_hand(
                "unban", ban.subject, ban.ports, now, now, by=by, reason=reason, rule=ban.rule
            ))  # fmt: skip

    def open_late(self, now: Micros) -> None:
        """Open what is still to be opened, also what the ledger did not take before."""
        late, self._late = self._late, []
        for one in late:
            self._take_back(one, now)
        if not self._owed:
            return
        try:
            self._watcher.actor.undo(self._owed, now)
            subjects = {one.subject for one in self._owed}
            self._owed = []
        except LedgerError as error:
            log.warning("ledger: %s; what the fleet opens is opened when it is well again", error)
            return
        for again in [one for one in self._passed.values() if one.subject in subjects]:
            del self._passed[again.id]
            if isinstance(again, Conviction):
                self._convicted(again, now)
            elif again.until > now:
                self._close([again], now)

    def _cause(self, conviction: str, decisions: Sequence[str]) -> None:
        self._caused[conviction] = tuple(decisions)
        self._changes[conviction] = Change(CAUSED, conviction, " ".join(decisions).encode())
        if len(self._caused) > _MOST_CAUSED:
            self._forget(next(iter(self._caused)))

    def _forget(self, conviction: str) -> None:
        if self._caused.pop(conviction, None) is not None:
            self._changes[conviction] = Change(CAUSED, conviction, None)

    def changes(self) -> Iterator[Change]:
        """What has changed since last asked, for a checkpoint."""
        changes, self._changes = self._changes, {}
        yield from changes.values()

    def restore(self, change: Change) -> bool:
        """Take back one change; False where it is not ours."""
        if change.part == CAUSED and change.value is not None:
            self._caused[change.key] = tuple(change.value.decode("ascii", "replace").split())
        return change.part == CAUSED


def _theirs(decision: Decision, told: Closing) -> Decision:
    """The decision as that of the other host, also where a person there took it: should that host
    be revoked, just this is undone."""
    if told.by == "rule":
        return decision
    note = f"{told.by}: {told.note}" if told.note else told.by
    return replace(decision, by=f"fleet:{told.host}", note=note)
