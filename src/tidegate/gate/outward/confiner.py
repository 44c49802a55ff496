"""The keeper's part for what leaves: whose traffic may be cut off by policy, and for how long.

Touches the outward gate it is given. What the watcher says is hostile until judged: sources that
root-owned policy names, never who is spared, no longer than a ban may last. Limits: `MOST`.
"""

from __future__ import annotations

from contextlib import suppress

from tidegate.errors import GateError
from tidegate.frames import Frame, Malformed
from tidegate.gate.charter import Charter
from tidegate.gate.outward.cover import judge
from tidegate.gate.outward.port import MOST, OutwardGate, OutwardState
from tidegate.gate.port import Refusal
from tidegate.model import Micros

_NONE = "there is no outward gate here"


class Confiner:
    """Caps what policy says, cuts off whom the watcher names. `gate` None: there is none here."""

    def __init__(self, gate: OutwardGate | None, charter: Charter) -> None:
        self._gate = gate
        self._charter = charter
        if gate is not None and charter.outward is None:
            self.open_all()  # of a former policy
        self.govern(charter)

    def govern(self, charter: Charter) -> bool:
        """This policy is wanted; whether that is another one. In force with the next `confine`."""
        wanted = charter.outward, charter.spared
        changed = wanted != (self._charter.outward, self._charter.spared)
        self._charter = charter
        if self._gate is not None:
            self._gate.govern(*wanted)
        return changed

    def confine(self, frame: Frame, now: Micros) -> Frame:
        """Carry out `confine`. Raises Malformed where it is none, and GateError."""
        items = frame.get("confined")
        if items.__class__ is not list or len(items) > 2 * MOST:
            raise Malformed("confined must be a list of sources")
        gate, spec = self._gate, self._charter.outward
        if gate is None:
            raise GateError(_NONE)
        if spec is None:
            gate.confine([], now)
            said = "there is no [outward] in the policy"
            return {"refusals": [Refusal(index, said) for index in range(len(items))]}
        charter = self._charter
        fit, refusals = judge(items, spec, charter.spared, now, charter.longest)
        refused = {one.index for one in refusals}
        places = [index for index in range(len(items)) if index not in refused]
        found = gate.confine(fit, now)
        return {"refusals": [*refusals, *(Refusal(places[at], why) for at, why in found)]}

    def state(self, now: Micros) -> Frame:
        """How it stands."""
        return {"outward": OutwardState(_NONE) if self._gate is None else self._gate.state(now)}

    def drifted(self) -> bool:
        """Whether somebody else changed the table."""
        return self._gate is not None and self._gate.drifted()

    def open_all(self) -> None:
        """Nothing is capped or cut off any more."""
        if self._gate is not None:
            with suppress(GateError):  # then nothing of ours can stand there either
                self._gate.open_all()
