"""Killed at every step of closing and opening, no gate stays closed, and no person is undone."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from tests.crash.guard_scene import GATES, KERNEL, SWITCHES, Play, Scene, Wait, perform

pytestmark = pytest.mark.kernel

VICTIMS = ("watcher", "keeper", "service keeper", "master", "all")
STEPS = (
    ("watcher", "intend {verb} {gate}"),
    ("watcher", "want {verb} {switch}"),
    ("watcher", "ask {verb} {door}"),
    ("keeper", "switch {verb} {door}"),
    ("service keeper", "record {ing} {switch}"),
    ("service keeper", "{verb} {switch}"),
    ("service keeper", "{last} {switch}"),
    ("watcher", "settle {verb} {gate}"),
)
"""Whose steps they are, in the order in which they are taken."""
WITHIN = (
    "during {verb} service",
    "during {verb} command",
    "after write cpu.shares",
    "after write freezer.state",
    "after say set server",
    "before write track",
    "after tell agent",
)
"""In the middle of an effect."""
WORDS = {
    "close": {"ing": "closing", "last": "record closed"},
    "open": {"ing": "opening", "last": "forget"},
}


@pytest.fixture(autouse=True)
def ended_in_order() -> Iterator[None]:
    """Told to end, a test still clears away what it made."""

    def end(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    yield
    signal.signal(signal.SIGTERM, before)


def steps(verb: str, victim: str) -> list[str]:
    """Steps of this verb at which this one dies: of its own, and for all, every one before and
    after; of others one of the two. Of which gate it is differs from victim to victim."""
    found, first = [], VICTIMS.index(victim)
    for number, (whose, step) in enumerate(STEPS):
        for after in (False, True):
            if victim not in (whose, "all") and (number + first) % 2 == after:
                continue
            turn = first + 2 * number + after
            gate, switch, door = (kind[turn % len(kind)] for kind in (GATES, SWITCHES, KERNEL))
            words = {"verb": verb, "gate": gate, "switch": switch, "door": door, **WORDS[verb]}
            found.append(("after " if after else "before ") + step.format(**words))
    within = WITHIN if victim in ("service keeper", "all") else (*WITHIN[:2], WITHIN[first + 2])
    return found + [step.format(verb=verb) for step in within]


# -- parts of plays ------------------------------------------------------------------------------


def begin(scene: Scene) -> Play:
    """The daemon runs, and nothing is closed."""
    if scene.space is None:
        scene.build()
    scene.spawn()

    def ready() -> bool:
        assert scene.alive(), f"the daemon ended: {scene.code}"
        return set(scene.reports().values()) == {"open"}

    yield Wait("the daemon", ready)


def die(scene: Scene, step: str, victim: str, value: float) -> Play:
    """It gets that hot; at this step somebody is killed."""
    scene.arm(step)
    scene.heat(value)
    yield Wait(f"the step {step}", scene.reached)
    scene.kill(victim)
    scene.go()
    if victim in ("master", "all"):
        yield Wait("all to end", lambda: scene.reaped() and not scene.working())


def stands(scene: Scene, closed: bool) -> Play:
    """All gates are so, and the daemon says so; it is started where it does not run."""
    if not scene.alive():
        scene.spawn()
    word = "closed" if closed else "open"

    def all_so() -> bool:
        assert scene.alive(), f"the daemon ended: {scene.code}"
        return scene.all(closed)

    yield Wait(f"all to be {word}", all_so)
    yield Wait(f"reports of {word}", lambda: set(scene.reports().values()) == {word})
    if not closed:
        yield Wait("no records", lambda: not scene.records())
        yield Wait("all to be settled", lambda: settled(scene))


def settled(scene: Scene) -> bool:
    rows = scene.history()
    return bool(rows) and {state for _action, _gate, state in rows} <= {"applied", "skipped"}


# -- killed, and started again -------------------------------------------------------------------


def lives_on(closing: str, opening: str, victim: str, scene: Scene) -> Play:
    yield from begin(scene)
    yield from die(scene, closing, victim, 11)
    yield from stands(scene, closed=True)
    yield from die(scene, opening, victim, 1)
    yield from stands(scene, closed=False)


@pytest.mark.parametrize("victim", VICTIMS)
def test_whoever_is_killed_at_whatever_step_it_goes_on(victim: str) -> None:
    pairs = zip(steps("close", victim), steps("open", victim), strict=True)
    plays: dict[str, Callable[[Scene], Play]] = {
        f"{victim} killed {closing}, {opening}": partial(lives_on, closing, opening, victim)
        for closing, opening in pairs
    }
    perform(plays, Scene)
