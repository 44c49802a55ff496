"""Between this host and the others of its fleet: what is said to them, and what comes of theirs.

Touches the fleet's process by its port, and the watcher it belongs to. What others say is judged
here like an own verdict: allowlist, breaker, caps. Limits: a fleet that is gone changes nothing
here; what it still had to tell comes when it is back, and what it closed ends by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, NamedTuple, ParamSpec

from tidegate import __version__
from tidegate.control.call import Call
from tidegate.daemon.act import Result
from tidegate.daemon.clock import now_micros
from tidegate.daemon.heeding import CAUSED, Daemon, Heeding
from tidegate.daemon.unsure import UNSURE, Unsure
from tidegate.errors import FleetError, LedgerError
from tidegate.fleet.port import Fleet, Health, Place, Quote, Row, Seat, What
from tidegate.model import SECOND, Change, Decision, Micros, Subject
from tidegate.policy.models import Policy

P = ParamSpec("P")

PATIENCE: Micros = 2 * SECOND
"""For how long a person waits for what other hosts know, before the own answer is given alone."""
REPORT_EVERY: Micros = 10 * SECOND
MEMORY = "fleet "
"""What the memory of the fleet's process begins with, in the ledger."""
_SAID = ("ban", "unban")
_REMEMBERED = 40_000
_GONE: tuple[Row, ...] | None = None


class Later(NamedTuple):
    """An answer that waits for what other hosts know: `finish` makes it of their rows, or of None
    where they did not answer in time."""

    number: int
    finish: Callable[[Sequence[Row] | None], object]


