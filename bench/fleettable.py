"""Figures of a fleet, and how they are shown: as text, as Markdown, beside what is promised.

Touches nothing. Limits: what is shown of several runs is each of them; nothing is averaged.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from bench import fleetagents, report
from tidegate.fleet.trust import keys

MOST_STOLEN = 5.0
"""Percent of the processors that the hypervisor may take away, or a run says nothing."""
MOST_OTHERS = 30.0
"""Percent of one processor that other programs may use, likewise."""
P50, P99, SERVER, TAKEN, GIVEN = 300, 1000, 50, 150, 600
"""What is promised for a fleet on one server: milliseconds, percent of a processor, bytes."""


class Cell(NamedTuple):
    """What to measure: so many hosts, each attacker at so many of them, so many primaries, and how
    many hosts each asks for."""

    agents: int
    spread: int
    primaries: int = 1
    min_hosts: int = 1

    @property
    def name(self) -> str:
        """How it is called in the table."""
        where = "1 server" if self.primaries == 1 else f"{self.primaries} + {self.primaries}"
        asks = f", min-hosts {self.min_hosts}" if self.min_hosts > 1 else ""
        return f"{self.agents} hosts, attacker at {self.spread}, {where}{asks}"


class Figures(NamedTuple):
    """What came of it. Shares are percent of one processor; `everywhere`: milliseconds from the
    engine's crossing to the last host, at the median and for 99 of 100."""

    cell: Cell
    stolen: float
    others: float
    decided: int
    missed: int
    everywhere: tuple[float, float]
    servers: tuple[float, ...]
    hosts: float
    taken: float
    given: float
    verified: int
    looked: int
    seconds: float
    late: float
    troubles: dict[str, int]

    @property
    def void(self) -> bool:
        """Whether it says nothing."""
        return self.stolen > MOST_STOLEN or self.others > MOST_OTHERS


PREFACE = """\
Servers, hosts in {processes} processes, and their load on {processors} processors of this machine:
real servers, the real client; 10,000 events a second of 50,000 addresses, 40 attackers a second,
each seen by as many hosts as the run says. What is the same on each host is worked out once per
process (the judging of signatures, the reading of messages, certificates); nobody looks for
garbage."""

HEAD = (
    "run", "steal %", "others %", "decided", "missed", "p50 ms", "p99 ms", "server %", "replica %",
    "hosts %", "B in", "B out", "late ms", "",
)  # fmt: skip


def misses(one: Figures) -> list[str]:
    """What of the promise a run misses; runs of clusters promise the times alone."""
    found = [
        ("decisions", one.missed, 0), ("p50", one.everywhere[0], P50),
        ("p99", one.everywhere[1], P99),
    ]  # fmt: skip
    if one.cell.primaries == 1:
        found += [("server", one.servers[0], SERVER), ("in", one.taken, TAKEN)]
        found += [("out", one.given, GIVEN)]
    return [name for name, value, most in found if not value <= most]


def row(one: Figures) -> list[str]:
    """A run as a row of the table."""
    primaries = one.servers[: one.cell.primaries]
    replicas = one.servers[one.cell.primaries :]
    verdict = "void" if one.void else "MISS: " + ", ".join(misses(one)) if misses(one) else "ok"
    return [
        one.cell.name, f"{one.stolen:.1f}", f"{one.others:.0f}", str(one.decided), str(one.missed),
        f"{one.everywhere[0]:.0f}", f"{one.everywhere[1]:.0f}",
        " + ".join(f"{each:.0f}" for each in primaries),
        " + ".join(f"{each:.0f}" for each in replicas),
        f"{one.hosts:.0f}", f"{one.taken:.0f}", f"{one.given:.0f}", f"{one.late:.0f}", verdict,
    ]  # fmt: skip


def line(one: Figures) -> str:
    """A run, as soon as it is over."""
    told = ", ".join(
        f"{name} {value}"
        for name, value in zip(HEAD[1:], row(one)[1:], strict=True)
        if value and name
    )
    troubles = "; ".join(f"{name}: {number}" for name, number in sorted(one.troubles.items()))
    verdict = row(one)[-1]
    return f"{one.cell.name}: {told}; {verdict}" + (f" ({troubles})" if troubles else "")


def text(found: Sequence[Figures]) -> str:
    """All runs."""
    return report.columns(HEAD, [row(one) for one in found])


def markdown(found: Sequence[Figures], signing: tuple[float, float]) -> str:
    """All runs, to be pasted into a page."""
    lines = ["| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
    lines += ["| " + " | ".join(row(one)) + " |" for one in found]
    return "\n".join([*lines, "", signatures(found, signing), ""])


def signing() -> tuple[float, float]:
    """Microseconds to sign a message of a fleet, and to verify it: the best of many."""
    signer, said = fleetagents.signer("somebody"), bytes(150)
    signed = signer.sign(said)
    best = []
    for work in (lambda: signer.sign(said), lambda: keys.verify(signer.public, said, signed)):
        times = []
        for _ in range(300):
            began = time.perf_counter()
            work()
            times.append(time.perf_counter() - began)
        best.append(min(times) * 1e6)
    return best[0], best[1]


def signatures(found: Sequence[Figures], cost: tuple[float, float]) -> str:
    """What signatures would cost each host, which the runs above do once per process."""
    lines = [f"Signing takes {cost[0]:.0f} us and verifying {cost[1]:.0f} us (the best of 300)."]
    for one in {each.cell: each for each in found if not each.void}.values():
        looked = one.looked / one.cell.agents / one.seconds
        share = looked * cost[1] / 1e4
        lines.append(
            f"{one.cell.name}: each host verifies {looked:.1f} a second, {share:.2f} % of a"
            f" processor; here {one.verified:,} of {one.looked:,} were, the others remembered."
        )
    return "\n".join(f"* {line}" for line in lines)
