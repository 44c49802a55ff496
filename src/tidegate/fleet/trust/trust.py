"""Whom to believe: sealed messages and the time in, convictions, take-backs and refusals out.

Touches nothing: no clock, no I/O; signatures are judged by a function the roster was given.
The engine only carries and proposes: nothing it says convicts, and what it changes is refused.
Limits: an engine that withholds messages keeps hosts apart, each then decides by its own counts;
a member may lie in its own name, up to its quotas, unless a rule asks for more hosts than one.

    sealed message ─► clock ─► member? ─► seen? ─► signature ─► quota ─► each claim: rule,
    subject, times ─► case ─► limit reached ─► Conviction
    desk's paper ─► roster ─► members gone ─► TakeBack for all that needed them
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tidegate.fleet.fields import Malformed
from tidegate.fleet.trust.admission import (
    LATE,
    SKEW,
    Budget,
    FalsePapers,
    Forgeries,
    Guarded,
    Refusal,
    Refused,
    Replays,
)
from tidegate.fleet.trust.admission import Quotas as Quotas
from tidegate.fleet.trust.cases import Cases, Claimed, Conviction, TakeBack, convict
from tidegate.fleet.trust.claims import Counted, Terms, crossing
from tidegate.fleet.trust.members import Roster
from tidegate.fleet.wire import (
    MAX_CLAIMS,
    Claim,
    Kind,
    Sealed,
    decode_bundle,
    decode_claims,
    unseal,
)
from tidegate.model import SECOND, Change, Micros, Subject

Output = Conviction | TakeBack | Refusal

_SEEN, _STANDS, _PAPER = "fleet seen", "fleet stands", "fleet paper"


class Trust:
    """What one host believes of its fleet.

    `rules` are the terms of the rules it counts with others; a claim about any other is refused.
    `counted` is what the host itself has counted, and the answers it owes: who hears a claim about
    somebody it has counted too says so.
    """

    def __init__(
        self, roster: Roster, rules: Iterable[Terms], guarded: Guarded,
        quotas: Quotas | None = None, cases: Cases | None = None, counted: Counted | None = None,
    ) -> None:  # fmt: skip
        self.roster, self.guarded = roster, guarded
        self.cases = Cases() if cases is None else cases
        self.refused = Refused()
        self.counted = Counted() if counted is None else counted
        self._replays, self._forgeries = Replays(), Forgeries()
        self._desk = FalsePapers()
        quotas = quotas or Quotas()
        self._claims, self._alone = Budget(quotas.claims), Budget(quotas.alone)
        self._messages = Budget(quotas.messages, quotas.at_once)
        self._listed: tuple[Subject, ...] = ()
        self._expired: Micros = 0
        self._papers: set[str] = set()
        self.moved: set[str] = set()
        """Of whom the desk's word has changed ("": the list), for who keeps papers to empty it."""
        self.follow(rules)
        self._protect()

    def follow(self, rules: Iterable[Terms]) -> None:
        """The policy is another one now."""
        self.rules: Mapping[str, Terms] = {terms.rule: terms for terms in rules}

    def look(self, listed: Iterable[Subject]) -> None:
        """Who must never be closed for has changed: the allowlist, the host's surroundings."""
        self._listed = tuple(listed)
        self._protect()

    def guard(self, engine: Iterable[Subject]) -> None:
        """Where the engine is."""
        self.guarded.engine(engine)
        self._protect()

    def receive(self, data: bytes, now: Micros, engine_now: Micros) -> list[Output]:
        """What comes of a message with claims. `now` by our clock, `engine_now` by the engine's."""
        if now - self._expired > 5 * SECOND:
            self.cases.expire(now)
            self._expired = now
        if abs(now - engine_now) > SKEW:
            behind = (engine_now - now) // SECOND
            return [self._refuse("", "clock", f"ours is {behind} s behind the engine's")]
        sealed = self._opened(data, now)
        if isinstance(sealed, Refusal):
            return [sealed]
        message = sealed.message
        if message.kind is not Kind.CLAIMS:
            return [self._refuse(message.host, "malformed", "no claims")]
        if abs(message.sent - engine_now) > SKEW:
            ahead = (message.sent - engine_now) // SECOND
            return [self._refuse(message.host, "skew", f"{ahead} s ahead of the engine's clock")]
        if not self._replays.is_new(message.host, message.sequence):
            return [self._refuse(message.host, "replay")]
        # Before anything dear: who sends more than is listened to must not keep us from the others.
        number = int.from_bytes(message.body[:2])
        wanted = number if 0 < number <= MAX_CLAIMS else 1
        wanted = max(wanted, len(message.body) >> 10)  # to go through much of few takes as long
        if self._claims.left(message.host, now) < wanted:
            return [self._refuse(message.host, "quota", f"{number} claims too many")]
        if (forged := self._forged(sealed, now)) is not None:
            return [forged]
        self._replays.note(message.host, message.sequence)
        try:
            claims = decode_claims(message.body)
        except Malformed as error:
            self._claims.take(message.host, now)
            return [self._refuse(message.host, "malformed", str(error))]
        self._claims.take(message.host, now, wanted)
        heard = (self._hear(claim, sealed, now, engine_now) for claim in claims)
        return [found for found in heard if found is not None]

    def admit(self, data: bytes, now: Micros) -> Sealed | Refusal:
        """A message of another kind, rightly signed by a member who may say it. That it may have
        been said long ago, or come again, is for whoever merges it."""
        sealed = self._opened(data, now)
        if isinstance(sealed, Refusal):
            return sealed
        host = sealed.message.host
        wanted = 1 + (len(sealed.message.body) >> 10)  # much to read takes longer than to verify
        if self._messages.left(host, now) < wanted:
            return self._refuse(host, "quota", "too many messages")
        if (forged := self._forged(sealed, now)) is not None:
            return forged
        self._messages.take(host, now, wanted)
        return sealed

    def paper(self, data: bytes, now: Micros) -> list[Output]:
        """A certificate or the list of the revoked, whoever brings it: only the desk's counts.
        Where it is refused as `busy`, show it again later."""
        if refused := self._desk.refusal(data, now):
            return [self._refuse("", refused, "much is forged in the desk's name")]
        gone, why = self.roster.take(data)
        if why:
            reason = "malformed" if why.startswith("malformed") else "forged"
            if reason == "forged":
                self._desk.note(data, now)
            return [self._refuse("", reason, f"a paper: {why}")]
        moved, self.roster.moved = self.roster.moved, {}
        if not moved:
            return []
        anew = {host for host, other_key in moved.items() if other_key}
        self._papers |= moved.keys()  # a list also where it names nobody we know: it must stand
        self.moved |= moved.keys()
        # A host that comes again with another key begins its numbers anew.
        self._replays.forget(gone | anew)
        self.refused.forget(gone)
        for budget in (self._claims, self._messages, self._alone, self._forgeries):
            budget.forget(gone)
        self._protect()
        return list(self.cases.revoke(gone)) if gone else []

    def proves(
        self, bundle: bytes, rule: str, subject: Subject, now: Micros
    ) -> Conviction | Refusal:
        """Whether these messages convict, whenever they were said: what a late joiner asks of a
        decision it did not see made. Its end is reckoned from the conviction's own time, so an old
        proof shown again closes nothing anew."""
        terms = self.rules.get(rule)
        if terms is None:
            return self._refuse("", "other rule", f"{rule}: we have none of this name")
        if why := self.guarded.why(subject):
            return self._refuse("", "protected", f"{subject}: {why}")
        shares: dict[str, Claimed] = {}
        try:
            for data in decode_bundle(bundle):
                sealed = self._opened(data, now)
                if isinstance(sealed, Refusal):
                    continue  # of nobody who counts any more; the others may do
                if (forged := self._forged(sealed, now)) is not None:
                    return forged
                if sealed.message.kind is not Kind.CLAIMS:
                    return self._refuse(sealed.message.host, "unproven", "no claims")
                self._gather(shares, sealed, terms, subject)
        except Malformed as error:
            return self._refuse("", "malformed", f"a proof: {error}")
        found = crossing(terms, {host: share[2] for host, share in shares.items()}, 0)
        if found is None:
            return self._refuse("", "unproven", f"{subject} for {rule}: the claims do not suffice")
        proof = tuple(dict.fromkeys(shares[host][1] for host, _count in found.shares))
        return convict(terms, subject, found, proof)

    def adopt(self, conviction: Conviction, until: Micros) -> None:
        """A proven conviction is carried out here too, so that a revocation takes it back."""
        self.cases.stand(conviction, self.rules[conviction.rule], conviction.time, until)

    def settled(self, id: str, until: Micros) -> None:  # noqa: A002 - the word of the field
        """What the host made of a conviction ends then; 0: it made nothing of it."""
        self.cases.settled(id, until)

    def changes(self) -> list[Change]:
        """What has to be written down since the last call, so that a restart forgets nothing."""
        found = [Change(_SEEN, host, self._replays.saved(host)) for host in self._replays.dirty]
        found += [Change(_STANDS, " ".join(key), self.cases.saved(key)) for key in self.cases.dirty]
        found += [Change(_PAPER, host, self.roster.papers.get(host)) for host in self._papers]
        for written in (self._replays.dirty, self.cases.dirty, self._papers):
            written.clear()
        return found

    def restore(self, changes: Iterable[Change]) -> None:
        """What was written down. Papers are verified again, as if they had just come."""
        kept = [change for change in changes if change.value is not None]
        for change in kept:
            if change.part == _PAPER:
                self.paper(change.value or b"", 0)
        for change in kept:
            if change.part == _SEEN:
                self._replays.restore(change.key, change.value or b"")
            elif change.part == _STANDS:
                self.cases.restore(change.value or b"")
        self.changes()

    def _opened(self, data: bytes, now: Micros) -> Sealed | Refusal:
        """What a message says, where its sender may say anything; the signature is not judged."""
        try:
            sealed = unseal(data, self.roster.fleet)
        except Malformed as error:
            return self._refuse("", "malformed", str(error))
        host, why = sealed.message.host, self.roster.refusal(sealed.message)
        if why == "not allowed":
            return self._refuse(host, "not allowed", sealed.message.kind.name)
        if why:  # no member: its name is not kept, there may be a million of them
            return self._refuse("", "revoked" if why == "revoked" else "unknown", host)
        if not self._forgeries.may_look(host, now):
            return self._refuse(host, "busy", "too much was forged in its name")
        return sealed

    def _forged(self, sealed: Sealed, now: Micros) -> Refusal | None:
        if self.roster.is_signed(sealed):
            return None
        self._forgeries.note(sealed.message.host, now)
        return self._refuse(sealed.message.host, "forged")

    def _hear(self, claim: Claim, sealed: Sealed, now: Micros, engine: Micros) -> Output | None:
        host = sealed.message.host
        terms = self.rules.get(claim.rule)
        if terms is None or terms.mark != claim.mark or terms.shape is not claim.shape:
            return self._refuse(host, "other rule", claim.rule)
        if why := self.guarded.why(claim.subject):
            return self._refuse(host, "protected", f"{claim.subject}: {why}")
        if not claim.entries:
            self.counted.called(claim.mark, claim.subject)
            return None
        oldest = engine - terms.within - LATE
        entries = tuple(one for one in claim.entries if one.time >= oldest)[-terms.most :]
        if not entries or entries[-1].time > engine + SKEW:
            return self._refuse(host, "entries", f"{claim.subject} for {claim.rule}")
        share = (sealed.message.sequence, sealed.id, entries)
        found = self.cases.hear(terms, claim.subject, host, share, now)
        if found is None:
            self.counted.called(claim.mark, claim.subject)
            return None
        if len(found.shares) == 1 and not self._alone.take(found.shares[0][0], now):
            self.cases.close((claim.rule, claim.subject))
            return self._refuse(host, "quota", f"{claim.subject}: too many that it alone accuses")
        self.cases.stand(found, terms, now)
        return found

    @staticmethod
    def _gather(
        shares: dict[str, Claimed], sealed: Sealed, terms: Terms,
        subject: Subject,
    ) -> None:  # fmt: skip
        """The newest claim of each host about this subject by this rule."""
        message = sealed.message
        about = (terms.rule, terms.mark, subject, terms.shape)
        for claim in decode_claims(message.body):
            if claim[:4] == about and message.sequence > shares.get(message.host, (0,))[0]:
                entries = claim.entries[-terms.most :]
                shares[message.host] = (message.sequence, sealed.id, entries)

    def _refuse(self, host: str, reason: str, detail: str = "") -> Refusal:
        return self.refused.note(Refusal(host, reason, detail))  # type: ignore[arg-type]

    def _protect(self) -> None:
        self.guarded.look(self.roster.addresses, self._listed)
