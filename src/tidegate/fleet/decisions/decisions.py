"""What the whole fleet has decided: bans and unbans of every host, merged in whatever order.

Touches nothing; it is told the time. Who may be believed is judged before (`trust`), and what the
own host makes of it afterwards. Limits: bounded per matter, per host and over all, by `Limits`.

Every host hears the same decisions, but in another order, some of them twice, some only from a
snapshot. So nothing is judged on arrival: `kept` keeps them by their rank, and what stands is
worked out from what is kept. What is opened, or falls with a host, is kept all the same.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from tidegate.fleet.decisions import saying
from tidegate.fleet.decisions.kept import Entry as Entry
from tidegate.fleet.decisions.kept import Kept, Ports
from tidegate.fleet.decisions.kept import Limits as Limits
from tidegate.fleet.decisions.kept import Verb as Verb
from tidegate.model import MINUTE, Micros, Subject

SKEW: Micros = MINUTE
"""How far a clock may be ahead of the engine's before trust refuses what it says."""
AHEAD: dict[Verb, Micros] = {"ban": 2 * SKEW, "unban": 4 * SKEW}
"""How far a decision's time may be behind the moment it is heard: a person's unban outranks a ban
that is ahead already, on a host whose clock is. What a host has said falls with it as far."""


class Revocation(NamedTuple):
    """A host is believed no longer: what it said until then, and what it alone made so, falls."""

    host: str
    time: Micros


class Shift(NamedTuple):
    """What the fleet wants has changed here: closed until then, by `entry`; None: open."""

    subject: Subject
    ports: Ports
    entry: Entry | None

    @property
    def until(self) -> Micros:
        """When it opens; 0: it is open."""
        return 0 if self.entry is None else self.entry.until