class Fleeting:
    """One host's part in its fleet. `journal`: policies that were published, for whoever applies
    them."""

    def __init__(self, watcher: Daemon, fleet: Fleet) -> None:
        self.fleet = fleet
        self.journal: list[bytes] = []
        self.seats: list[Seat] = []
        """What was answered about pools, for whoever takes it."""
        self.published: Callable[[], Mapping[str, Any]] = dict
        """What others should see of the published policy here."""
        self._published: Mapping[str, Any] = {}
        self.parts: set[str] = {CAUSED, UNSURE}
        self._watcher = watcher
        self._waiting: dict[int, tuple[Call, Micros, Later]] = {}
        self._changes: dict[tuple[str, str], Change] = {}
        self._restored: list[Change] = []
        self._listed: tuple[Subject, ...] | None = None
        self._reported: Micros = 0
        self._gone: FleetError | None = None
        self._away = ("", "")
        self._joined = False
        self._unsure = Unsure()
        self.heeding = Heeding(watcher, self._settled, self.said)

    @property
    def busy(self) -> bool:
        """Whether there is a fleet, and somebody who talks to it."""
        return self._policy.fleet is not None and not self.apart and self._gone is None

    @property
    def apart(self) -> str:
        """Why nobody talks to the fleet; "" where somebody does, or there is none."""
        return self.fleet.trouble if self.fleet.fileno() < 0 else ""

    @property
    def _policy(self) -> Policy:
        return self._watcher.pipeline.policy

    @property
    def health(self) -> Health | None:
        """How the conversation is; None where there is no fleet."""
        if self._policy.fleet is None:
            return None
        return Health("away") if self.apart else self.fleet.health

    def ask(self, what: What, subject: Subject | str = "") -> int | None:
        """Ask the others; None where nobody will answer."""
        try:
            return self.fleet.ask(what, subject) if self.busy else None
        except FleetError as error:
            self._gone = error
            return None

    def _to(self, tell: Callable[P, None], *words: P.args, **more: P.kwargs) -> None:
        """Tell the fleet's process something. That it is gone is raised by `hear`, where nothing is
        left half done."""
        try:
            if self._gone is None:
                tell(*words, **more)
        except FleetError as error:
            self._gone = error

    # -- out ------------------------------------------------------------------------------------

    def pools(self, places: Sequence[Place]) -> None:
        """All pools that this host is in, and how."""
        if self.busy:
            self._to(self.fleet.pools, places)

    def share(self) -> None:
        """Hand out what was counted just now by rules that the fleet counts."""
        counted = self._watcher.pipeline.windows.take_shared()
        if counted and self.busy:
            self._to(self.fleet.share, counted)

    def said(self, results: Iterable[Result]) -> None:
        """Say what was decided here, with the lines behind it: bans of rules in force, and what
        people ordered. What other hosts decided is theirs to say."""
        if not self.busy:
            return
        apart = bool(self._watcher.actor.out_of_step)  # refused just now, and tried again
        own = [
            one.decision
            for one in results
            if one.decision.action in _SAID
            and not one.decision.by.startswith("fleet:")
            and (one.outcome.state == "applied" or (apart and one.outcome.state == "refused"))
        ]
        if own:
            self._unsure.note(own)
            self._say(own)

    def _say(self, own: Sequence[Decision]) -> None:
        self._to(self.fleet.say, own)
        for decision in own:
            self._explain(decision)

    def _explain(self, decision: Decision) -> None:
        if decision.by == "rule" and decision.evidence:
            quotes = [
                Quote("", decision.rule, one.time, one.path, one.line) for one in decision.evidence
            ]
            self._to(self.fleet.explain, decision.subject, decision.rule, decision.until, quotes)

    def _settled(self, number: str, until: Micros) -> None:
        self._to(self.fleet.settled, number, until)

    # -- in -------------------------------------------------------------------------------------

    def hear(self, now: Micros) -> bool:
        """What has come from the others; whether anything did. Raises FleetError where the process
        that talks to them is gone."""
        if self._gone is not None:
            raise self._gone
        heard = self.fleet.take()
        self.seats += heard.seats
        heard = heard._replace(seats=())  # every second, and nothing to write down
        if not heard:
            return False
        for change in heard.changes:
            self._keep(change)
        self.journal += heard.journal
        self.heeding.heed(heard, now)
        for number, rows in heard.told:
            self._tell(number, rows)
        return True

    # -- now and then ---------------------------------------------------------------------------

    def tick(self, now: Micros, bans: Callable[[Micros], int | None]) -> bool:
        """Every second: who must never be closed for, how we are, and who waits in vain. Whether
        there is something to write down."""
        for number, (_call, since, _later) in list(self._waiting.items()):
            if not 0 <= now - since < PATIENCE:
                self._tell(number, _GONE)
        self.heeding.open_late(now)
        if self._policy.fleet is None:
            return False
        self._watcher.say("fleet", self.trouble())
        if not self.busy:
            return False
        joined = self.fleet.health.state == "joined"
        if joined and not self._joined:  # a person's word needs the desk's leave, heard only now
            self._say_again()
        self._joined = joined
        listed = self._watcher.pipeline.judge.allow.everybody
        if listed != self._listed:
            self._listed = listed
            self._to(self.fleet.look, listed)
        published = self.published()
        if not 0 <= now - self._reported < REPORT_EVERY or published != self._published:
            self._reported, self._published = now, published
            self._to(self.fleet.report, self._report(bans(now)))
        return self._unsure.tick(now, joined=joined)

    def trouble(self) -> str:
        """What hinders counting and deciding together, and what holds meanwhile; "": nothing."""
        health = self.fleet.health
        if self.apart:
            return f"{self.apart}; this host counts and decides alone"
        if health.state not in ("away", "alone"):
            self._away = ("", "")
            return self.fleet.trouble
        if health.state != self._away[0]:  # refused, then timed out: it is the same trouble
            why = f"{health.detail}; this host counts and decides alone until it is well again"
            self._away = (health.state, why)
        return self._away[1]

    def _report(self, bans: int | None) -> Mapping[str, Any]:
        return {
            "version": __version__,
            "policy_hash": self._policy.hash,
            "bans": bans or 0,
            "trouble": self._watcher.actor.out_of_step,
            **self.published(),
        }

    def reload(self) -> None:
        """The policy is another one now."""
        if self.busy:
            self._to(self.fleet.reload)

    # -- what people ask ------------------------------------------------------------------------

    def wait(self, call: Call, later: Later, now: Micros) -> None:
        """Answer this when the others have, or have not in time."""
        self._waiting[later.number] = (call, now, later)

    def _tell(self, number: int, rows: tuple[Row, ...] | None) -> None:
        if (found := self._waiting.pop(number, None)) is not None:
            call, _since, later = found
            call.reply(200, later.finish(rows))

    # -- memory ---------------------------------------------------------------------------------

    def _keep(self, change: Change) -> None:
        self.parts.add(change.part)
        self._changes[change.part, change.key] = change

    def changes(self) -> Iterator[Change]:
        """What has changed since last asked, for a checkpoint."""
        changes, self._changes = self._changes, {}
        yield from changes.values()
        yield from self.heeding.changes()
        yield from self._unsure.changes()

    def restore(self, change: Change) -> bool:
        """Take back one change; False where it is not ours."""
        if change.value is None or self._policy.fleet is None:
            return False
        if self.heeding.restore(change) or self._unsure.restore(change):
            return True
        if not change.part.startswith(MEMORY):
            return False
        self.parts.add(change.part)
        self._restored.append(change)
        return True

    def begin(self) -> None:
        """All was restored: the fleet goes on from there."""
        restored, self._restored = self._restored, []
        if not self.busy:
            return
        self._to(self.fleet.restore, restored)
        remembered = self._watcher.pipeline.windows.remembered(now_micros())
        self._to(self.fleet.remember, list(islice(remembered, _REMEMBERED)))

    def _say_again(self) -> None:
        """What the others may not have heard: what they have is nothing new to them."""
        if numbers := self._unsure.numbers:
            with suppress(LedgerError):  # said by the next checkpoint
                entries = self._watcher.wiring.ledger.entries(numbers)
                self._say([entry.decision for entry in entries])
