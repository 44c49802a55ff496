"""What this host claims when the engine proposes somebody, and what comes of the claims of all.

Touches nothing: messages and the time in, messages and what `trust` makes of them out. Limits: the
last `KEPT` messages with claims are at hand, to prove what they convict.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence

from tidegate.fleet import stream, wire
from tidegate.fleet.counting import Terms
from tidegate.fleet.fields import Malformed
from tidegate.fleet.functions import Crossing
from tidegate.fleet.stream import Command, Reply
from tidegate.fleet.trust import Output, Trust
from tidegate.fleet.wire import Kind
from tidegate.model import MINUTE, SECOND, Micros, Subject

KEPT = 512
_STALE: Micros = 30 * SECOND
"""A claim that was not published for so long is not: half of the skew that others allow."""
_LENT: Micros = MINUTE
_TOLD_AT_ONCE = 8

Seal = Callable[[Kind, bytes, Micros], bytes]


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
        self._passing: list[Crossing] = []  # answered by the next message
        self._unsaid: deque[tuple[Micros, bytes, list[Crossing]]] = deque()
        self._saying = 0

    @property
    def waiting(self) -> int:
        """How many own messages have to be published."""
        return len(self._unsaid)

    def find(self, number: bytes) -> bytes | None:
        """A message with claims by its id, where it is at hand."""
        return self._bodies.get(number)

    def was_lent(self, rule: str, subject: Subject, now: Micros) -> bool:
        """Whether the engine asked this host about somebody, so that it speaks for all."""
        return 0 <= now - self._lent.get((rule, subject), -_LENT - 1) <= _LENT

    def propose(self, crossings: Iterable[Crossing], now: Micros) -> None:
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
            if not counted.nominated(one.mark, one.subject, now):
                counted.relay(terms.claims, one.subject, now)
            self._passing.append(one)
        while self._lent and now - next(iter(self._lent.values())) > _LENT:
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
        self._unsaid.append((now, body, self._passing))
        self._passing = []
        return self.trust.receive(body, now, engine_now)

    def hear(self, body: bytes, now: Micros, engine_now: Micros) -> list[Output]:
        """A message with claims has come. Our own, and what comes twice, says nothing new."""
        if stream.identity(body) in self._bodies:
            return []
        self._remember(body)
        return self.trust.receive(body, now, engine_now)

    def commands(self, now: Micros) -> list[Command]:
        """What to publish; the replies to exactly these go to `said`."""
        while self._unsaid and not 0 <= now - self._unsaid[0][0] <= _STALE:
            self._unsaid.popleft()
            self.expired += 1
        self._saying = min(len(self._unsaid), _TOLD_AT_ONCE)
        return [stream.tell(self._unsaid[place][1]) for place in range(self._saying)]

    def said(self, replies: Sequence[Reply]) -> None:
        """What became of it; what was refused is tried again."""
        if len(replies) != self._saying:
            raise Malformed(f"{len(replies)} replies to {self._saying} claims")
        kept = []
        for reply in replies:
            one = self._unsaid.popleft()
            if isinstance(reply, bytes):
                self.published += one[2]
            else:
                kept.append(one)
        self._unsaid.extendleft(reversed(kept))
        self._saying = 0

    def _remember(self, body: bytes) -> None:
        self._bodies[stream.identity(body)] = body
        if len(self._bodies) > self._kept:
            self._bodies.popitem(last=False)
