"""Figures: verdicts, ratios, and a table that says `not measured` instead of guessing."""

from __future__ import annotations

import pytest
from bench.report import Figure, Row

from bench import report


@pytest.mark.parametrize(
    ("value", "bound", "verdict"),
    [(1.0, 1.0, "ok"), (1.01, 1.0, "MISS"), (5.0, None, ""), (None, 1.0, "not measured")],
)
def test_verdicts(value: float | None, bound: float | None, verdict: str) -> None:
    assert Figure("path", "x", value, "s", bound).verdict == verdict


def test_three_figures_count() -> None:
    numbers = [0.01234, 1.234, 12.34, 1234.5, None]
    assert [*map(report.number, numbers)] == ["0.012", "1.23", "12.3", "1,234", "-"]


def test_the_table_has_everybody_beside_tidegate() -> None:
    text = report.path_table([Row("exim 2%", 0.2, 0.4, 20.0, None, 5.0, "20,000 rg")])
    assert text.splitlines()[2].split() == [
        *("exim", "2%", "0.200", "0.400", "20.0", "-", "5.00", "0.500", "100", "-"),
        *("20,000", "rg"),
    ]


def test_the_verdict_stands_beside_the_figure() -> None:
    text = report.figure_table([Figure("start", "empty", 1.5, "CPU s", 1.0)])
    assert "start: empty" in text
    assert "MISS" in text
