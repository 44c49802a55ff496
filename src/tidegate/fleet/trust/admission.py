"""What is refused before anybody thinks about it: replays, floods, subjects that are never closed.

Touches nothing; the time comes with the call. Limits: a message that is overtaken by 256 younger
ones of its host counts as replayed; refusals are counted by host and reason, not kept.
"""

from __future__ import annotations

import hashlib
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from tidegate import subject as subjects
from tidegate.model import MINUTE, Micros, Subject
from tidegate.prefixes import PrefixSet

Reason = Literal[
    "malformed", "unknown", "revoked", "not allowed", "skew", "clock", "replay", "forged", "busy",
    "quota", "other rule", "protected", "entries", "unproven",
]  # fmt: skip
"""Why something counts for nothing. `clock`: ours and the engine's differ. `skew`: the sender's and
the engine's do. `busy`: so much was forged in this name that we look no more. `other rule`: that
host's rule counts something else than ours. `entries`: of another time than the rule's window."""

SKEW: Micros = MINUTE
LATE: Micros = 15 * MINUTE
"""How long behind its window something may still be counted and claimed: what waited while the
engine was away."""
NEVER = (
    "0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "255.255.255.255",
    "::", "::1", "fe80::/10", "ff00::/8", "::ffff:0:0/96",
)  # fmt: skip
_WINDOW = 256


class Refusal(NamedTuple):
    """Something was refused; `host`: who is named as its sender ("": nobody we know)."""

    host: str
    reason: Reason
    detail: str = ""


class Refused:
    """How much was refused, by host and reason, to be shown. Bounded by the members there are."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, Reason]] = Counter()

    def note(self, refusal: Refusal) -> Refusal:
        """Count a refusal."""
        self.counts[refusal.host, refusal.reason] += 1
        return refusal

    def forget(self, hosts: Iterable[str]) -> None:
        """Those who are no members any more: their count goes to nobody's."""
        gone = set(hosts)
        for host, reason in [key for key in self.counts if key[0] in gone]:
            self.counts["", reason] += self.counts.pop((host, reason))


