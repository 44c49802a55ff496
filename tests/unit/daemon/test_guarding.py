"""Between guards and the world: written down first, closed next, opened by itself, told why."""

from __future__ import annotations

from collections.abc import Iterable
from unittest.mock import ANY

import pytest

from tidegate.daemon.guarding import RENEW_EVERY, Guarding
from tidegate.daemon.moves import PREFIX
from tidegate.daemon.notices import Notices
from tidegate.daemon.telling import Telling
from tidegate.decision.guards import Guards
from tidegate.errors import GateError, GoneError, LedgerError, SourceError
from tidegate.evidence.conditions import Evidence
from tidegate.gate.memory import MemoryGate
from tidegate.gate.switches.memory import MemorySwitches
from tidegate.gate.switches.port import LEASE
from tidegate.ledger.memory import MemoryLedger
from tidegate.model import MINUTE, SECOND, Decision, GateReport, Micros, Outcome, Sample, Subject
from tidegate.policy.loader import read
from tidegate.policy.models import Policy
from tidegate.source.readings.memory import MemoryReadings
from tidegate.source.readings.port import Captured

NOW: Micros = 1_700_000_000 * SECOND
LADDER = """
[guard.web]
close = { when = "la1 >= 10" }
open = { when = "la1 <= 2" }
ladder = [
  { throttle = { ports = [80], rate = "6/m" } },
  { stop = "apache2", after = "30s" },
]
"""
ONE = """
[guard.web]
close = { when = "la1 >= 10" }
open = { when = "la1 <= 2" }
service = "apache2"
"""


class Heard(Notices):
    """Notices that go nowhere: (to whom, subject, text)."""

    told: list[tuple[tuple[str, ...], str, str]]

    def tell(
        self, names: Iterable[str], time: Micros, subject: str, text: str, *, about: str = "",
        clear: bool = False,
    ) -> None:  # fmt: skip
        self.told = [*getattr(self, "told", []), (tuple(names), subject, text)]


class Scene:
    """Guards of a policy with twins of everything around them, and a clock."""

    def __init__(self, text: str = ONE, ledger: MemoryLedger | None = None) -> None:
        self.policy = read([("policy", text)]).policy
        self.ledger = ledger or MemoryLedger()
        self.gate, self.switches = MemoryGate(), MemorySwitches()
        self.gate.gates = self.policy.gates  # type: ignore[attr-defined]
        self.readings = MemoryReadings()
        self.now = NOW
        self.guarding = self.made(self.policy)
        self.guarding.start()

    def made(self, policy: Policy) -> Guarding:
        guards = Guards(policy, Evidence(policy))
        self.notices = Heard(policy.notices)
        return Guarding(
            policy, guards, self.ledger, self.gate, self.switches, self.readings,
            Telling(policy, self.notices),
        )  # fmt: skip

    def load(self, value: float, seconds: int = 1) -> None:
        """So many seconds at this load."""
        for _second in range(seconds):
            self.now += SECOND
            self.readings.coming.append(Sample("la1", self.now, value))
            self.guarding.tick(self.now)

    def moves(self) -> list[tuple[str, str, str]]:
        """Action, gate and state of what is written down, the oldest first."""
        entries = reversed(self.ledger.history(100))
        return [
            (e.decision.action, e.decision.subject.removeprefix(PREFIX), e.state) for e in entries
        ]

    def last(self) -> Decision:
        return self.ledger.history(1)[0].decision


def test_the_readings_of_the_policy_are_wanted() -> None:
    assert Scene().readings.wanted == {"la1": SECOND}


def test_load_closes_and_calm_opens_and_both_are_written_down() -> None:
    here = Scene()
    here.load(11.2, 2)
    assert set(here.switches.closed) == {"web"}
    assert here.moves() == [("close", "web", "applied")]
    first = here.last()
    assert (first.rule, first.by, first.subject) == ("web", "guard", Subject("gate:web"))
    assert "11.2" in first.reason
    assert [line.line for line in first.evidence] == ["la1 = 11.2"]
    here.load(1.0, 120)
    assert here.switches.closed == {}
    assert here.moves() == [("close", "web", "applied"), ("open", "web", "applied")]


