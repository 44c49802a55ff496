"""Moments as RFC 3339, and hostile text that can no longer steer a terminal."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.text import printable, time_text, well_formed


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (0, "1970-01-01T00:00:00+00:00"),
        (1_061_280_000_000_000, "2003-08-19T08:00:00+00:00"),
        (1_061_280_000_000_001, "2003-08-19T08:00:00.000001+00:00"),
        (1_061_280_000_500_000, "2003-08-19T08:00:00.500000+00:00"),
        (-1, "1969-12-31T23:59:59.999999+00:00"),
    ],
)
def test_microseconds_are_shown_only_when_there_are_any(moment: int, text: str) -> None:
    assert time_text(moment) == text


def test_the_offset_is_that_of_the_moment() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    assert time_text(1_061_280_000_000_000, berlin) == "2003-08-19T10:00:00+02:00"
    assert time_text(1_071_280_000_000_000, berlin) == "2003-12-13T02:46:40+01:00"
    half = timezone(timedelta(hours=-9, minutes=-30))
    assert time_text(0, half) == "1969-12-31T14:30:00-09:30"


def test_an_offset_of_odd_seconds_is_shown_in_utc() -> None:
    berlin = ZoneInfo("Europe/Berlin")  # +00:53:28 until 1893
    assert time_text(-3_000_000_000_000_000, berlin) == "1874-12-07T18:40:00+00:00"


@given(st.integers(-(2**70), 2**70), st.integers(-1439, 1439))
def test_every_number_is_shown_as_a_moment(moment: int, minutes: int) -> None:
    shown = time_text(moment, timezone(timedelta(minutes=minutes)))
    parsed = datetime.fromisoformat(shown)
    if abs(moment) < 2**55:
        epoch = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
        assert (parsed - epoch) // timedelta(microseconds=1) == moment


def test_the_hosts_zone_is_used_for_none(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert time_text(0, None) == "1970-01-01T09:00:00+09:00"
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 日本 \\ 😀", "plain é 日本 \\ 😀"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("a\nb\tc\r\0", "a\\x0ab\\x09c\\x0d\\x00"),
        ("\x9b31m\x7f", "\\x9b31m\\x7f"),
        ("abc\u202egpj.exe", "abc\\u202egpj.exe"),
        ("\u2066\u200f\u200b\ufeff\u2028", "\\u2066\\u200f\\u200b\\ufeff\\u2028"),
        ("\U000e0041", "\\U000e0041"),
        ("\udcff\ud800", "\\xff\\ud800"),
        ("\xa0\u3000", "\\xa0\\u3000"),
    ],
)
def test_what_could_steer_a_terminal_is_spelt_out(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text(st.characters()))
def test_printable_text_is_printable_and_stays_so(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert printable(shown) == shown
    shown.encode()


@given(st.text(st.characters()))
def test_well_formed_text_can_be_encoded_and_loses_nothing_else(text: str) -> None:
    shown = well_formed(text)
    shown.encode()
    if not any("\ud800" <= char <= "\udfff" for char in text):
        assert shown == text


def test_stray_bytes_are_spelt_out_for_json() -> None:
    assert well_formed("a\udce9\n\ud801") == "a\\xe9\n\\ud801"
