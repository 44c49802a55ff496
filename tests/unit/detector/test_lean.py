"""A lean pattern matches exactly what the pattern it is made of matches."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.detector.lean import lean
from tidegate.detector.pack import load_packs


@pytest.mark.parametrize(
    ("pattern", "leaner"),
    [
        (rb"(?:ab)?c", rb"(?:ab|)c"),
        (rb"(?:a|b)?c", rb"(?:a|b|)c"),
        (rb"(?P<x>ab)?c(d)?", rb"(?:(?P<x>ab)|)c(?:(d)|)"),
        (rb"(?:a(?:b)?)?", rb"(?:a(?:b|)|)"),
        (rb"(?:a)??b", rb"(?:a)??b"),
        (rb"(?:a)?+b", rb"(?:a)?+b"),
        (rb"(?:a)+?(?:b)*", rb"(?:a)+?(?:b)*"),
        (rb"(?i:a)?", rb"(?i:a)?"),
        (rb"\(\)?[()]?\\?", rb"\(\)?[()]?\\?"),
        (rb"[^a]", rb"[^a]"),
        (rb"[^]a]", rb"[\x00-\x5c\x5e-\x60\x62-\xff]"),
        (rb"[^\n\\]", rb"[^\x5c]"),
        (rb"[^\n\\a]", rb"[\x00-\x09\x0b-\x5b\x5d-\x60\x62-\xff]"),
        (rb"(?i:[^ab])", rb"(?i:[^ab])"),
        (rb"(?i:a)[^\x00-\xfe]", rb"(?i:a)[\xff-\xff]"),
        (rb"[^\x00-\xff]", rb"[^\x00-\xff]"),
        (rb"(?P<i>[^ab])(?=[^cd])", rb"(?P<i>[\x00-\x60\x63-\xff])(?=[\x00-\x62\x65-\xff])"),
        (rb"(?# a comment ( )(?:a)?", rb"(?# a comment ( )(?:a)?"),
        (rb"(?P<x>a)(?:(?P=x))?(?(x)b|c)", rb"(?P<x>a)(?:(?P=x)|)(?(x)b|c)"),
        (rb"[^:\n]*[^\n]", rb"[^\x3a]*[^\n]"),
        (rb"(?!a)(?!b|c)(?!d)e", rb"(?!a|b|c|d)e"),
        (rb"(?!a(?!b)(?!c))(?=x)(?!y)(?<!z)(?!q)", rb"(?!a(?!b|c))(?=x)(?!y)(?<!z)(?!q)"),
        (rb"(?:(?!a)(?:b)?)(?!c)(?:d)?", rb"(?:(?!a)(?:b|))(?!c)(?:d|)"),
    ],
)
def test_rewriting(pattern: bytes, leaner: bytes) -> None:
    expected = leaner if b"(?#" in pattern else b"(?s)" + leaner
    assert lean(pattern) == expected
    re.compile(expected)


@st.composite
def regexes(draw: st.DrawFn, depth: int = 3) -> str:
    parts = []
    for _ in range(draw(st.integers(1, 4))):
        if depth and draw(st.booleans()):
            inner = draw(regexes(depth - 1))
            opening = draw(st.sampled_from(["(?:", "(", "(?i:", "(?=", "(?!"]))
            parts.append(f"{opening}{inner})")
        else:
            parts.append(
                draw(st.sampled_from(["a", "b", ".", "[^ab]", "[^a]", r"[^a\n]", "[ab]", r"\S"]))
            )
        if not parts[-1].startswith(("(?=", "(?!")):
            parts[-1] += draw(st.sampled_from(["", "", "?", "??", "*", "{0,2}"]))
    return draw(st.sampled_from(["", "a|"])) + "".join(parts)


@given(regexes(), st.text("aAbB .", max_size=10))
def test_it_matches_the_same(pattern: str, text: str) -> None:
    plain, leaner = re.compile(pattern.encode()), re.compile(lean(pattern.encode()))
    first, second = plain.match(text.encode()), leaner.match(text.encode())
    assert (first is None) == (second is None)
    if first and second:
        assert (first.span(), first.groups()) == (second.span(), second.groups())


def test_it_matches_the_same_for_every_shipped_pattern() -> None:
    for pack in load_packs():
        lines = [example.line for each in pack.detectors for example in each.match]
        lines += [line for each in pack.detectors for line in each.reject]
        for detector in pack.detectors:
            plain = re.compile(detector.pattern)
            leaner = re.compile(lean(detector.pattern))
            for line in (line.encode() for text in lines for line in text.split("\n")):
                for start in (0, 20, line.find(b"]: ") + 3):
                    first, second = plain.match(line, start), leaner.match(line, start)
                    assert (first and first.groupdict()) == (second and second.groupdict())
                    assert (first and first.span()) == (second and second.span())