def test_what_is_closed_is_renewed_and_never_further_ahead_than_the_lease() -> None:
    here = Scene()
    here.load(11, 2)
    first = here.switches.closed["web"]
    here.load(11, 30)
    assert first < here.switches.closed["web"] <= here.now + LEASE
    assert here.switches.closed["web"] > here.now + LEASE - 2 * RENEW_EVERY


def test_the_kernels_gates_go_to_the_keeper_the_others_to_the_service_keeper() -> None:
    here = Scene(LADDER)
    asked: list[set[str]] = []
    inner = here.gate.switch
    here.gate.switch = lambda closed, now: asked.append(set(closed)) or inner(closed, now)  # type: ignore[method-assign,func-returns-value]
    here.load(11, 5)
    assert asked[-1] == {"web.throttle"}
    assert here.switches.closed == {}
    here.load(11, 60)
    assert set(here.switches.closed) == {"web.stop"}


class FullDisk(MemoryLedger):
    """A ledger that can't be written."""

    def intend(self, decisions: object, durable: bool = False) -> list[Decision]:
        raise LedgerError("disk full")


def test_without_a_ledger_no_service_is_stopped_but_the_throttle_goes_on() -> None:
    here = Scene(LADDER, FullDisk())
    asked: list[set[str]] = []
    inner = here.gate.switch
    here.gate.switch = lambda closed, now: asked.append(set(closed)) or inner(closed, now)  # type: ignore[method-assign,func-returns-value]
    here.load(11, 120)
    assert asked[-1] == {"web.throttle"}
    assert here.switches.closed == {}


def test_a_refusal_is_settled_with_its_reason() -> None:
    here = Scene()
    here.switches.stuck["web"] = GateReport("web", "refused", NOW, "no such unit apache2")
    here.load(11, 2)
    (entry,) = [one for one in here.ledger.history(9) if one.decision.action == "close"]
    assert (entry.state, entry.detail) == ("refused", "no such unit apache2")


def test_what_is_observed_is_written_down_and_not_done() -> None:
    here = Scene('mode = "observe"\n' + ONE)
    here.load(11, 5)
    assert here.switches.closed == {}
    assert here.moves()[0] == ("close", "web", "observed")


def test_a_capture_is_asked_for_and_kept_with_the_closing() -> None:
    here = Scene()
    here.load(11, 2)
    assert here.readings.asked == ["web"]
    here.readings.captures.append(Captured("web", here.now, "apache2 99 %"))
    here.load(11)
    found = here.ledger.captured(here.last().id)
    assert found is not None
    assert found[1] == "apache2 99 %"


WITH_COMMANDS = ONE + 'capture = { commands = [["ps"]], timeout = "5s" }\n'


def test_a_closing_waits_for_its_commands_but_not_for_ever() -> None:
    here = Scene(WITH_COMMANDS)
    here.load(11, 2)
    assert here.switches.closed == {}, "what ps says is only true before"
    here.readings.captures.append(Captured("web", here.now, "ps"))
    here.load(11)
    assert set(here.switches.closed) == {"web"}
    late = Scene(WITH_COMMANDS)
    late.load(11, 8)
    assert set(late.switches.closed) == {"web"}, "a capture that never comes holds up nobody"


def test_a_person_closes_and_opens() -> None:
    here = Scene()
    here.load(1.0)
    here.guarding.order("close", "web", here.now, here.now + 10 * MINUTE, "anna (uid 1000)", "test")
    assert set(here.switches.closed) == {"web"}
    assert here.last().by == "anna (uid 1000)"
    here.load(1.0, 120)
    assert set(here.switches.closed) == {"web"}, "the guard leaves it alone"
    here.guarding.order("open", "web", here.now, 0, "anna (uid 1000)", "")
    here.load(1.0)
    assert here.switches.closed == {}


def test_what_was_intended_before_a_crash_is_settled_by_the_first_report() -> None:
    here = Scene()
    here.load(11, 2)
    ledger = here.ledger
    row = ledger.history(1)[0]
    ledger.settle([Outcome(row.decision.id, "applied", "", NOW)])
    fresh = Scene(ONE, MemoryLedger())
    fresh.ledger.intend([row.decision])
    again = fresh.made(fresh.policy)
    again.start()
    fresh.switches._reports.append(GateReport("web", "open", NOW + SECOND))
    again.tick(NOW + SECOND)
    assert fresh.ledger.unsettled() == []


