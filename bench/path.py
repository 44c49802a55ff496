"""The whole path (read, detect, count, decide) beside ripgrep, fail2ban and sshguard.

Touches the folder it is given, where logs are made and removed again. A figure is the cost of one
more million lines: large minus small log, so that start-up falls out. Limits: fail2ban and sshguard
are given fewer lines, since they need minutes for a million, and never an exported journal: there
the figures of the syslog with the same messages stand in for theirs.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bench import logs, patterns, rivals, tidegate
from bench.logs import Shape
from bench.report import Figure, Row, ratio

SHARES = (0.0, 0.02, 0.5, 1.0)


@dataclass(slots=True)
class Sizes:
    """Lines in the small and the large log, for each that is measured; how often."""

    own: tuple[int, int] = (1_000_000, 3_000_000)
    fail2ban: tuple[int, int] = (20_000, 60_000)
    sshguard: tuple[int, int] = (100_000, 300_000)
    sshguard_attacked: tuple[int, int] = (4_000, 12_000)
    runs: int = 3


QUICK = Sizes((250_000, 1_000_000), (5_000, 15_000), (20_000, 60_000), (2_000, 6_000), 1)


@dataclass(slots=True)
class Bench:
    """One session: where logs stand, what is left out, what was found so far."""

    folder: Path
    sizes: Sizes
    with_rivals: bool = True
    say: Callable[[str], None] = print
    rival_rows: dict[Shape, Row] = field(default_factory=dict)


def shapes(kinds: tuple[str, ...], shares: tuple[float, ...]) -> list[Shape]:
    """Every log to measure; one that is all abuse has no room for successes."""
    return [
        Shape(kind, share, success)
        for kind in kinds
        for share in shares
        for success in ((False, True) if share < 1 else (False,))
    ]


def title(shape: Shape) -> str:
    """`exim 2 %, with successes`."""
    with_or_without = "" if shape.share == 1 else ", successes" if shape.success else ""
    return f"{shape.kind} {shape.share:.0%}{with_or_without}"


def marginal(
    bench: Bench, shape: Shape, sizes: tuple[int, int], cost: Callable[[Path], float]
) -> float:
    """Cost per million lines: the median over the runs of (large - small), never of one of them."""
    small, large = (bench.folder / f"{shape.kind}-{size}.log" for size in sizes)
    for path, size in zip((small, large), sizes, strict=True):
        logs.write(path, shape, size)
    try:
        differences = [cost(large) - cost(small) for _ in range(bench.sizes.runs)]
    finally:
        small.unlink()
        large.unlink()
    return statistics.median(differences) / (sizes[1] - sizes[0]) * 1e6


def both(bench: Bench, shape: Shape) -> tuple[float | None, float, str]:
    """Tidegate and ripgrep, in turns on the same files: costs per million, lines found."""
    said = patterns.for_ripgrep(shape.kind)
    configuration = tidegate.policy(bench.folder)
    own_works = not tidegate.missing()
    own: dict[str, list[float]] = {}
    found = 0

    def ripgrep(log: Path) -> float:
        nonlocal found
        if own_works:
            own.setdefault(log.name, []).append(tidegate.replay(log, configuration).cpu)
        cpu, lines = rivals.ripgrep(said, log, bench.folder)
        found = max(found, lines)
        return cpu

    other = marginal(bench, shape, bench.sizes.own, ripgrep)
    if not own_works:
        return None, other, f"{found:,} rg"
    large, small = own.values()
    differences = [more - less for more, less in zip(large, small, strict=True)]
    size = bench.sizes.own
    return statistics.median(differences) / (size[1] - size[0]) * 1e6, other, f"{found:,} rg"


def rival_costs(bench: Bench, shape: Shape) -> Row:
    """fail2ban, sshguard and sshguard's parser alone on the log of this shape."""
    shape = shape._replace(kind="sshd") if shape.kind == "journal" else shape
    if shape not in bench.rival_rows:
        pipe_sizes = bench.sizes.sshguard_attacked if shape.share >= 0.5 else bench.sizes.sshguard
        fail2ban = marginal(
            bench,
            shape,
            bench.sizes.fail2ban,
            lambda log: rivals.fail2ban(shape.kind, log, bench.folder)[0],
        )
        pipe = marginal(bench, shape, pipe_sizes, rivals.sshguard)
        parser = marginal(bench, shape, bench.sizes.sshguard, rivals.sshguard_parser)
        bench.rival_rows[shape] = Row(title(shape), None, None, fail2ban, pipe, parser, "")
    return bench.rival_rows[shape]


def measure_all(
    bench: Bench, kinds: tuple[str, ...], shares: tuple[float, ...] = SHARES
) -> tuple[list[Row], list[Figure]]:
    """A row for every log, and the ratios that something is expected of."""
    rows, figures = [], []
    for shape in shapes(kinds, shares):
        bench.say(f"whole path: {title(shape)}")
        own, other, found = both(bench, shape)
        rival = rival_costs(bench, shape) if bench.with_rivals else None
        row = Row(
            title(shape),
            own,
            other,
            rival.fail2ban if rival else None,
            rival.sshguard if rival else None,
            rival.parser if rival else None,
            found,
        )
        rows.append(row)
        figures += expectations(shape, row)
    return rows, figures


def expectations(shape: Shape, row: Row) -> list[Figure]:
    """At 2 % beside ripgrep and fail2ban, at 100 % beside sshguard and fail2ban."""

    def part(other: str, value: float | None, bound: float) -> Figure:
        return Figure("path", f"{row.log}, part of {other}", ratio(row.tidegate, value), "", bound)

    if shape.share == 0.02:
        least, most = (1.5, 1 / 60) if shape.success else (1.0, 1 / 100)
        return [part("ripgrep", row.ripgrep, least), part("fail2ban", row.fail2ban, most)]
    if shape.share == 1:
        return [part("sshguard", row.sshguard, 1 / 2), part("fail2ban", row.fail2ban, 1 / 25)]
    return []
