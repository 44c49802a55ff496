"""The incidents of this host: found in the ledger whenever somebody asks, and a key for pseudonyms.

Touches the ledger that it is handed, to read; to write only what people say of an incident.
Limits: as far back as decisions are kept; of bans the latest `MOST_CLOSINGS`; for `status` what
goes on now is looked up at most every `FRESH`, and costs the loop no more than a twentieth.
"""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Collection, Iterable, Iterator

from tidegate.daemon.gathered import Gathered
from tidegate.daemon.redaction import KEY_BYTES, Plain, Pseudonyms, public_number
from tidegate.decision.downtime import Downtime, downtime
from tidegate.decision.incidents import QUIET, WITHIN, Closing, Incident, incidents
from tidegate.ledger.port import Ledger, Remark
from tidegate.model import DAY, MINUTE, SECOND, Change, Micros
from tidegate.policy.models import Policy

PART = "incidents"
"""The name of this part of the daemon's memory."""
MOST_CLOSINGS = 100_000
MOST_REMARKS = 100
FRESH: Micros = 5 * SECOND
FIRST_LOOK: Micros = 2 * DAY
"""So far back `status` looks for what goes on, until it knows where to begin."""
_LEAST_SPELLED = 4


class Incidents:
    """What is remembered between two questions, and over a restart."""

    part = PART

    def __init__(self) -> None:
        self._key = b""
        self._since: Micros = 0  # whatever goes on now began after that
        self._dirty: set[str] = set()
        self._open: list[Incident] = []
        self._looked: Micros = 0
        self._patience: Micros = 0

    # -- finding ------------------------------------------------------------------------------

    def all(
        self, ledger: Ledger, policy: Policy, shut: Collection[str], now: Micros, since: Micros = 0
    ) -> list[Incident]:
        """Every incident since then, the newest first, as the ledger has it now."""
        found, _closings = _walk(ledger, policy, shut, now, since)
        return found

    def open_now(
        self, ledger: Ledger, policy: Policy, shut: Collection[str], now: Micros
    ) -> list[Incident]:
        """Those that go on, for `status`: some seconds old at most."""
        if not 0 <= now - self._looked < self._patience:
            began = time.perf_counter()
            since = self._since or now - FIRST_LOOK
            found, closings = _walk(ledger, policy, shut, now, since)
            self._open = [one for one in found if one.is_open(now)]
            self._remember(found, closings, now)
            cost = int((time.perf_counter() - began) * SECOND)
            self._looked, self._patience = now, max(FRESH, 20 * cost)
        return [one for one in self._open if one.is_open(now)]

    def find(self, spelled: str, known: Iterable[Incident]) -> list[Incident]:
        """Whose id begins so: its own, its public one, or that of a decision of it."""
        if len(spelled) < _LEAST_SPELLED:
            return []
        found = []
        for one in known:
            numbers = (one.id, public_number(self.key, one.id))
            if spelled in numbers:
                return [one]
            decisions = (closing.id for closing in one.closings)
            if any(number.startswith(spelled) for number in (*numbers, *decisions)):
                found.append(one)
        return found

    @staticmethod
    def downtime(
        ledger: Ledger, policy: Policy, shut: Collection[str], now: Micros,
        first: Micros, last: Micros,
    ) -> list[Downtime]:  # fmt: skip
        """How long what was closed in a stretch of time, up to now at most."""
        gathered = Gathered(policy, shut, now)
        return downtime(gathered.closings(ledger.deeds(0)), first, min(last, now))

    # -- what people say ----------------------------------------------------------------------

    @staticmethod
    def remarks(ledger: Ledger, incident: Incident) -> list[Remark]:
        """What was said of it, the oldest first."""
        own = {one.id for one in incident.closings}
        return [one for one in ledger.remarks() if one.number in own]

    @staticmethod
    def remark(ledger: Ledger, incident: Incident, now: Micros, by: str, text: str) -> bool:
        """Keep what somebody says, with the decision of it that is kept the longest."""
        latest = max(incident.closings, key=lambda one: (one.end or one.start, one.start, one.id))
        return ledger.remark(Remark(now, by, text, latest.id))

    # -- names --------------------------------------------------------------------------------

    @property
    def key(self) -> bytes:
        """What pseudonyms are made with; this host's alone."""
        if len(self._key) != KEY_BYTES:
            self._key = secrets.token_bytes(KEY_BYTES)
            self._dirty.add("key")
        return self._key

    def names(self, incident: Incident, public: bool) -> Plain:
        """How those in it are named, for the public or for us."""
        return Pseudonyms(self.key, incident.id) if public else Plain()

    # -- memory -------------------------------------------------------------------------------

    def changes(self) -> Iterator[Change]:
        """What changed since the last call, for a checkpoint."""
        dirty, self._dirty = self._dirty, set()
        if "key" in dirty:
            yield Change(PART, "key", self._key)
        if "since" in dirty:
            yield Change(PART, "since", self._since.to_bytes(8, "big"))

    def restore(self, change: Change) -> bool:
        """Take back one saved change; False if it is not ours."""
        if change.part != PART or change.value is None:
            return False
        if change.key == "key":
            self._key = change.value
        elif change.key == "since":
            self._since = int.from_bytes(change.value[:8], "big")
        return True

    def _remember(
        self, found: Iterable[Incident], closings: Iterable[Closing], now: Micros
    ) -> None:
        """From where on to look the next time: before everything that may still go on."""
        recent = now - QUIET - WITHIN
        starts = [one.start for one in found if one.end is None or one.end >= recent]
        starts += [
            one.start
            for one in closings
            if one.cause.sort != "wave" and (one.end is None or one.end >= recent)
        ]
        since = min([recent, *starts]) - 1
        if since > self._since + MINUTE or since < self._since:
            self._since = max(0, since)
            self._dirty.add("since")


def _walk(
    ledger: Ledger, policy: Policy, shut: Collection[str], now: Micros, since: Micros
) -> tuple[list[Incident], deque[Closing]]:
    gathered = Gathered(policy, shut, now)
    closings = deque(gathered.closings(ledger.deeds(since)), maxlen=MOST_CLOSINGS)
    return incidents(closings, gathered.mishaps), closings
