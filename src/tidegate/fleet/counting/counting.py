"""One host's part in counting together: what it counts goes out, crossings that it is lent come in.

Touches nothing: gives commands for the engine, takes replies, is told the time. Limits: those of
`spool` and `outbox`; what the engine says of anybody is a proposal, which `trust` judges.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tidegate.fleet import wire
from tidegate.fleet.counting import functions
from tidegate.fleet.counting.functions import Answer, Command, Crossing, Form, Hit, Status
from tidegate.fleet.counting.outbox import Outbox
from tidegate.fleet.counting.spool import Spool
from tidegate.fleet.engine.connection import Refused
from tidegate.fleet.fields import rounded
from tidegate.fleet.trust import claims
from tidegate.model import SECOND, Micros, Shared
from tidegate.policy.models import Rule

DUE: Micros = SECOND
"""How often to ask for crossings that nobody confirmed, where nothing is sent to be counted."""
_STUMBLED = re.compile("tidegate:|@user_function")
"""What our functions refuse, or end at: they will again, however often it is sent."""
_CONFIRMED = 50
_SHARDS_A_SECOND = 64
"""Of a cluster: so many are asked for crossings that nobody confirmed, by all hosts together."""
_UNCONFIRMED = 1_000


class Terms(NamedTuple):
    """How a rule is counted: at the engine, and in claims."""

    engine: functions.Terms
    claims: claims.Terms


def terms_of(rules: Iterable[Rule], min_hosts: int) -> dict[str, Terms]:
    """The terms of those rules that the fleet counts by. OperatorError where it can't."""
    return {
        rule.name: Terms(
            functions.terms_of(rule, wire.mark(rule)), claims.terms_of(rule, min_hosts)
        )
        for rule in rules
        if rule.enabled and rule.shared
    }


class Ask(NamedTuple):
    """Commands that belong together, for whoever leads `key` (or, `anywhere`: a copy of it). The
    replies to exactly these are for the `part` that asks."""

    part: str
    key: str
    commands: Sequence[Command]
    anywhere: bool = False