def test_a_keeper_that_is_gone_is_said_to_the_loop() -> None:
    here = Scene()

    def gone(closed: object, now: Micros) -> None:
        raise GateError("the service keeper is gone")

    here.switches.want = gone  # type: ignore[method-assign,assignment]
    with pytest.raises(GateError):
        here.load(11, 2)


def test_a_keeper_that_is_gone_refuses_nothing_and_what_a_person_said_then_is_kept() -> None:
    here = Scene(LADDER)

    def gone(closed: object, now: Micros) -> list[GateReport]:
        raise GoneError("the keeper is gone")

    here.gate.switch = gone  # type: ignore[method-assign,assignment]
    with pytest.raises(GoneError):
        here.load(11, 2)
    assert {state for _verb, _gate, state in here.moves()} == {"intended"}
    assert "web.throttle" in here.guarding.guards.closed(here.now)
    here.guarding.order("open", "web.throttle", here.now, 0, "anna (uid 1000)", "")
    assert "web.throttle" not in here.guarding.guards.closed(here.now)


def test_what_was_decided_is_saved_before_it_is_done() -> None:
    here = Scene()
    saved: list[tuple[list[tuple[str, str, str]], dict[str, Micros]]] = []
    here.guarding.save = lambda _now: saved.append((here.moves(), dict(here.switches.closed)))
    here.load(11, 2)
    here.switches._reports.append(GateReport("web", "taken", here.now))
    here.load(11)
    assert saved == [
        ([("close", "web", "intended")], {}),
        ([("close", "web", "applied"), ("open", "web", "intended")], {"web": ANY}),
    ]


def test_what_a_keeper_told_before_it_was_decided_settles_it() -> None:
    here = Scene()
    here.load(11, 2)
    here.switches.want({}, here.now)  # it opened by itself, and says so only once
    here.guarding.tick(here.now)
    here.switches.want = lambda closed, now: None  # type: ignore[method-assign]
    here.guarding.order("open", "web", here.now, 0, "anna (uid 1000)", "")
    assert here.moves()[-1] == ("open", "web", "applied")


def test_a_gate_that_leaves_the_policy_opens() -> None:
    here = Scene()
    here.load(11, 2)
    after = read([("policy", "")]).policy
    guards = Guards(after, Evidence(after))
    guards.take_over(here.guarding.guards)
    here.guarding.replace(after, guards)
    here.load(11, 2)
    assert here.switches.closed == {}
    assert here.moves()[-1][:2] == ("open", "web")


TOLD = ONE + 'notify = ["admins"]\n[notify.admins]\nmail = "root"\n'


def told(here: Scene) -> list[tuple[tuple[str, ...], str, bool]]:
    """Who was told by now, the beginning of what, and whether with what was captured."""
    here.guarding.telling.tick(here.now)
    return [
        (names, " ".join(subject.split()[:2]), "What the host looked like" in text)
        for names, subject, text in getattr(here.notices, "told", [])
    ]


def test_people_are_told_with_what_was_captured_or_without_it_after_a_while() -> None:
    here = Scene(TOLD)
    here.load(11, 2)
    assert told(here) == []
    here.readings.captures.append(Captured("web", here.now, "apache2 99 %"))
    here.load(11)
    assert told(here) == told(here) == [(("admins",), "web closes:", True)]
    late = Scene(TOLD)
    late.load(11, 13)
    assert told(late) == [(("admins",), "web closes:", False)]


def test_nobody_is_told_who_did_not_ask() -> None:
    here = Scene()
    here.load(11, 20)
    assert told(here) == []


RUN = """
[guard.tell]
run = { when = "la1 >= 10", script = "logger high", every = "1s", once = true }
notify = ["admins"]
[notify.admins]
mail = "root"
"""


