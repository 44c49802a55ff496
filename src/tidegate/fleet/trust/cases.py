"""What has been claimed of whom and convicts nobody yet, and convictions that still stand.

Touches nothing. A case is what hosts claim of one subject for one rule; each host has one share of
it, which its next claim replaces. Limits: cases of all and of each host, and standing convictions,
are bounded by count; when there are too many, who has most loses its oldest.

What a revoked host caused is reckoned by what it counted in the window that convicted: where the
others' counts alone would not do, the conviction is taken back, even if another window might.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from heapq import nsmallest
from typing import NamedTuple

from tidegate.fleet.trust.admission import LATE, SKEW
from tidegate.fleet.trust.claims import Crossing, Key, Terms, crossing
from tidegate.fleet.wire import Entry
from tidegate.model import Micros, Subject

Claimed = tuple[int, bytes, tuple[Entry, ...]]
"""One host's word: sequence and id of the message it is in, and what was counted."""

_PENDING: Micros = SKEW  # until the watcher has said what came of it


class Conviction(NamedTuple):
    """Verified claims reach the limit. What is done about it, and whether, says the host itself.

    `id` is a hash of rule, subject and time. `shares`: how much each host counted of it (of a score
    before it faded). `needed`, `over`, `hosts`: what convicts; `proof`: the messages' ids; `first`:
    when the first of it was counted.
    """

    id: str
    rule: str
    subject: Subject
    time: Micros
    count: int  # type: ignore[assignment]  # the word is ours, not tuple.count
    shares: tuple[tuple[str, int], ...]
    needed: int
    over: bool
    hosts: int
    proof: tuple[bytes, ...]
    first: Micros = 0

    def without(self, revoked: Collection[str]) -> Conviction | None:
        """What is left of it without these hosts; None: it would not have come."""
        rest = tuple(one for one in self.shares if one[0] not in revoked)
        count = self.count - sum(share for host, share in self.shares if host in revoked)
        reached = count > self.needed if self.over else count >= self.needed
        return (
            self._replace(count=count, shares=rest) if reached and len(rest) >= self.hosts else None
        )


class TakeBack(NamedTuple):
    """Undo what this conviction caused: hosts it needed are believed no longer."""

    id: str
    rule: str
    subject: Subject
    hosts: tuple[str, ...]


@dataclass(slots=True)
class _Share:
    sequence: int
    message: bytes
    entries: tuple[Entry, ...]


@dataclass(slots=True)
class _Case:
    heard: Micros
    within: Micros
    shares: dict[str, _Share] = field(default_factory=dict)


@dataclass(slots=True)
class _Standing:
    conviction: Conviction
    until: Micros  # of what was done; events until then count for nothing
    forget: Micros

    @property
    def spent(self) -> Micros:
        """What is not later has had its consequence. The moment a ban ends is no part of it."""
        return max(self.until - 1, self.conviction.time)


def convict(
    terms: Terms, subject: Subject, found: Crossing, proof: tuple[bytes, ...]
) -> Conviction:
    """A crossing as a conviction, with an id that every host works out alike."""
    said = f"{terms.rule} {subject} {found.time}".encode()
    over = terms.score is not None and terms.score.over
    return Conviction(
        hashlib.sha256(said).hexdigest()[:16], terms.rule, subject, found.time, found.count,
        found.shares, terms.limit, over, terms.min_hosts, proof, found.first,
    )  # fmt: skip


