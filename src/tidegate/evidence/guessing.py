"""Guessing of passwords, by its flows: many connections to one login port, each over in no time.

Touches nothing. Somebody who logs in stays, and moves more than a failed login; whoever only looks
whether the port is there moves less. After Hofstede, Hendriks, Sperotto and Pras (SSH Compromise
Detection Using NetFlow/IPFIX, ACM CCR 44(5), 2014), who look for alike flows of 11 to 51 packets.
A finished handshake can't be forged, so this names an address. Limits: `PAIRS` pairs of source and
service; automation that logs in again and again within minutes looks alike: allow it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tidegate.evidence.finding import Finding, endpoint, span_text
from tidegate.evidence.generations import Generations
from tidegate.model import MINUTE, Micros, Subject
from tidegate.traffic import Flow

PORTS = frozenset((21, 22, 23, 2222, 3389, 5900))
MANY = 10
WITHIN = 5 * MINUTE
FEWEST, MOST = 8, 64
"""Packets from the client of one that failed; more is a session, fewer a look at the port."""
LONGEST = MINUTE
PAIRS = 8192

_TCP, _ENDED, _ACK = 6, 0b101, 16


class _Tries:
    """The last short connections of one source to one service: when, and from which port."""

    __slots__ = ("times",)

    def __init__(self) -> None:
        self.times: list[tuple[Micros, int]] = []


class Guessing:
    """Tells guessers from users. `governs`: whether an address is one of ours."""

    def __init__(self, governs: Callable[[str], bool], subject: Callable[[str], Subject]) -> None:
        self._governs, self._subject = governs, subject
        self._tries: Generations[_Tries] = Generations(PAIRS, WITHIN)

    @property
    def counts(self) -> dict[str, int]:
        """How much is remembered, and how often something had to go early."""
        return {"pairs": len(self._tries), "evicted": self._tries.evicted}

    def feed(self, flows: Iterable[Flow], now: Micros) -> list[Finding]:
        """Take these in; who guesses."""
        found = []
        for flow in sorted(flows, key=lambda one: (one.last, one)):
            if flow.protocol == _TCP and flow.port in PORTS and flow.source_port not in PORTS:
                finding = self._look(flow, now)
                if finding is not None:
                    found.append(finding)
        self._tries.turn(now)
        return found

    def _look(self, flow: Flow, now: Micros) -> Finding | None:
        name = f"{flow.source} {flow.destination} {flow.port}"
        tries = self._tries.get(name)
        if flow.packets > MOST or flow.last - flow.first > LONGEST:
            if tries is not None:
                tries.times.clear()  # a session: whoever has one knows a password
            return None
        ended = not flow.flags or (flow.flags & _ENDED and flow.flags & _ACK)
        if flow.packets < FEWEST or not ended:
            return None
        if tries is None:
            tries = _Tries()
            self._tries.put(name, tries, now)
        if any(port == flow.source_port for _time, port in tries.times):
            return None  # the same connection once more, by another exporter or interface
        tries.times = [*tries.times[-MANY + 1 :], (flow.last, flow.source_port)]
        first, last = tries.times[0][0], tries.times[-1][0]
        if len(tries.times) < MANY or last - first > WITHIN:
            return None
        tries.times.clear()
        where = endpoint(flow.destination, flow.port, flow.protocol)
        text = f"{MANY} short connections to {where} in {span_text(last - first)}, none a session"
        kind = "outward.guessing" if self._governs(flow.source) else "inward.guessing"
        time = min(max(last, now - WITHIN), now)
        subject = self._subject(flow.source)
        return Finding(time, kind, subject, text)  # type: ignore[arg-type]
