"""One gate's steps, told as stories: what is said, what stands recorded, what becomes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tidegate.errors import GateError
from tidegate.gate.switches.kinds import Standing
from tidegate.gate.switches.port import LEASE
from tidegate.gate.switches.record import Before, Record, Records
from tidegate.gate.switches.switch import FIRE_WITHIN, Switch
from tidegate.model import HOUR, MINUTE, SECOND, GateReport
from tidegate.policy.guards import Command, GateSpec, Restart, Service

TERMS = Command(("/bin/a",), ("/bin/b",))
START = 1_000_000 * SECOND


class Door:
    """A kind whose world is one word."""

    def __init__(self) -> None:
        self.is_open = True
        self.away = ""
        self.fails: set[str] = set()
        self.standing: tuple[Standing, str] | None = None
        self.done: list[str] = []

    def look(self, terms: Any) -> Before:
        self._do("look")
        return {"away": self.away} if self.away else {"was": "open"}

    def close(self, terms: Any, before: Before) -> str:
        self._do("close")
        self.is_open = False
        return "shut"

    def open(self, terms: Any, before: Before) -> str:
        self._do("open")
        self.is_open = True
        return ""

    def state(self, terms: Any, record: Record) -> tuple[Standing, str]:
        self._do("state")
        return self.standing or ("open" if self.is_open else "closed", "")

    def _do(self, verb: str) -> None:
        self.done.append(verb)
        if verb in self.fails:
            raise GateError(f"{verb} fails")


class Lever:
    """A kind that is fired."""

    def __init__(self, door: Door) -> None:
        self.door = door
        self.fails = False

    def fire(self, terms: Any, begun: Any) -> str:
        begun(TERMS, {"was": "open"})
        self.door.is_open = False
        if self.fails:
            raise GateError("stuck")
        self.door.is_open = True
        return "fired"


class Scene:
    def __init__(self, folder: Path) -> None:
        self.now = START
        self.records = Records(folder)
        self.door = Door()
        self.lever = Lever(self.door)
        self.seen: list[GateReport] = []
        self.planned = 0
        self.switch = self.live()

    def live(self, terms: Any = TERMS) -> Switch:
        """A new life: with what is recorded."""
        found = {one.gate: one for one in self.records.read()}
        self.switch = Switch(
            GateSpec("door", terms),
            self.lever if isinstance(terms, Restart) else self.door,
            self.records,
            self.seen.append,
            lambda: self.now,
            found.get("door"),
            lambda record: self.door,
            self._plan,
        )
        return self.switch

    def _plan(self) -> None:
        self.planned += 1

    def want(self, seconds: int = 200) -> None:
        self.switch.want(self.now + seconds * SECOND if seconds else 0)
        self.settle()

    def settle(self) -> None:
        """All that is to be done now."""
        for _turn in range(20):
            if self.switch.step() > 0:
                return
        raise AssertionError("it never rests")

    def later(self, seconds: int) -> None:
        self.now += seconds * SECOND
        self.settle()

    @property
    def states(self) -> list[str]:
        return [one.state for one in self.seen]

    @property
    def stage(self) -> str:
        found = self.records.read()
        return found[0].stage if found else ""


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path / "gates")


def test_closes_and_opens(scene):
    scene.want()
    assert (scene.stage, scene.planned, scene.door.is_open) == ("closed", 1, False)
    scene.want(0)
    assert (scene.stage, scene.door.is_open) == ("", True)
    assert scene.states == ["closing", "closed", "opening", "open"]


def test_says_at_the_start_how_it_is_and_what_would_hinder(scene):
    scene.settle()
    assert scene.seen == [GateReport("door", "open", START)]
    scene.live()
    scene.door.fails = {"look"}
    scene.settle()
    scene.later(60)
    assert scene.seen[1:] == [GateReport("door", "refused", START, "look fails")]


def test_what_is_in_the_way_is_told_anew_to_who_asks_and_stays_told(scene):
    scene.door.fails = {"look"}
    scene.settle()
    scene.want()
    assert scene.states == ["refused", "refused"], "else who asked would wait for an answer"
    scene.want(0)
    scene.later(60)
    assert scene.states == ["refused", "refused"], "it would still be refused"
    scene.door.fails = set()
    scene.want()
    scene.now += 61 * SECOND
    scene.want()
    scene.want(0)
    assert scene.states[-1] == "open"


def test_opens_at_its_end_when_nobody_renews(scene):
    scene.want(10)
    scene.later(9)
    assert not scene.door.is_open
    scene.later(2)
    assert scene.door.is_open and scene.stage == ""


def test_renewed_it_stays_and_its_record_moves_along_but_not_each_time(scene):
    scene.want(200)
    first = scene.records.read()[0].deadline
    scene.now += 5 * SECOND
    scene.want(200)
    assert scene.records.read()[0].deadline == first
    scene.now += 60 * SECOND
    scene.want(200)
    assert scene.records.read()[0].deadline == scene.now + 200 * SECOND
    assert scene.states == ["closing", "closed"]


def test_no_end_is_further_ahead_than_the_lease(scene):
    scene.want(3600)
    assert scene.records.read()[0].deadline <= scene.now + LEASE


def test_what_is_not_there_is_let_be_until_nobody_wants_it_closed(scene):
    scene.door.away = "it does not run"
    scene.want()
    assert scene.stage == "" and scene.states == ["away"]
    scene.door.away = ""
    scene.want()
    assert "close" not in scene.door.done
    scene.want(0)
    scene.want()
    assert scene.stage == "closed"


def test_what_a_person_opened_is_let_be_also_after_a_new_start(scene):
    scene.want()
    scene.door.is_open = True
    scene.door.standing = ("taken", "somebody")
    scene.later(11)
    assert scene.states[-1] == "taken" and scene.stage == "taken"
    scene.live()
    scene.door.done.clear()
    scene.want()
    assert scene.door.done == []
    scene.want(0)
    assert scene.stage == "" and scene.door.is_open
    scene.door.standing = None
    scene.want()
    assert scene.stage == "closed"


def test_what_a_person_forbade_is_not_opened(scene):
    scene.want()
    scene.door.standing = ("taken", "disabled")
    scene.want(0)
    assert scene.states[-2:] == ["taken", "open"] or scene.states[-1] == "taken"
    assert "open" not in scene.door.done and scene.stage == ""


def test_a_closing_that_fails_is_undone_and_tried_again_in_a_while(scene):
    scene.door.fails = {"close"}
    scene.want()
    assert scene.stage == "" and scene.states == ["closing", "refused"]
    scene.want()
    assert scene.door.done.count("close") == 1
    scene.door.fails = set()
    scene.now += 61 * SECOND
    scene.want()
    assert scene.stage == "closed"


def test_a_closing_half_done_is_undone(scene):
    scene.door.fails = {"close"}
    scene.door.standing = ("closed", "")
    scene.want()
    assert scene.door.done[-1] == "open" and scene.stage == ""


def test_an_opening_that_fails_is_tried_until_it_succeeds(scene):
    scene.want()
    scene.door.fails = {"open"}
    scene.want(0)
    assert scene.states[-1] == "refused" and scene.stage == "opening"
    for _time in range(10):
        scene.later(61)
    tries = scene.door.done.count("open")
    assert 8 <= tries <= 12
    scene.door.fails = set()
    scene.later(61)
    assert scene.door.is_open and scene.stage == "" and scene.states[-1] == "open"


def test_a_closing_and_its_undoing_that_both_fail_are_undone_in_the_end(scene):
    scene.door.fails = {"close", "open"}
    scene.door.standing = ("closed", "")
    scene.want()
    assert scene.states == ["closing", "refused", "refused"] and scene.stage == "opening"
    scene.door.fails = set()
    scene.now += 61 * SECOND
    scene.want()
    assert scene.door.done.count("open") == 2


@pytest.mark.parametrize("stage", ["closing", "closed", "opening"])
@pytest.mark.parametrize("effective", [False, True])
@pytest.mark.parametrize("wanted", [False, True])
def test_taken_over_from_a_life_that_ended_anywhere(scene, stage, effective, wanted):
    scene.records.write(Record("door", TERMS, {}, stage, START, START + 60 * SECOND))
    scene.door.is_open = not effective
    scene.live()
    scene.settle()
    if wanted:
        scene.want()
        assert scene.stage == "closed" and not scene.door.is_open
        scene.want(0)
    scene.later(61)
    assert scene.door.is_open and scene.stage == ""


def test_a_closing_that_a_former_life_began_is_gone_on_with_once_it_is_wanted(scene):
    scene.records.write(Record("door", TERMS, {}, "closing", START, START + 60 * SECOND))
    scene.door.standing = ("closed", "")  # half of it is
    scene.live()
    scene.settle()
    assert "close" not in scene.door.done and scene.stage == "closing"
    scene.want()
    assert scene.door.done.count("close") == 1 and scene.stage == "closed"
    assert scene.states == ["closing", "closed"]


@pytest.mark.parametrize("wanted", [0, None])
def test_a_stop_that_a_former_life_began_and_that_comes_late_is_undone(scene, wanted):
    record = Record("door", Service("web"), {}, "closing", START, START + 60 * SECOND)
    scene.records.write(record)
    scene.door.standing = ("open", "it was not stopped")
    scene.live(Service("web"))
    if wanted is not None:
        scene.want(wanted)
    scene.settle()
    assert scene.states == ["open"] and scene.stage == "closing"
    scene.door.standing = ("closed", "")
    scene.want(0)
    scene.later(2)
    assert scene.door.done[-1] == "open" and scene.stage == ""


def test_a_stop_that_a_former_life_began_and_that_never_comes_is_forgotten(scene):
    record = Record("door", Service("web"), {}, "closing", START, START + 60 * SECOND)
    scene.records.write(record)
    scene.door.standing = ("open", "it was not stopped")
    scene.live(Service("web"))
    scene.want(0)
    scene.later(11)
    assert scene.stage == "" and "open" not in scene.door.done


def test_a_record_whose_end_is_years_ahead_is_not_believed(scene):
    scene.records.write(Record("door", TERMS, {}, "closed", START, START + 9000 * HOUR))
    scene.door.is_open = False
    scene.live()
    scene.settle()
    assert scene.records.read()[0].deadline <= START + LEASE


def test_switched_off_it_opens_and_nothing_closes(scene):
    scene.want()
    scene.switch.off(True)
    scene.settle()
    assert scene.door.is_open
    scene.want()
    assert scene.door.is_open
    scene.switch.off(False)
    scene.want()
    assert not scene.door.is_open


def test_what_can_not_be_recorded_is_not_closed(scene, monkeypatch):
    def full(_record: Record) -> None:
        raise GateError("the disk is full")

    monkeypatch.setattr(scene.records, "write", full)
    scene.want()
    assert scene.door.done == ["look"] and scene.states == ["refused"]


def test_other_terms_open_what_the_old_ones_closed(scene):
    scene.want()
    scene.switch.change(GateSpec("door", Command(("/bin/x",), ("/bin/y",))), scene.door)
    scene.settle()
    assert scene.door.done.count("open") == 1 and scene.door.done.count("close") == 2
    assert scene.records.read()[0].terms.close == ("/bin/x",)


def test_nobody_knows_how(scene):
    scene.switch.change(GateSpec("door", TERMS), None)
    scene.want()
    assert scene.states == ["refused"] and scene.stage == ""


def test_fired_at_most_so_often(scene):
    scene.live(Restart("zope", most=2, within=HOUR))
    for _time in range(3):
        scene.switch.fire()
        scene.settle()
    assert [one.detail for one in scene.seen if one.state == "open"] == ["fired", "fired"]
    assert scene.states[-1] == "refused" and "2 times already" in scene.seen[-1].detail
    scene.live(Restart("zope", most=2, within=HOUR))
    scene.switch.fire()
    scene.settle()
    assert scene.states[-1] == "refused"
    scene.later(3601)
    scene.switch.fire()
    scene.settle()
    assert scene.states[-1] == "open"


def test_a_firing_that_fails_half_way_is_undone(scene):
    scene.live(Restart("zope"))
    scene.lever.fails = True
    scene.switch.fire()
    scene.settle()
    assert scene.door.is_open and scene.stage == ""
    assert FIRE_WITHIN < LEASE + 2 * MINUTE


def test_what_is_closed_is_not_fired_and_the_other_way_round(scene):
    scene.switch.fire()
    scene.settle()
    assert scene.seen[0].detail == "it is closed, never fired"
    scene.live(Restart("zope"))
    scene.want()
    assert scene.seen[-1].detail == "it is fired, never closed"


def test_what_a_person_opened_is_let_be_by_a_new_life_that_nobody_has_told_anything(scene):
    scene.want()
    scene.door.standing = ("taken", "somebody")
    scene.later(11)
    scene.live()
    scene.settle()  # before the watcher has said what it wants
    assert scene.stage == "taken"
    scene.door.standing = None
    scene.want()
    assert scene.stage == "taken" and scene.door.is_open is False  # as it was left: not closed anew
    assert scene.door.done.count("close") == 1
    scene.live()
    scene.later(400)  # nobody ever says anything
    assert scene.stage == ""


def test_a_clock_that_was_set_back_holds_up_no_opening_and_no_look(scene):
    scene.want()
    scene.door.fails = {"open"}
    scene.want(0)
    assert scene.states[-1] == "refused"
    scene.now -= 24 * HOUR
    scene.door.fails = set()
    scene.settle()
    assert scene.door.is_open and scene.stage == ""
    scene.want()
    scene.now -= 24 * HOUR
    scene.door.done.clear()
    scene.want()
    assert "state" in scene.door.done


def test_a_disk_that_takes_nothing_makes_no_more_firings_possible(scene, monkeypatch):
    scene.live(Restart("web", most=2, within=HOUR))

    def full(*_words):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(scene.records, "_put", full)
    monkeypatch.setattr(scene.records, "_fill", full)
    monkeypatch.setattr(scene.lever, "fire", lambda _terms, _begun: "fired")
    for _time in range(4):
        scene.now += MINUTE
        scene.switch.fire()
        scene.settle()
    assert [one.detail for one in scene.seen if one.state == "refused"]
    assert scene.states.count("closing") == 2