@dataclass(slots=True)
class Decisions:
    """All that the fleet wants, as far as this host has heard. Two that heard the same are equal.

    `counts` says what was not taken and why: `ended`, `too-long`, `unproven` (its own shares
    do not convict), `repeated`, `crowded`.
    """

    limits: Limits = field(default_factory=Limits)
    counts: Counter[str] = field(default_factory=Counter)
    _bans: Kept = field(init=False)
    _unbans: Kept = field(init=False)
    _revoked: dict[str, Micros] = field(default_factory=dict)
    _tags: dict[str, Micros] = field(default_factory=dict)  # of the same, as shares have them

    def __post_init__(self) -> None:
        self._bans = Kept(self.limits, self.limits.matter)
        self._unbans = Kept(self.limits, 1)

    def hear(self, said: Iterable[Entry], now: Micros) -> list[Shift]:
        """Merge what was said; what is wanted otherwise than before."""
        said = tuple(said)
        if len(said) == 1 and self._is_first(said[0]):
            return self._hear_first(said[0], now)
        before: dict[Subject, dict[Ports, Entry]] = {}
        for one in said:
            if not self._takes(one, now):
                continue
            if one.subject not in before:
                before[one.subject] = self._wanted(one.subject, now)
            kept = self._bans if one.verb == "ban" else self._unbans
            out = kept.add(one)
            if out is not None:
                self.counts["crowded"] += 1
                # Of somebody else's: it was not among those looked at, and no longer stands.
                before.setdefault(out.subject, self._wanted(out.subject, now, out))
        return self._shifts(before, now)

    def _is_first(self, one: Entry) -> bool:
        """Whether it is as most are: the first ban of somebody, and nobody is revoked."""
        known = one.subject in self._bans.of or one.subject in self._unbans.of
        return one.verb == "ban" and not known and not self._revoked

    def _hear_first(self, one: Entry, now: Micros) -> list[Shift]:
        if not self._takes(one, now):
            return []
        out = self._bans.add(one)
        if out is None:
            return [Shift(one.subject, one.ports, one)]
        self.counts["crowded"] += 1
        before = {one.subject: {}, out.subject: self._wanted(out.subject, now, out)}
        return [] if out is one else self._shifts(before, now)

    def revoke(self, host: str, time: Micros, now: Micros) -> list[Shift]:
        """Believe nothing that the host said until then; what is wanted otherwise than before."""
        if time <= self._revoked.get(host, 0):
            return []
        tag = saying.tagged(host)
        touched = {
            one.subject
            for kept in (self._bans, self._unbans)
            for one in kept.entries.values()
            if one.host == host or any(share[0] in (host, tag) for share in one.shares)
        }
        before = {subject: self._wanted(subject, now) for subject in touched}
        self._revoked[host] = time
        self._tags[tag] = max(time, self._tags.get(tag, 0))
        return self._shifts(before, now)

    def forget(self, now: Micros) -> int:
        """Drop what has ended, and revocations of which nothing can be left; how many."""
        ended = sum(1 for kept in (self._bans, self._unbans) for _one in kept.ended(now))
        longest = self.limits.longest + AHEAD["unban"]
        over = [host for host, time in self._revoked.items() if time + longest <= now]
        for host in over:
            del self._revoked[host]
            self._tags.pop(saying.tagged(host), None)
        return ended + len(over)

    def standing(self, now: Micros, subject: Subject | None = None) -> list[Entry]:
        """The bans that stand: per (subject, ports) the one that ends last."""
        subjects = sorted(self._bans.of) if subject is None else [subject]
        return [one for each in subjects for _ports, one in sorted(self._wanted(each, now).items())]

    def knows(self, number: str) -> bool:
        """Whether a decision of this id is kept."""
        return number in self._bans.entries or number in self._unbans.entries

    def kept(self) -> list[Entry]:
        """Everything kept, also what was opened or fell: what a snapshot of the fleet is of."""
        found = [*self._bans.entries.values(), *self._unbans.entries.values()]
        return sorted(found, key=lambda one: (one.time, one.id))

    def pardoned(self, rule: str, subject: Subject) -> Micros:
        """Until when a person has pardoned all that this rule has against somebody; 0: never."""
        unbans = self._unbans.of.get(subject, {}).values()
        return max(
            (
                one.time for one in unbans
                if not one.ports and one.rule in ("", rule) and self._believed(one)
            ),
            default=0,
        )  # fmt: skip

    def outranking(self, subject: Subject, now: Micros) -> Micros:
        """The time that a person's word here needs, so that it is the last one of this subject.

        Another host's clock may be ahead: without this its ban would outlive an unban typed later.
        """
        bans = self._bans.of.get(subject, {}).values()
        return max([now, *(one.time + 1_000 for one in bans)])

    def digest(self, now: Micros) -> str:
        """The same text on hosts that want the same closed at that time, for `fleet status`. What
        claims convicted is left out: who heard these has come to it without hearing of it."""
        total = 0
        for one in self.standing(now):
            if one.needed:
                continue
            text = f"{one.subject} {one.ports} {one.until}".encode()
            total += int.from_bytes(hashlib.blake2b(text, digest_size=8).digest())
        return f"{total & (1 << 64) - 1:016x}"

    def _takes(self, one: Entry, now: Micros) -> bool:
        reason = ""
        if self.knows(one.id):
            reason = "repeated"
        elif self.limits.end(one) <= now:
            reason = "ended"
        elif one.until > one.time + self.limits.longest:
            reason = "too-long"
        elif one.shares and sum([count for _host, count in one.shares]) < one.needed:
            reason = "unproven"
        if reason:
            self.counts[reason] += 1
        return not reason

    def _wanted(
        self, subject: Subject, now: Micros, also: Entry | None = None
    ) -> dict[Ports, Entry]:
        bans = list(self._bans.of.get(subject, {}).values())
        unbans = list(self._unbans.of.get(subject, {}).values())
        if also is not None:
            (bans if also.verb == "ban" else unbans).append(also)
        unbans = [one for one in unbans if self._believed(one)]
        best: dict[Ports, Entry] = {}
        for one in bans:
            if one.until <= now or not self._believed(one) or any(_opens(u, one) for u in unbans):
                continue
            if one.ports not in best or _later(one, best[one.ports]):
                best[one.ports] = one
        return best

    def _believed(self, one: Entry) -> bool:
        if not self._revoked:
            return True
        if self._falls(one.host, one):
            return False
        left = sum(count for host, count in one.shares if not self._falls(host, one))
        return not one.shares or left >= one.needed

    def _falls(self, host: str, one: Entry) -> bool:
        # A host that is about to be found out may date what it says ahead.
        time = self._revoked.get(host, self._tags.get(host))
        return time is not None and one.time <= time + AHEAD[one.verb]

    def _shifts(self, before: dict[Subject, dict[Ports, Entry]], now: Micros) -> list[Shift]:
        shifts = []
        for subject, old in sorted(before.items()):
            new = self._wanted(subject, now)
            for ports in sorted(old.keys() | new.keys()):
                was, now_is = old.get(ports), new.get(ports)
                if (was and was.until) != (now_is and now_is.until):
                    shifts.append(Shift(subject, ports, now_is))
        return shifts


def _opens(unban: Entry, ban: Entry) -> bool:
    """At the same moment the unban has it: when in doubt, the door is open."""
    return (
        unban.time >= ban.time and unban.ports in ((), ban.ports) and unban.rule in ("", ban.rule)
    )


def _later(one: Entry, other: Entry) -> bool:
    return (one.until, one.time, one.id) > (other.until, other.time, other.id)