def test_where_all_is_only_observed_a_person_is_obeyed_and_told_what_was_done() -> None:
    told = (
        ONE.replace("service", 'notify = ["admins"]\nservice') + '[notify.admins]\nmail = "root"\n'
    )
    here = Scene('mode = "observe"\n' + told)
    here.guarding.order("close", "web", here.now, here.now + MINUTE, "root (uid 0)", "")
    here.load(1, 2)
    assert set(here.switches.closed) == {"web"}
    here.load(1, 62)
    assert here.switches.closed == {}
    assert here.moves() == [("close", "web", "applied"), ("open", "web", "applied")]
    here.load(11, 70)
    assert here.switches.closed == {}
    assert here.moves()[-1] == ("close", "web", "observed")
    here.guarding.telling.tick(here.now + MINUTE)
    said = [subject for _whom, subject, _text in here.notices.told]
    assert [one.startswith("(observed only)") for one in said] == [False, False, True]


def test_what_a_gate_still_reports_of_before_settles_no_move() -> None:
    here = Scene()
    here.load(11)
    here.switches.reports()
    here.switches._reports = [GateReport("web", "open", here.now)]
    here.load(11)
    assert here.moves() == [("close", "web", "intended")]
    here.switches._reports = [GateReport("web", "closed", here.now)]
    here.load(11)
    assert here.moves() == [("close", "web", "applied")]


def test_a_closing_that_a_crash_cut_off_is_never_told_as_done() -> None:
    here = Scene()
    here.load(11)
    assert here.moves() == [("close", "web", "intended")]
    again = Scene(ledger=here.ledger)  # the guards' memory was not saved yet
    again.switches._reports = [GateReport("web", "open", again.now)]
    again.load(1)
    assert again.moves() == [("close", "web", "skipped")]


def test_what_is_only_run_is_not_run_where_it_shall_only_be_observed() -> None:
    here = Scene(RUN.replace("notify =", 'mode = "observe"\nnotify ='))
    here.load(11, 3)
    assert here.switches.fired == []
    assert here.moves() == [("fire", "tell", "observed")]


def test_a_command_that_fails_is_told_once_and_written_down_as_refused() -> None:
    here = Scene(RUN)
    here.switches.stuck["tell"] = GateReport("tell", "refused", NOW, "exit code 1: no logger")
    here.load(11, 3)
    assert here.switches.fired == ["tell"]
    assert here.moves() == [("fire", "tell", "refused"), ("warn", "tell", "applied")]
    assert here.last().reason == "tell could not be run: exit code 1: no logger"
    assert [names for names, _subject, _captured in told(here)] == [("admins",), ("admins",)]


def test_a_restart_that_fails_is_told() -> None:
    here = Scene('[guard.web]\nrestart = { service = "zope", when = "la1 >= 10", wait = "1m" }\n')
    here.switches.stuck["web"] = GateReport("web", "refused", NOW, "zope does not run")
    here.load(11, 3)
    assert here.moves() == [("fire", "web", "refused"), ("warn", "web", "applied")]
    assert here.last().reason == "web could not be restarted: zope does not run"


def test_what_cannot_be_read_is_told_once_and_known_of_its_guard(
    caplog: pytest.LogCaptureFixture,
) -> None:
    here = Scene()
    caplog.set_level("INFO")
    for _look in range(4):
        here.now += SECOND
        here.readings.coming.append(Sample("la1", here.now, None, None, "no such file"))
        here.guarding.tick(here.now)
    (sample,) = here.guarding.guards.unknown("web", here.now)
    assert (sample.reading, sample.why) == ("la1", "no such file")
    here.load(1.0)
    assert here.guarding.guards.unknown("web", here.now) == []
    assert here.guarding.guards.unknown("no such guard", here.now) == []
    assert [one.message for one in caplog.records if "la1" in one.message] == [
        "reading la1 is unknown, and closes nothing: no such file",
        "reading la1: well again (was: no such file)",
    ]


def test_what_hinders_the_service_keeper_is_said(caplog: pytest.LogCaptureFixture) -> None:
    here = Scene()
    here.switches.troubles = lambda: ["no process can be made"]  # type: ignore[method-assign]
    here.load(1.0)
    assert "service keeper: no process can be made" in caplog.text


