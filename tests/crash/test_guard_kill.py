"""Killed at every step of closing and opening, no gate stays closed, and no person is undone."""

from __future__ import annotations

import time
from collections.abc import Callable
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
    yield from kill(scene, victim)


def kill(scene: Scene, victim: str) -> Play:
    """Somebody is killed; where there is no master left, all others end too."""
    scene.kill(victim)
    scene.go()
    if victim not in ("watcher", "keeper", "service keeper"):
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


# -- killed, and nobody starts it again ----------------------------------------------------------

LEASE = 8.0
DOING = (
    "before record {ing} {switch}",
    "after record {ing} {switch}",
    "before {verb} {switch}",
    "after {verb} {switch}",
    "before {last} {switch}",
    "after {last} {switch}",
)


def doing(verb: str, first: int) -> list[str]:
    """What a service keeper does for a gate, and all that lies in the middle of an effect."""
    found = []
    for number, step in enumerate(DOING):
        words = {"verb": verb, "switch": SWITCHES[(first + number) % len(SWITCHES)], **WORDS[verb]}
        found.append(step.format(**words))
    return found + [step.format(verb=verb) for step in WITHIN]


def closed_and_killed(scene: Scene, step: str, victim: str) -> Play:
    """Killed while it closes (or has closed, and opens), and not started again."""
    yield from begin(scene)
    if " open " in step or "opening" in step or "forget" in step:
        scene.heat(11)
        yield from stands(scene, closed=True)
        yield from die(scene, step, victim, 1)
    else:
        yield from die(scene, step, victim, 11)


def all_open(scene: Scene) -> Play:
    yield Wait("all to open", lambda: scene.all(False) and not scene.records())


def left_to_the_dead_man(step: str, scene: Scene) -> Play:
    yield from closed_and_killed(scene, step, "crew")
    yield from all_open(scene)
    yield Wait("the dead man to end", lambda: not scene.ours())


def left_to_a_person(step: str, victim: str, scene: Scene) -> Play:
    """Nobody is left but the kernel, and what answers balancers: a person opens the rest."""
    yield from closed_and_killed(scene, step, victim)
    yield Wait("the kernel", lambda: set(scene.doors().values()) == {None})
    yield Wait("the ends", lambda: max(scene.deadlines(), default=0) < time.time())
    asked = scene.overdue()
    yield Wait("the verb", lambda: asked.poll() is not None)
    assert asked.returncode == 0
    yield from all_open(scene)


def left_to_the_next_start(step: str, victim: str, scene: Scene) -> Play:
    yield from closed_and_killed(scene, step, victim)
    scene.heat(1)
    yield from stands(scene, closed=False)


def left_to_itself(step: str, scene: Scene) -> Play:
    """What a script was about goes on, or not, when the next daemon has long begun."""
    yield from begin(scene)
    scene.arm(step)
    scene.heat(11)
    yield Wait(f"the step {step}", scene.reached)
    scene.kill("all")
    yield Wait("all to end", lambda: scene.reaped() and not scene.working())
    scene.heat(1)
    yield from stands(scene, closed=False)
    scene.go()
    since = time.monotonic()
    yield Wait("the script", lambda: time.monotonic() > since + 1)
    yield from all_open(scene)


def dead_man_killed(step: str, scene: Scene) -> Play:
    """He, too, dies at his work."""
    yield from begin(scene)
    scene.heat(11)
    yield from stands(scene, closed=True)
    scene.arm(step)
    scene.kill("crew")
    yield Wait(f"the dead man at {step}", scene.reached)
    yield from kill(scene, "all")
    scene.heat(1)
    yield from stands(scene, closed=False)


def test_with_only_the_dead_man_left_all_opens():
    plays = {step: partial(left_to_the_dead_man, step) for step in doing("close", 0)}
    plays |= {step: partial(left_to_the_dead_man, step) for step in doing("open", 3)}
    perform(plays, lambda: Scene(LEASE))