class Counting:
    """`shards`: 1, or of a cluster `functions.SHARDS`. `offset`: what the engine's clock is ahead;
    None until it has answered."""

    def __init__(self, host: str, epoch: int, shards: int) -> None:
        self.host, self._epoch = host, epoch
        self.spool = Spool(shards)
        self.offset: Micros | None = None
        self.skewed = False
        self.troubles: Counter[str] = Counter()
        self.trouble = ""
        self._shards = shards
        self._boxes: dict[int, Outbox] = {}
        self._active: set[int] = set()  # shards with a batch that was not answered
        self._busy: dict[int, int] = {}  # confirmations that are on the way, of each shard
        self._confirm: dict[int, list[bytes]] = {}
        self._last: tuple[object, ...] = ()  # the line that was shared last
        self._repeat = 0
        self._asked: Micros | None = None
        self._more = False
        self._turn = 0
        self._due: set[int] = set()
        self.hosts = 1
        """How many share the asking for crossings that nobody confirmed."""

    @property
    def dropped(self) -> int:
        """Hits that the engine will not count."""
        boxes = sum(box.dropped for box in self._boxes.values())
        return self.spool.dropped + self.spool.late + boxes

    @property
    def behind(self) -> bool:
        """Whether more waits than one call takes; what has come since waits for the next round."""
        return self._more and not self._busy

    @property
    def usurped(self) -> bool:
        """Whether somebody counts in our name."""
        return any(box.usurped for box in self._boxes.values())

    def share(self, terms: Terms, one: Shared) -> int:
        """Something was counted here. What to claim of it: an amount."""
        line = (one.rule, one.subject, one.origin, one.offset)
        self._repeat = self._repeat + 1 if line == self._last else 0
        self._last = line
        time = rounded(one.time)
        form = terms.engine.form
        if form is Form.DISTINCT:
            value = _hash_of(one)
            self._add(terms, one, Hit(time, self._place(one), value))
            return int.from_bytes(value)
        if form.scored:
            self._add(terms, one, Hit(time, self._place(one), points=one.amount))
            return one.amount
        number = min(one.amount, terms.engine.need)
        for _ in range(number):
            self._add(terms, one, Hit(time, self._place(one)))
            self._repeat += 1
        self._repeat -= number > 0
        return number

    def _place(self, one: Shared) -> bytes:
        return functions.place_of(str(one.origin), one.offset, self._repeat)

    def _add(self, terms: Terms, one: Shared, hit: Hit) -> None:
        self.spool.add(terms.engine, one.subject, hit)

    def asks(self, now: Micros) -> list[Ask]:
        """What to ask now."""
        found = []
        self._more = False
        for shard in sorted({*self.spool.shards_waiting(), *self._active, *self._confirm}):
            if shard in self._busy:
                continue
            commands = self._commands(shard, now)
            if commands:
                key = functions.record_key(self.host, shard)
                found.append(Ask(f"count {shard}", key, commands))
        if not self._due and self._is_due(now):
            self._asked = now
            for _ in range(min(self._shards, max(1, _SHARDS_A_SECOND // max(1, self.hosts)))):
                self._turn = (self._turn + 1) % self._shards
                key = functions.waiting_key(self._turn)
                command = functions.due_command([self._turn])
                found.append(Ask(f"due {self._turn}", key, [command]))
                self._due.add(self._turn)
        return found

    def _commands(self, shard: int, now: Micros) -> list[Command]:
        box = self._boxes.get(shard)
        if box is None:
            box = self._boxes[shard] = Outbox(self.host, shard, self._epoch)
        if box.idle:
            self.spool.fill(box, now)
            self._more |= self.spool.waits(shard)
        counting = box.command(now)
        tokens = self._confirm.get(shard, [])[:_CONFIRMED]
        commands = [functions.confirm_command(shard, tokens)] if tokens else []
        if counting is not None:
            commands.append(counting)
            self._active.add(shard)
            if self._shards == 1:
                self._asked = now  # its answer tells also of crossings that are due
        if commands:
            self._busy[shard] = len(tokens)
        return commands

    def _is_due(self, now: Micros) -> bool:
        return self._asked is None or not 0 <= now - self._asked < DUE

    def answered(self, ask: Ask, replies: Sequence[object], now: Micros) -> list[Crossing]:
        """The crossings that were lent to us. Malformed where the engine makes no sense."""
        if ask.part.startswith("due "):
            self._due.discard(int(ask.part.removeprefix("due ")))
            if self._refused(replies[0]):
                return []
            engine, crossings = functions.read_due(replies[0])
            self._hear(engine, now)
            return list(crossings)
        shard = int(ask.part.removeprefix("count "))
        tokens = self._busy.pop(shard)
        if tokens and isinstance(replies[0], int):
            del self._confirm[shard][:tokens]
            if not self._confirm[shard]:
                del self._confirm[shard]
        if len(replies) == (tokens > 0):
            return []
        return self._counted(shard, replies[-1], now)

    def _counted(self, shard: int, reply: object, now: Micros) -> list[Crossing]:
        box = self._boxes[shard]
        if isinstance(reply, Refused) and reply.code == "ERR" and _STUMBLED.search(reply.text):
            self.trouble = f"the engine takes not all that is counted: {reply}"
            box.refused()
        if self._refused(reply):
            return []
        answer = functions.read_answer(reply)
        self._hear(answer.now, now)
        self.skewed = answer.status is Status.SKEWED
        if box.answered(answer, now):
            self._note(answer)
        if box.idle:
            self._active.discard(shard)
        return list(answer.crossings)

    def _refused(self, reply: object) -> bool:
        if not isinstance(reply, Refused):
            self.trouble = ""
            return False
        if "unction not found" in reply.text:
            self.trouble = "the engine has not our functions: run tidegate fleet init once more"
        elif not self.trouble:
            self.trouble = f"the engine refuses to count: {reply}"
        return True

    def _hear(self, engine: Micros, now: Micros) -> None:
        self.offset = engine - now

    def _note(self, answer: Answer) -> None:
        for name, number in zip(answer.troubles._fields, answer.troubles, strict=True):
            if number:
                self.troubles[name] += number

    def confirm(self, crossings: Iterable[Crossing]) -> None:
        """These were passed on."""
        for one in crossings:
            shard = functions.shard_of(one.subject, self._shards)
            waiting = self._confirm.setdefault(shard, [])
            # What finds no room is lent again, to us or to somebody else.
            if len(waiting) < _UNCONFIRMED and one.token not in waiting:
                waiting.append(one.token)

    def again(self, now: Micros) -> None:
        """Another copy of the engine's data answers than before."""
        for shard, box in self._boxes.items():
            box.again(now)
            if not box.idle:
                self._active.add(shard)

    def lost(self, ask: Ask) -> None:
        """Nobody knows what became of it: it is asked again, which is harmless."""
        if ask.part.startswith("due "):
            self._due.discard(int(ask.part.removeprefix("due ")))
        else:
            self._busy.pop(int(ask.part.removeprefix("count ")), None)


def _hash_of(one: Shared) -> bytes:
    """The hash of a value; where it is of long ago, its hash is all that is known of it."""
    if not one.value and one.amount > 1:
        return one.amount.to_bytes(8)
    return hashlib.blake2b(one.value.encode("utf-8", "surrogateescape"), digest_size=8).digest()
