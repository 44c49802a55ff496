"""Watcher and keeper speak of what leaves: cut off, state, drift, off, reload."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.gate.conftest import CHARTER, START

from tidegate.errors import GateError
from tidegate.frames import Channel, encode
from tidegate.gate.charter import Charter
from tidegate.gate.keeper import Keeper, serve
from tidegate.gate.memory import MemoryGate
from tidegate.gate.outward.memory import MemoryOutward
from tidegate.gate.outward.port import Filtered
from tidegate.gate.remote import RemoteGate
from tidegate.model import HOUR, Confined, Subject
from tidegate.policy.outward import Filter, OutwardSpec

SPEC = OutwardSpec(uids=True, filters=(Filter("slammer", "udp", 1434, 404),))
OURS = replace(CHARTER, outward=SPEC, spared=(Subject("uid:999"),))
USER, OTHER = Subject("uid:33"), Subject("uid:999")


class Scene:
    """A keeper in a thread, with twins in memory, and what it reads as its policy."""

    def __init__(self, folder: Path) -> None:
        self.off, self.charter, self.gate = folder / "off", OURS, MemoryOutward()
        here, there = socket.socketpair()
        self._thread = threading.Thread(
            target=serve, args=(there, MemoryGate(), self._load),
            kwargs={"now": lambda: START, "off_file": self.off, "outward": self.gate},
        )  # fmt: skip
        self._thread.start()
        self.remote = RemoteGate(here)

    def _load(self) -> Charter:
        return self.charter

    def close(self) -> None:
        self.remote.close()
        self._thread.join(10)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.close()


def test_who_is_cut_off_is_told_and_told_back(scene: Scene) -> None:
    wanted = [Confined(OTHER, START + HOUR, 0), Confined(USER, START + HOUR, START + 2 * HOUR)]
    [refused] = scene.remote.confine(wanted, START)
    assert (refused.index, refused.reason) == (0, "it is spared or busy")
    state = scene.remote.outward_state(START)
    assert state.confined == (wanted[1],)
    assert state.filtered == (Filtered("slammer", 0, 0),)
    assert not state.why


def test_drift_is_told(scene: Scene) -> None:
    scene.remote.confine([], START)
    assert not scene.remote.drifted()
    scene.gate.disturb()
    assert scene.remote.drifted()
    scene.remote.confine([], START)
    assert not scene.remote.drifted()


def test_nobody_is_cut_off_while_all_is_switched_off(scene: Scene) -> None:
    scene.remote.confine([Confined(USER, START + HOUR, 0)], START)
    scene.off.touch()
    with pytest.raises(GateError, match="switched off"):
        scene.remote.confine([Confined(USER, START + HOUR, 0)], START)
    scene.off.unlink()
    scene.remote.open_all()
    assert not scene.gate.standing


def test_the_switch_takes_the_table_away(tmp_path: Path) -> None:
    here, there = socket.socketpair()
    gate, off = MemoryOutward(), tmp_path / "off"
    keeper = Keeper(
        there, MemoryGate(), lambda: OURS, now=lambda: START, off_file=off, outward=gate
    )
    try:
        here.sendall(encode({"type": "confine", "confined": [[USER, START + HOUR, 0]]}))
        assert keeper.receive()
        assert gate.standing
        off.touch()
        assert keeper.tick()
        assert not gate.standing
        told = []
        channel = Channel(here)
        channel.fill()
        while (frame := channel.next()) is not None:
            told.append(frame)
        assert {"type": "notice", "notice": "off"} in told
    finally:
        keeper.close()
        here.close()


def test_another_policy_is_in_force_with_the_next_word(scene: Scene) -> None:
    scene.remote.confine([Confined(USER, START + HOUR, 0)], START)
    scene.charter = replace(OURS, spared=(USER,))
    scene.remote.reload()
    [refused] = scene.remote.confine([Confined(USER, START + HOUR, 0)], START)
    assert refused.reason == "it is spared or busy"
    scene.charter = CHARTER
    scene.remote.reload()
    scene.remote.confine([], START)
    assert not scene.gate.standing
    assert "no [outward]" in scene.remote.outward_state(START).why
