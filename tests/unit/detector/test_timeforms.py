"""Moments as programs write them that have a form of their own."""

from __future__ import annotations

from datetime import UTC

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.detector.making import moment

from tidegate.detector import timeforms
from tidegate.detector.timestamps import Stamps

NOON = moment("2026-08-21T18:00:00Z")


def read(stamp: bytes) -> int | None:
    stamps = Stamps(UTC)
    stamps.arrive(NOON)
    return stamps[stamp]


@pytest.mark.parametrize(
    ("stamp", "means"),
    [
        ("21/Aug/2026:14:03:22 +0200", "2026-08-21T12:03:22Z"),
        ("21/Aug/2026:14:03:22.123 +0200", "2026-08-21T12:03:22.123Z"),
        ("21/Aug/2026:14:03:22.123456 -0530", "2026-08-21T19:33:22.123456Z"),
        ("21-Aug-2026 14:03:22.123", "2026-08-21T14:03:22.123Z"),
        ("21-Aug-2026 14:03:22 UTC", "2026-08-21T14:03:22Z"),
        ("Fri Aug 21 14:03:22 2026", "2026-08-21T14:03:22Z"),
        ("Fri Aug  7 14:03:22.123456 2026", "2026-08-07T14:03:22.123456Z"),
        ("Fri Aug 21 14:03:22 UTC 2026", "2026-08-21T14:03:22Z"),
        ("2026/08/21 14:03:22", "2026-08-21T14:03:22Z"),
        ("2026/08/21 14:03:22.5", "2026-08-21T14:03:22.5Z"),
        ("2026.08.21 14:03:22", "2026-08-21T14:03:22Z"),
        ("Fri, 21 Aug 2026 14:03:22 +0200", "2026-08-21T12:03:22Z"),
        ("21 Aug 2026 14:03:22,007", "2026-08-21T14:03:22.007Z"),
        ("Aug 21, 2026 2:03:22 PM", "2026-08-21T14:03:22Z"),
        ("Aug 21, 2026 12:03:22 AM", "2026-08-21T00:03:22Z"),
        ("08/21/2026:14:03:22 -0000", "2026-08-21T14:03:22Z"),
        ("8/21/2026 2:03:22 PM", "2026-08-21T14:03:22Z"),
        ("21/08/2026 14:03:22", "2026-08-21T14:03:22Z"),
        ("21.08.2026 14:03:22", "2026-08-21T14:03:22Z"),
        ("260821 14:03:22", "2026-08-21T14:03:22Z"),
        ("260821  9:03:22", "2026-08-21T09:03:22Z"),
        ("20260821 14:03:22", "2026-08-21T14:03:22Z"),
        ("08/21/2026-14:03:22.123456", "2026-08-21T14:03:22.123456Z"),
        ("08/21-14:03:22.5", "2026-08-21T14:03:22.5Z"),
        ("08/21/2026 - 14:03:22", "2026-08-21T14:03:22Z"),
        ("20260821-14:03:22", "2026-08-21T14:03:22Z"),
        ("2026:08:21-14:03:22", "2026-08-21T14:03:22Z"),
        ("26/8/21@14:03:22", "2026-08-21T14:03:22Z"),
        ("21-AUG-2026 14:03:22", "2026-08-21T14:03:22Z"),
        ("20260821:140322.123", "2026-08-21T14:03:22.123Z"),
        ("20260821T140322Z", "2026-08-21T14:03:22Z"),
        ("Fri Aug 21 14:03:22", "2026-08-21T14:03:22Z"),
        ("21/Aug 14:03:22", "2026-08-21T14:03:22Z"),
        ("08-21 14:03:22.123", "2026-08-21T14:03:22.123Z"),
        ("1787321002123", "2026-08-21T14:03:22.123Z"),
        ("1787321002.5", "2026-08-21T14:03:22.5Z"),
    ],
)
def test_forms(stamp: str, means: str) -> None:
    assert read(stamp.encode()) == moment(means)


@pytest.mark.parametrize(
    "stamp",
    [
        "31/Feb/2026:14:03:22 +0200",
        "21/Foo/2026:14:03:22 +0200",
        "Aug 21, 2026 13:03:22 PM",
        "21/13/2026 14:03:22",
        "260821 25:03:22",
        "2026/08/21 14:03",
        "yesterday",
        "21/Aug/2026:14:03:22 CEST",
    ],
)
def test_no_moments(stamp: str) -> None:
    assert read(stamp.encode()) is None


@given(st.binary(min_size=1, max_size=40))
def test_any_bytes_are_a_stamp_or_none(stamp: bytes) -> None:
    read(stamp)


@given(
    st.integers(0, 4_102_444_799),
    st.sampled_from(["%d/%b/%Y:%H:%M:%S +0000", "%c", "%Y/%m/%d %H:%M:%S"]),
)
def test_what_is_written_is_read(second: int, form: str) -> None:
    from datetime import datetime

    text = datetime.fromtimestamp(second, UTC).strftime(form)
    assert timeforms.read(text.encode()) is not None
    assert read(text.encode()) == second * 1_000_000
