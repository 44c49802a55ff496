"""The source `outward`: what the meter hears becomes findings, and each finding a line of our own.

Touches the conversation with the meter, and the keeper's counters where packets were kept back.
The lines go through the ordinary pipeline, so that what follows is explained as any ban is.
Limits: not re-readable (the last 16 MiB are kept), nothing is known of a line after a restart.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

from tidegate.daemon.writing import Writing
from tidegate.errors import GateError, SourceError
from tidegate.evidence.contacts import Contacts
from tidegate.evidence.cusum import Handshakes
from tidegate.evidence.finding import Finding
from tidegate.gate.outward.port import Capped, OutwardState
from tidegate.model import SECOND, Block, Micros, Subject
from tidegate.policy.outward import OutwardSpec
from tidegate.source.port import Health, Register
from tidegate.source.traffic.port import Heard, MeterHealth, Traffic
from tidegate.text import time_text
from tidegate.traffic import Cut

TICK: Micros = SECOND // 4
COUNT_SHARE, COUNT_SAVED = 200, SECOND // 2
"""The kernel's counters are asked for so seldom that it takes one part of so many of a processor;
of what was not taken so much is saved up, so that the first to be cut are counted at once."""
COUNT_AGAIN: Micros = SECOND // 10
COUNT_RATES: Micros = 2 * SECOND
"""How often, where only rates were crossed: a flood is judged by many seconds of it."""

StateOf = Callable[[Micros], OutwardState]


class OutwardSource(Writing):
    """Findings as lines. `state_of`: the outward gate's state, None where nobody can tell."""

    more = False

    def __init__(
        self,
        name: str,
        spec: OutwardSpec,
        traffic: Traffic,
        *,
        register: Register | None = None,
        state_of: StateOf | None = None,
    ) -> None:
        super().__init__(name, "outward", register)
        self.traffic = traffic
        self._spec = spec
        self._stage = Contacts(spec)
        self._counters = Counters(state_of)
        self._ticked: Micros = 0
        self._read: Micros = 0
        self._gone = ""

    def fds(self) -> Sequence[int]:
        """The meter's, while it is there."""
        fd = self.traffic.fileno()
        return () if fd < 0 or self._gone else (fd,)

    def govern(self, spec: OutwardSpec) -> None:
        """The policy was read anew. What is remembered of sources stays where caps are the same."""
        if spec != self._spec:
            self._spec, self._stage = spec, Contacts(spec)

    def read(self, now: Micros) -> list[Block]:
        """The lines of what was found since."""
        heard = self._heard()
        found: list[Finding] = []
        if heard.handshakes:
            found += self._stage.handshakes([Handshakes(*one) for one in heard.handshakes], now)
        if heard.contacts or heard.cuts:
            found += self._stage.feed(heard.contacts, self._counters.whole(heard.cuts, now), now)
            self._ticked = now
        elif not 0 <= now - self._ticked < TICK:
            found += self._stage.tick(now)
            self._ticked = now
        if found:
            self._read = now
        return self.written(found, now)

    def _heard(self) -> Heard:
        if self._gone:
            return Heard()
        try:
            return self.traffic.take()
        except SourceError as error:
            self._gone = str(error)
            raise

    def health(self) -> Health:
        """Degraded where something is not heard at all; what was left out is said in any case."""
        troubles = [self._gone, self.traffic.trouble, *self.traffic.health.troubles]
        said = "; ".join(one for one in troubles if one)
        if said:
            return Health("degraded", said, 0, self._read)
        return Health("ok", _left_out(self.traffic.health), 0, self._read)

    def view(self) -> dict[str, object]:
        """How the listening is, for `status`."""
        health = self.traffic.health
        return {
            "share": health.share,
            "loud": health.loud,
            "cost": health.cost,
            "events": health.events,
            "waiting": health.waiting,
            "lost": health.lost,
            "passed_over": health.passed_over,
            "unsent": health.unsent,
            "nameless": health.nameless,
            "given_up": health.given_up,
            "findings": self.findings,
            "remembered": dict(self._stage.counts),
            "last_finding": time_text(self._read) if self._read else None,
        }

    def close(self) -> None:
        """The meter stays: whoever started it ends it."""


class Counters:
    """How much each cap has kept back of each source, by the kernel's own counters: the log tells
    of a few packets a second only. Asked for only after packets were kept back."""

    def __init__(self, state_of: StateOf | None) -> None:
        self._state_of = state_of
        # What was kept back before we began to listen is nobody's news.
        self._known = _sums(self._ask(0))
        self._asked: Micros = 0
        self._earned: Micros = 0
        self._saved: Micros = COUNT_SAVED

    def whole(self, cuts: Sequence[Cut], now: Micros) -> list[Cut]:
        """The cuts with all packets that were kept back, where that is known."""
        if not any(map(_counted, cuts)):
            return list(cuts)
        if not self._may_ask(now, COUNT_AGAIN if _pressing(cuts) else COUNT_RATES):
            for cut in cuts:
                key = cut.source, cut.what
                if key in self._known:
                    self._known[key] += cut.packets  # so that it counts once
            return list(cuts)
        fresh = self._fresh(now)
        found = []
        for cut in cuts:
            more = fresh.pop((cut.source, cut.what), 0)
            found.append(cut._replace(packets=max(cut.packets, more)))
        # Who was not logged this time (the log is limited) keeps what has gathered for the next.
        for key, packets in fresh.items():
            self._known[key] -= packets
        return found

    def _may_ask(self, now: Micros, every: Micros) -> bool:
        earned, self._earned = max(0, now - self._earned) // COUNT_SHARE, now
        self._saved = min(COUNT_SAVED, self._saved + earned)
        return self._saved > 0 and not 0 <= now - self._asked < every

    def _fresh(self, now: Micros) -> dict[tuple[Subject, str], int]:
        """Packets since last asked."""
        began = time.thread_time()
        capped = self._ask(now)
        # The keeper, which reads the kernel's sets, takes about as much as we do.
        took = int((time.thread_time() - began) * 2 * SECOND)
        self._saved, self._asked = self._saved - took, now
        before, self._known = self._known, _sums(capped)
        return {
            key: packets - before.get(key, 0) if packets >= before.get(key, 0) else packets
            for key, packets in self._known.items()
        }

    def _ask(self, now: Micros) -> Sequence[Capped]:
        if self._state_of is None:
            return ()
        try:
            return self._state_of(now).capped
        except GateError:  # said by whoever keeps the gate in step
            return ()


def _sums(capped: Iterable[Capped]) -> dict[tuple[Subject, str], int]:
    found: dict[tuple[Subject, str], int] = {}
    for one in capped:
        key = one.subject, one.what
        found[key] = found.get(key, 0) + one.packets
    return found


def _counted(cut: Cut) -> bool:
    return cut.what in ("destinations", "syn", "udp", "smtp")


def _pressing(cuts: Sequence[Cut]) -> bool:
    """Whether somebody may have to be cut off within a second."""
    return any(cut.what == "destinations" for cut in cuts)


def _left_out(health: MeterHealth) -> str:
    """What was not listened to, or lost on the way; "" where that is nothing."""
    parts = []
    if health.share < 1:
        parts.append(
            f"so much begins that {health.share:.1%} of the sources are listened to, others every"
            " ten seconds"
        )
    if health.loud:
        parts.append(f"{health.loud} loud sources are heard in part")
    if health.lost or health.unsent:
        parts.append(f"{health.lost + health.unsent} events were lost, nobody is blamed for these")
    return "; ".join(parts)
