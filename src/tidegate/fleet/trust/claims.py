"""What a host has counted itself and will sign when it is asked, and when claims together convict.

Touches nothing. `crossing` is exact N in M, a score, or different values, over all hosts that
claim; `Counted` remembers what of its own a host may be asked for. Limits: subjects, entries of
each, and answers waiting are bounded by count; points that a good record takes off are not shared.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from tidegate.evidence.decay import EMPTY, Points, form_of
from tidegate.fleet.trust.admission import LATE, Budget
from tidegate.fleet.wire import (
    MAX_BODY,
    MAX_CLAIMS,
    MAX_ENTRIES,
    Claim,
    Entry,
    Shape,
    encode_claim,
    mark,
    narrow,
    rounded,
)
from tidegate.model import SECOND, Micros, Subject
from tidegate.policy.models import Rule, ScoreTerms

LEASE: Micros = 2 * SECOND
_WAITING = 4096
_RELAYS = 300  # a minute


@dataclass(frozen=True, slots=True)
class Terms:
    """When claims convict for a rule: this agent's own word, never the engine's.

    `within`: of a score, how old its points may be to be claimed. `min_hosts`: so many different
    hosts have to have counted in what convicts.
    """

    rule: str
    mark: bytes
    shape: Shape
    limit: int
    within: Micros
    score: ScoreTerms | None = None
    min_hosts: int = 1

    @property
    def most(self) -> int:
        """How many entries of one host are needed at most."""
        return min(self.limit + 1, MAX_ENTRIES)


def terms_of(rule: Rule, min_hosts: int = 1) -> Terms:
    """What a rule of the policy says of claims. ValueError where claims can't carry it."""
    if rule.score is None:
        shape = Shape.DISTINCT if rule.distinct else Shape.WINDOW
        terms = Terms(rule.name, mark(rule), shape, rule.threshold, rule.within, None, min_hosts)
    else:
        if rule.score.form == "steps":
            raise ValueError("steps depend on the order of arrival, which hosts do not share")
        score, span = rule.score, rule.score.span
        parts = score.limit / score.points if score.form == "linear" else 32
        within = round(span * (parts + 1))
        terms = Terms(rule.name, mark(rule), Shape.SCORE, score.limit, within, score, min_hosts)
    if terms.limit > MAX_ENTRIES and terms.shape is not Shape.SCORE:
        raise ValueError(f"a limit of {terms.limit}: hosts count together up to {MAX_ENTRIES}")
    return terms


class Crossing(NamedTuple):
    """Claims convict: when the limit was reached, what had been counted by then, by whom, and since
    when (of a score: the first that is known)."""

    time: Micros
    count: int  # type: ignore[assignment]  # the word is ours, not tuple.count
    shares: tuple[tuple[str, int], ...]
    first: Micros = 0


Shares = Mapping[str, tuple[Entry, ...]]


def crossing(terms: Terms, shares: Shares, after: Micros) -> Crossing | None:
    """The first moment at which the limit is reached by what was counted later than `after`, and
    by hosts enough. None: never. In whatever order claims came, it is the same."""
    entries = sorted(
        (time, host, amount)
        for host, own in shares.items()
        for time, amount in own
        if time > after
    )  # fmt: skip
    if terms.shape is Shape.SCORE:
        return _by_score(terms, entries)
    return _by_window(terms, entries)


def _by_window(terms: Terms, entries: list[tuple[Micros, str, int]]) -> Crossing | None:
    """N in M, or N different values in M, ends included, as on one host."""
    distinct = terms.shape is Shape.DISTINCT
    hosts: Counter[str] = Counter()
    values: Counter[int] = Counter()
    inside: deque[tuple[Micros, str, int]] = deque()
    for entry in entries:
        inside.append(entry)
        _count(entry, hosts, values, 1 if distinct else entry[2])
        while entry[0] - inside[0][0] > terms.within:
            gone = inside.popleft()
            _count(gone, hosts, values, -1 if distinct else -gone[2])
        total = len(values) if distinct else hosts.total()
        if total >= terms.limit and len(hosts) >= terms.min_hosts:
            return Crossing(entry[0], total, tuple(sorted(hosts.items())), inside[0][0])
    return None


def _count(
    entry: tuple[Micros, str, int], hosts: Counter[str], values: Counter[int], by: int
) -> None:
    _time, host, amount = entry
    hosts[host] += by
    values[amount] += 1 if by > 0 else -1
    if not hosts[host]:
        del hosts[host]
    if not values[amount]:
        del values[amount]


def _by_score(terms: Terms, entries: list[tuple[Micros, str, int]]) -> Crossing | None:
    assert terms.score is not None
    form, state, hosts = form_of(terms.score), EMPTY, Counter[str]()
    for at, (time, host, points) in enumerate(entries):
        state = form.add(state, Points(time, 0, 0, points))
        hosts[host] += points
        moment = entries[at + 1 : at + 2]
        if len(hosts) < terms.min_hosts or (moment and moment[0][0] == time):
            continue  # nobody knows which of one moment came first: all of them belong to it
        if form.beyond(state, time, terms.limit, over=terms.score.over):
            score = math.ceil(form.score(state, time))  # as one host says it
            return Crossing(time, score, tuple(sorted(hosts.items())), entries[0][0])
    return None


Key = tuple[str, Subject]
"""A rule by its name, and whom it counts."""

