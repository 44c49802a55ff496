"""Killed before or after each effect of a quarantine, the world is the one that never saw a crash.

The gate is a file that outlives its process, as the kernel's table does.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.crash import scene
from tests.crash.scene import BEGAN, Effects, Fault, Order, Player, Proxy, When

from tidegate.daemon import watcher as watcher_module
from tidegate.daemon.build import Plan
from tidegate.daemon.watcher import Watcher
from tidegate.daemon.wiring import Fresh, Wiring, open_sources, saved
from tidegate.detector.pack import load_packs
from tidegate.gate.memory import MemoryGate
from tidegate.ledger.sqlite import SqliteLedger
from tidegate.model import SECOND, Confined
from tidegate.policy.loader import read

KILLED = -9
A, B, C, USER = "192.0.2.41", "192.0.2.42", "198.51.100.0/28", "uid:33"
BY_HAND = "192.0.2.43"
POLICY = """
[source.found]
file = "{log}"
detectors = ["outward"]
start = "beginning"
[outward]
sources = ["uids", "192.0.2.0/24"]
customers = ["198.51.100.0/28"]
[rule.worm]
on = ["outward.scan"]
at-least = 1
within = "1m"
quarantine = {{ ladder = ["1h", "4h", "24h"] }}
[paths]
off = "{folder}/off"
"""
BUSY = '[allow]\naddresses = ["192.0.2.42"]\n'


def scan(second: int, subject: str) -> str:
    moment = datetime.fromtimestamp(BEGAN + second, UTC)
    return (
        f"{moment:%Y-%m-%dT%H:%M:%S.%fZ} tidegate outward: scan {subject}: 14 new destinations in"
        " 0.2s, none answered: 203.0.113.4:1434/udp\n"
    )


STEPS: tuple[scene.Step, ...] = (
    scan(600, A) + scan(601, A) + scan(601, USER),
    scan(602, B),
    Order("/release", {"subject": A, "note": "patched, they say"}),
    scan(1190, C),
    scan(1230, A),  # a relapse: after the release, whenever that was
    Order("/quarantine", {"subject": BY_HAND, "for": "5h", "note": "seen on the switch"}),
    Order("/release", {"subject": USER, "trust": True}),
    "reload",  # from here on policy spares B
    scan(1240, B) + scan(1241, "uid:0"),
    Order("/allow", {"subject": C, "for": "3h"}),
    scan(1250, C),
)


class FileGate(MemoryGate):
    """Its confined stand in a file: they outlive whoever put them there, each until its end."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def confine(self, confined: Sequence[Confined], now: int) -> list[Any]:
        fresh = self._path.with_suffix(".new")
        fresh.write_text(json.dumps(confined))
        fresh.rename(self._path)
        return super().confine(confined, now)


class SceneWiring(Wiring):
    """Reloads what was read before the fork."""

    folder: Path

    def reloaded(self) -> Fresh:
        plan = _plan(self.folder)
        return Fresh(plan, plan.pipeline(), saved(self.ledger))


class World(NamedTuple):
    """What must be the same, however often the daemon died on the way."""

    decided: list[tuple[Any, ...]]
    by_hand: set[tuple[Any, ...]]
    unsettled: int
    memory: dict[tuple[str, str], bytes | None]
    confined: dict[str, tuple[bool, bool]]


@cache
def _packs() -> tuple[Any, ...]:
    return tuple(pack for pack in load_packs() if pack.name in ("outward", "inward"))


def _plan(folder: Path) -> Plan:
    text = POLICY.format(log=folder / "mainlog", folder=folder)
    more = BUSY if (folder / "policy").read_text() == "1" else ""
    return Plan(read([("policy", text + more)]), _packs())


@pytest.fixture
def folder() -> Iterator[Path]:
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="tidegate-crash-", dir=memory) as made:
        yield Path(made)


def begin(folder: Path) -> Path:
    for old in folder.glob("*"):
        old.unlink()
    for name, text in (("step", "0"), ("policy", "0"), ("mainlog", ""), ("gate", "[]")):
        (folder / name).write_text(text)
    return folder


