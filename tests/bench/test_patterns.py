"""What ripgrep is told matches what the detectors match, and is a pattern its engine has."""

from __future__ import annotations

import re

import pytest

from bench import patterns
from tidegate.detector.pack import load_packs
from tidegate.detector.pattern import SLOTS


@pytest.mark.parametrize(
    ("python", "plain"),
    [
        (r"(?P<user>\S+) x", r"(?:\S+) x"),
        (SLOTS["host"], "[0-9A-Za-z_.:-]+"),
        (r"a(?!b(c)d)e(?<=x)f", "aef"),
        (r"[^)(\]]{1,253}a{2,3}b{0,64}c{3,99}", r"[^)(\]]+a{2,3}b*c{3,}"),
        (r"\S++ a*+b", r"\S+ a*b"),
        (r"(?P<q>\")?(?(q)x|y)(?P=q)", r"(?:\")?(?:x|y)?.*"),
        (r"\(\{1,99\}", r"\(\{1,99\}"),
    ],
)
def test_what_costs_a_scanner_is_taken_off(python: str, plain: str) -> None:
    assert patterns.plain(python) == plain


def test_every_example_line_is_found() -> None:
    """Python reads these patterns as Rust does; the headers differ, so the message is tried."""
    for pack in load_packs():
        for detector in pack.detectors:
            said = re.compile(patterns.plain(detector.pattern.decode("latin-1")), re.ASCII)
            for example in detector.match:
                if "%" not in example.line and "message repeated" not in example.line:
                    lines = example.line.splitlines()
                    tails = (line[at:] for line in lines for at in range(len(line)))
                    assert any(map(said.fullmatch, tails)), (detector.name, example.line)
