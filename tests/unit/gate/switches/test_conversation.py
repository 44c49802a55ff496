"""The service keeper, and a watcher that is somebody else's: whatever it sends, little comes of it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tidegate.frames import Channel, Frame
from tidegate.gate.switches import conversation
from tidegate.gate.switches.conversation import Keeper
from tidegate.gate.switches.kinds import Ran, Tools
from tidegate.gate.switches.protocol import VERSION
from tidegate.gate.switches.record import Records
from tidegate.model import MINUTE, SECOND
from tidegate.policy.guards import Command, Compare, GateSpec, GuardSpec, Run, Step, Trigger
from tidegate.policy.models import Policy

NOW = 1_000_000 * SECOND
DOOR = GateSpec("door", Command(("/bin/true", "shut"), ("/bin/true", "open")))
LEVER = Trigger("lever", Compare("la1", ">", 1), every=2 * MINUTE, gate=GateSpec("lever", Run("x")))


class Scene:
    def __init__(self, folder: Path) -> None:
        ours, theirs = socket.socketpair()
        self.ran: list[str] = []
        self.watcher = Channel(ours)
        self.keeper = Keeper(
            theirs,
            lambda: Policy(guards=(GuardSpec("door", steps=(Step(DOOR),)),), triggers=(LEVER,)),
            Records(folder / "gates"),
            Tools(self.run, systemd=False),
            now=lambda: NOW,
            off_file=folder / "off",
        )

    def run(self, words: Any, seconds: float, *, ranked: bool = False) -> Ran:
        self.ran.append(words[-1])
        return Ran(0, "")

    def say(self, *frames: Frame) -> bool:
        going = True
        for frame in frames:
            self.watcher.send(frame, 10)
            going = self.keeper.receive()
        return going

    def heard(self) -> list[Frame]:
        self.keeper.tell()
        found = []
        try:
            while True:
                found.append(self.watcher.wait(0.3))
        except TimeoutError:
            return found


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.keeper.close()
    made.watcher.close()


HELLO: Frame = {"type": "hello", "version": VERSION}


def test_before_hello_nothing_is_heard(scene):
    scene.keeper.begin()
    assert not scene.say(*[{"type": "want", "closed": {"door": NOW + MINUTE}}] * 3)
    assert scene.ran == []


def test_what_is_said_too_early_is_kept_once_and_the_newest_counts(scene):
    scene.say(HELLO)
    for number in range(50):
        scene.say({"type": "want", "closed": {"door": NOW + number, "x": "y" * 1000}})
        scene.say({"type": "fire", "gate": "lever"}, {"type": "fire", "gate": f"lever{number}"})
    assert len(scene.keeper._early) <= 2  # memory is what could be filled
    scene.keeper.begin()
    lines = [frame["line"] for frame in scene.heard() if frame["type"] == "trouble"]
    assert len(lines) <= conversation.MOST_TROUBLES and any("lever7" in line for line in lines)


def test_a_command_is_run_no_more_often_than_policy_says(scene, monkeypatch):
    moment = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: moment[0])
    scene.say(HELLO)
    scene.keeper.begin()
    scene.say(*[{"type": "fire", "gate": "lever"}] * 3)
    refused = [frame["line"] for frame in said(scene) if frame["type"] == "trouble"]
    assert len(refused) == 2 and "60 s" in refused[0]
    moment[0] += 119  # the watcher's clock and ours need not agree to the second
    scene.say({"type": "fire", "gate": "lever"})
    assert not any(frame["type"] == "trouble" for frame in said(scene))


def said(scene: Scene) -> list[Frame]:
    found = []
    while not scene.keeper._said.empty():
        found.append(scene.keeper._said.get_nowait())
    return found
