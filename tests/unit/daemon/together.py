"""Hosts that count together, without a wire between them: the real core, engine and judging of
claims, each in memory. What one says the others hear at once, or after a while."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from types import SimpleNamespace
from typing import NamedTuple

from tidegate.daemon.pipeline import Pipeline
from tidegate.fleet import wire
from tidegate.fleet.counting import functions
from tidegate.fleet.counting.functions import Form, Hit
from tidegate.fleet.counting.oracle import Oracle
from tidegate.fleet.counting.outbox import Outbox
from tidegate.fleet.port import Closing
from tidegate.fleet.trust import claims
from tidegate.fleet.trust.cases import Cases, Conviction
from tidegate.model import Batch, Block, Decision, Event, Kind, Micros, Shared, Subject
from tidegate.policy.models import Policy

MILLI = 1000


class Line(NamedTuple):
    """One line that counts, and on which host it is written."""

    time: Micros
    kind: str
    subject: Subject
    host: int
    user: str = ""
    session: str = ""
    count: int = 1  # type: ignore[assignment]


@dataclass
class Reader:
    """In the place of detectors: the block holds one line, which is given."""

    line: Line | None = None
    proxies: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(suspects=[]))

    def detect(self, block: Block) -> Batch:
        assert self.line is not None
        one = self.line
        kind = Kind(one.kind, "abuse", 1, one.kind, one.kind.partition(".")[0])
        event = Event(one.time, kind, one.subject, one.count, one.session, block.offset, 100,
                      {"user": one.user})  # fmt: skip
        return Batch("log", block.origin, events=[event], lines=1, hits=1)


class Machine:
    """One host's core; what it decided, with what came of other hosts' words."""

    def __init__(self, name: str, policy: Policy) -> None:
        self.name = name
        self.reader = Reader()
        self.pipeline = Pipeline(policy, {"log": self.reader}, {})  # type: ignore[dict-item]
        self.pipeline.aims = False
        self.decisions: list[Decision] = []
        self.own: list[Decision] = []
        self._offset = 0

    def read(self, line: Line) -> list[Decision]:
        self.reader.line = line
        block = Block("log", b"x\n", self._offset, line.time, 1)
        self._offset += 100
        decisions, _batch = self.pipeline.feed(block)
        self.decisions += decisions
        self.own += decisions
        return decisions


class Host(Machine):
    """A machine that counts together with others."""

    def __init__(self, name: str, policy: Policy) -> None:
        super().__init__(name, policy)
        self.rules = {rule.name: rule for rule in policy.rules if rule.shared}
        self.counted, self.cases = claims.Counted(), Cases()
        self.outbox = Outbox(name, 0, 1)
        self._sequence = 0

    def share(self) -> None:
        for one in self.pipeline.windows.take_shared():
            self._count(one)

    def _count(self, one: Shared) -> None:
        rule = self.rules[one.rule]
        terms = functions.terms_of(rule, wire.mark(rule))
        value = blake2b(one.value.encode(), digest_size=8).digest()
        claimed = int.from_bytes(value) if terms.form is Form.DISTINCT else one.amount
        self.counted.count(claims.terms_of(rule), one.subject, one.time, claimed)
        for repeat in range(1 if terms.form is not Form.WINDOW else one.amount):
            place = functions.place_of(str(one.origin), one.offset, repeat)
            hit = Hit(wire.rounded(one.time), place, value, one.amount)
            self.outbox.add(terms, one.subject, hit)

    def claim(self, now: Micros) -> list[tuple[str, int, wire.Claim]]:
        self._sequence += 1
        return [(self.name, self._sequence, one) for one in self.counted.due(now)]

    def hear(self, host: str, sequence: int, claim: wire.Claim, now: Micros) -> None:
        terms = claims.terms_of(self.rules[claim.rule])
        message = f"{host} {sequence}".encode()
        share = (sequence, message, claim.entries)
        found = self.cases.hear(terms, claim.subject, host, share, now)
        if found is None:
            self.counted.called(claim.mark, claim.subject)
        else:
            self.cases.stand(found, terms, now)
            self._judge(found)

    def _judge(self, found: Conviction) -> None:
        decisions = self.pipeline.convicted(
            found.rule, found.subject, found.time, found.count, found.shares, found.id
        )
        self.decisions += decisions
        self.own += decisions
        self.cases.settled(found.id, self.pipeline.held(found.rule, found.subject))

    def accept(self, host: str, one: Decision, now: Micros) -> None:
        told = Closing(
            f"{host} {one.id}", host, one.rule, one.by, one.subject, one.ports, one.time, one.until
        )
        self.decisions += self.pipeline.accept(told, now)


class Fleet:
    """Several of them, and the engine."""

    def __init__(self, policy: Policy, number: int = 2) -> None:
        self.hosts = [Host(f"h{index}", policy) for index in range(number)]
        self.oracle = Oracle(0)
        self.said: list[tuple[Host, Decision]] = []

    def read(self, line: Line) -> None:
        host = self.hosts[line.host]
        self.said += [(host, one) for one in host.read(line)]
        host.share()

    def flush(self, now: Micros) -> None:
        """Everybody sends what he has, and hears what there is, until nobody has anything."""
        self.oracle.now = max(self.oracle.now, now // MILLI)
        for host in self.hosts:
            self._count(host, now)
        self._claim(now)
        said, self.said = self.said, []
        for speaker, one in said:
            for other in self.hosts:
                if other is not speaker:
                    other.accept(speaker.name, one, now)

    def _count(self, host: Host, now: Micros) -> None:
        while (command := host.outbox.command(now)) is not None:
            reply = self.oracle.call(command)
            answer = functions.read_answer(reply)
            host.outbox.answered(answer, now)
            for one in answer.crossings:
                host.counted.nominated(one.mark, one.subject, now)
                self.oracle.call(functions.confirm_command(0, [one.token]))

    def _claim(self, now: Micros) -> None:
        while said := [one for host in self.hosts for one in host.claim(now)]:
            for message in said:
                for host in self.hosts:
                    host.hear(*message, now)


def deeds(decisions: Sequence[Decision]) -> list[tuple[str, Subject, Micros]]:
    """Who was closed for when, by what; in order."""
    return sorted((one.rule, one.subject, one.time) for one in decisions)


def counts(decisions: Sequence[Decision]) -> set[tuple[str, Subject, Micros, int]]:
    """The same with what had been counted."""
    return {(one.rule, one.subject, one.time, one.count) for one in decisions}
