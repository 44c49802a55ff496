"""Which of the published policies a host takes: when it tries one first, and when it goes back.

Touches nothing; told the time. What it remembers goes out as changes and comes back by `restore`.
Limits: it chooses among what the librarian says is on the shelf; what it went back from is
remembered for the MOST_REFUSED newest.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import NamedTuple

from tidegate.fleet.journal.journal import Published
from tidegate.model import SECOND, Change, Micros

PART = "published policy"
MOST_REFUSED = 16
MOST_STARTS = 2
"""So many starts within one trial are too many."""
_LONGEST = 400


class Book(NamedTuple):
    """A published policy as one talks of it: `id` and `hash` in hex; `canary`: whether it is on
    trial, `mine`: whether this host tries it, for `trial` seconds, and at most `until` then."""

    id: str
    number: int
    hash: str
    canary: bool
    mine: bool
    trial: int
    until: Micros
    host: str
    back: bool = False
    note: str = ""

    @classmethod
    def of(cls, one: Published, here: str) -> Book:
        """What is said of it on the host `here`."""
        entry = one.entry
        canary, mine = bool(entry.canaries), not entry.canaries or here in entry.canaries
        return cls(
            one.id.hex(), entry.number, one.hash, canary, mine, entry.trial, one.until, one.host,
            entry.back, entry.note,
        )  # fmt: skip


class Signs(NamedTuple):
    """What tells that a policy does harm: how often the breaker tripped, lines set aside, detectors
    switched off, and how much else is wrong."""

    trips: int = 0
    aside: int = 0
    disabled: int = 0
    errors: int = 0


class Course:
    """One host's way through the journal."""

    def __init__(self) -> None:
        self.refused: dict[str, str] = {}  # id: why this host went back, or did not begin
        self._tried = ""
        self._since: Micros = 0
        self._starts = 0
        self._before: Signs | None = None
        self._dirty = False

    def wanted(self, shelf: Iterable[Book], now: Micros) -> str:
        """The id of what this host should take; "": its own policy alone."""
        for one in sorted(shelf, key=lambda one: (one.number, one.id), reverse=True):
            if one.id not in self.refused and one.mine and (not one.canary or now < one.until):
                return one.id
        return ""

    def taken(self, one: Book | None, signs: Signs, now: Micros) -> None:
        """This host takes it from now on."""
        self._tried = one.id if one is not None and one.canary else ""
        self._since, self._starts, self._before = now, 0, signs
        self._dirty = True

    def began(self, one: Book | None, signs: Signs, now: Micros) -> str:
        """The host has started with this one: why to go back, "" if not. Who dies of a policy can
        say so only afterwards."""
        self._before = signs
        if one is None or one.id != self._tried:
            self.taken(one, signs, now)
            return ""
        self._starts += 1
        self._dirty = True
        if self._starts >= MOST_STARTS:
            return f"{self._starts} starts while it was on trial"
        return ""

    def look(self, one: Book | None, signs: Signs, now: Micros) -> str:
        """Why to go back, while it is on trial; "" if nothing speaks for it."""
        before = self._before
        if one is None or one.id != self._tried or before is None:
            return ""
        if not 0 <= now - self._since < one.trial * SECOND:
            return ""
        if signs.trips > before.trips:
            return "the breaker tripped: it would close for many who have a good record"
        if signs.disabled > before.disabled:
            return "a detector broke and was switched off"
        if signs.aside > before.aside + 2:
            return f"{signs.aside - before.aside} lines broke a detector and were set aside"
        if signs.errors > before.errors:
            return "more is wrong with the host than before"
        return ""

    def refuse(self, one: str, why: str) -> None:
        """Not this one, nor again."""
        self.refused.pop(one, None)
        self.refused[one] = why[:_LONGEST]
        while len(self.refused) > MOST_REFUSED:
            del self.refused[next(iter(self.refused))]
        if self._tried == one:
            self._tried = ""
        self._dirty = True

    def changes(self) -> list[Change]:
        """What has to be written down since the last call."""
        if not self._dirty:
            return []
        self._dirty = False
        said = {
            "refused": self.refused, "tried": self._tried, "since": self._since,
            "starts": self._starts,
        }  # fmt: skip
        return [Change(PART, "course", json.dumps(said).encode())]

    def restore(self, change: Change) -> bool:
        """What was written down; False where it is not ours."""
        if change.part != PART:
            return False
        try:
            said = json.loads(change.value or b"{}")
            refused = {str(one): str(why)[:_LONGEST] for one, why in said["refused"].items()}
            tried, since, starts = str(said["tried"]), int(said["since"]), int(said["starts"])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return True  # damaged: as if nothing had been tried
        self.refused, self._tried, self._since, self._starts = refused, tried, since, starts
        return True
