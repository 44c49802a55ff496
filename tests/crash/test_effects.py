"""Killed at every n-th effect and started again, the world is the one that never saw a crash."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.crash import scene
from tests.crash.scene import Fault, Policies, When, World
from tests.kernel.namespaces import Namespace

pytestmark = pytest.mark.kernel

KILLED = -9


class Stage(NamedTuple):
    """Where the scene is played, and the world as it must be in the end."""

    space: Namespace
    folder: Path
    policies: Policies
    expected: World


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with scene.stage() as (folder, space), space.inside():
        policies = scene.policies(folder)
        world = folder / "world"
        scene.begin(world)
        assert scene.live(world, policies) == {"keeper": 0, "watcher": 0}, _logs(world)
        scene.check_kernel(space, world)
        yield Stage(space, world, policies, scene.world(world))


def _logs(folder: Path) -> str:
    return "\n".join(f"{one.name}:\n{one.read_text()}" for one in sorted(folder.glob("*.log")))


def test_the_scene_itself_has_something_of_everything(stage):
    world = stage.expected
    assert world.unsettled == 0
    assert {(row[3], row[8], row[10]) for row in world.decided} == {
        ("virus", "", "applied"),
        ("virus", "exempt", "spared"),
        ("virus", "allowlist", "spared"),
        ("broad", "", "applied"),
    }
    assert len(world.decided) == 12
    assert {(action, by) for action, _s, _r, _p, by, _n in world.by_hand} == {
        ("ban", "anna (uid 1000)"),
        ("unban", "anna (uid 1000)"),
        ("allow", "anna (uid 1000)"),
        ("unban", "reload"),
    }
    assert world.wanted


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("role", ["watcher", "keeper"])
def test_killed_at_the_nth_effect_and_started_again(stage: Stage, role: str, when: When):
    number = 0
    while True:
        number += 1
        scene.begin(stage.folder)
        ended = scene.live(stage.folder, stage.policies, Fault(role, number, when))
        if ended == {"keeper": 0, "watcher": 0}:
            break
        assert ended[role] == KILLED, _logs(stage.folder)
        where = f"{role} died {when} effect {number}, {(stage.folder / 'effect').read_text()}"
        again = scene.live(stage.folder, stage.policies)
        assert again == {"keeper": 0, "watcher": 0}, f"{where}:\n{_logs(stage.folder)}"
        _same(stage, where)
    assert number > (40 if role == "watcher" else 15)


def _same(stage: Stage, where: str) -> None:
    found: Any = scene.world(stage.folder)
    for name in World.__dataclass_fields__:
        assert getattr(found, name) == getattr(stage.expected, name), f"{where}: {name}"
    scene.check_kernel(stage.space, stage.folder)
