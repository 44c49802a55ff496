"""What a pattern can begin with."""

from __future__ import annotations

import pytest

from tidegate.detector.tree import first_bytes


@pytest.mark.parametrize(
    ("pattern", "first"),
    [
        (rb"abc", b"a"),
        (rb"a?bc", b"ab"),
        (rb"(?:a|b)c", b"ab"),
        (rb"[a-c]+", b"abc"),
        (rb"(?:ab)*c", b"ac"),
        (rb"(?=a)..", b"a"),
        (rb"(?!a)b", b"b"),
        (rb"^b", b"b"),
    ],
)
def test_first_bytes(pattern: bytes, first: bytes) -> None:
    assert first_bytes(pattern) == sum(1 << byte for byte in set(first))


def test_first_bytes_of_what_may_be_empty_are_all() -> None:
    assert first_bytes(rb"a*") == (1 << 256) - 1