class Replays:
    """Which sequence numbers of each host have been seen: the highest, and which of the 256 up to
    it. Source: the anti-replay window of RFC 4303 §3.4.3."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, int]] = {}  # highest, bits: 1 the highest, 2 the one below
        self.dirty: set[str] = set()

    def is_new(self, host: str, sequence: int) -> bool:
        """Whether this number may still come."""
        highest, bits = self._seen.get(host, (0, 0))
        behind = highest - sequence
        return behind < 0 or (behind < _WINDOW and not bits >> behind & 1)

    def note(self, host: str, sequence: int) -> None:
        """It has come, and was rightly signed."""
        highest, bits = self._seen.get(host, (0, 0))
        ahead = sequence - highest
        if ahead > 0:
            # A new epoch is far ahead: nothing of the window is left, and nothing is shifted.
            bits = (bits << ahead | 1) & ((1 << _WINDOW) - 1) if ahead < _WINDOW else 1
            self._seen[host] = (sequence, bits)
        else:
            self._seen[host] = (highest, bits | 1 << -ahead)
        self.dirty.add(host)

    def forget(self, hosts: Iterable[str]) -> None:
        """Hosts that are enrolled anew begin anew."""
        for host in hosts:
            self._seen.pop(host, None)
            self.dirty.add(host)

    def saved(self, host: str) -> bytes | None:
        """What to write down of a host: only the highest, all below counts as seen again."""
        found = self._seen.get(host)
        return None if found is None else found[0].to_bytes(8)

    def restore(self, host: str, value: bytes) -> None:
        """What was written down."""
        if len(value) == 8:
            self._seen[host] = (int.from_bytes(value), (1 << _WINDOW) - 1)


class Budget:
    """So many a minute of each name, and as many at once; all is there where the time goes back."""

    def __init__(self, a_minute: int, burst: int = 0) -> None:
        self._gap = MINUTE // a_minute
        self._depth = (burst or a_minute) * self._gap
        self._empty: dict[str, Micros] = {}  # when all would be there again

    def left(self, name: str, now: Micros) -> int:
        """How many may go on now."""
        return (self._depth - max(0, self._used(name, now) - now)) // self._gap

    def _used(self, name: str, now: Micros) -> Micros:
        found = self._empty.get(name, 0)
        # Nobody can have used more than there is: then it was taken by a clock that was ahead.
        return found if found <= now + self._depth else 0

    def has(self, name: str, now: Micros) -> bool:
        """Whether at least one may go on now."""
        return self._used(name, now) + self._gap <= now + self._depth

    def is_untouched(self, name: str, now: Micros) -> bool:
        """Whether nothing of it is used."""
        return self._used(name, now) <= now

    def take(self, name: str, now: Micros, number: int = 1) -> bool:
        """Use some; False, and none used, where there are not so many."""
        empty = max(self._used(name, now), now) + number * self._gap
        if empty > now + self._depth:
            return False
        self._empty[name] = empty
        return True

    def forget(self, names: Iterable[str]) -> None:
        """They are no members any more."""
        for name in names:
            self._empty.pop(name, None)


@dataclass(frozen=True, slots=True)
class Quotas:
    """How much of one host is listened to: claims a minute, messages of other kinds a minute (one
    that is long is worth several), and convictions a minute that nobody else has counted in.

    `at_once`: so many of the other kinds may come together, for who comes late finds all in the
    snapshot that still holds: as much as is kept of one host."""

    claims: int = 6_000
    messages: int = 1_200
    alone: int = 600
    at_once: int = 20_000


class Forgeries:
    """How much time we spend on wrong signatures: of each name, and of all.

    Who can write to the engine can write in another's name, and each look at a signature costs us
    a quarter of a millisecond. So a name that is misused is looked at less often; the others are
    not, even where many names are.
    """

    def __init__(self, a_minute: int = 60, of_all: int = 12_000) -> None:
        self._each, self._all = Budget(a_minute, 20), Budget(of_all, 400)

    def may_look(self, host: str, now: Micros) -> bool:
        """Whether to verify one more signature in this name."""
        if self._all.has("", now):
            return self._each.has(host, now)
        return self._each.is_untouched(host, now)

    def note(self, host: str, now: Micros) -> None:
        """One was wrong."""
        self._each.take(host, now)
        self._all.take("", now)

    def forget(self, names: Iterable[str]) -> None:
        """They are no members any more."""
        self._each.forget(names)


class FalsePapers:
    """What was forged in the desk's name: each is looked at once, and so many a minute, so that who
    floods all hosts with them keeps the right one from being heard for a while at most."""

    def __init__(self, a_minute: int = 6_000, most: int = 50_000) -> None:
        self._budget, self._most = Budget(a_minute, 200), most
        self._known: OrderedDict[bytes, None] = OrderedDict()

    def refusal(self, data: bytes, now: Micros) -> Reason | None:
        """Why not to look at a paper."""
        if hashlib.sha256(data).digest() in self._known:
            return "forged"
        return None if self._budget.has("", now) else "busy"

    def note(self, data: bytes, now: Micros) -> None:
        """One was forged."""
        self._budget.take("", now)
        self._known[hashlib.sha256(data).digest()] = None
        if len(self._known) > self._most:
            self._known.popitem(last=False)


class Remembering:
    """Judges each signature once: what was right before, over the same bytes by the same key, is so
    again. For proofs, where many decisions name the same messages; wrong ones are not kept."""

    def __init__(self, verify: Callable[[bytes, bytes, bytes], bool], most: int = 8192) -> None:
        self._verify, self._most = verify, most
        self._right: OrderedDict[bytes, None] = OrderedDict()

    def __call__(self, key: bytes, signed: bytes, signature: bytes) -> bool:
        """Whether the signature is this key's over these bytes."""
        # Three fixed widths: key, signature, digest; so no two triples are the same bytes.
        if len(key) != 32 or len(signature) != 64:
            return False
        name = hashlib.sha256(key + signature + hashlib.sha256(signed).digest()).digest()
        if name in self._right:
            self._right.move_to_end(name)
            return True
        if not self._verify(key, signed, signature):
            return False
        self._right[name] = None
        if len(self._right) > self._most:
            self._right.popitem(last=False)
        return True


class Guarded:
    """Whom no word of another host may close for: nobody's addresses, the engine, the members, and
    what the caller adds (its allowlist, its surroundings)."""

    def __init__(self, engine: Iterable[Subject] = (), listed: Iterable[Subject] = ()) -> None:
        self._fixed = [Subject(one) for one in NEVER]
        self._engine = list(engine)
        self._sets: tuple[PrefixSet, PrefixSet] | None = None  # all of them; those not listed
        self.look(tuple, listed)

    def engine(self, found: Iterable[Subject]) -> None:
        """Where the engine is: it is never closed."""
        self._engine = list(found)
        self._sets = None

    def look(self, members: Callable[[], Iterable[Subject]], listed: Iterable[Subject]) -> None:
        """Take in who is a member and who is listed now. Worked out when it is asked for next, for
        thousands of members may be enrolled one after another."""
        self._members, self._named = members, tuple(listed)
        self._sets = None

    def why(self, subject: Subject, widest: int = 0) -> str:
        """Why this subject must not be closed for by the fleet; "" if it may be. `widest`: the
        shortest prefix that may be; 0: of an address, or of IPv6 its /64."""
        found = subjects.network(subject)
        if found is None:
            return "not an address"
        if found.length < (widest or (32 if found.family == 4 else 64)):
            return "too wide"
        if self._sets is None:
            ours = [*self._fixed, *self._engine, *self._members()]
            self._sets = (PrefixSet([*ours, *self._named]), PrefixSet(ours))
        either, unlisted = self._sets
        if not either.overlaps(found):
            return ""
        if unlisted.overlaps(found):
            return "an address of nobody's, of the engine or of a member"
        return "allowlist"
