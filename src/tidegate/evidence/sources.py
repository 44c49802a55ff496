"""What is known of one source of traffic, and what is waiting to be judged of it.

Touches nothing. Limits: one backlog a cap or filter, one note a kind of finding; destinations are
bounded by its walk.
"""

from __future__ import annotations

from tidegate.evidence.throttle import Backlog
from tidegate.evidence.walk import Walk
from tidegate.model import Micros, Subject


class Source:
    """One governed source, and what is waiting to be judged of it."""

    __slots__ = ("backlogs", "by", "irc", "said", "second", "spared", "subject", "walk")

    def __init__(self, subject: Subject, now: Micros, *, spared: bool) -> None:
        self.subject = subject
        self.spared = spared
        self.walk = Walk(now)
        self.backlogs: dict[str, Backlog] = {}
        self.by: tuple[Micros, str] = (0, "")  # the program behind its last cut
        self.irc: Micros | None = None  # seen to speak it, then
        self.said: dict[str, Micros] = {}
        self.second: tuple[Micros, int] = (0, 0)  # packets kept back in this second
