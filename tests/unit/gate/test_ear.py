"""The keeper's ear: what is passed on, what is too much, and what it does where it hears nothing."""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from tests.unit.gate.conftest import CHARTER, Setting

from tidegate.errors import GateError
from tidegate.frames import Channel
from tidegate.gate import ear as ear_module
from tidegate.gate.ear import Ear
from tidegate.gate.keeper import Keeper, serve
from tidegate.gate.port import Knock
from tidegate.model import Subject

ONE = Knock(Subject("192.0.2.7"), 25)


class Pipe:
    """A reader that tells what the test says; its pipe is readable while there is something."""

    def __init__(self) -> None:
        self.out, self.into = os.pipe()
        self.told: list[list[Knock]] = []
        self.lost = 0
        self.broken = self.closed = False

    def say(self, *knocks: Knock) -> None:
        self.told.append(list(knocks))
        os.write(self.into, b".")

    def fileno(self) -> int:
        return self.out

    def read(self) -> list[Knock]:
        os.read(self.out, 1)
        if self.broken:
            raise GateError("knocks can't be heard: it broke")
        return self.told.pop(0)

    def close(self) -> None:
        self.closed = True
        os.close(self.out)
        os.close(self.into)


class Scene:
    """An ear between a reader (or the trouble in the way of one) and a channel."""

    def __init__(self) -> None:
        self.reader = Pipe()
        self.trouble = ""
        self.asked = 0
        here, there = socket.socketpair()
        self.watcher, self.channel = Channel(here), Channel(there)

    def listen(self) -> Pipe:
        self.asked += 1
        if self.trouble:
            raise GateError(self.trouble)
        return self.reader

    def ear(self) -> Ear:
        return Ear(self.channel, self.listen)

    def heard(self) -> list[dict[str, Any]]:
        self.watcher.fill()
        frames = []
        while (frame := self.watcher.next()) is not None:
            assert frame.pop("type") == "knocks"
            frames.append(frame)
        return frames


@pytest.fixture
def scene() -> Iterator[Scene]:
    made = Scene()
    yield made
    made.watcher.close()
    made.channel.close()
    if not made.reader.closed:
        made.reader.close()


def test_who_knocked_is_passed_on(scene: Scene) -> None:
    ear = scene.ear()
    assert ear.fileno() == scene.reader.fileno()
    scene.reader.say(ONE, ONE)
    ear.hear()
    assert scene.heard() == [
        {"knocks": [["192.0.2.7", 25], ["192.0.2.7", 25]], "missed": 0, "deaf": ""}
    ]
    ear.tick("")
    assert scene.heard() == []


def test_at_most_a_thousand_a_second_and_the_rest_is_counted(scene: Scene) -> None:
    ear = scene.ear()
    for _turn in range(5):
        scene.reader.say(*[ONE] * 300)
        ear.hear()
    frames = scene.heard()
    assert [len(one["knocks"]) for one in frames] == [250, 50, 250, 50, 250, 50, 100]
    ear.tick("")
    assert scene.heard() == [{"knocks": [], "missed": 500, "deaf": ""}]
    scene.reader.say(ONE)
    ear.hear()
    assert scene.heard() == [{"knocks": [["192.0.2.7", 25]], "missed": 500, "deaf": ""}]


def test_what_the_kernel_lost_is_counted(scene: Scene) -> None:
    ear = scene.ear()
    scene.reader.lost = 7
    ear.tick("")
    ear.tick("")
    assert scene.heard() == [{"knocks": [], "missed": 7, "deaf": ""}]
    ear.close()
    assert scene.reader.closed
    assert ear.fileno() == -1


def test_a_watcher_that_does_not_read_is_never_waited_for(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ear_module, "A_SECOND", 10**6)
    ear = scene.ear()
    for _turn in range(100):
        scene.reader.say(*[ONE] * 250)
        ear.hear()
    # What must be said finds room behind them.
    scene.channel.send({"type": "knocks", "last": True}, 0.1)
    frames = [frame for _turn in range(100) for frame in scene.heard()]
    assert frames[-1]["last"]
    passed = sum(len(one["knocks"]) for one in frames[:-1])
    assert 1000 < passed < 25_000
    ear.tick("")
    assert scene.heard() == [{"knocks": [], "missed": 25_000 - passed, "deaf": ""}]


