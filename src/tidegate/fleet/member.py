"""One host's whole part in its fleet: it counts with the others, claims, hears, believes, decides.

Touches nothing: gives commands for the engine, takes replies, is told the time; `rounds` carries
them. Limits: those of its parts; nothing here closes anything, the watcher does, if it wants to.

    share ─► counting ─► the engine ─► crossing lent ─► claim, signed ─► stream ─► every host's
    trust ─► heard().convictions ─► the watcher ─► say, settled ─► snapshot, for those who come late
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from tidegate.fleet import condition, wire
from tidegate.fleet.counting import functions
from tidegate.fleet.counting.counting import Ask, Counting, Terms, terms_of
from tidegate.fleet.decisions import entries, stream
from tidegate.fleet.decisions.accepting import Accepting
from tidegate.fleet.decisions.assembly import Assembly, Outcome
from tidegate.fleet.decisions.deciding import Deciding
from tidegate.fleet.decisions.mail import Mailbox
from tidegate.fleet.decisions.mending import Mending
from tidegate.fleet.errands import Carrying, Errand
from tidegate.fleet.journal.carrier import Carrier
from tidegate.fleet.plan.planning import Planning
from tidegate.fleet.pools import Pools
from tidegate.fleet.port import Conviction, Health, Heard, Opening
from tidegate.fleet.quotes import Quotes
from tidegate.fleet.reports import Reports
from tidegate.fleet.setting import Setting as Setting
from tidegate.fleet.trust.admission import SKEW, Guarded, Refusal
from tidegate.fleet.trust.cases import TakeBack
from tidegate.fleet.trust.claiming import Claiming
from tidegate.fleet.trust.members import May, Roster
from tidegate.fleet.trust.papers import Papers
from tidegate.fleet.trust.trust import Output, Trust
from tidegate.fleet.wire import Kind
from tidegate.model import MINUTE, SECOND, Change, Decision, Micros, Shared, Subject
from tidegate.policy.models import Rule

_TICK: Micros = SECOND
_REREAD: Micros = MINUTE
_KEY = stream.STREAM.decode()
_CLAIMS, _POLICY, _PLAN = (bytes((one,)) for one in (Kind.CLAIMS, Kind.POLICY, Kind.PLAN))
_PAPERS = (bytes((Kind.CERTIFICATE,)), bytes((Kind.REVOCATIONS,)))


class Member:
    """`asks` says what to send; what comes of each goes to `answered`, or it is `lost`. `urgent`:
    `asks(now, urgent=True)` has something that should not wait for the next round."""

    def __init__(self, setting: Setting, rules: Iterable[Rule] = ()) -> None:
        own = setting.identity
        self.host, self._epoch, self._fleet = own.host, setting.epoch, own.fleet
        self._sign, self._counter = setting.sign, 0
        self.trust = Trust(
            Roster(own.fleet, own.desk, setting.verify), (), Guarded(setting.guarded),
            setting.quotas,
        )  # fmt: skip
        self.counting = Counting(own.host, setting.epoch, setting.shards)
        self.claiming = Claiming(own.host, self.trust, self._seal, setting.kept)
        self.assembly = Assembly(
            own.host, self.trust.admit, self._seal,
            lambda host: self.trust.roster.may(host, May.DECIDE),
        )  # fmt: skip
        self.accepting = Accepting(own.host, self.trust, self.claiming.find)
        self.deciding = Deciding(self.trust, self.claiming, self.assembly, self.accepting)
        self.papers = Papers(self.trust, self.assembly, self.accepting)
        self.mailbox = Mailbox(own.host, self._open, self._is_open)
        self.quotes = Quotes(own.host, self.trust, self._seal)
        self.reports = Reports(own.host, self.trust, self._seal, self.health)
        self.carrying = Carrying(Carrier(own.host, self.trust.roster))
        self.planning = Planning(own.host, self.trust, self._seal)
        self.pools = Pools(own.host, self.trust.roster)
        self.mending = Mending(self._anew)
        self.digest = condition.Digest()
        every = (self.quotes, self.reports, self.carrying, self.planning, self.pools, self.mending)
        self.errands: dict[str, Errand] = {one.part: one for one in every}
        self._rules: dict[str, Terms] = {}
        self._convictions: list[Conviction] = []
        self._openings: list[Opening] = []
        self._busy: set[str] = set()
        self._behind, self._telling = True, 0
        self._ticked, self._remembers = 0, True
        self._reread: Micros = 0
        self.trouble, self.stale = "", False
        self.lag: Micros = 0
        self.read, self.sent = 0, 0
        self.follow(rules)

    def follow(self, rules: Iterable[Rule], min_hosts: int = 1, *, bans: bool = True) -> None:
        """The policy says so now."""
        self._rules = terms_of(rules, min_hosts)
        self.deciding.rules = self._rules
        self.claiming.terms = {one.engine.mark: one for one in self._rules.values()}
        self.trust.follow(one.claims for one in self._rules.values())
        self.accepting.min_hosts, self.accepting.bans = min_hosts, bans

    def look(self, listed: Iterable[Subject]) -> None:
        """Who must never be closed for."""
        self.trust.look(listed)

    def restore(self, changes: Iterable[Change], now: Micros) -> None:
        """What `heard().changes` said before this start."""
        self.trust.restore(changes)
        self.papers.keep(now)

    def share(self, counted: Iterable[Shared], now: Micros) -> None:
        """This was counted here. Of whom all have closed for, nothing counts."""
        self._count(counted)

    def remember(self, counted: Iterable[Shared]) -> None:
        """This was counted here before this start. The engine knows lines by their names, but of a
        score only the newest: points are not sent again, only claimed."""
        self._count(counted, again=True)

    def _count(self, counted: Iterable[Shared], *, again: bool = False) -> None:
        for one in counted:
            terms = self._rules.get(one.rule)
            if terms is None or one.time <= self.trust.cases.spent(one.rule, one.subject):
                continue
            known = again and terms.engine.form.scored
            amount = one.amount if known else self.counting.share(terms, one)
            if amount > 0:
                self.trust.counted.count(terms.claims, one.subject, one.time, amount)

    def say(self, decisions: Iterable[Decision], now: Micros) -> None:
        """This was decided here."""
        self.deciding.say(decisions, now)

    def settled(self, number: str, until: Micros) -> None:
        """What came of a conviction."""
        self.deciding.settled(number, until)

    def asks(self, now: Micros, *, urgent: bool = False) -> list[Ask]:
        """What to send now. While our clock is not the engine's: only what tells the time."""
        found = [] if urgent and not self.counting.behind else self.counting.asks(now)
        if self.clocks_differ:
            self.assembly.read_again(1)  # when it is right: what seems over by it is not
            return found
        if not 0 <= now - self._ticked < _TICK:
            self._ticked, self._remembers = now, True
            self.counting.hosts = len(self.trust.roster.members)
            self.assembly.tick(self.counting.hosts, now)
            for entry in self.accepting.tick(now):
                self.deciding.pardon(entry)
            self.deciding.tick(now)
            self.claiming.again(now)
        busy = self._busy
        if "say" not in busy and (not urgent or self._is_pressing()):
            self._ask(found, "say", self._sayings(now))
        if "hear" not in busy and (not urgent or self._behind):
            self._ask(found, "hear", self.assembly.hearing(now), anywhere=True)
        if "prove" not in busy:
            self._ask(found, "prove", self.accepting.commands())
        for one in () if urgent else self.errands.values():
            if one.part not in busy:
                self._ask(found, one.part, one.commands(now), one.key)
        return found

    @property
    def urgent(self) -> bool:
        """Whether something should not wait for the next round."""
        saying = self._is_pressing() and "say" not in self._busy
        hearing = self._behind and "hear" not in self._busy
        proving = self.accepting.unproven and "prove" not in self._busy
        some = bool(saying or hearing or proving)
        return (some and not self.clocks_differ) or self.counting.behind

    @property
    def clocks_differ(self) -> bool:
        """Whether our clock and the engine's differ by so much that neither is believed."""
        return self.counting.offset is not None and abs(self.counting.offset) > SKEW

    def _is_pressing(self) -> bool:
        return bool(self.claiming.waiting) or self.assembly.offers.pressing

    def _ask(
        self, found: list[Ask], part: str, commands: Sequence[functions.Command],
        key: str = _KEY, *, anywhere: bool = False,
    ) -> None:  # fmt: skip
        if commands:
            self._busy.add(part)
            found.append(Ask(part, key, commands, anywhere))

    def _sayings(self, now: Micros) -> Sequence[functions.Command]:
        telling = self.claiming.commands(now)
        self._telling = len(telling)
        return [*telling, *self.assembly.saying(now)]

    def answered(self, ask: Ask, replies: Sequence[stream.Reply], now: Micros) -> None:
        """What the engine said. Malformed where that has no sense: leave that connection."""
        self._busy.discard(ask.part)
        if ask.part in ("say", "hear"):
            self.mending.see(ask.commands, replies)
        if ask.part == "say":
            self.claiming.said(replies[: self._telling])
            self.assembly.said(replies[self._telling :])
            self.counting.confirm(self.claiming.published)
            self.claiming.published.clear()
        elif ask.part == "hear":
            self._hear(self.assembly.heard(replies, len(self.trust.roster.members), now), now)
        elif ask.part == "prove":
            self.accepting.answered(replies, now)
        elif ask.part in self.errands:
            self.errands[ask.part].take(replies, now)
        else:
            self.claiming.propose(self.counting.answered(ask, replies, now), now)
            if not self.counting.trouble:
                self.assembly.listener.shorten()
        self._flush(now)

    def _is_open(self) -> bool:
        """Whether mail can be judged: until then it stays in the box."""
        known = self.counting.offset is not None and not self.clocks_differ
        return known and self.host in self.trust.roster.members

    def _open(self, body: bytes, now: Micros) -> None:
        """Mail has come."""
        if self.counting.offset is not None and body[3:4] == _CLAIMS:
            self._take(self.claiming.open(body, now, now + self.counting.offset), now)
            self._flush(now)

    def reads_elsewhere(self) -> None:
        """What is heard comes from another server, or over another connection."""
        self.assembly.listener.reconnected()

    def lost(self, ask: Ask) -> None:
        """Nobody knows what became of it."""
        self._busy.discard(ask.part)
        if ask.part in ("say", "hear"):
            self.assembly.lost()
        elif ask.part == "prove":
            self.accepting.lost()
        elif ask.part in self.errands:
            self.errands[ask.part].lost()
        else:
            self.counting.lost(ask)

    def _flush(self, now: Micros) -> None:
        if self.host in self.trust.roster.members and self.counting.offset is not None:
            self._take(self.claiming.flush(now, now + self.counting.offset), now)

    def _anew(self, now: Micros) -> None:
        """What all have decided was removed in the engine."""
        self.assembly.anew(len(self.trust.roster.members), now)
        self.deciding.again(now)

    def _hear(self, outcome: Outcome, now: Micros) -> None:
        self._behind = outcome.behind
        self.trouble, self.stale = outcome.trouble, outcome.stale
        if outcome.moved:
            self.counting.again(now)
            self.deciding.again(now)
        self.accepting.take(outcome.shifts, "taken back", now)
        for one in self.accepting.hear(outcome.news, now):
            self.deciding.pardon(one)
        for body in outcome.kept:
            self._other(body, now, kept=True)
        for body in outcome.others:
            self._other(body, now)
        self.read += len(outcome.news) + len(outcome.others)
        if outcome.others and self.counting.offset is not None:
            written = stream.place(self.assembly.listener.last)[0] * 1000
            self.lag = max(0, now + self.counting.offset - written)
        if self.papers.are_strangers_known(self.assembly.listener.phase == "stream"):
            self.assembly.listener.again()
            self._behind = True

    def _other(self, body: bytes, now: Micros, *, kept: bool = False) -> None:
        """A message that is no decision; `kept`: out of the snapshot, so perhaps of long ago."""
        kind = body[3:4]
        if kind in _PAPERS:
            self._take(self.papers.hear(body, now), now)
        elif kind == _CLAIMS:
            if not kept and self.counting.offset is not None:
                self._take(self.claiming.hear(body, now, now + self.counting.offset), now)
        elif kind == _POLICY:
            # What is forged in somebody's name is looked at only so often.
            if not isinstance(self.trust.admit(body, now), Refusal):
                self.carrying.carrier.heard(body)
        elif kind == _PLAN and not kept:
            self.planning.hear(body, now)

    def _take(self, outputs: Iterable[Output], now: Micros) -> None:
        for one in outputs:
            if isinstance(one, TakeBack):
                self._openings.append(entries.taken_back(one, now))
            elif not isinstance(one, Refusal):
                self._convictions += self.deciding.tell(one, now)
            elif one.reason == "other rule" and 0 <= self._reread <= now - _REREAD:
                # Others count by a rule that we do not: what they came to is in the snapshot only.
                self._reread = now
                self.assembly.listener.again()

    def heard(self) -> Heard:
        """What has come since last asked, for the watcher. What to remember once a second."""
        closings, openings = self.accepting.closings, [*self._openings, *self.accepting.openings]
        changes = self.trust.changes() if self._remembers else ()
        self._remembers = False
        found = Heard(
            tuple(self._convictions), tuple(closings), tuple(openings), tuple(changes),
            tuple(self.carrying.found), (*self.quotes.told, *self.reports.told),
            tuple(self.pools.told),
        )  # fmt: skip
        spent: tuple[list[Any], ...] = (
            self._convictions, self._openings, closings, self.accepting.openings,
            self.carrying.found, self.quotes.told, self.reports.told, self.pools.told,
        )  # fmt: skip
        for one in spent:
            one.clear()
        return found

    def health(self, now: Micros) -> Health:
        """How it is; `engine` and what came of the connection, `rounds` knows."""
        return condition.health(self, now)

    def _seal(self, kind: Kind, body: bytes, now: Micros) -> bytes:
        self._counter += 1
        self.sent += 1
        number = wire.sequence(self._epoch, self._counter)
        return wire.seal(wire.Message(kind, self.host, number, now, body), self._fleet, self._sign)