def live(folder: Path, fault: Fault | None = None) -> int:
    """One life of the watcher, to its end; how it ended."""

    def watch() -> None:
        wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        player = Player(folder, wake_write)
        player.steps = STEPS
        watcher_module.now_micros = player.now  # type: ignore[assignment]
        watcher_module.protected = tuple  # type: ignore[assignment]
        effects = Effects(fault, folder / "effect")
        plan = _plan(folder)
        ledger: Any = Proxy(SqliteLedger(str(folder / "ledger.sqlite")), scene.LEDGER, effects)
        gate: Any = Proxy(FileGate(folder / "gate"), ("confine",), effects)
        wiring = SceneWiring(
            config=None, plan=plan, pipeline=plan.pipeline(),
            sources=open_sources(plan, ledger), ledger=ledger, gate=gate, gate_kind="scene",
            control=player,  # type: ignore[arg-type]
            wake_fd=wake_read, observe=False, trusted=False,
        )  # fmt: skip
        wiring.folder = folder  # type: ignore[attr-defined]
        player.daemon = Watcher(wiring, lambda _word: None)
        player.daemon.run()

    pid = scene._child(watch, folder / "watcher.log")
    return scene._ended({pid: "watcher"})["watcher"]


def world(folder: Path) -> World:
    ledger = SqliteLedger(str(folder / "ledger.sqlite"))
    now = BEGAN * SECOND + 1300 * SECOND
    entries = [(one.decision, one.state) for one in ledger.history(1000)]
    held = {
        (part, key): value
        for part, key, value in ledger.memory()
        # A person's order holds from when it was said; so does what it says of the others.
        if part not in ("exempt", "held worm") and key != BY_HAND
    }
    found = World(
        decided=sorted(
            (d.id, d.action, d.subject, d.until, d.watched, d.step, d.spared, d.evidence, state)
            for d, state in entries
            if d.by == "rule"
        ),
        by_hand={(d.action, d.subject, d.by, d.note, d.reason) for d, _ in entries
                 if d.by != "rule"},
        unsettled=len(ledger.unsettled()),
        memory=held,
        confined={one.subject: (one.until > now, one.watched > now)
                  for one in ledger.quarantined(now)},
    )  # fmt: skip
    in_gate = [Confined(*one) for one in json.loads((folder / "gate").read_text())]
    assert in_gate == ledger.quarantined(now), "gate and ledger are out of step"
    ledger.close()
    return found


@pytest.fixture
def expected(folder: Path) -> World:
    assert live(begin(folder)) == 0, (folder / "watcher.log").read_text()
    return world(folder)


def test_the_scene_has_something_of_everything(expected: World) -> None:
    assert expected.unsettled == 0
    assert {(row[2], row[5], row[6], row[8]) for row in expected.decided} == {
        (A, 0, "", "applied"),
        (A, 1, "", "applied"),
        (B, 0, "", "applied"),
        (C, 0, "", "applied"),
        (USER, 0, "", "applied"),
        (B, 0, "allowlist", "spared"),
        (C, 0, "exempt", "spared"),
        ("uid:0", 0, "root", "spared"),
    }
    assert {(row[0], row[1], row[2]) for row in expected.by_hand} == {
        ("release", A, "anna (uid 1000)"),
        ("release", USER, "anna (uid 1000)"),
        ("release", C, "anna (uid 1000)"),
        ("release", B, "reload"),
        ("allow", C, "anna (uid 1000)"),
        ("quarantine", BY_HAND, "anna (uid 1000)"),
    }
    assert expected.confined == {A: (True, True), BY_HAND: (True, True)}


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_the_nth_effect_and_started_again(
    folder: Path, expected: World, when: When
) -> None:
    number = 0
    while True:
        number += 1
        ended = live(begin(folder), Fault("watcher", number, when))
        if ended == 0:
            break
        assert ended == KILLED, (folder / "watcher.log").read_text()
        where = f"died {when} effect {number}, {(folder / 'effect').read_text()}"
        assert live(folder) == 0, f"{where}:\n{(folder / 'watcher.log').read_text()}"
        found = world(folder)
        for name in World._fields:
            assert getattr(found, name) == getattr(expected, name), f"{where}: {name}"
    assert number > 30
