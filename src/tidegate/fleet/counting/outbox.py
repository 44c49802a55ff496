"""What a host counted and the engine has not: batches in order, sent again until answered.

Touches nothing: it is told the time and the answers. One for each shard; at most one batch of it is
on the way. Limits: sums of `MOST` subjects wait; what is answered is kept 5 s, for an engine whose
successor has not seen it.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from tidegate.fleet.counting import functions
from tidegate.fleet.counting.functions import Answer, Command, Form, Hit, Status, Sum, Terms
from tidegate.model import SECOND, Micros, Subject

MOST = 10_000
AGAIN = 5 * SECOND
"""How long an answered batch is kept: longer than a replica may be behind."""

_LAST_EPOCH = (1 << 24) - 1
_BACK = 1_000  # batches kept; the engine is told in two bytes how many


class _Batch(NamedTuple):
    sums: tuple[Sum, ...]
    answered: Micros  # 0: not yet


class Outbox:
    """The batches of one host to one shard. `epoch` must have grown since the host's last start."""

    def __init__(self, host: str, shard: int, epoch: int) -> None:
        self.host, self.shard, self.epoch = host, shard, epoch
        self.dropped = 0
        """Hits that were left out: too many subjects wait, or the engine never takes them."""
        self.usurped = False
        """Somebody counts in our name and leaves no number to us: have the engine put right."""
        self._next = 1  # the counter of the batch that is cut next
        self._kept: deque[_Batch] = deque()
        self._sent = 0  # how many of those kept are behind us; the one after is on the way
        self._waiting: dict[tuple[Terms, Subject], list[Hit]] = {}

    def add(self, terms: Terms, subject: Subject, hit: Hit) -> None:
        """Note a hit. Of one subject the newest wait, four times as many as cross the limit."""
        hits = self._waiting.get((terms, subject))
        if hits is None:
            if len(self._waiting) >= MOST or not functions.countable(subject):
                self.dropped += 1
                return
            hits = self._waiting[terms, subject] = []
        if terms.form is Form.DISTINCT:
            hits[:] = [one for one in hits if one.value != hit.value or one.time > hit.time]
            if any(one.value == hit.value for one in hits):
                return
        hits.append(hit)
        if len(hits) > terms.need:  # or it is no question
            most = functions.NEED if terms.form.scored else min(4 * terms.need, functions.NEED)
            if len(hits) > most:
                del hits[0]

    @property
    def idle(self) -> bool:
        """Whether there is nothing to send."""
        return not self._waiting and self._sent == len(self._kept)

    def command(self, now: Micros) -> Command | None:
        """What to send now; until it is answered, the same again. None: nothing."""
        if self.usurped:
            return None
        self._forget(now)
        if self._sent == len(self._kept):
            if not self._waiting:
                return None
            self._cut()
        counter = self._first + self._sent
        number = (self.epoch, counter)
        sums = self._kept[self._sent].sums
        return functions.count_command(self.host, self.shard, number, self._sent, now, sums)

    def answered(self, answer: Answer, now: Micros) -> bool:
        """Take the answer to the last command; whether its batch was counted just now or before.

        Answers to what was sent before are known by their number, and change nothing.
        """
        if answer.status is Status.SKEWED or answer.epoch < self.epoch:
            return False
        if answer.epoch > self.epoch:
            self._begin_anew(answer.epoch + 1)
            return False
        if answer.status is Status.COUNTED:
            if answer.counter != self._first + self._sent or self._sent == len(self._kept):
                return False
            self._advance(now)
            return True
        if answer.counter >= self._next:
            self._begin_anew(self.epoch + 1)  # somebody else counted under our name
        else:
            self._sent = min(self._sent, max(0, answer.counter + 1 - self._first))
            while self._first + self._sent <= answer.counter:
                self._advance(now)
        return False

    def again(self, now: Micros) -> None:
        """Another copy of the engine's data answers, which may lack what was answered last: send
        that again. What it has, it counts no second time."""
        self._forget(now)
        self._sent = 0

    def refused(self) -> None:
        """The engine will never take the batch on the way: its number goes out with nothing."""
        batch = self._kept[self._sent]
        self.dropped += sum(len(one.hits) for one in batch.sums)
        self._kept[self._sent] = _Batch((), 0)

    def _forget(self, now: Micros) -> None:
        while self._sent and (now - self._kept[0].answered > AGAIN or len(self._kept) > _BACK):
            self._kept.popleft()
            self._sent -= 1

    def _advance(self, now: Micros) -> None:
        self._kept[self._sent] = self._kept[self._sent]._replace(answered=now)
        self._sent += 1

    @property
    def _first(self) -> int:
        return self._next - len(self._kept)

    def _cut(self) -> None:
        chosen = list(self._waiting)[: functions.MOST_SUMS]
        sums = tuple(Sum(*one, tuple(self._waiting.pop(one))) for one in chosen)
        self._kept.append(_Batch(sums, 0))
        self._next += 1

    def _begin_anew(self, epoch: int) -> None:
        """Number what was not answered anew. What of it was counted has its places: not twice."""
        if epoch > _LAST_EPOCH:
            self.usurped = True
            return
        self.epoch = epoch
        self._kept = deque(list(self._kept)[self._sent :])
        self._next = 1 + len(self._kept)
        self._sent = 0
