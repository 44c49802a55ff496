"""Whether every line that a pattern can match holds one of its literals."""

from __future__ import annotations

import pytest

from tidegate.detector.pattern import faults


@pytest.mark.parametrize(
    ("pattern", "literals"),
    [
        (r"a literal b", ["literal"]),
        (r"a (?:literal|other) b", ["literal", "other"]),
        (r"rejected (?:RCPT|DATA) by", ["rejected RCPT", "rejected DATA"]),
        (r"(?:x )?literal(?: y)?", ["literal"]),
        (r"(?:literal ){2,}", ["literal"]),
        (r"(?P<g>lit[e]ral)", ["literal"]),
        (r"[Ll]iteral", ["Literal", "literal"]),
        (r"(?i:x) literal", ["literal"]),
        (r"[abcd][abcd][abcd][abcd][abcd][abcd] literal", ["literal"]),
        (
            r"literal (?:a|b|c)? (?:d|e|f)? (?:g|h|i)? [a-z]+ (?:j|k)? (?:l|m)? (?:n|o)? (?:p|q)?",
            ["literal"],
        ),
        (r"literal(?!x)$", ["literal"]),
    ],
)
def test_a_literal_is_in_every_line(pattern: str, literals: list[str]) -> None:
    assert faults(pattern, literals, slot=False) == []


@pytest.mark.parametrize(
    ("pattern", "shown"),
    [
        (r"a (?:literal|other) b", "'a other b'"),
        (r"(?:literal)?b", "'b'"),
        (r"(?:literal)*b", "'…b'"),
        (r"lit.ral", "…ral'"),
        (r"lit\w*eral", "…eral'"),
        (r"(?i:literal)", "'…'"),
        (r"Literal", "'Literal'"),
        (r"(?=literal)\w+", "'…'"),
        (r"(?P<x>literal)(?P=x)|y(?P<y>a)?(?(y)literal)", "…'"),
    ],
)
def test_a_pattern_that_needs_no_literal_is_told(pattern: str, shown: str) -> None:
    said = "\n".join(faults(pattern, ["literal"], slot=False))
    assert "expected one of them in every line" in said
    assert shown in said
