"""The keeper's part for gates of guards: which may be closed by policy, and who answers there.

Touches the gate and the responder that it is given. What the watcher says is hostile until judged.
Limits: names and ends only; what a gate is, policy alone says.
"""

from __future__ import annotations

from collections.abc import Sequence

from tidegate.frames import Frame, Malformed
from tidegate.gate.doors import deferring
from tidegate.gate.port import Gate
from tidegate.gate.smtp421 import Responder
from tidegate.model import GateReport, Micros
from tidegate.policy.guards import GateSpec

MOST_GATES = 1_000
"""Gates that one frame may name."""


class Doorman:
    """Closes and opens what policy has; has somebody at hand who tells senders to come back."""

    def __init__(self, gate: Gate, responder: Responder | None) -> None:
        self._gate, self._responder = gate, responder
        self._deferring: frozenset[str] = frozenset()

    def tick(self, specs: Sequence[GateSpec], off: bool) -> None:
        """Start the responder where policy has a gate for it, or end it; each second."""
        self._deferring = deferring(specs)
        if self._responder is not None:
            self._responder.tick(bool(self._deferring) and not off)

    def close(self) -> None:
        """End the responder."""
        if self._responder is not None:
            self._responder.close()

    def switch(self, frame: Frame, now: Micros) -> Frame:
        """Carry out `switch`. Raises Malformed where it is none, and GateError."""
        closed = frame.get("closed")
        if (
            not isinstance(closed, dict)
            or len(closed) > MOST_GATES
            or any(until.__class__ is not int for until in closed.values())
        ):
            raise Malformed("closed must say of gates until when")
        return {"reports": [self._told(one) for one in self._gate.switch(closed, now)]}

    def _told(self, report: GateReport) -> GateReport:
        if self._responder is None or not self._responder.why or report.state != "closed":
            return report
        if report.gate not in self._deferring:
            return report
        return report._replace(detail=f"{self._responder.why}; connections are refused")
