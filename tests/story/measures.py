"""What is measured of a part of a story with mail: good messages a minute, their delay, who made the load.

Touches nothing but the log it is given. Limits: times are those of one clock, CLOCK_MONOTONIC.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from tests.story.exim import Exim

SERVED = ("viruses", "bounces", "accepted")
"""Lines that stand for a session that was let in."""
Letters = Sequence[Mapping[str, Any]]
"""Good messages: `born`, `done` (seconds), `tries`."""


@dataclass
class Part:
    """From when to when it played (seconds), and from where to where in exim's log (bytes)."""

    name: str
    begin: float
    start: int
    end: float = 0.0
    stop: int = 0


def rate(part: Part, letters: Letters) -> float:
    """Good messages delivered a minute."""
    arrived = sum(part.begin <= row["done"] < part.end for row in letters)
    return arrived / (part.end - part.begin) * 60


def delay(part: Part, letters: Letters) -> tuple[float, float]:
    """Median and 95th percentile of how long what was sent in that part took; seconds."""
    took = [row["done"] - row["born"] for row in letters if part.begin <= row["born"] < part.end]
    return statistics.median(took), statistics.quantiles(took, n=20)[-1]


def share(exim: Exim, part: Part, relays: Set[str]) -> tuple[float, float]:
    """What null senders made: of the sessions that were let in, and of the lines; 0 to 1."""
    rows = exim.lines(part.start, part.stop)
    served = [row.what for row in rows if row.what in SERVED]
    theirs = sum(row.address in relays for row in rows)
    return served.count("bounces") / max(1, len(served)), theirs / max(1, len(rows))
