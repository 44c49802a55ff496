from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tidegate.errors import GateError
from tidegate.gate.switches.gates import MOST_HALTED, Gates, World
from tidegate.gate.switches.halt import MOST, Halts, spec_terms
from tidegate.gate.switches.kinds import Ran, Suspect, Tools
from tidegate.gate.switches.processes import process
from tidegate.gate.switches.record import LARGEST, Record, Records, decode, encode
from tidegate.model import SECOND, GateReport
from tidegate.policy.guards import Halt
from tidegate.policy.models import Policy
from tidegate.policy.outward import OutwardSpec

GATE = "outward.uid-43213"
FREEZE = Policy(outward=OutwardSpec(uids=True, stop="freeze"))


def now() -> int:
    return time.time_ns() // 1000


def wait_until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Scene:
    def __init__(self, folder: Path) -> None:
        self.child = subprocess.Popen(["/bin/sleep", "1000000"])
        self.found = [self.suspect()]
        self.reports: list[GateReport] = []
        self.records = Records(folder)
        tools = Tools(lambda *_words, **_options: Ran(0, ""), suspects=lambda _uid: self.found)
        self.halts = Halts(tools)
        self.world = World(self.records, tools, self.reports.append, now, lambda: None)

    def suspect(self) -> Suspect:
        one = process(self.child.pid)
        assert one is not None
        return Suspect(one.pid, one.began, "/var/tmp/bot", "/kept/1.json")

    def state(self) -> str:
        one = process(self.child.pid)
        return one.state if one is not None else ""

    def newest(self) -> str:
        return self.reports[-1].state if self.reports else ""


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path / "gates")
    yield made
    made.child.kill()
    made.child.wait()


def test_a_gate_is_made_when_it_is_wanted_and_goes_when_it_is_open_again(scene: Scene) -> None:
    gates = Gates(scene.world, FREEZE)
    gates.begin(False)
    try:
        for _again in range(3):
            gates.want({GATE: now() + 60 * SECOND})
            wait_until(lambda: scene.newest() == "closed")
            assert scene.state() == "T"
            gates.want({})
            wait_until(lambda: scene.newest() == "open")
            assert scene.state() != "T"
            wait_until(lambda: (gates.want({}), GATE not in list(gates))[1])
    finally:
        gates.end(5)


def test_what_is_recorded_is_taken_over_and_let_go_in_time(scene: Scene) -> None:
    first = Gates(scene.world, FREEZE)
    first.begin(False)
    first.want({GATE: now() + 2 * SECOND})
    wait_until(lambda: scene.newest() == "closed")
    first.end(5)
    assert scene.state() == "T"
    second = Gates(scene.world, Policy())  # by a policy that knows nothing of it any more
    second.begin(False)
    try:
        wait_until(lambda: scene.state() != "T")
    finally:
        second.end(5)
    assert scene.records.read() == []


def test_not_more_users_than_there_is_room_for(scene: Scene) -> None:
    scene.found = []
    gates = Gates(scene.world, FREEZE)
    gates.begin(False)
    try:
        wanted = {f"outward.uid-{50_000 + n}": now() + 60 * SECOND for n in range(MOST_HALTED + 5)}
        gates.want(wanted)
        assert len(list(gates)) == MOST_HALTED
        assert not gates.halts("outward.uid-49999")
    finally:
        gates.end(5)


def test_one_that_stood_still_before_is_let_be(scene: Scene) -> None:
    scene.child.send_signal(19)
    wait_until(lambda: scene.state() == "T")
    assert "away" in scene.halts.look(Halt(43213, "freeze"))


def test_one_that_somebody_else_let_go_on_is_taken(scene: Scene) -> None:
    terms = Halt(43213, "freeze")
    before = scene.halts.look(terms)
    record = Record(GATE, terms, before, "closed", now(), now())
    scene.halts.close(terms, before)
    assert scene.halts.state(terms, record)[0] == "closed"
    scene.child.send_signal(18)
    wait_until(lambda: scene.state() != "T")
    assert scene.halts.state(terms, record)[0] == "taken"
    assert scene.halts.state(terms, record.at("closing"))[0] == "open"
    scene.child.kill()
    scene.child.wait()
    assert scene.halts.state(terms, record) == ("taken", "they have ended")


def test_the_largest_record_has_room(scene: Scene) -> None:
    one = scene.found[0]
    scene.found = [
        one._replace(path="/var/tmp/" + "\u00e4" * 300 + str(n)) for n in range(MOST + 9)
    ]
    terms = Halt(43213, "freeze")
    before = scene.halts.look(terms)
    before["home"] = {str(4_194_304 - n): "/system.slice/" + "x" * 150 for n in range(MOST)}
    record = Record(GATE, terms, before, "closed", now(), now())
    assert len(encode(record)) <= LARGEST
    assert decode(encode(record)) == record


@pytest.mark.parametrize("name", ["outward.uid-0", "outward.uid-", "outward.uid-\u0663", "outward.uid-1e3",
                                  "outward.uid-99999999999999", "apache.stop", "outward.uid-07"])  # fmt: skip
def test_names_that_mean_nobody(name: str) -> None:
    assert spec_terms(name, "freeze") is None


def test_who_can_not_tell_suspects_says_so() -> None:
    with pytest.raises(GateError, match="nothing here tells"):
        Halts(Tools(lambda *_words, **_options: Ran(0, ""))).look(Halt(43213, "freeze"))