def test_deaf_is_said_once_and_tried_again_each_minute(scene: Scene) -> None:
    scene.trouble = "NFLOG group 2003 can't be had"
    ear = scene.ear()
    assert ear.fileno() == -1
    ear.hear()
    for _turn in range(59):
        ear.tick("")
    assert scene.heard() == [{"knocks": [], "missed": 0, "deaf": scene.trouble}]
    assert scene.asked == 1
    ear.tick("")
    ear.tick("")
    assert scene.asked == 2
    scene.trouble = ""
    for _turn in range(60):
        ear.tick("")
    assert scene.heard() == [{"knocks": [], "missed": 0, "deaf": ""}]
    assert ear.fileno() == scene.reader.fileno()


def test_a_reader_that_broke_is_let_go(scene: Scene) -> None:
    ear = scene.ear()
    scene.reader.broken, scene.reader.lost = True, 3
    scene.reader.say()
    ear.hear()
    ear.tick("")
    assert scene.reader.closed
    assert scene.heard() == [{"knocks": [], "missed": 3, "deaf": "knocks can't be heard: it broke"}]


def test_what_is_watched_follows_the_reader(scene: Scene) -> None:
    ear, poll = scene.ear(), select.poll()
    now = ear.watched(poll, -1)
    assert now == ear.watched(poll, now) == scene.reader.fileno()
    scene.reader.say(ONE)
    assert poll.poll(0) == [(now, select.POLLIN)]
    ear.close()
    assert ear.watched(poll, now) == -1
    assert poll.poll(0) == [], "or the keeper would turn round and round"


def test_a_gate_that_does_not_tell_of_knocks(scene: Scene) -> None:
    ear = scene.ear()
    ear.tick("nft refused the layout")
    ear.tick("nft refused the layout")
    assert scene.heard() == [{"knocks": [], "missed": 0, "deaf": "nft refused the layout"}]


def test_the_keeper_ends_with_its_watcher_here_too(setting: Setting, scene: Scene) -> None:
    setting.keeper.close()
    here, there = socket.socketpair()
    keeper = Keeper(there, setting.gate, setting.load, listen=scene.listen)
    scene.reader.say(ONE)
    assert keeper.hear()
    here.close()
    scene.reader.say(ONE)
    assert not keeper.hear()
    keeper.close()
    assert scene.reader.closed


def test_serve_hears_knocks(setting: Setting, scene: Scene) -> None:
    scene.trouble = "not yet"
    thread = threading.Thread(
        target=serve,
        args=(setting.there, setting.gate, lambda: CHARTER),
        kwargs={"off_file": setting.off_file, "listen": scene.listen},
    )
    thread.start()
    channel = Channel(setting.here)
    try:
        assert channel.wait(30)["deaf"] == "not yet"
        channel.send({"type": "ping"}, 5)
        assert channel.wait(5)["type"] == "done"
    finally:
        channel.close()
        thread.join(30)


def test_serve_passes_them_on_and_answers(setting: Setting, scene: Scene) -> None:
    thread = threading.Thread(
        target=serve,
        args=(setting.there, setting.gate, lambda: CHARTER),
        kwargs={"off_file": setting.off_file, "listen": scene.listen},
    )
    thread.start()
    channel = Channel(setting.here)
    try:
        scene.reader.say(ONE)
        assert channel.wait(30)["knocks"] == [["192.0.2.7", 25]]
        channel.send({"type": "ping"}, 5)
        assert channel.wait(5)["type"] == "done"
        scene.reader.broken = True
        scene.reader.say()
        assert "it broke" in channel.wait(30)["deaf"]
        channel.send({"type": "ping"}, 5)
        assert channel.wait(5)["type"] == "done"
    finally:
        channel.close()
        thread.join(30)
    assert not thread.is_alive()
