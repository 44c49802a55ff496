"""The desk's papers, as a member keeps and follows them: who is enrolled, and who was revoked.

Touches nothing; is told the time. Limits: what was said by a host whose certificate came later is
refused at first, and heard again once the snapshot is read to its end.
"""

from __future__ import annotations

from tidegate.fleet.decisions.accepting import Accepting
from tidegate.fleet.decisions.assembly import Assembly
from tidegate.fleet.trust.admission import Reason, Refusal
from tidegate.fleet.trust.members import LASTING
from tidegate.fleet.trust.trust import Output, Trust
from tidegate.model import MINUTE, Micros

_UNKNOWN: tuple[str, Reason] = ("", "unknown")


class Papers:
    """Papers in, and what follows from them."""

    def __init__(self, trust: Trust, assembly: Assembly, accepting: Accepting) -> None:
        self._trust, self._assembly, self._accepting = trust, assembly, accepting
        self._kept: dict[str, bytes] = {}
        self._strangers = self._enrolled = False
        self._counted = 0

    def hear(self, body: bytes, now: Micros) -> list[Output]:
        """A paper has come, whoever brought it."""
        found = self._trust.paper(body, now)
        if any(isinstance(one, Refusal) and one.reason == "busy" for one in found):
            self._assembly.read_again(now + MINUTE)
        self.keep(now)
        return found

    def keep(self, now: Micros) -> None:
        """What the desk said last is kept for an engine that loses it, and followed."""
        moved, self._trust.moved = self._trust.moved, set()
        for name in moved:
            old, new = self._kept.pop(name, b""), self._trust.roster.papers.get(name, b"")
            if old:
                self._assembly.release(old)
            if new:
                self._assembly.keep(new, LASTING)
                self._kept[name] = new
                self._enrolled |= bool(name)
        if "" in moved:
            shifts = self._assembly.follow(self._trust.roster.revoked, now)
            self._accepting.take(shifts, "revoked", now)

    def are_strangers_known(self, read: bool) -> bool:
        """Whether some of those who were refused as unknown have been enrolled by a paper that came
        later, and all is to be read again. `read`: the snapshot was, to its end."""
        refused = self._trust.refused.counts[_UNKNOWN]
        self._strangers |= refused > self._counted
        self._counted = refused
        if read and not self._strangers:
            self._enrolled = False  # who is refused from now on was not enrolled in time
        if not (self._strangers and self._enrolled and read):
            return False
        self._strangers = self._enrolled = False
        del self._trust.refused.counts[_UNKNOWN]
        self._counted = 0
        return True
