"""The conversation between meter and watcher: frames as they are, and as a stranger might send."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.errors import SourceError
from tidegate.frames import Channel
from tidegate.model import Subject
from tidegate.source.traffic.port import Counted, Heard, MemoryTraffic, MeterHealth
from tidegate.source.traffic.remote import RemoteTraffic
from tidegate.traffic import Contact, Cut

CONTACT = Contact(12, Subject("uid:33"), "203.0.113.9", 6, 25, "tried")
CUT = Cut(13, Subject("192.0.2.7"), "destinations", 5, 9, ("203.0.113.9:25/tcp",), "/x (pid 7)")
COUNTED = Counted(14, 80, 10, 3)


@pytest.fixture
def ends() -> Iterator[tuple[RemoteTraffic, Channel]]:
    ours, theirs = socket.socketpair()
    yield RemoteTraffic(ours), Channel(theirs)
    ours.close()
    theirs.close()


def frame(**parts: Any) -> dict[str, Any]:
    return {"type": "traffic", **parts}


def test_what_was_sent_arrives(ends: tuple[RemoteTraffic, Channel]) -> None:
    remote, meter = ends
    assert remote.take() == Heard([], [], [])
    meter.send(frame(contacts=[CONTACT], cuts=[CUT]), 1)
    meter.send(frame(contacts=[], handshakes=[COUNTED]), 1)
    assert remote.take() == Heard([CONTACT], [CUT], [COUNTED])


ODD = [
    None, 7, "x", [], [1], [CONTACT[:5]], [[*CONTACT, 1]], [[-1, *CONTACT[1:]]],
    [[True, *CONTACT[1:]]], [[1.5, *CONTACT[1:]]], [[12, 7, *CONTACT[2:]]],
    [[*CONTACT[:5], "other"]], [[*CONTACT[:5], []]], [[*CUT[:5], "x", ""]], [[*CUT[:6], None]],
    [[1, 2, 3, "x"]], [{}], [[[]]], [[1 << 70, *CONTACT[1:]]],
]  # fmt: skip


@pytest.mark.parametrize("rows", ODD)
@pytest.mark.parametrize("name", ["contacts", "cuts", "handshakes"])
def test_what_is_odd_is_left_out(
    ends: tuple[RemoteTraffic, Channel], rows: object, name: str
) -> None:
    remote, meter = ends
    meter.send(frame(**{name: rows}), 1)
    heard = remote.take()
    assert (len(heard.contacts), len(heard.cuts), len(heard.handshakes)) == (0, 0, 0)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=7) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=20,
)


@given(JSON, st.sampled_from(["traffic", "health", "error", "other"]))
def test_any_frame(value: object, kind: str) -> None:
    ours, theirs = socket.socketpair()
    remote, meter = RemoteTraffic(ours), Channel(theirs)
    names = ("contacts", "cuts", "handshakes", "troubles", "share", "lost", "reason")
    meter.send({"type": kind, **dict.fromkeys(names, value)}, 1)
    remote.take()
    ours.close()
    theirs.close()


def test_health_and_errors(ends: tuple[RemoteTraffic, Channel]) -> None:
    remote, meter = ends
    meter.send({"type": "health", "lost": 7, "share": 0.25, "troubles": ["a\x1bb"]}, 1)
    meter.send({"type": "error", "reason": "no\npolicy"}, 1)
    remote.take()
    assert remote.health == MeterHealth(lost=7, share=0.25, troubles=("a\\x1bb",))
    assert remote.trouble == "no\\x0apolicy"
    remote.reload()
    assert remote.trouble == ""
    assert meter.wait(1) == {"type": "reload"}


def test_a_meter_that_is_gone(ends: tuple[RemoteTraffic, Channel]) -> None:
    remote, meter = ends
    meter.close()
    with pytest.raises(SourceError, match="the meter is gone"):
        remote.take()
    with pytest.raises(SourceError, match="the caps hold"):
        remote.reload()


def test_the_twin() -> None:
    twin = MemoryTraffic()
    twin.coming.append(Heard([CONTACT]))
    assert (twin.take(), twin.take()) == (Heard([CONTACT]), Heard())
    twin.reload()
    assert (twin.reloads, twin.fileno()) == (1, -1)
