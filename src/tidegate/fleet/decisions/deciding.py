"""What this host has decided, said to all: as all came to it by claims, or as its own word.

Touches nothing; is told the time. Limits: what a conviction came to here is said by the host that
the engine asked about it; where all have heard the claims, only to those who come late, for all
others convicted by themselves; in a large fleet, where few have, to all.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Iterable, Mapping

from tidegate import subject as subjects
from tidegate.fleet.counting.counting import Terms
from tidegate.fleet.decisions import entries, saying
from tidegate.fleet.decisions.accepting import Accepting
from tidegate.fleet.decisions.assembly import Assembly
from tidegate.fleet.decisions.decisions import Entry
from tidegate.fleet.port import Conviction
from tidegate.fleet.trust import cases
from tidegate.fleet.trust.admission import SKEW
from tidegate.fleet.trust.claiming import Claiming
from tidegate.fleet.trust.members import May
from tidegate.fleet.trust.trust import Trust
from tidegate.model import SECOND, Decision, Micros, Subject

_RESERVE = 20_000
_SOON: Micros = 5 * SECOND
_SAID_NOW: Micros = 3 * SECOND
_AWAITED: Micros = SECOND
"""How long others wait for what a host makes of a conviction before they see its claims."""


class Deciding:
    """Decisions out, and what a pardon means to what was counted. `unsayable`: what no other host
    could do, as of a user of this one."""

    def __init__(
        self, trust: Trust, claiming: Claiming, assembly: Assembly, accepting: Accepting
    ) -> None:
        self.rules: Mapping[str, Terms] = {}
        self.unsayable = 0
        self._reserve: OrderedDict[str, Entry] = OrderedDict()
        self._again: Micros | None = None
        self._expected: OrderedDict[tuple[str, Subject], tuple[Micros, tuple[bytes, ...]]]
        self._expected = OrderedDict()
        self._trust, self._claiming = trust, claiming
        self._assembly, self._accepting = assembly, accepting

    def say(self, decisions: Iterable[Decision], now: Micros) -> None:
        """This was decided here."""
        for decision in decisions:
            entry = entries.entry_of(decision)
            if entry is None:
                continue
            if not entry.rule and not self._trust.roster.may(self._assembly.host, May.DECIDE):
                # All others would refuse it; a host that is not enrolled yet tells nobody either.
                self._accepting.refused[self._assembly.host, "not allowed"] += 1
                continue
            made = self._trust.cases.of(entry.rule, entry.subject) if entry.rule else None
            try:
                if made is not None and abs(entry.time - made.time) <= SKEW:
                    self._prove(entries.proven(entry, made), now)
                else:
                    self._word(entry, now)
            except ValueError:
                self.unsayable += 1

    def expect(self, made: cases.Conviction, now: Micros) -> None:
        """Claims have convicted here. In a large fleet all others wait for what we make of it."""
        if self._claiming.by_mail and self._claiming.was_lent(made.rule, made.subject, now):
            self._expected[made.rule, made.subject] = (now + _AWAITED, made.proof)

    def _show(self, now: Micros) -> None:
        """Of whom we have said nothing, as by our own allowlist: all others see the claims, and
        judge for themselves."""
        while self._expected:
            key, (due, proof) = next(iter(self._expected.items()))
            if now < due:
                return
            del self._expected[key]
            self._claiming.show(proof, now)

    def tell(self, made: cases.Conviction, now: Micros) -> list[Conviction]:
        """What the watcher is told of what claims have come to: nothing where it is pardoned."""
        if self.is_pardoned(made):
            return []
        self.expect(made, now)
        return [entries.told(made)]

    def is_pardoned(self, made: cases.Conviction) -> bool:
        """Whether a person has pardoned it already: what was counted before is heard after."""
        pardoned = self._assembly.decisions.pardoned(made.rule, made.subject)
        if pardoned < made.time:
            return False
        self._trust.settled(made.id, pardoned)
        return True

    def settled(self, number: str, until: Micros) -> None:
        """What came of a conviction here; a pardon may have come while the watcher thought."""
        made = self._trust.cases.by_id(number)
        if made is None or until == 0 or not self.is_pardoned(made):
            self._trust.settled(number, until)

    def pardon(self, entry: Entry) -> Micros:
        """What was counted of somebody until then counts no more. When the newest of it was that
        is to be outranked."""
        newest = entry.time
        for made in self._pardoned(entry):
            newest = max(newest, made.time + 1000)
            self._trust.settled(made.id, max(entry.time, made.time))
        for name, terms in self.rules.items():
            if entry.rule in ("", name):
                self._trust.counted.forget(terms.engine.mark, entry.subject, entry.time)
        return newest

    def _pardoned(self, entry: Entry) -> list[cases.Conviction]:
        """The convictions that stand of all whom a pardon names."""
        if "/" in entry.subject:
            network = subjects.network(entry.subject)
            found = list(self._trust.cases.standing())
            inside = (subjects.network(one.subject) for one in found)
            found = [
                one for one, own in zip(found, inside, strict=True)
                if network is not None and own is not None and network.holds(own)
            ]  # fmt: skip
        else:
            of = (self._trust.cases.of(name, entry.subject) for name in self.rules)
            found = [one for one in of if one is not None]
        return [one for one in found if entry.rule in ("", one.rule)]

    def _prove(self, entry: Entry, now: Micros) -> None:
        """Who was asked by the engine says it."""
        self._expected.pop((entry.rule, entry.subject), None)
        if not self._claiming.was_lent(entry.rule, entry.subject, now):
            self._hold(entry)
            return
        self._tell(entry, now)

    def _hold(self, entry: Entry) -> None:
        """Somebody else says it; should the engine lose that, we do."""
        if self._claiming.by_mail:
            return  # all have heard it, and hold it
        self._reserve[f"{entry.rule} {entry.subject}"] = entry
        if len(self._reserve) > _RESERVE:
            self._reserve.popitem(last=False)

    def again(self, now: Micros) -> None:
        """Another copy of the engine's data answers than before: what we came to by claims, and is
        not in it, is said in a while, unless somebody else does so first."""
        self._again = now + _SOON + random.randrange(_SOON)  # noqa: S311 - no secret

    def tick(self, now: Micros) -> None:
        """Once a second or so."""
        self._show(now)
        if self._again is None or now < self._again:
            return
        self._again = None
        for name, entry in list(self._reserve.items()):
            if entry.until <= now:
                del self._reserve[name]
            elif not self._is_said(entry, now):
                self._tell(entry, now, quiet=False)  # some may have read the snapshot just now

    def _is_said(self, entry: Entry, now: Micros) -> bool:
        return any(
            one.rule == entry.rule and one.ports == entry.ports and one.until >= entry.until - SKEW
            for one in self._assembly.decisions.standing(now, entry.subject)
        )

    def _tell(self, entry: Entry, now: Micros, *, quiet: bool = True) -> None:
        bodies = [self._claiming.find(one) for one in entry.proof]
        whole = [one for one in bodies if one is not None]
        if self._claiming.by_mail:
            # Nobody else has all the claims: it is said to all, and its proof is where its id says.
            entry = saying.identify(self._assembly.host, entry._replace(proof=()))
            if len(whole) == len(bodies):
                self._claiming.file(entry.id, whole, entry.until, now)
            self._assembly.say([entry], now)
            return
        if len(whole) < len(bodies):
            entry, whole = entry._replace(proof=()), []
        for body in whole:
            self._assembly.keep(body, entry.until, say=True, quiet=True)
        self._assembly.say([entry], now, quiet=quiet)

    def _word(self, entry: Entry, now: Micros) -> None:
        if entry.verb == "unban":
            newest = self.pardon(entry)
            # Said again after a start, it opens nothing that people have closed since.
            if now - entry.time < _SAID_NOW:
                newest = self._assembly.decisions.outranking(entry.subject, newest)
            entry = entry._replace(time=newest)
        shifts = self._assembly.say([entry], now)
        self._accepting.forget(one for one in shifts if one.entry is None)