def test_with_nobody_left_a_person_or_the_next_start_opens():
    plays: dict[str, Callable[[Scene], Play]] = {}
    for number, step in enumerate((*doing("close", 5), *doing("open", 1))):
        victim = ("all", "everybody")[number % 2]
        act = (left_to_a_person, left_to_the_next_start)[number // 2 % 2]
        plays[f"{victim} {step}, {act.__name__}"] = partial(act, step, victim)
    for step in ("before open service", "after open properties", "before forget haproxy"):
        plays[f"dead man {step}"] = partial(dead_man_killed, step)
    for step in ("during close service", "during close command"):
        plays[f"script {step}"] = partial(left_to_itself, step)
    perform(plays, lambda: Scene(LEASE))


def test_as_shipped_the_kernel_opens_after_five_minutes_and_records_end_then_too():
    def play(scene: Scene) -> Play:
        yield from begin(scene)
        scene.heat(11)
        yield from stands(scene, closed=True)
        scene.kill("all")
        left = scene.doors()
        assert all(one is not None and 240 < one <= 300 for one in left.values()), left
        ends = [one - time.time() for one in scene.deadlines()]
        assert len(ends) == len(SWITCHES) and all(200 < one <= 300 for one in ends), ends

    perform({"as shipped": play}, Scene)


# -- people outrank all of it --------------------------------------------------------------------

THEIRS = ("service", "freeze", "haproxy", "keepalived")
"""Gates that a person can have closed by other means."""
OURS = tuple(gate for gate in GATES if gate not in THEIRS)


def by_hand(scene: Scene) -> None:
    """A person closes what can be closed without us."""
    scene.serve("stop")
    scene.freeze("FROZEN")
    scene.haproxy("set server api/one state drain")
    (scene.folder / "track").write_text("-100\n")


def let_be(scene: Scene, starts: int) -> bool:
    """What a person has closed is closed, and we have started nothing."""
    assert scene.calls().count("start") == starts, scene.calls()
    assert all(scene.closed(gate) for gate in THEIRS), scene.state()
    return True


def others(scene: Scene, closed: bool) -> Play:
    """The gates that no person has closed are so; the daemon is started where it does not run."""
    if not scene.alive():
        scene.spawn()
    word = "closed" if closed else "open"
    yield Wait(f"the others to be {word}", lambda: scene.all(closed, *THEIRS))
    left = {*OURS} if closed else {*GATES}
    told = lambda: {scene.reports().get(gate) for gate in left} == {word}  # noqa: E731
    yield Wait(f"reports of {word}", told)


def stopped_before(step: str, victim: str, scene: Scene) -> Play:
    scene.build()
    by_hand(scene)
    starts = scene.calls().count("start")
    scene.spawn()
    yield Wait("the daemon", lambda: set(scene.reports().values()) == {"open"})
    yield from die(scene, step, victim, 11)
    yield from others(scene, closed=True)
    assert let_be(scene, starts)
    yield from kill(scene, victim)
    scene.heat(1)
    yield from others(scene, closed=False)
    yield Wait("no records", lambda: not scene.records())
    assert let_be(scene, starts)


def stopped_after(step: str, victim: str, scene: Scene) -> Play:
    yield from begin(scene)
    scene.heat(11)
    yield from stands(scene, closed=True)
    scene.arm(step)
    scene.heat(1)
    yield Wait(f"the step {step}", scene.reached)
    yield Wait("theirs to open", lambda: not any(scene.closed(gate) for gate in THEIRS))
    yield Wait("no record", lambda: not {*THEIRS} & {*scene.records()})
    by_hand(scene)
    starts = scene.calls().count("start")
    yield from kill(scene, victim)
    yield from others(scene, closed=False)
    yield Wait("no records", lambda: not scene.records())
    assert let_be(scene, starts)


def started_meanwhile(step: str, victim: str, scene: Scene) -> Play:
    """Closed by us, opened by a person, closed by them again later: neither is undone."""
    yield from begin(scene)
    scene.heat(11)
    yield from stands(scene, closed=True)
    scene.arm(step)
    scene.serve("start")
    scene.freeze("THAWED")
    scene.haproxy("set server api/one state ready")
    (scene.folder / "track").write_text("7\n")
    yield Wait(f"the step {step}", scene.reached)
    yield from kill(scene, victim)
    if not scene.alive():
        scene.spawn()
    stops = scene.calls().count("stop")

    def noticed() -> bool:
        reports = scene.reports()
        return {reports.get(gate) for gate in OURS} == {"closed"} and all(
            reports[gate] in ("taken", "open") for gate in THEIRS
        )

    yield Wait("it to be noticed", noticed)
    assert scene.runs() and scene.calls().count("stop") == stops
    assert not scene.closed("freeze") and not scene.closed("haproxy")
    by_hand(scene)
    starts = scene.calls().count("start")
    scene.heat(1)
    yield from others(scene, closed=False)
    yield Wait("no records", lambda: not scene.records())
    assert let_be(scene, starts)


def disabled_meanwhile(step: str, victim: str, scene: Scene) -> Play:
    """Closed by us, and then a person decides that it starts no more."""
    scene.build()
    scene.enable(True)
    yield from begin(scene)
    scene.heat(11)
    yield from stands(scene, closed=True)
    scene.enable(False)
    starts = scene.calls().count("start")
    yield from die(scene, step, victim, 1)
    if not scene.alive():
        scene.spawn()
    yield Wait("the others to open", lambda: scene.all(False, "service"))
    yield Wait("no records", lambda: not scene.records())
    yield Wait(
        "reports", lambda: set(scene.reports().values()) <= {"open", "taken"} and scene.reports()
    )
    assert scene.calls().count("start") == starts and not scene.runs()


def ordered(victim: str, scene: Scene) -> Play:
    """What a person has told us to close stays closed whatever the reading says, until they open."""
    yield from begin(scene)
    scene.say("close", "service")
    scene.say("close", "throttle")
    yield Wait("both to close", lambda: scene.closed("service") and scene.closed("throttle"))
    for _time in range(2):
        yield from kill(scene, victim)
        if not scene.alive():
            scene.spawn()
        yield Wait("an answer", lambda: scene.reports().get("service") == "closed")
        assert scene.closed("service") and scene.closed("throttle")
    scene.say("open", "service")
    scene.say("open", "throttle")
    yield from all_open(scene)


def test_what_a_person_has_stopped_before_is_left_stopped():
    steps = zip(
        ("after intend close service", "before settle close service", "after want close freeze",
         "before record closing command", "after close properties", "after switch close refuse"),
        ("watcher", "watcher", "service keeper", "all", "master", "keeper"),
        strict=True,
    )  # fmt: skip
    perform(
        {f"{victim} {step}": partial(stopped_before, step, victim) for step, victim in steps}, Scene
    )


def test_what_a_person_stops_afterwards_is_left_stopped():
    steps = zip(
        ("before settle open agent", "before forget agent", "during open command",
         "after forget agent", "after settle open agent"),
        ("watcher", "all", "service keeper", "master", "keeper"),
        strict=True,
    )  # fmt: skip
    perform(
        {f"{victim} {step}": partial(stopped_after, step, victim) for step, victim in steps}, Scene
    )


def test_what_a_person_starts_meanwhile_and_stops_again_is_left_alone():
    steps = zip(
        ("before record taken service", "after record taken service", "before intend open service",
         "after settle open service", "before record taken haproxy", "after intend open freeze"),
        ("service keeper", "all", "watcher", "master", "all", "keeper"),
        strict=True,
    )  # fmt: skip
    perform(
        {f"{victim} {step}": partial(started_meanwhile, step, victim) for step, victim in steps},
        Scene,
    )


def test_what_a_person_disables_meanwhile_is_not_started():
    steps = zip(
        ("before intend open service", "before forget service", "after want open service"),
        ("watcher", "all", "service keeper"),
        strict=True,
    )
    perform(
        {f"{victim} {step}": partial(disabled_meanwhile, step, victim) for step, victim in steps},
        Scene,
    )


def test_what_a_person_told_us_to_close_stays_closed():
    perform({victim: partial(ordered, victim) for victim in VICTIMS}, Scene)
