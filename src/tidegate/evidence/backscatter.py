"""Backscatter: what innocent hosts send back to forged senders, as a share of what was seen.

Touches nothing. Bounces to people who do not exist weigh nothing for bans; they are load all the
same, and somebody should see how much. Limits: what was refused; a bounce that was taken is mail.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

KIND = "bounce_refused"


class Share(NamedTuple):
    """So many events, and their part of all events and successes of the same services."""

    count: int  # type: ignore[assignment]  # the word is ours, not tuple.count
    part: float


def share(kinds: Mapping[str, int], successes: int = 0) -> Share:
    """The bounces among events by kind; `successes` are those of the same services."""
    services = {kind.partition(".")[0] for kind in kinds if kind.endswith(f".{KIND}")}
    bounces = sum(count for kind, count in kinds.items() if kind.endswith(f".{KIND}"))
    everything = sum(count for kind, count in kinds.items() if kind.partition(".")[0] in services)
    everything += successes if services else 0
    return Share(bounces, bounces / everything if everything else 0.0)
