"""A watcher on paper: counts lines, carries out what the fleet convicts, and what others decided.

Touches nothing but the part of the fleet that it is given. Limits: one rule; no ladder, no breaker;
it does what the real one does in the simplest way, so that what goes wrong is the fleet's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.fleet.truth import BAN, PORTS, RULE, Line, Truth

from tidegate.fleet.port import Closing, Conviction, Heard, Opening
from tidegate.model import Decision, Micros, Shared, Subject


class Watcher:
    """One host's watcher; `fleet` is its part of the fleet (`share`, `say`, `settled`, `look`)."""

    def __init__(self, name: str, fleet: Any, truth: Truth, listed: Sequence[Subject] = ()) -> None:
        self.name, self.fleet, self.truth = name, fleet, truth
        self.listed = set(listed)
        self.bans: dict[
            Subject, dict[str, tuple[Micros, Micros]]
        ] = {}  # by what said it: of, until
        self.convictions: list[Conviction] = []
        self.closings: list[Closing] = []
        self.openings: list[Opening] = []
        self.shared: list[Shared] = []
        self.pardons: dict[Subject, Micros] = {}
        self._lines = 0
        fleet.look(tuple(listed))

    def lines(self, subject: Subject, number: int, now: Micros, apart: Micros = 1000) -> None:
        """So many lines about somebody, up to now. Whoever is closed for is not counted."""
        if self.is_closed(subject, now) or subject in self.listed:
            return
        counted: list[Shared] = []
        for ago in reversed(range(number)):
            time = (now - ago * apart) // 1000 * 1000
            self._lines += 1
            self.truth.lines.append(Line(self.name, subject, time))
            counted.append(Shared(RULE.name, subject, time, 1, self._lines))
        self.shared += counted
        self.fleet.share(counted)

    def reread(self, before: Watcher, now: Micros) -> None:
        """The log that another watcher has read is read again from its beginning."""
        self._lines = before._lines
        self.shared = [*before.shared]
        self.fleet.share([one for one in self.shared if not self.is_closed(one.subject, now)])

    def ban(self, subject: Subject, now: Micros, until: Micros = 0) -> None:
        """A person on this host closes for somebody, on all hosts."""
        self._close(subject, f"person {now}", now, until or now + BAN, rule="", by="anna")

    def unban(self, subject: Subject, now: Micros) -> None:
        """A person on this host pardons, on all hosts; what was before it closes nothing here."""
        self.pardons[subject] = now
        self.bans.pop(subject, None)
        self._say("unban", subject, now, 0, rule="", by="anna")

    def act(self, heard: Heard) -> None:
        """What comes of what the fleet tells."""
        for found in heard.convictions:
            self.truth.check_conviction(found, self.convictions)
            self.convictions.append(found)
            if found.subject in self.listed or self._was_pardoned(found.subject, found.time):
                self.fleet.settled(found.id, 0)
            else:
                self._close(found.subject, found.id, found.time, found.time + BAN)
                self.fleet.settled(found.id, found.time + BAN)
        for one in heard.closings:
            self.truth.check_closing(one)
            self.closings.append(one)
            spared = one.subject in self.listed
            if not spared:
                self.bans.setdefault(one.subject, {})[one.id] = (one.time, one.until)
            self.fleet.settled(one.id, 0 if spared else one.until)
        for opening in heard.openings:
            self.openings.append(opening)
            if opening.why == "unban":  # what came after it stays
                standing = self.bans.pop(opening.subject, {})
                later = {name: of for name, of in standing.items() if of[0] > opening.time}
                self.bans[opening.subject] = later
            else:
                self.bans.get(opening.subject, {}).pop(opening.id, None)

    def _was_pardoned(self, subject: Subject, time: Micros) -> bool:
        return time <= self.pardons.get(subject, -1)

    def is_closed(self, subject: Subject, now: Micros) -> bool:
        """Whether it is closed for somebody here."""
        return any(until > now for _time, until in self.bans.get(subject, {}).values())

    def closed(self, now: Micros) -> set[Subject]:
        """For whom it is closed here."""
        return {subject for subject in self.bans if self.is_closed(subject, now)}

    def _close(
        self, subject: Subject, number: str, time: Micros, until: Micros, **more: str
    ) -> None:
        self.bans.setdefault(subject, {})[number] = (time, until)
        self._say("ban", subject, time, until, **{"rule": RULE.name, "by": "rule", **more})

    def _say(
        self, action: Any, subject: Subject, time: Micros, until: Micros, *, rule: str, by: str
    ) -> None:
        said = Decision(
            f"{self.name} {len(self.truth.said)}", time, action, subject, rule, PORTS if rule else (),
            until, max(0, until - time), RULE.threshold, 0, "enforce", "a test", by=by,
        )  # fmt: skip
        self.truth.said.append((self.name, said))
        self.fleet.say([said])
