"""Measured figures in a page of docs, and what they come to for a fleet of 15,000.

Touches the page it is given, between two marks. Limits: a straight line through what was measured
with 10 and with 1,000 hosts, half as much again where a call more is needed, and no more than that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bench import fleettable
from bench.fleettable import Figures

BEGIN, END = "<!-- measured -->", "<!-- end of measured -->"
MANY, ROUNDS, EVENTS, DECISIONS = 15_000, 5, 10, 40
"""Hosts, and of each rounds and events a second; decisions a second of the whole fleet."""
_FULL = 50.0  # percent of a processor that a server is planned for


class Slope(NamedTuple):
    """What a host more costs one server: microseconds a round, and bytes of each decision; and what
    an event costs, in microseconds."""

    round: float
    event: float
    decision: float


def slope(found: Sequence[Figures]) -> Slope | None:
    """The line through the smallest and the largest fleet on one server; None without both."""
    first = found[0].cell.spread if found else 0
    usable = [
        one for one in found if not one.void and not one.missed and one.cell[1:] == (first, 1, 1)
    ]
    if not usable:
        return None
    small = min(usable, key=lambda one: one.cell.agents)
    large = max(usable, key=lambda one: one.cell.agents)
    if large.cell.agents < 10 * small.cell.agents:
        return None  # what lies between is noise
    more = large.cell.agents - small.cell.agents
    each = (large.servers[0] - small.servers[0]) / 100 / more / ROUNDS * 1e6
    rate = 10_000
    rounds = small.cell.agents * ROUNDS * each / 1e6
    event = (small.servers[0] / 100 - rounds) / rate * 1e6
    decided = (large.given - small.given) * rate / DECISIONS / more
    return Slope(each, event, decided)


def arithmetic(found: Sequence[Figures], signing: tuple[float, float]) -> str:
    """What it comes to for many, line by line."""
    line = slope(found)
    if line is None:
        return "Not enough was measured to say what more hosts would take."
    rounds, events = MANY * ROUNDS, MANY * EVENTS
    talking, counting = rounds * line.round / 1e6, events * line.event / 1e6
    primaries = math.ceil((talking + counting) / _FULL * 100)
    copies = math.ceil(talking / _FULL * 100)
    given = MANY * DECISIONS * line.decision / 1e6
    own = DECISIONS * line.decision / 1000
    share = DECISIONS * signing[1] / 1e4
    rows = [
        f"A round of a host takes {line.round:.0f} us of a server, an event {line.event:.0f} us,"
        f" and a decision {line.decision:.0f} bytes to each host.",
        f"{MANY:,} hosts: {rounds:,} rounds and, with {EVENTS} events a second each, {events:,}"
        f" events a second. {rounds:,} x {line.round:.0f} us + {events:,} x {line.event:.0f} us ="
        f" {talking:.1f} + {counting:.1f} = {talking + counting:.1f} processors: {primaries}"
        f" primaries at {_FULL:.0f} %.",
        f"All decisions are in one slot. Read from its primary they would be {rounds:,} x"
        f" {line.round:.0f} us = {talking:.1f} processors of one server, which uses one:"
        f' `read = "replica"`, and {copies} replicas of that primary, at {_FULL:.0f} %.',
        f"{DECISIONS} decisions a second: {MANY:,} x {DECISIONS} x {line.decision:.0f} B ="
        f" {given:.0f} MB/s from all replicas together, {own:.1f} kB/s to each host.",
        f"Each host verifies {DECISIONS} signatures a second, {share:.2f} % of a processor, however"
        f" many counted; of 600 decisions a second {share * 15:.1f} %.",
    ]
    return "\n".join(f"* {row}" for row in rows)


def write(page: Path, found: Sequence[Figures], signing: tuple[float, float]) -> None:
    """Put the figures between the marks."""
    text = page.read_text("utf-8")
    before, _begin, rest = text.partition(BEGIN)
    _old, _end, after = rest.partition(END)
    table = fleettable.markdown(found, signing)
    middle = f"\n\n{table}\n### To {MANY:,} hosts\n\n{arithmetic(found, signing)}\n\n"
    page.write_text(f"{before}{BEGIN}{middle}{END}{after}", "utf-8")
