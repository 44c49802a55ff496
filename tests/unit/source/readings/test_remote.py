"""The watcher's end: what a sampler that went mad may say."""

from __future__ import annotations

import socket

import pytest

from tidegate.errors import SourceError
from tidegate.frames import Channel
from tidegate.model import Sample
from tidegate.source.readings.port import Captured, Readings
from tidegate.source.readings.remote import RemoteReadings


@pytest.fixture
def ends():
    ours, theirs = socket.socketpair()
    readings, channel = RemoteReadings(ours), Channel(theirs)
    yield readings, channel
    readings.close()
    channel.close()


def test_it_is_readings(ends):
    readings: Readings = ends[0]
    assert readings.take() == []
    assert readings.captured() == []
    assert readings.fileno() >= 0


def test_samples_arrive_as_they_were_said(ends):
    readings, channel = ends
    rows = [["la1", 5, 0.5, None, ""], ["x", 6, None, None, "hung"], ["y", 7, float("inf"), 3, ""]]
    channel.send({"type": "samples", "samples": rows}, 1)
    assert readings.take() == [Sample(*row) for row in rows]
    assert readings.take() == []


@pytest.mark.parametrize(
    "row",
    [
        None, [], {}, ["la1", 5, 1.0, None], ["la1", "5", 1.0, None, ""], ["la1", 5, "1", None, ""],
        [1, 5, 1.0, None, ""], ["la1", 5, True, None, ""], ["la1", True, 1.0, None, ""],
        ["la1", 5, float("nan"), None, ""], ["la1", 5, 1.0, [], ""], ["la1", 5, 1.0, None, None],
        ["la1", 10**30, 1.0, None, ""], ["la1", -5, 1.0, None, ""], ["la1", 5, 10**400, None, ""],
        ["la1", 5, 1.0, 10**400, ""],
    ],
)  # fmt: skip
def test_what_is_no_sample_is_left_out(ends, row):
    readings, channel = ends
    channel.send({"type": "samples", "samples": [row, ["la5", 5, 1, 2, ""]]}, 1)
    assert readings.take() == [Sample("la5", 5, 1, 2, "")]


def test_odd_frames_do_no_harm(ends):
    readings, channel = ends
    for frame in ({"type": "samples"}, {"type": "samples", "samples": "x"}, {"type": "captured"},
                  {"type": "captured", "name": 1, "time": 2, "text": 3}, {"type": "dance"}):  # fmt: skip
        channel.send(frame, 1)
    channel.send({"type": "captured", "name": "web", "time": 3, "text": "load 1"}, 1)
    assert readings.take() == []
    assert readings.captured() == [Captured("web", 3, "load 1")]


def test_the_same_wish_is_said_once(ends):
    readings, channel = ends
    readings.want({"la1": 1})
    readings.want({"la1": 1})
    readings.want({"la1": 2})
    channel.fill()
    assert channel.next() == {"type": "want", "wanted": {"la1": 1}}
    assert channel.next() == {"type": "want", "wanted": {"la1": 2}}
    assert channel.next() is None


def test_a_sampler_that_is_gone_or_raves_is_a_source_error(ends):
    readings, channel = ends
    channel._socket.sendall(b"\xff\xff\xff\xff")
    with pytest.raises(SourceError, match="readings are unknown until it is back"):
        readings.take()
    channel.close()
    with pytest.raises(SourceError, match="the sampler is gone"):
        readings.want({"la1": 1})
        readings.want({"la1": 2})
    with pytest.raises(SourceError):
        readings.take()


def test_what_it_says_is_short_and_steers_no_terminal(ends):
    readings, channel = ends
    channel.send(
        {"type": "samples", "samples": [["x", 6, None, None, "\x1b[2J\udcff" + "y" * 9999]]}, 1
    )
    channel.send({"type": "captured", "name": "web", "time": 10**30, "text": "load 1"}, 1)
    channel.send({"type": "error", "reason": "\x1b]0;" + "y" * 9999}, 1)
    (sample,) = readings.take()
    assert sample.why.startswith("\\x1b[2J\\xff")
    assert len(sample.why) < 500
    assert readings.captured() == []
    assert readings.trouble.startswith("\\x1b]0;")
    assert len(readings.trouble) < 500