_Own = tuple[bytes, Subject]


@dataclass(slots=True)
class _Tally:
    rule: str
    shape: Shape
    within: Micros
    entries: list[Entry]
    answered: Micros = 0  # when; 0: not since it grew

    def add(self, entry: Entry, most: int) -> None:
        """Put an entry in its place; of a value, the newest time only."""
        entries = self.entries
        if self.shape is Shape.DISTINCT:
            known = next((one for one in entries if one.amount == entry.amount), entry)
            entry = max(known, entry)
            entries = [one for one in entries if one.amount != entry.amount]
        entries.append(entry)
        if len(entries) > 1 and entries[-1] < entries[-2]:
            entries.sort()
        self.entries = entries[-most:]
        self.answered = 0


class Counted:
    """What this host has counted, and the answers it owes. A proposal about somebody of whom it
    counted nothing costs a look-up and leaves no trace, however many there are."""

    def __init__(self, capacity: int = 250_000) -> None:
        self._capacity, self._held = capacity, 0  # of entries, all subjects together
        self._tallies: OrderedDict[_Own, _Tally] = OrderedDict()
        self._waiting: OrderedDict[_Own, Claim | None] = OrderedDict()  # None: made when it is due
        self._relays = Budget(_RELAYS)
        self.strange = 0  # proposals about somebody we have nothing of
        self.dropped = 0  # answers that were not given, there were too many

    def __len__(self) -> int:
        return len(self._tallies)

    def count(self, terms: Terms, subject: Subject, time: Micros, amount: int = 1) -> None:
        """Remember what is counted, as it was sent to the engine. Others than addresses, which
        no other host could close for, are not remembered."""
        key = (terms.mark, subject)
        tally = self._tallies.get(key)
        if tally is None:
            try:
                if not narrow(subject):
                    return
            except ValueError:
                return
            tally = self._tallies[key] = _Tally(terms.rule, terms.shape, terms.within, [])
        self._tallies.move_to_end(key)
        before = len(tally.entries)
        tally.add(Entry(rounded(time), amount), terms.most)
        self._held += len(tally.entries) - before
        while self._held > self._capacity:
            self._drop(next(iter(self._tallies)))

    def _drop(self, key: _Own) -> None:
        tally = self._tallies.pop(key, None)
        self._held -= 0 if tally is None else len(tally.entries)

    def forget(self, mark: bytes, subject: Subject, upto: Micros) -> None:
        """A person pardoned what was counted until then. What has convicted is kept: others may
        not have heard it yet, and those who have count it no second time."""
        tally = self._tallies.get((mark, subject))
        if tally is None:
            return
        before = len(tally.entries)
        tally.entries = [one for one in tally.entries if one.time > upto]
        self._held += len(tally.entries) - before
        if not tally.entries:
            self._drop((mark, subject))

    def nominated(self, mark: bytes, subject: Subject, now: Micros) -> bool:
        """The engine proposes somebody: whether we shall answer at the next flush. An answer is
        given again when more was counted, or when a lease has gone by."""
        tally = self._tallies.get((mark, subject))
        if tally is None:
            self.strange += 1
            return False
        if tally.answered and 0 <= now - tally.answered < LEASE:
            return False
        return self._owe((mark, subject))

    def called(self, mark: bytes, subject: Subject) -> bool:
        """A member claims something of somebody, which nobody else has to propose to us then. Only
        what was not said yet is an answer, or two hosts would answer each other for ever."""
        tally = self._tallies.get((mark, subject))
        return tally is not None and not tally.answered and self._owe((mark, subject))

    def relay(self, terms: Terms, subject: Subject, now: Micros) -> bool:
        """The engine asks us about somebody we know nothing of, since those it asked first are
        silent: pass it on in our name. Seldom, or it could have us say so much that nobody listens.
        A subject that can be no claim's is not passed on."""
        try:
            if not narrow(subject):
                return False
        except ValueError:
            return False
        key = (terms.mark, subject)
        if key in self._tallies or key in self._waiting or not self._relays.take("", now):
            return False
        return self._owe(key, Claim(terms.rule, terms.mark, subject, terms.shape, ()))

    def _owe(self, key: _Own, claim: Claim | None = None) -> bool:
        if len(self._waiting) >= _WAITING and key not in self._waiting:
            self.dropped += 1
            return False
        self._waiting[key] = claim
        return True

    @property
    def owed(self) -> int:
        """How many answers wait to be given."""
        return len(self._waiting)

    def due(self, now: Micros) -> Iterator[Claim]:
        """The claims of one message: as many answers as it holds. The rest waits."""
        room, number = MAX_BODY - 2, 0
        while self._waiting and number < MAX_CLAIMS:
            key, ready = next(iter(self._waiting.items()))
            claim = self._claim(key, now) if ready is None else ready
            size = 0 if claim is None else len(encode_claim(claim))
            if size > room:
                return
            del self._waiting[key]
            if claim is None:
                continue
            if claim.entries:
                self._tallies[key].answered = now
            room, number = room - size, number + 1
            yield claim

    def _claim(self, key: _Own, now: Micros) -> Claim | None:
        tally = self._tallies.get(key)
        if tally is None:
            return None
        entries = tuple(one for one in tally.entries if one.time >= now - tally.within - LATE)
        return Claim(tally.rule, key[0], key[1], tally.shape, entries) if entries else None
