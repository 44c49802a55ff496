"""What waits for one owner, and when it goes out: merged, at a pace, what was left out counted.

Touches nothing: told the time. Limits: `MOST` things wait; of more the warnings are left out first,
then who was cut off, the oldest first, and returns at last; how many those were is said.
"""

from __future__ import annotations

import json
from collections import Counter

from tidegate.daemon.owner_text import News
from tidegate.model import MINUTE, SECOND, Micros

PACE: Micros = 10 * MINUTE
SOON: Micros = 2 * SECOND
"""So long what is cut off waits for others that are cut at the same time."""
GRACE: Micros = 10 * SECOND
"""So long a warning waits: who is cut off within that time is told so instead."""
MOST = 20
_MATTERS = {"warned": 0, "cut": 1, "back": 2}
_WAITS: dict[str, Micros] = {"cut": SOON, "back": SOON, "warned": GRACE}


class Desk:
    """What waits for one owner, when the last notice went out, and how much was left out of it."""

    def __init__(self) -> None:
        self.waiting: list[News] = []
        self.sent: Micros = 0
        self.left_out = 0
        self._again: Counter[str] = Counter()  # of whose warning waits: how many more there were

    def add(self, one: News) -> None:
        """It waits, till `due`."""
        if one.what == "cut":  # who is cut off need not be told that it might be
            self.waiting = [
                old for old in self.waiting if (old.what, old.subject) != ("warned", one.subject)
            ]
            self.left_out -= self._again.pop(one.subject, 0)
        if len(self.waiting) < MOST:
            self.waiting.append(one)
            return
        self.left_out += 1
        if one.what == "warned":
            return
        order = [(_MATTERS[old.what], number) for number, old in enumerate(self.waiting)]
        del self.waiting[min(order)[1]]
        self.waiting.append(one)

    def again(self, subject: str) -> None:
        """One more warning, of somebody who was told of."""
        self.left_out += 1
        if any((old.what, old.subject) == ("warned", subject) for old in self.waiting):
            self._again[subject] += 1

    def emptied(self, now: Micros) -> None:
        """All that waited has gone out."""
        self.waiting, self.left_out, self.sent = [], 0, now
        self._again.clear()

    def due(self, now: Micros) -> bool:
        """Whether it goes out now. Also where somebody sets the clock back, it goes out."""
        if not self.waiting or 0 <= now - self.sent < PACE:
            return False
        return any(not 0 <= now - one.time < _WAITS[one.what] for one in self.waiting)

    def packed(self) -> bytes:
        """All of it, to be kept over a restart."""
        kept = {"sent": self.sent, "left_out": self.left_out, "waiting": self.waiting}
        return json.dumps(kept, separators=(",", ":")).encode("ascii")

    def unpack(self, packed: bytes) -> None:
        """Take it back; of what is damaged, nothing."""
        try:
            found = json.loads(packed)
            sent, left_out = int(found["sent"]), int(found["left_out"])
            waiting = [News.from_row(row) for row in found["waiting"]][:MOST]
        except (ValueError, TypeError, KeyError):
            return
        self.sent, self.left_out, self.waiting = sent, left_out, waiting
