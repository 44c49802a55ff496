from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tidegate.errors import GateError
from tidegate.frames import Channel
from tidegate.gate.switches.port import Switches
from tidegate.gate.switches.remote import RemoteSwitches
from tidegate.model import GateReport


class Pair(NamedTuple):
    switches: RemoteSwitches
    other: Channel
    ours: socket.socket


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    made = Pair(RemoteSwitches(ours, patience=0), Channel(theirs), ours)
    yield made
    made.switches.close()
    made.other.close()


def test_says_what_is_wanted_and_hears_what_became_of_it(pair):
    switches: Switches = pair.switches
    switches.want({"web": 5}, 1)
    switches.fire("zope", 1)
    switches.reload()
    switches.open_all()
    said = [pair.other.wait(1) for _frame in range(6)]
    assert [one["type"] for one in said] == ["hello", "want", "fire", "reload", "open-all", "want"]
    assert said[1]["closed"] == {"web": 5} and said[5]["closed"] == {}
    report = GateReport("web", "closed", 7, "stopped")
    pair.other.send({"type": "reports", "reports": [report, ["web", "melted", 1, ""]]}, 1)
    pair.other.send({"type": "trouble", "line": "no such gate"}, 1)
    assert switches.reports() == [report]
    assert switches.reports() == []
    assert pair.switches.troubles() == ["no such gate"]
    assert pair.switches.troubles() == []


@pytest.mark.parametrize(
    "reports", [[["web"]], 3, None, [["web", "open", "x", ""]]], ids=["short", "3", "none", "text"]
)
def test_nonsense_is_a_keeper_that_is_gone(pair, reports):
    pair.other.send({"type": "reports", "reports": reports}, 1)
    with pytest.raises(GateError, match="gone"):
        pair.switches.reports()


def test_one_that_has_gone_is_said(pair):
    pair.other.close()
    with pytest.raises(GateError, match="gone"):
        pair.switches.want({}, 0)
    with pytest.raises(GateError, match="gone"):
        pair.switches.reports()


def test_never_waits_and_the_newest_wants_win(pair):
    pair.ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    patient = pair.switches
    patient._patience = 1e9
    for number in range(2000):
        patient.want({"web": number, "filling": 10**200 + number}, 0)
    last: dict[str, int] = {}
    for _turn in range(5000):
        patient.reports()
        try:
            frame = pair.other.wait(0.001)
        except TimeoutError:
            break
        last = frame.get("closed", last)
    assert last["web"] == 1999


def test_one_that_takes_nothing_for_long_counts_as_gone(pair):
    pair.ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    with pytest.raises(GateError, match="does not answer"):
        for number in range(10_000):
            pair.switches.want({"web": number, "filling": 10**200}, 0)
