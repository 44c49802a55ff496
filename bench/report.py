"""Figures and how they are shown: one table, each figure beside what was expected of it.

Touches nothing; text comes back as a string. Limits: plain text, 100 columns or a little more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Figure(NamedTuple):
    """One measured value; `bound` is the most that is expected (None: only shown)."""

    section: str
    name: str
    value: float | None
    unit: str
    bound: float | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        """`ok`, `MISS`, or `` where nothing is expected or nothing could be measured."""
        if self.value is None:
            return "not measured"
        if self.bound is None:
            return ""
        return "ok" if self.value <= self.bound else "MISS"


class Row(NamedTuple):
    """CPU seconds per million lines on one log, everybody on the same one; None: not measured."""

    log: str
    tidegate: float | None
    ripgrep: float | None
    fail2ban: float | None
    sshguard: float | None
    parser: float | None
    found: str


def number(value: float | None) -> str:
    """Three figures that count, however large."""
    if value is None:
        return "-"
    digits = 3 if abs(value) < 1 else 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
    return f"{value:,.{digits}f}"


def columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Left-aligned first column, right-aligned others."""
    every = [head, *rows]
    widths = [max(len(row[place]) for row in every) for place in range(len(head))]
    lines = []
    for row in every:
        first = row[0].ljust(widths[0])
        rest = (text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True))
        lines.append("  ".join([first, *rest]).rstrip())
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def ratio(own: float | None, other: float | None) -> float | None:
    """Own cost as a part of another's; None where one of them is missing."""
    return own / other if own is not None and other else None


def path_table(rows: Sequence[Row]) -> str:
    """CPU seconds per million lines, and Tidegate's part of each of the others."""
    head = ["CPU s per million lines", "tidegate", "rg", "fail2ban", "sshguard", "its parser"]
    head += ["/ rg", "1/ fail2ban", "1/ sshguard", "found"]
    body = []
    for row in rows:
        costs = (row.tidegate, row.ripgrep, row.fail2ban, row.sshguard, row.parser)
        times = (ratio(row.fail2ban, row.tidegate), ratio(row.sshguard, row.tidegate))
        part = ratio(row.tidegate, row.ripgrep)
        body.append([row.log, *map(number, (*costs, part, *times)), row.found])
    return columns(head, body)


def figure_table(figures: Sequence[Figure]) -> str:
    """Every figure with its bound and the verdict."""
    body = [
        [
            f"{figure.section}: {figure.name}",
            f"{number(figure.value)} {figure.unit}".strip(),
            f"<= {number(figure.bound)}" if figure.bound is not None else "",
            figure.verdict,
            figure.note,
        ]
        for figure in figures
    ]
    return columns(("figure", "measured", "expected", "", "note"), body)