class Cases:
    """Open cases and standing convictions of one fleet, as one host has heard of them."""

    def __init__(self, most: int = 20_000, each: int = 2_000, standing: int = 100_000) -> None:
        self._most, self._each, self._room = most, each, standing
        self._cases: dict[Key, _Case] = {}
        self._of: dict[str, OrderedDict[Key, None]] = {}
        self._standing: OrderedDict[Key, _Standing] = OrderedDict()
        self._keys: dict[str, Key] = {}
        self.dirty: set[Key] = set()
        self.crowded = 0  # shares that gave way because there were too many
        self.forgotten = 0  # convictions that can't be taken back any more, for the same reason

    def __len__(self) -> int:
        return len(self._cases)

    def standing(self) -> Iterator[Conviction]:
        """Those that stand."""
        return (one.conviction for one in self._standing.values())

    def spent(self, rule: str, subject: Subject) -> Micros:
        """What is not later than this has convicted, or happened at a closed gate; 0: nothing."""
        held = self._standing.get((rule, subject))
        return 0 if held is None else held.spent

    def of(self, rule: str, subject: Subject) -> Conviction | None:
        """The conviction of somebody that stands."""
        held = self._standing.get((rule, subject))
        return None if held is None else held.conviction

    def by_id(self, id: str) -> Conviction | None:  # noqa: A002 - the word of the field
        """The conviction of this id, if it stands."""
        key = self._keys.get(id)
        return None if key is None else self._standing[key].conviction

    def closed(self, now: Micros) -> Iterator[Subject]:
        """Whom what stands has closed for, as far as the host has said."""
        return (key[1] for key, one in self._standing.items() if one.until > now)

    def hear(
        self, terms: Terms, subject: Subject, host: str, share: Claimed, now: Micros,
    ) -> Conviction | None:  # fmt: skip
        """A host's verified claim, and what it comes to."""
        key = (terms.rule, subject)
        held = self._standing.get(key)
        after = held.spent if held else 0
        sequence, message, entries = share
        entries = tuple(one for one in entries if one.time > after)
        case = self._cases.get(key)
        known = case.shares.get(host) if case else None
        if not entries or (known is not None and known.sequence > sequence):
            return None
        if case is None:
            case = self._cases[key] = _Case(now, terms.within)
        case.heard = now
        case.shares[host] = _Share(sequence, message, entries)
        own = self._of.setdefault(host, OrderedDict())
        own[key] = None
        own.move_to_end(key)
        shares = {name: one.entries for name, one in case.shares.items()}
        found = crossing(terms, shares, after)
        if found is None:
            self._make_room(host)
            return None
        proof = tuple(dict.fromkeys(case.shares[name].message for name, _count in found.shares))
        return convict(terms, subject, found, proof)

    def stand(self, conviction: Conviction, terms: Terms, now: Micros, until: Micros = 0) -> None:
        """A conviction is given out: what made it is used up, and nothing counts until its end, or
        (0: it is not known yet) for a minute."""
        key = (conviction.rule, conviction.subject)
        self.close(key)
        until = until or now + _PENDING
        forget = max(until, conviction.time + terms.within + LATE + 2 * SKEW)
        self._put(key, _Standing(conviction, until, forget))
        if len(self._standing) > self._room:
            # A hundredth at once, for looking through all of them is dear.
            number = len(self._standing) - self._room + self._room // 100
            for one in nsmallest(number, self._standing, lambda one: self._standing[one].forget):
                self._fall(one)
                self.forgotten += 1

    def settled(self, id: str, until: Micros) -> None:  # noqa: A002 - the word of the field
        """What the host did about it ends then; 0: it did nothing, and the count goes on."""
        key = self._keys.get(id)
        if key is not None:
            held = self._standing[key]
            held.until, held.forget = until, max(until, held.forget)
            self.dirty.add(key)

    def close(self, key: Key) -> None:
        """A case is over."""
        case = self._cases.pop(key, None)
        for host in case.shares if case else ():
            self._of[host].pop(key, None)

    def revoke(self, hosts: Collection[str]) -> list[TakeBack]:
        """These are believed no longer: their shares go, and so does what needed them."""
        for host in hosts:
            for key in self._of.pop(host, ()):
                self._unshare(key, host)
        found = []
        for key, held in list(self._standing.items()):
            old = held.conviction
            guilty = tuple(name for name, _count in old.shares if name in hosts)
            if not guilty:
                continue
            rest = old.without(guilty)
            if rest is None:
                self._fall(key)
                found.append(TakeBack(old.id, *key, guilty))
            else:
                held.conviction = rest
                self.dirty.add(key)
        return found

    def expire(self, now: Micros) -> None:
        """Forget what can't matter any more. Called every few seconds."""
        for key in [key for key, one in self._cases.items() if one.heard + one.within + SKEW < now]:
            self.close(key)
        for key in [key for key, one in self._standing.items() if one.forget < now]:
            self._fall(key)

    def saved(self, key: Key) -> bytes | None:
        """A standing conviction, to be written down; None: it stands no more."""
        held = self._standing.get(key)
        if held is None:
            return None
        fields = held.conviction._replace(proof=())
        return json.dumps([*fields, held.until, held.forget]).encode()

    def restore(self, value: bytes) -> None:
        """What was written down; damaged bytes are left out."""
        try:
            *fields, until, forget = json.loads(value)
            shares = tuple((str(host), int(count)) for host, count in fields[5])
            found = Conviction(*fields)._replace(shares=shares, proof=())
            held = _Standing(found, int(until), int(forget))
        except (ValueError, TypeError, IndexError, RecursionError):
            return
        self._put((found.rule, found.subject), held)

    def _put(self, key: Key, held: _Standing) -> None:
        self._fall(key)
        self._standing[key], self._keys[held.conviction.id] = held, key
        self.dirty.add(key)

    def _fall(self, key: Key) -> None:
        held = self._standing.pop(key, None)
        if held is not None:
            self._keys.pop(held.conviction.id, None)
            self.dirty.add(key)

    def _make_room(self, host: str) -> None:
        own = self._of[host]
        while len(own) > self._each:
            self._crowd(host)
        while len(self._cases) > self._most:
            self._crowd(max(self._of, key=lambda name: len(self._of[name])))

    def _crowd(self, host: str) -> None:
        key, _none = self._of[host].popitem(last=False)
        self._unshare(key, host)
        self.crowded += 1

    def _unshare(self, key: Key, host: str) -> None:
        case = self._cases[key]
        del case.shares[host]
        if not case.shares:
            del self._cases[key]
