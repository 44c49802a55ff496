"""What the fleet's process says is looked at as a stranger's; what is whole comes through."""

from __future__ import annotations

import json
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate import frames as plain
from tidegate.fleet import frames
from tidegate.fleet.port import Closing, Conviction, Health, Heard, Opening, Quote, Report, Seat
from tidegate.fleet.remote import RemoteFleet
from tidegate.model import MINUTE, Change, Decision, Shared, Subject

WHO = Subject("192.0.2.7")
HEARD = Heard(
    (Conviction("c1", "guessing", WHO, 5, 4, (("web1", 2), ("web2", 2)), 1),),
    (Closing("d1", "web1", "guessing", "rule", WHO, (22, 25), 5, 9, "note", 2),),
    (Opening("d1", WHO, (), "", "unban", "web2", "anna (uid 1000)", 7),),
    (Change("fleet seen", "web1", b"\0\1"), Change("fleet stands", "a b", None)),
    (b"TG\1\6whatever",),
    (
        (1, (Quote("web2", "guessing", 5, "/var/log/auth.log", "Failed"),)),
        (2, (Report("web1", 5, "1.2", more={"posture": "normal", "ports": [22]}),)),
    ),
    (Seat("web", 7, True, 2), Seat("mail", 8, False, 0)),
)


def through(frame):
    return json.loads(json.dumps(frame))


def test_all_that_was_heard_comes_through():
    found = [frames.read_heard(through(one)) for one in frames.heard_frames(HEARD)]
    assert Heard(*(sum(parts, ()) for parts in zip(*found, strict=True))) == HEARD
    assert list(frames.heard_frames(Heard())) == []


def test_much_is_cut_into_frames():
    many = Heard(closings=HEARD.closings * (2 * frames.ROWS + 1))
    assert [len(one["closings"]) for one in frames.heard_frames(many)] == [1000, 1000, 1]


def test_what_the_watcher_says_comes_through():
    ban = Decision(
        "x", 5, "ban", WHO, "guessing", (22,), 5 + MINUTE, MINUTE, 4, 1, "enforce", "why", note="n"
    )
    found = frames.read_decision(through(frames.decision_row(ban)))
    assert (found.id, found.subject, found.ports, found.until, found.note) == (
        "x", WHO, (22,), 5 + MINUTE, "n",
    )  # fmt: skip
    shared = Shared("guessing", WHO, 5, 1, 100, 2, "root")
    assert frames.read_shared(through(list(shared))) == shared
    for change in HEARD.changes:
        assert frames.read_change(through(frames.change_row(change))) == change
    health = Health("joined", "", "web1", refused={"web2 forged": 3}, troubles=("a",), cost=0.5)
    assert frames.read_health(through(health._asdict())) == health


@pytest.mark.parametrize(
    "row",
    [
        None, 5, [], ["x"] * 11, [True] * 10,
        ["d1", "web1", "guessing", "rule", "192.0.2.7", ["22"], 5, 9, "note", 2],
        ["d1", "web1", "guessing", "rule", "192.0.2.7", None, 5, 9, "note", 2],
        ["d1", 1, "guessing", "rule", "192.0.2.7", [22], 5, 9, "note", 2],
        ["d1", "web1", "guessing", "rule", "192.0.2.7", [22], 5, 1 << 70, "note", 2],
    ],
)  # fmt: skip
def test_what_is_odd_is_left_out(row):
    good = list(HEARD.closings[0])
    found = frames.read_heard({"type": "heard", "closings": [row, good]})
    assert found.closings == HEARD.closings


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.floats(),
    lambda one: st.lists(one, max_size=4) | st.dictionaries(st.text(max_size=5), one, max_size=3),
    max_leaves=12,
)
NAMES = st.sampled_from([*Heard._fields, *Health._fields])


@given(st.dictionaries(NAMES, ANY | st.lists(st.lists(ANY, max_size=12), max_size=4), max_size=6))
def test_whatever_it_says_nothing_else_is_raised(frame):
    frames.read_heard(frame)
    try:
        frames.read_health(frame)
    except (ValueError, TypeError, KeyError, AttributeError):
        return


def test_text_that_would_move_a_cursor_is_made_visible():
    row = ["d1", "web1", "guessing", "rule", "192.0.2.7", [22], 5, 9, "\x1b[31m", 2]
    (found,) = frames.read_heard({"type": "heard", "closings": [row]}).closings
    assert "\x1b" not in found.note


def test_every_frame_finds_room_however_much_each_row_says():
    shares = tuple((f"web{number:04}.example.org", 1000) for number in range(1024))
    many = tuple(
        Conviction(f"{number:016x}", "guessing", Subject("192.0.2.7"), 9, 9, shares, 9)
        for number in range(600)
    )
    changes = tuple(Change("fleet stands", str(number), bytes(30_000)) for number in range(400))
    large = Change("fleet paper", "", bytes(1 << 20))
    told = tuple(Quote("web1", "guessing", 9, "/a", "\u2028" * 1000) for _ in range(900))
    heard = Heard(many, changes=(*changes, large), told=((1, told),))
    found = [frames.read_heard(plain.decode(plain.encode(one)[4:]))
             for one in frames.heard_frames(heard)]  # fmt: skip
    assert sum(len(one.convictions) for one in found) == 600
    assert sum(len(one.changes) for one in found) == 401
    ((number, rows),) = [each for one in found for each in one.told]
    assert number == 1
    assert rows


def test_what_the_watcher_says_finds_room_too():
    ours, theirs = socket.socketpair()
    fleet, got = RemoteFleet(ours), []
    changes = [Change("fleet stands", str(number), bytes(30_000)) for number in range(400)]
    quotes = [Quote("", "guessing", 9, "/a", "\u2028" * 1000) for _ in range(900)]
    channel = plain.Channel(theirs)
    fleet.restore(changes)
    fleet.explain(Subject("192.0.2.7"), "guessing", 9, quotes)
    for _ in range(5_000):
        fleet._flush()
        channel.fill()
        while (frame := channel.next()) is not None:
            got.append(frame)
        if got and got[-1]["type"] == "explain":
            break
    rows = [row for one in got if one["type"] == "restore" for row in one["rows"]]
    assert [one["done"] for one in got if one["type"] == "restore"][-1]
    assert len(rows) == 400
    ours.close()
    theirs.close()
