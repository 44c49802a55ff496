"""How far a pattern gets: the place, and what it expected there."""

from __future__ import annotations

import pytest

from tidegate.detector.pattern import expand
from tidegate.detector.reach import reach

DOOR = r"wrong key for (?P<user>[^ ]*) from <addr>(?: \(try (?P<count>\d+)\))?"


@pytest.mark.parametrize(
    ("pattern", "text", "read", "expected"),
    [
        (DOOR, "wrong key for bob from 192.0.2.7", "wrong key for bob from 192.0.2.7", ""),
        (DOOR, "wrong key for bob from 192.0.2.7\r", "wrong key for bob from 192.0.2.7\r", ""),
        (DOOR, "wrong key for bob form 192.0.2.7", "wrong key for bob f", '"rom " (of " from ")'),
        (DOOR, "wrong key for bob from fred", "wrong key for bob from ", "<addr>"),
        (DOOR, "wrong key for bob from 192.0.2.7 !", "wrong key for bob from 192.0.2.7",
         "the end of the message"),
        (DOOR, "right key", "", '"wrong key for "'),
        (DOOR, "", "", '"wrong key for "'),
        # Into the part that fails: a group, a branch, a repeat, an option for letters.
        (r"a(?P<what>b\dc)", "ab1x", "ab1", '"c"'),
        (r"(?:left \d+|right \d+x) z", "right 12y", "right 12", '"x"'),
        (r"(?:ab\d)+z", "ab1ab2q", "ab1ab2", '"z"'),
        (r"(?:ab\d){2}z", "ab1abx", "ab1", "(?:ab\\d){2}"),
        (r"(?i:Alpha (?:x|y)+z) end", "ALPHA xyx!", "ALPHA xyx", '"z"'),
        # Groups that are looked back at, look-aheads, one byte of many.
        (r'(?P<q>")?a(?(q)"|!)-', '"a!', '"a', "…"),
        (r'(?P<q>["\'])a(?P=q)', "\"a'", '"a', "(?P=q)"),
        (r"a(?!b)c", "abc", "a", "(?!b)"),
        (r"a[^b-d\s]+?e{2,4}", "axyz", "ax", "e{2,4}"),
        (r"a\d", "ab", "a", r"\d"),
        (r"a\x00b", "a\x00c", "a\x00", '"b" (of "a\\x00b")'),
        (r".*tail", "some bag", "some bag", '"tail"'),
    ],
)  # fmt: skip
def test_it_says_where_it_stopped(pattern: str, text: str, read: str, expected: str) -> None:
    line = f"head: {text}".encode()
    found = reach(expand(pattern, {}).encode(), line, 6, len(line))
    assert (line[6 : found.at].decode(), found.expected) == (read, expected)


def test_long_parts_are_shortened() -> None:
    found = reach(b"(?:" + b"|".join(b"%dword" % n for n in range(20)) + b")", b"x", 0, 1)
    assert found.expected.endswith("…")
    assert len(found.expected) < 60
