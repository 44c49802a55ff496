"""Two policies over the same events: which bans would appear, which vanish, which change, and whom
that meets who was not met before.

Touches nothing. Only what is enforced and spares nobody is a ban here; the rest is counted.
Limits: bans are told apart by whom, by which rule and for which ports; a rule with another name is
another rule, though "also closed by" says where that changes nothing for anybody.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from tidegate import subject as subjects
from tidegate.daemon.forecast import Judged
from tidegate.model import Decision, Micros, Subject

What = Literal["appears", "vanishes", "changes"]
NEAR: Micros = 1_000_000
"""A ban that begins or ends less than this later is the same."""


class Key(NamedTuple):
    """What makes two bans the same."""

    action: str
    subject: Subject
    rule: str
    ports: tuple[int, ...]


@dataclass(slots=True)
class Bans:
    """All bans of one key under one policy. `closed`: for how long in all; `good`: it succeeded in
    the 30 days before one of them; `on`: on how many hosts (0: on all)."""

    times: int = 0
    first: Micros = 0
    until: Micros = 0
    closed: Micros = 0
    count: int = 0
    reason: str = ""
    good: bool = False
    seen: tuple[str, ...] = ()
    on: int = 0

    def add(self, one: Judged) -> None:
        """Take in one more, none earlier than those before."""
        decision = one.decision
        if not self.times:
            self.first = decision.time
            self.count, self.reason, self.seen = decision.count, decision.reason, one.seen
            self.on = one.on
        self.times += decision.time >= self.until
        self.closed += max(0, decision.until - max(decision.time, self.until))
        self.until = max(self.until, decision.until)
        self.good = self.good or decision.collateral
        self.on = 0 if 0 in (self.on, one.on) else max(self.on, one.on)

    def like(self, other: Bans) -> bool:
        """Whether nobody would notice a difference."""
        return (
            self.times == other.times
            and self.on == other.on
            and abs(self.first - other.first) < NEAR
            and abs(self.closed - other.closed) < NEAR
        )


class Row(NamedTuple):
    """A difference. `also`: the rules by which the subject is closed for under the policy that does
    not have this ban; `spared`: why that policy spares it ("": it does not)."""

    what: What
    key: Key
    before: Bans | None
    after: Bans | None
    also: tuple[str, ...]
    spared: str = ""

    @property
    def bans(self) -> Bans:
        """Those it is about: the new ones, where there are any."""
        found = self.after or self.before
        assert found is not None
        return found


@dataclass(slots=True)
class Outcome:
    """What a policy makes of the events."""

    bans: dict[Key, Bans] = field(default_factory=dict)
    spared: Counter[str] = field(default_factory=Counter)
    observed: int = 0
    _by: dict[Subject, dict[str, None]] = field(default_factory=dict)
    _why: dict[tuple[Subject, str], str] = field(default_factory=dict)

    def add(self, one: Judged) -> None:
        """Take in one decision."""
        decision = one.decision
        if decision.spared:
            self.spared[decision.spared] += 1
            self._why[decision.subject, decision.rule] = decision.spared
        elif decision.mode == "observe":
            self.observed += 1
        else:
            self.bans.setdefault(_key(decision), Bans()).add(one)
            self._by.setdefault(decision.subject, {})[decision.rule] = None

    @property
    def subjects(self) -> set[Subject]:
        """Everybody who would be closed for."""
        return set(self._by)

    def by(self, subject: Subject) -> tuple[str, ...]:
        """The rules that close for a subject, or for a network around it."""
        found = dict(self._by.get(subject, {}))
        if any("/" in one for one in self._by):
            for wide in subjects.covering(subject):
                found |= self._by.get(wide, {})
        return tuple(found)

    def why_spared(self, subject: Subject, rule: str) -> str:
        """Why a rule's ban of a subject was not carried out; "" where there was none."""
        return self._why.get((subject, rule), "")


def _key(decision: Decision) -> Key:
    return Key(decision.action, decision.subject, decision.rule, decision.ports)


class Comparison(NamedTuple):
    """Both outcomes, and what is different: who has a good record first, then by time."""

    before: Outcome
    after: Outcome
    rows: Sequence[Row]

    @property
    def newly(self) -> set[Subject]:
        """Who would be closed for and was not at all."""
        return {one for one in self.after.subjects if not self.before.by(one)}

    @property
    def freed(self) -> set[Subject]:
        """Who was closed for and would not be at all."""
        return {one for one in self.before.subjects if not self.after.by(one)}

    def count(self, what: What) -> int:
        """How many differences of a kind there are."""
        return sum(row.what == what for row in self.rows)


def compare(before: Iterable[Judged], after: Iterable[Judged]) -> Comparison:
    """What would be different; decisions of each in the order of their times."""
    old, new = Outcome(), Outcome()
    for one in before:
        old.add(one)
    for one in after:
        new.add(one)
    rows: list[Row] = []
    for key in {**old.bans, **new.bans}:
        was, now = old.bans.get(key), new.bans.get(key)
        if was is None:
            spared = old.why_spared(key.subject, key.rule)
            rows.append(Row("appears", key, None, now, old.by(key.subject), spared))
        elif now is None:
            spared = new.why_spared(key.subject, key.rule)
            rows.append(Row("vanishes", key, was, None, new.by(key.subject), spared))
        elif not was.like(now):
            rows.append(Row("changes", key, was, now, ()))
    order = {"appears": 0, "vanishes": 1, "changes": 2}
    rows.sort(key=lambda row: (order[row.what], not row.bans.good, row.bans.first, row.key))
    return Comparison(old, new, rows)