def test_gates_of_the_kernel_that_leave_with_their_guard_are_told_as_open() -> None:
    here = Scene(LADDER)
    here.load(11, 3)
    nothing = read([("policy", "")]).policy
    fresh = Guards(nothing, Evidence(nothing))
    fresh.take_over(here.guarding.guards)
    here.guarding.replace(nothing, fresh)
    assert here.guarding.busy
    here.load(11)
    assert here.moves() == [
        ("close", "web.throttle", "applied"),
        ("open", "web.throttle", "applied"),
    ]


def test_that_something_is_closed_is_saved_now_and_then_so_that_a_crash_does_not_open_it() -> None:
    here = Scene()
    here.load(11, 3)
    saved = {}
    for _second in range(1200):
        here.now += SECOND
        here.readings.coming.append(Sample("la1", here.now, 11))
        if here.guarding.tick(here.now):
            saved |= {one.part: one for one in here.guarding.guards.changes()}
    again = Scene(ledger=here.ledger)
    again.now = here.now
    again.guarding.guards.restore(saved["guard web"])
    again.load(11)
    assert set(again.switches.closed) == {"web"}
    assert again.moves()[-1][0] == "close"


def test_a_sampler_in_trouble_or_silent_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    here = Scene()
    here.readings.trouble = "policy: no such file"
    here.load(1, 3)
    for _second in range(60):
        here.now += SECOND
        here.guarding.tick(here.now)
    told = [one.getMessage() for one in caplog.records]
    assert told.count("sampler: policy: no such file") == 1
    assert [one for one in told if "none has arrived for 23 s" in one]


def test_readings_that_nobody_asked_for_are_neither_kept_nor_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    here = Scene()
    for number in range(3000):
        here.readings.coming.append(Sample(f"x{number % 1000}", here.now, None, None, "spam"))
    here.load(1)
    assert "spam" not in caplog.text


def test_an_order_is_carried_out_though_the_sampler_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = Scene()

    def gone(_name: str) -> None:
        raise SourceError("the sampler is gone")

    monkeypatch.setattr(here.readings, "capture", gone)
    here.guarding.order("close", "web", here.now, 0, "root (uid 0)", "")
    assert set(here.switches.closed) == {"web"}


def test_a_person_who_closes_what_is_closed_does_not_have_it_opened_for_the_capture() -> None:
    here = Scene(WITH_COMMANDS)
    here.load(11, 20)
    assert set(here.switches.closed) == {"web"}
    here.guarding.order("close", "web", here.now, 0, "root (uid 0)", "")
    assert set(here.switches.closed) == {"web"}


def test_resume_does_not_open_what_its_guard_closes_at_once() -> None:
    here = Scene()
    here.load(1, 2)
    here.guarding.order("close", "web", here.now, 0, "root (uid 0)", "")
    here.load(11, 2)
    asked: list[set[str]] = []
    inner = here.switches.want
    here.switches.want = lambda closed, now: asked.append(set(closed)) or inner(closed, now)  # type: ignore[method-assign,func-returns-value]
    here.guarding.order("resume", "web", here.now, 0, "root (uid 0)", "")
    here.load(11, 10)
    assert asked
    assert all(asked), "it would be started, and stopped a second later"
    assert here.moves()[-2:] == [("resume", "web", "applied"), ("close", "web", "applied")]


def test_nothing_is_captured_where_the_policy_wants_nothing_captured() -> None:
    here = Scene(ONE + "capture = false\n")
    here.load(11, 2)
    assert here.readings.asked == []


def test_neither_a_closing_nor_a_notice_waits_for_a_clock_that_was_set_back() -> None:
    text = (
        ONE.replace("service", 'notify = ["admins"]\nservice') + '[notify.admins]\nmail = "root"\n'
    )
    here = Scene(text.replace("[notify", 'capture = { commands = [["ps"]] }\n[notify'))
    here.load(11)
    assert here.switches.closed == {}, "it waits for what is captured"
    here.now -= 3600 * SECOND
    here.load(11)
    here.guarding.telling.tick(here.now)
    assert set(here.switches.closed) == {"web"}
    assert len(here.notices.told) == 1
