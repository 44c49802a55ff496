"""The watcher's gate: a keeper's answers as a gate's, its notices, and its absence."""

from __future__ import annotations

import select
import socket

import pytest
from tests.unit.gate.conftest import START, Setting

from tidegate.errors import GateError
from tidegate.frames import Channel
from tidegate.gate import remote as remote_module
from tidegate.gate.port import Closed, Dropped, Knock, Request
from tidegate.gate.remote import RemoteGate
from tidegate.model import HOUR, Ban, Subject

UNTIL = START + HOUR


def ban(subject: str, *ports: int) -> Request:
    return Request("ban", Subject(subject), ports, UNTIL)


def test_apply_and_observe(setting: Setting, remote: RemoteGate) -> None:
    assert remote.apply([ban("203.0.113.1", 25), ban("2001:db8:1::/64")], START) == []
    assert remote.apply([Request("allow", Subject("203.0.113.9"), None, UNTIL)], START) == []
    assert set(remote.observe(START)) == {
        Closed(Subject("203.0.113.1"), (25,), UNTIL),
        Closed(Subject("2001:db8:1::/64"), (), UNTIL),
        Closed(Subject("203.0.113.9"), (), UNTIL, True),
    }
    assert remote.apply([Request("unban", Subject("203.0.113.1"), None, 0)], START) == []
    assert setting.closed() == {"2001:db8:1::/64"}


def test_what_was_dropped(setting: Setting, remote: RemoteGate) -> None:
    assert remote.dropped() == []
    told = [Dropped("ban4_32_25", (25,), 3, 180), Dropped("ban6_64", (), 0, 0)]
    setting.gate.dropped = lambda: told  # type: ignore[method-assign]
    assert remote.dropped() == told


def test_many_requests_go_in_parts(
    setting: Setting, remote: RemoteGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_module, "PART", 3)
    subjects = [f"203.0.113.{number}" for number in range(10)]
    subjects[4] = subjects[8] = "127.0.0.1"
    refusals = remote.apply([ban(subject) for subject in subjects], START)
    assert [refusal.index for refusal in refusals] == [4, 8]
    assert len(setting.closed()) == 8
    bans = [Ban(Subject(subject), (), UNTIL) for subject in subjects]
    allows = [Ban(Subject("192.0.2.9"), (), UNTIL), Ban(Subject("nobody"), (), UNTIL)]
    assert [r.index for r in remote.replace(bans[1:], allows, START)] == [3, 7, 10]
    assert len(setting.closed()) == 7


def test_errors_come_through(setting: Setting, remote: RemoteGate) -> None:
    setting.off_file.touch()
    with pytest.raises(GateError, match="switched off"):
        remote.apply([ban("203.0.113.1")], START)
    assert remote.off
    assert not remote.drifted()
    setting.off_file.unlink()
    setting.gate.disturb()
    assert remote.drifted()
    assert not remote.off
    remote.replace([], [], START)
    assert not remote.drifted()


def test_open_all_and_reload(setting: Setting, remote: RemoteGate) -> None:
    remote.apply([ban("203.0.113.1")], START)
    remote.open_all()
    assert setting.closed() == set()
    assert not remote.reload()
    setting.change(allow=())
    assert remote.reload()


def test_evictions_are_counted(setting: Setting, remote: RemoteGate) -> None:
    setting.gate._book.capacity = 1
    remote.apply([ban("203.0.113.1"), ban("203.0.113.2")._replace(until=UNTIL + 1)], START)
    remote.apply([ban("203.0.113.3")._replace(until=UNTIL + 2)], START)
    assert remote.evicted == 1


def test_notices(setting: Setting, remote: RemoteGate) -> None:
    assert remote.notices() == []
    setting.off_file.touch()
    setting.keeper.tick()
    assert select.select([remote], [], [], 5)[0]
    assert remote.notices() == ["off"]
    assert remote.off
    setting.off_file.unlink()
    setting.keeper.tick()
    assert remote.drifted()  # a notice before the answer is kept for later
    assert remote.notices()[0] == "resync"
    assert not remote.off


def test_a_notice_from_before_a_replacement_is_made_good_by_it(
    setting: Setting, remote: RemoteGate
) -> None:
    setting.gate.disturb()
    setting.keeper.tick()
    remote.replace([], [], START)
    assert remote.notices() == []
    setting.gate.disturb()
    setting.keeper.tick()
    assert select.select([remote], [], [], 5)[0]
    assert remote.notices() == ["drift"]


def test_knocks_are_kept_until_asked_for(
    setting: Setting, remote: RemoteGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (remote.knocks(), remote.missed, remote.deaf) == ([], 0, "")
    keeper = Channel(setting.there)
    frame = {"type": "knocks", "missed": 2, "deaf": ""}
    keeper.send({**frame, "knocks": [["192.0.2.7", 25], ["2001:db8::/64", 465]]}, 1)
    assert remote.notices() == []
    found = [Knock(Subject("192.0.2.7"), 25), Knock(Subject("2001:db8::/64"), 465)]
    assert remote.knocks() == found
    assert remote.knocks() == []
    monkeypatch.setattr(remote_module, "_KEPT", 3)
    for _turn in range(2):
        keeper.send({**frame, "knocks": [["192.0.2.7", 25]] * 2, "deaf": "taken"}, 1)
    remote.apply([ban("203.0.113.1")], START)  # those before the answer are kept for later
    assert len(remote.knocks()) == 3
    assert (remote.missed, remote.deaf) == (3, "taken")


def test_no_keeper() -> None:
    here, there = socket.socketpair()
    there.close()
    with pytest.raises(GateError, match="gone"):
        RemoteGate(here)
    here.close()


def test_a_keeper_that_went(setting: Setting, remote: RemoteGate) -> None:
    setting.there.shutdown(socket.SHUT_RDWR)
    for act in (remote.drifted, remote.notices, lambda: remote.apply([ban("192.0.2.1")], START)):
        with pytest.raises(GateError, match="gone"):
            act()


def test_a_keeper_that_hangs() -> None:
    here, there = socket.socketpair()
    with there, pytest.raises(GateError, match="does not answer"):
        RemoteGate(here, patience=0.05)


def test_a_keeper_that_talks_nonsense() -> None:
    here, there = socket.socketpair()
    there.sendall(b"\0\0\0\1x")
    with there, here, pytest.raises(GateError, match="gone"):
        RemoteGate(here, patience=1)


def test_a_keeper_of_another_version() -> None:
    here, there = socket.socketpair()
    Channel(there).send({"type": "error", "reason": "version 2 is spoken here"}, 1)
    with there, here, pytest.raises(GateError, match="version 2"):
        RemoteGate(here, patience=1)
