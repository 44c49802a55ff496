"""Durations: what people write, and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.model import DAY, HOUR, MINUTE, SECOND
from tidegate.policy.durations import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("90s", 90 * SECOND),
        ("5m", 5 * MINUTE),
        ("1h30m", 90 * MINUTE),
        ("7d", 7 * DAY),
        ("1w", 7 * DAY),
    ],
)
def test_what_people_write(text, span):
    assert parse_duration(text) == span


@pytest.mark.parametrize(
    "text", ["", "5", 5, None, "5 m", "m5", "-5m", "0s", "1.5h", "5M", True, "٣m"]
)
def test_anything_else_is_refused_with_an_example(text):
    with pytest.raises(ValueError, match="5m"):
        parse_duration(text)


@given(st.integers(1, 400 * DAY // SECOND))
def test_there_and_back(seconds):
    assert parse_duration(format_duration(seconds * SECOND)) == seconds * SECOND
    assert format_duration(HOUR) == "1h"
