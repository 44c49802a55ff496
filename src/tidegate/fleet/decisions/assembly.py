"""One host's part in what the fleet decides: it says, hears, judges, merges, and keeps for others.

Touches nothing: it gives commands for the engine, takes replies, and is told the time. Limits: it
tells what the fleet wants; what of it the own host carries out, its allowlist, caps and breaker
decide; proofs are judged by `trust` from the claims that `others` brings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from tidegate.fleet.decisions import saying, stream
from tidegate.fleet.decisions.decisions import AHEAD, SKEW, Decisions, Entry, Limits, Shift
from tidegate.fleet.decisions.listener import CHECK, Listener
from tidegate.fleet.decisions.offers import Offers
from tidegate.fleet.decisions.stream import Command, Parcel, Reply
from tidegate.fleet.fields import Malformed
from tidegate.fleet.trust.admission import Reason, Refusal
from tidegate.fleet.trust.members import Revocation
from tidegate.fleet.wire import Kind, Sealed
from tidegate.model import MINUTE, Micros

_DECISIONS = bytes((Kind.DECISIONS,))
_LARGE = 200  # hosts
SWEEP: Micros = MINUTE
"""How often to take out of the snapshot what has ended."""

_AGAIN: dict[Reason, Micros] = {
    "quota": MINUTE, "busy": 5 * MINUTE, "forged": 5 * MINUTE, "malformed": 5 * MINUTE,
}  # fmt: skip
"""After what refusals the snapshot is read again, and when. Not at once: whoever forges must not
have all hosts read all of it over and over."""

Admit = Callable[[bytes, Micros], Sealed | Refusal]
"""`Trust.admit`: who says this, if we believe that."""
Seal = Callable[[Kind, bytes, Micros], bytes]
"""Signs a body in the own name, with the next sequence number."""
MayDecide = Callable[[str], bool]
"""Whether people on that host may decide for all."""


class Outcome(NamedTuple):
    """What came of an exchange: what the fleet wants otherwise than before, and messages that are
    no decisions (claims, papers), unjudged. `behind`, `stale`, `trouble` and `moved` as of `Heard`;
    `news`: decisions of which nothing was known, whatever became of them; `kept`: as `others`, out
    of the snapshot, so said long ago perhaps."""

    shifts: tuple[Shift, ...] = ()
    others: tuple[bytes, ...] = ()
    behind: bool = False
    stale: bool = False
    trouble: str = ""
    moved: bool = False
    news: tuple[Entry, ...] = ()
    kept: tuple[bytes, ...] = ()


class Assembly:
    """What a host says to the fleet and hears of it. `refused` counts by (host, reason) what came
    rightly signed; what did not, trust counts."""

    def __init__(
        self, host: str, admit: Admit, seal: Seal, may_decide: MayDecide,
        limits: Limits | None = None,
    ) -> None:  # fmt: skip
        self.host = host
        self.decisions = Decisions(limits or Limits())
        self.listener, self.offers = Listener(), Offers(host)
        self.refused: Counter[tuple[str, str]] = Counter()
        self.crowded = 0
        self._admit, self._seal, self._may_decide = admit, seal, may_decide
        self._again: Micros | None = None
        self._swept: Micros | None = None
        self._removing: list[Command] = []
        self._asked: tuple[int, int] = (0, 0)  # to offer, to sweep
        self._listening = 0
        self._sweeping = False

    def say(self, entries: Iterable[Entry], now: Micros, *, quiet: bool = False) -> list[Shift]:
        """Decide for all. ValueError where it can't be said, see `saying`. `quiet`: only for those
        who come late; all others have come to it by themselves."""
        said = [saying.identify(self.host, one) for one in entries]
        for body in saying.bodies(said):
            message = self._seal(Kind.DECISIONS, body, now)
            parcel = Parcel.of(message, self._end(saying.decode(self.host, body)))
            self.offers.say(parcel, quiet=quiet)
        return self.decisions.hear(said, now)

    def keep(
        self, message: bytes, until: Micros, *, say: bool = False, quiet: bool = False
    ) -> None:
        """Keep another message as decisions are kept: claims that prove one, as long as it lasts;
        kept already, it is kept longer. `say`: tell it to all; `quiet`: to those who come late."""
        parcel = Parcel.of(message, until)
        if say:
            self.offers.say(parcel, quiet=quiet)
        else:
            self.offers.hold(parcel)

    def release(self, message: bytes) -> None:
        """Keep it no longer: a newer one says more, as with papers of the desk."""
        self.offers.release(stream.identity(message))

    def revoke(self, host: str, time: Micros, now: Micros) -> list[Shift]:
        """Believe nothing that the host said until then; `time` must be the same on all hosts."""
        return self.decisions.revoke(host, time, now)

    def follow(self, revoked: Mapping[str, Revocation], now: Micros) -> list[Shift]:
        """Believe of these what the desk lets us: `Trust.roster.revoked`, after each paper that
        came and once after a restart. What was followed already changes nothing."""
        over = (
            now - self.decisions.limits.longest - AHEAD["unban"]
        )  # nothing of before can still stand
        shifts: list[Shift] = []
        for host, one in revoked.items():
            if one.time > over:
                shifts += self.decisions.revoke(host, one.time, now)
        return shifts

    def read_again(self, due: Micros) -> None:
        """Read the snapshot again then, or sooner: there is in it what could not be heard now."""
        self._again = min(self._again or due, due)

    def anew(self, hosts: int, now: Micros) -> None:
        """What all have decided was removed in the engine: say all of it that is held here."""
        self.listener.anew()
        self.offers.moved(hosts, now)

    def tick(self, hosts: int, now: Micros) -> None:
        """Once a second or so: forget what has ended; look after what others said. `hosts`: how
        many are enrolled."""
        self.decisions.forget(now)
        self.offers.forget(now)
        self.offers.tend(hosts, now)
        if self._again is not None and now >= self._again:
            self._again = None
            self.listener.again()

    def commands(self, now: Micros) -> list[Command]:
        """What to send now, where one server is heard and spoken to; the replies to exactly these
        go to `take`, or it is `lost`."""
        listening = self.hearing(now)
        self._listening = len(listening)
        return [*listening, *self.saying(now)]

    def take(self, replies: Sequence[Reply], hosts: int, now: Micros) -> Outcome:
        """What came of it. Malformed where the engine makes no sense: leave that connection."""
        self.said(replies[self._listening :])
        return self.heard(replies[: self._listening], hosts, now)

    def hearing(self, now: Micros) -> list[Command]:
        """What to ask now, of the primary or of a replica; the replies to these go to `heard`."""
        return self.listener.commands(now)

    def heard(self, replies: Sequence[Reply], hosts: int, now: Micros) -> Outcome:
        """What was heard. Malformed as above."""
        heard = self.listener.take(replies)
        self.listener.check = CHECK if hosts <= _LARGE else 4 * CHECK
        shifts: list[Shift] = []
        others: list[bytes] = []
        kept: list[bytes] = []
        news: list[Entry] = []
        for place, body in enumerate(heard.bodies):
            number = stream.identity(body)
            if number in self.offers:
                continue
            found = self._judge(body, now)
            if found is None:
                (kept if place < heard.kept else others).append(body)
            elif found:
                self.offers.hold(Parcel(number, self._end(found), body))
                news += [one for one in found if not self.decisions.knows(one.id)]
                shifts += self.decisions.hear(found, now)
        if heard.moved:
            self.offers.moved(hosts, now)
        return Outcome(
            tuple(shifts), tuple(others), heard.behind, heard.stale, heard.trouble, heard.moved,
            tuple(news), tuple(kept),
        )  # fmt: skip

    def saying(self, now: Micros) -> list[Command]:
        """What to tell the primary now; the replies to these go to `said`."""
        offering = self.offers.commands()
        sweeping = self._removing
        self._sweeping = not sweeping and self._is_sweep_due(now)
        if self._sweeping:
            sweeping, self._swept = stream.sweep(now), now
        self._removing = []
        self._asked = (len(offering), len(sweeping))
        return [*offering, *sweeping]

    def said(self, replies: Sequence[Reply]) -> None:
        """What became of it. Malformed as above."""
        offering, sweeping = self._asked
        if len(replies) != offering + sweeping:
            raise Malformed(f"{len(replies)} replies to {sum(self._asked)} commands")
        self.offers.take(replies[:offering])
        if self._sweeping:
            self._removing, crowded = stream.swept(replies[offering:])
            self.crowded += crowded

    def lost(self) -> None:
        """The connection broke; the next commands go over another one."""
        self.listener.reconnected()
        self.offers.lost()
        self._removing, self._sweeping = [], False

    def _judge(self, body: bytes, now: Micros) -> tuple[Entry, ...] | None:
        """The decisions in a message that may be believed; None: it is of another kind."""
        if body[3:4] != _DECISIONS:
            return None
        sealed = self._admit(body, now)
        if isinstance(sealed, Refusal):
            # It is in the snapshot still when there is room again; and so is what was said, where
            # somebody changes it on the way.
            if sealed.reason in _AGAIN:
                self.read_again(now + _AGAIN[sealed.reason])
            return ()
        message = sealed.message
        try:
            found = saying.decode(message.host, message.body)
        except Malformed:
            self.refused[message.host, "malformed"] += 1
            return ()
        believed = [one for one in found if not self._refusal(one, message.sent, now)]
        return found if len(believed) == len(found) else tuple(believed)

    def _refusal(self, one: Entry, sent: Micros, now: Micros) -> str:
        reason = ""
        if sent > now + SKEW or one.time > sent + AHEAD[one.verb] - SKEW:
            reason = "skew"
        elif one.verb == "ban" and bool(one.rule) != (one.by == "rule"):
            reason = "malformed"  # a person who is none, or a rule that is
        elif (one.verb == "unban" or not one.rule) and not self._may_decide(one.host):
            reason = "not allowed"
        if reason:
            self.refused[one.host, reason] += 1
        return reason

    def _end(self, entries: Sequence[Entry]) -> Micros:
        end = self.decisions.limits.end
        return end(entries[0]) if len(entries) == 1 else max(map(end, entries))

    def _is_sweep_due(self, now: Micros) -> bool:
        return self._swept is None or not 0 <= now - self._swept < SWEEP
