"""Stamps to moments: forms, zones, New Year, summer time both ways, and what is no stamp."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.detector.making import moment

from tidegate.detector import timestamps
from tidegate.detector.timestamps import Stamps
from tidegate.model import DAY, HOUR, MINUTE, SECOND, Micros

BERLIN = ZoneInfo("Europe/Berlin")
NOON = moment("2026-08-21T12:00:00Z")


def read(stamp: str, zone: tzinfo = UTC, arrival: Micros = NOON) -> Micros | None:
    stamps = Stamps(zone)
    stamps.arrive(arrival)
    first = stamps[stamp.encode()]
    assert stamps[stamp.encode()] == first, "the second reading is the remembered one"
    return first


@pytest.mark.parametrize(
    ("stamp", "means"),
    [
        ("2026-08-21 14:03:22", "2026-08-21T14:03:22Z"),
        ("2026-08-21 14:03:22.123", "2026-08-21T14:03:22.123Z"),
        ("2026-08-21 14:03:22,5", "2026-08-21T14:03:22.5Z"),
        ("2026-08-21 14:03:22 +0200", "2026-08-21T12:03:22Z"),
        ("2026-08-21 14:03:22.123 -0530", "2026-08-21T19:33:22.123Z"),
        ("2026-08-21 14:03:22.777660-0700", "2026-08-21T21:03:22.777660Z"),
        ("2026-08-21T14:03:22", "2026-08-21T14:03:22Z"),
        ("2026-08-21T14:03:22Z", "2026-08-21T14:03:22Z"),
        ("2026-08-21T14:03:22.123456789Z", "2026-08-21T14:03:22.123456Z"),
        ("2026-08-21T14:03:22.123456+02:00", "2026-08-21T12:03:22.123456Z"),
        ("2026-08-21T14:03:22+00:00", "2026-08-21T14:03:22Z"),
        ("Aug 21 14:03:22", "2026-08-21T14:03:22Z"),
        ("Aug  1 14:03:22", "2026-08-01T14:03:22Z"),
        ("Aug 1 14:03:22.25", "2026-08-01T14:03:22.25Z"),
        ("Aug 21 2025 14:03:22", "2025-08-21T14:03:22Z"),
        ("1692626602", "2023-08-21T14:03:22Z"),
        ("[1692626602.123]", "2023-08-21T14:03:22.123Z"),
        ("1692626602.5", "2023-08-21T14:03:22.5Z"),
        ("@4000000064e3706a00000000", "2023-08-21T14:10:40Z"),
        ("@4000000064e3706a1dcd6500", "2023-08-21T14:10:40.5Z"),
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"),
        ("Feb 29 10:00:00", "2024-02-29T10:00:00Z"),
        ("9999-12-31 23:59:59", "9999-12-31T23:59:59Z"),
        ("1970-01-01 00:00:00", "1970-01-01T00:00:00Z"),
    ],
)
def test_forms(stamp: str, means: str) -> None:
    assert read(stamp) == moment(means)


@pytest.mark.parametrize(
    "stamp",
    [
        "2026-13-01 00:00:00",
        "2026-02-29 00:00:00",
        "2026-08-21 24:00:00",
        "2026-08-21 14:60:00",
        "2026-08-21 14:03:61",
        "2026-08-21 14::::22",
        "0000-01-01 00:00:00",
        "Foo 21 14:03:22",
        "Aug 32 14:03:22",
        "Aug 21 25:03:22",
        "Feb 30 10:00:00",
        "@3000000064e3706a00000000",
        "@ffffffffffffffffffffffff",
        "12345",
        "-",
    ],
)
def test_impossible_stamps_are_none(stamp: str) -> None:
    assert read(stamp) is None


def test_the_zone_of_the_source() -> None:
    assert read("2026-08-21 14:03:22", BERLIN) == moment("2026-08-21T12:03:22Z")
    assert read("2026-01-21 14:03:22", BERLIN) == moment("2026-01-21T13:03:22Z")
    assert read("Aug 21 14:03:22", ZoneInfo("Asia/Kolkata")) == moment("2026-08-21T08:33:22Z")
    west = timezone(timedelta(hours=-3))
    assert read("2026-08-21 14:03:22", west) == moment("2026-08-21T17:03:22Z")


def test_a_zone_that_knows_no_offset_is_utc() -> None:
    class Nowhere(tzinfo):
        def utcoffset(self, _when: object) -> None:
            return None

    assert read("2026-08-21 14:03:22", Nowhere()) == moment("2026-08-21T14:03:22Z")


@pytest.mark.parametrize(
    ("stamp", "arrival", "means"),
    [
        ("Dec 31 23:59:58", "2027-01-01T00:00:05Z", "2026-12-31T23:59:58Z"),
        ("Jan  1 00:00:00", "2027-01-01T00:00:05Z", "2027-01-01T00:00:00Z"),
        ("Jan  1 00:00:00", "2026-12-31T23:59:59Z", "2027-01-01T00:00:00Z"),  # a clock ahead
        ("Jan  2 00:00:00", "2026-12-31T23:59:59Z", "2026-01-02T00:00:00Z"),  # more than a day
        ("Aug 22 12:00:00", "2026-08-21T12:00:00Z", "2026-08-22T12:00:00Z"),
        ("Aug 22 12:00:01", "2026-08-21T12:00:00Z", "2025-08-22T12:00:01Z"),
        ("Feb 29 10:00:00", "2027-06-01T00:00:00Z", "2024-02-29T10:00:00Z"),
    ],
)
def test_the_year_is_the_latest_that_is_not_ahead(stamp: str, arrival: str, means: str) -> None:
    assert read(stamp, arrival=moment(arrival)) == moment(means)


def test_the_year_holds_in_a_zone_far_east() -> None:
    zone = ZoneInfo("Pacific/Kiritimati")  # UTC+14: New Year's day there is still December in UTC
    arrival = moment("2026-12-31T10:00:01Z")
    assert read("Jan  1 00:00:00", zone, arrival) == moment("2026-12-31T10:00:00Z")


def test_arrivals_beyond_every_year() -> None:
    assert read("Aug 21 14:03:22", arrival=1 << 62) == moment("9999-08-21T14:03:22Z")
    assert read("Aug 21 14:03:22", arrival=-(1 << 62)) is None


@pytest.mark.parametrize(
    ("arrival", "means"),
    [
        ("2026-10-25T00:30:01Z", "2026-10-25T00:30:00Z"),  # live, before the change
        ("2026-10-25T01:30:01Z", "2026-10-25T01:30:00Z"),  # live, after it
        ("2026-10-25T01:29:59Z", "2026-10-25T00:30:00Z"),
        ("2026-10-25T03:30:00Z", "2026-10-25T01:30:00Z"),
        ("2026-10-25T03:30:01Z", "2026-10-25T00:30:00Z"),  # long after: the first
        ("2026-10-24T12:00:00Z", "2026-10-25T00:30:00Z"),
    ],
)
def test_the_hour_that_comes_twice(arrival: str, means: str) -> None:
    assert read("2026-10-25 02:30:00", BERLIN, moment(arrival)) == moment(means)
    assert read("Oct 25 02:30:00", BERLIN, moment(arrival)) == moment(means)


def test_the_hour_that_does_not_exist() -> None:
    assert read("2026-03-29 02:30:00", BERLIN) == moment("2026-03-29T01:30:00Z")
    assert read("2026-03-29 01:59:59", BERLIN) == moment("2026-03-29T00:59:59Z")
    assert read("2026-03-29 03:00:00", BERLIN) == moment("2026-03-29T01:00:00Z")


@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                [
                    b"Dec 31 23:59:58",
                    b"Jan  1 00:00:00",
                    b"Feb 29 10:00:00",
                    b"Oct 25 02:30:00",
                    b"2026-10-25 02:30:00",
                    b"2026-10-25 02:10:00.250",
                    b"2026-10-25T02:30:00.123456",
                    b"Foo 99",
                ]
            ),
            st.integers(
                moment("2026-10-24T20:00:00Z") // MINUTE, moment("2026-10-25T06:00:00Z") // MINUTE
            )
            | st.integers(
                moment("2026-12-30T00:00:00Z") // HOUR, moment("2027-01-03T00:00:00Z") // HOUR
            ).map(lambda hours: hours * 60),
        ),
        max_size=30,
    )
)
def test_what_is_remembered_never_decides(steps: list[tuple[bytes, int]]) -> None:
    remembering = Stamps(BERLIN)
    for stamp, minute in steps:
        fresh = Stamps(BERLIN)
        fresh.arrive(minute * MINUTE)
        remembering.arrive(minute * MINUTE)
        assert remembering[stamp] == fresh[stamp]


def test_the_year_changes_when_the_arrival_does() -> None:
    stamps = Stamps(UTC)
    for arrival, means in {
        "2026-12-31T23:59:59Z": "2026-01-02T00:00:00Z",
        "2027-01-01T00:00:00Z": "2027-01-02T00:00:00Z",
        "2026-12-31T23:59:58Z": "2026-01-02T00:00:00Z",
        "2028-06-01T00:00:00Z": "2028-01-02T00:00:00Z",
    }.items():
        stamps.arrive(moment(arrival))
        assert stamps[b"Jan  2 00:00:00"] == moment(means)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timestamps, "_REMEMBERED", 8)
    stamps = Stamps(UTC)
    for second in range(60):
        assert (
            stamps[b"2026-08-21 14:03:%02d" % second]
            == moment("2026-08-21T14:03:00Z") + second * SECOND
        )
        assert stamps[b"2026-08-21 14:03:%02d.5" % second] is not None
    assert len(stamps) <= 8
    for hour in range(24):
        assert stamps[b"2026-08-21 %02d:00:07" % hour] == moment(f"2026-08-21T{hour:02d}:00:07Z")
    assert len(stamps._hours) <= 8


@given(
    st.sampled_from([BERLIN, ZoneInfo("America/St_Johns"), ZoneInfo("Asia/Kathmandu")]),
    st.integers(0, 366 * 24 * 3600),
    st.sampled_from(["%Y-%m-%d %H:%M:%S", "%b %d %H:%M:%S", "%Y-%m-%dT%H:%M:%S.000007"]),
    st.lists(st.integers(-3700, 3700), max_size=4),
)
def test_what_is_written_now_is_read_as_now(
    zone: ZoneInfo, second: int, form: str, before: list[int]
) -> None:
    arrival = moment("2026-01-01T00:00:00Z") + second * SECOND
    stamps = Stamps(zone)
    for nearby in [*before, 0]:
        at = arrival + nearby * SECOND
        local = datetime.fromtimestamp(at // SECOND, zone)
        stamps.arrive(at)
        found = stamps[local.strftime(form).encode()]
        assert found == at + (7 if "." in form else 0)


def test_a_fraction_behind_an_impossible_second() -> None:
    assert read("2026-08-21 14:99:22.5") is None


def test_a_day_is_a_day() -> None:
    later = read("2026-08-22 14:03:22")
    assert later is not None
    assert later - DAY == read("2026-08-21 14:03:22")


@pytest.mark.parametrize(
    "stamp",
    ["1970-01-01 05:00:00", "1970-01-01 05:00:01.5", "0001-01-01T00:00:00+14:00", "1900-01-01 00:00:00"],
)  # fmt: skip
def test_a_moment_before_1970_is_its_beginning(stamp: str) -> None:
    """All that counts and remembers takes whole numbers from 0 on."""
    assert read(stamp, ZoneInfo("Asia/Tokyo")) in (0, 500_000)
    assert read("1970-01-01 00:00:00", ZoneInfo("Asia/Tokyo")) == 0
