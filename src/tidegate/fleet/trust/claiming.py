"""What this host claims when the engine proposes somebody, and what comes of the claims of all.

Touches nothing: messages and the time in, messages and what `trust` makes of them out. Limits: the
last `KEPT` messages with claims are at hand, to prove what they convict.

Who counted the same gets a claim by mail (see `mail`), at once, and answers. In a fleet of at most
`CIRCLE` members all claims also go to all, and each convicts by itself. In a larger one the answers
go to whoever asked, and that one says to all what it came to.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from tidegate.fleet import wire
from tidegate.fleet.counting import functions
from tidegate.fleet.counting.counting import Terms
from tidegate.fleet.counting.functions import Crossing
from tidegate.fleet.decisions import mail, stream
from tidegate.fleet.decisions.stream import Command, Reply
from tidegate.fleet.fields import Malformed
from tidegate.fleet.trust.admission import Budget, Reason, Refusal
from tidegate.fleet.trust.trust import Output, Trust
from tidegate.fleet.wire import Kind
from tidegate.model import MINUTE, SECOND, Micros, Subject

KEPT = 512
CIRCLE = 32
"""So many members hear all claims. Of a thousand, each would hear ten thousand signatures a minute
of people they never saw."""
_STALE: Micros = 30 * SECOND
"""A claim that was not published for so long is not: half of the skew that others allow."""
_LENT: Micros = MINUTE
_MOST_LENT = 20_000
_AGAIN: tuple[Micros, ...] = (3 * SECOND, 15 * SECOND)
"""When to claim once more, after a crossing that has convicted nobody."""
_MOST_OPEN = 1_000
_TOLD_AT_ONCE = 8
_SHOWS = 120  # convictions a minute
_UNHEARD: frozenset[Reason] = frozenset({
    "malformed", "unknown", "revoked", "not allowed", "skew", "clock", "replay", "forged", "busy",
})  # fmt: skip
"""Why a message as a whole is not heard, so that nothing of it proves anything."""

Seal = Callable[[Kind, bytes, Micros], bytes]


class _Letter(NamedTuple):
    """Something on its way to the engine. `passes`: crossings that it passes on."""

    time: Micros
    commands: list[Command]
    passes: Sequence[Crossing] = ()


class Claiming:
    """Claims out and in. `published`: crossings that were passed on, for `Counting.confirm`."""

    def __init__(self, host: str, trust: Trust, seal: Seal, kept: int = KEPT) -> None:
        self.host, self.trust = host, trust
        self.terms: Mapping[bytes, Terms] = {}
        self.published: list[Crossing] = []
        self.expired = 0
        self._seal, self._kept = seal, kept
        self._bodies: OrderedDict[bytes, bytes] = OrderedDict()
        self._lent: OrderedDict[tuple[str, Subject], Micros] = OrderedDict()
        self._open_yet: list[tuple[Micros, int, Crossing]] = []  # when to ask again, how often
        self._passing: list[Crossing] = []  # answered by the next message
        self._callers: set[str] = set()  # who gets the next message
        self._openly = False  # whether all get it
        self._post = mail.Post()
        self._shows = Budget(_SHOWS)
        self._unsaid: deque[_Letter] = deque()
        self._saying: list[int] = []  # commands of each that is on the way
        self._names: dict[bytes, str] = {}
        self.circle = CIRCLE

    @property
    def waiting(self) -> int:
        """How many own messages have to be published."""
        return len(self._unsaid)

    @property
    def by_mail(self) -> bool:
        """Whether claims go only to those who counted the same."""
        return len(self.trust.roster.members) > self.circle

    def find(self, number: bytes) -> bytes | None:
        """A message with claims by its id, where it is at hand."""
        return self._bodies.get(number)

    def was_lent(self, rule: str, subject: Subject, now: Micros) -> bool:
        """Whether the engine asked this host about somebody, so that it speaks for all."""
        return 0 <= now - self._lent.get((rule, subject), -_LENT - 1) <= _LENT

    def again(self, now: Micros) -> None:
        """Once a second: who counted and did not answer may have started just then."""
        due = [one for one in self._open_yet if one[0] <= now]
        self._open_yet = [one for one in self._open_yet if one[0] > now]
        for _due, tries, crossing in due:
            self.propose([crossing], now, tries)

    def propose(self, crossings: Iterable[Crossing], now: Micros, tries: int = 0) -> None:
        """Crossings that were lent to us. Those of rules that we do not count by are left to
        others, who get them when the lease is over."""
        counted = self.trust.counted
        for one in crossings:
            terms = self.terms.get(one.mark)
            if terms is None:
                continue
            rule = terms.claims.rule
            spent = self.trust.cases.spent(rule, one.subject) >= one.last
            if spent or self.trust.guarded.why(one.subject):
                self.published.append(one)  # known already, or nobody would believe it
                continue
            self._lent[rule, one.subject] = now
            self._lent.move_to_end((rule, one.subject))
            if tries < len(_AGAIN) and len(self._open_yet) < _MOST_OPEN:
                self._open_yet.append((now + _AGAIN[tries], tries + 1, one))
            if not counted.nominated(one.mark, one.subject, now):
                counted.relay(terms.claims, one.subject, now)
            self._passing.append(one)
            self._openly |= not self.by_mail
            self._callers |= self._called(one.tags)
        while self._lent and (
            len(self._lent) > _MOST_LENT or now - next(iter(self._lent.values())) > _LENT
        ):
            self._lent.popitem(last=False)

    def flush(self, now: Micros, engine_now: Micros) -> list[Output]:
        """Sign what is owed, and hear it ourselves."""
        found = list(self.trust.counted.due(now))
        if not found:
            if not self._unsaid:  # all that they ask has been said lately
                self.published += self._passing
                self._passing = []
            return []
        body = self._seal(Kind.CLAIMS, wire.encode_claims(found), now)
        self._remember(body)
        if self._openly:
            self._unsaid.append(_Letter(now, [stream.tell(body)], self._passing))
        elif not self._callers:
            self.published += self._passing  # nobody else has counted any of it
        if self._callers:
            passes = [] if self._openly else self._passing
            letters = self._post.letters(body, self._callers, now)
            self._unsaid.append(_Letter(now, letters, passes))
        self._callers, self._openly, self._passing = set(), False, []
        return self.trust.receive(body, now, engine_now)

    def hear(self, body: bytes, now: Micros, engine_now: Micros) -> list[Output]:
        """A message with claims has come. Our own, and what comes twice, says nothing new."""
        if stream.identity(body) in self._bodies:
            return []
        owed = self.trust.counted.owed
        found = self.trust.receive(body, now, engine_now)
        if not any(isinstance(one, Refusal) and one.reason in _UNHEARD for one in found):
            self._remember(body)  # else anybody could fill it, and own claims would prove nothing
        self._openly |= self.trust.counted.owed > owed
        return found

    def open(self, body: bytes, now: Micros, engine_now: Micros) -> list[Output]:
        """Claims that were sent to us alone: what we counted of these ourselves is answered to
        their sender. Also what we have said to another before, who perhaps was lost."""
        if stream.identity(body) in self._bodies:
            return []
        counted = self.trust.counted
        owed = counted.owed
        found = self.trust.receive(body, now, engine_now)
        if any(isinstance(one, Refusal) for one in found):
            return found
        self._remember(body)
        for claim in wire.decode_claims(wire.unseal(body, self.trust.roster.fleet).message.body):
            counted.nominated(claim.mark, claim.subject, now)
        if counted.owed > owed and self.by_mail:
            self._callers.add(wire.sender(body))
        elif counted.owed > owed:
            self._openly = True
        return found

    def file(self, number: str, bodies: Iterable[bytes], until: Micros, now: Micros) -> None:
        """Keep what proves a decision of this id, where it is all at hand."""
        try:
            bundle = wire.encode_bundle(list(bodies))
        except ValueError:
            return
        self._unsaid.append(_Letter(now, [stream.file(number, bundle, until - now)]))

    def show(self, numbers: Iterable[bytes], now: Micros) -> None:
        """Tell all what was told to us by mail. Seldom: a host that shows everything costs all."""
        found = [body for body in map(self.find, numbers) if body is not None]
        if self._shows.take("", now):
            self._unsaid += [_Letter(now, [stream.tell(body)]) for body in found]

    def _called(self, tags: Iterable[bytes]) -> set[str]:
        """The members with these tags, but for ourselves."""
        members = self.trust.roster.members
        if len(self._names) != len(members):
            self._names = {functions.tag(name): name for name in members}
        return {self._names[tag] for tag in tags if tag in self._names} - {self.host}

    def commands(self, now: Micros) -> list[Command]:
        """What to publish; the replies to exactly these go to `said`."""
        while self._unsaid and not 0 <= now - self._unsaid[0].time <= _STALE:
            self._unsaid.popleft()
            self.expired += 1
        found = [one.commands for one in islice(self._unsaid, _TOLD_AT_ONCE)]
        self._saying = [len(each) for each in found]
        return [one for each in found for one in each]

    def said(self, replies: Sequence[Reply]) -> None:
        """What became of it; what was refused is tried again."""
        if len(replies) != sum(self._saying):
            raise Malformed(f"{len(replies)} replies to {sum(self._saying)} commands")
        kept, at = [], 0
        for number in self._saying:
            one = self._unsaid.popleft()
            if any(isinstance(reply, Exception) for reply in replies[at : at + number]):
                kept.append(one)
            else:
                self.published += one.passes
            at += number
        self._unsaid.extendleft(reversed(kept))
        self._saying = []

    def _remember(self, body: bytes) -> None:
        self._bodies[stream.identity(body)] = body
        if len(self._bodies) > self._kept:
            self._bodies.popitem(last=False)
