"""Owners hear of their sources once each, not too often, and not twice after a restart."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.daemon.test_watcher import Bench

from tidegate.daemon import watcher as watcher_module
from tidegate.daemon.build import Plan
from tidegate.daemon.notices import Notices
from tidegate.daemon.owner_desk import GRACE, MOST, PACE, SOON
from tidegate.daemon.owner_text import News
from tidegate.daemon.owners import PART, OwnerNotices
from tidegate.daemon.watcher import Watcher
from tidegate.detector.pack import load_packs
from tidegate.errors import LedgerError
from tidegate.ledger.memory import MemoryLedger
from tidegate.ledger.port import KEEP
from tidegate.model import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    Batch,
    Block,
    Change,
    Decision,
    Event,
    Evidence,
    Kind,
    Outcome,
    Subject,
)
from tidegate.policy.guards import NoticeSpec
from tidegate.policy.loader import read
from tidegate.policy.outward import Owner

NOW = 1_755_000_000 * SECOND
A, B = Subject("198.51.100.4"), Subject("198.51.100.5")
SEVEN = Owner("seven", addresses=(Subject("198.51.100.0/28"),), notify=("noc",))
WEB = Owner("web", uids=(33,), vhosts=("shop.example",), notify=("web",))
LINE = "2025-08-12T12:00:00Z tidegate outward: scan 198.51.100.4: 14 new destinations"


def quarantine(
    subject: Subject = A, time: int = NOW, span: int = 10 * MINUTE, **more: object
) -> Decision:
    values: dict[str, object] = {
        "id": f"q {subject} {time}", "time": time, "action": "quarantine", "subject": subject,
        "rule": "outward-scan", "ports": (), "until": time + span, "duration": span, "count": 1,
        "step": 0, "mode": "enforce", "reason": "at least 1 in 1m: outward.scan",
        "evidence": (Evidence(time, "outward", 0, LINE),), "watched": time + span + HOUR,
    }  # fmt: skip
    return Decision(**(values | more))  # type: ignore[arg-type]


class Desk:
    """Owner notices over a ledger and places in memory; `restart` as after a crash or a stop."""

    def __init__(self, owners=(SEVEN, WEB)) -> None:
        self.ledger = MemoryLedger()
        self.owners, self.saved = owners, {}
        self.arrived: list[tuple[str, str, str]] = []
        self.now = NOW
        self.start()

    def start(self) -> None:
        self.notices = Notices(
            [NoticeSpec("noc", mail="noc", most=100), NoticeSpec("web", mail="web", most=100)],
            lambda spec, letter: self.arrived.append((spec.name, letter.subject, letter.text)),
        )
        self.told = OwnerNotices(self.owners, self.ledger, self.notices)
        for change in self.saved.values():
            assert self.told.restore(change) or self.notices.restore(change)
        self.told.begin()
        self.save()

    def restart(self) -> None:
        """What was not saved is forgotten."""
        self.start()

    def decide(self, decision: Decision, state: str = "applied") -> None:
        self.ledger.intend([decision])
        if state:
            self.ledger.settle([Outcome(decision.id, state, "", self.now)])  # type: ignore[arg-type]

    def save(self) -> None:
        for part in (self.told, self.notices):
            for change in part.changes():
                if change.value is None:
                    self.saved.pop((change.part, change.key), None)
                else:
                    self.saved[change.part, change.key] = change

    def wait(self, span: int, step: int = SECOND) -> None:
        """Turns of the loop, for so long."""
        end = self.now + span
        while self.now < end:
            self.now += step
            self.notices.tick(self.now)
            for place in self.notices._places.values():
                place.wait(10)
            if self.told.tick(self.now):
                self.save()
        self.notices.tick(self.now)
        for place in self.notices._places.values():
            place.wait(10)
            place.settle(self.now)
        self.save()

    @property
    def subjects(self) -> list[str]:
        return [subject for _name, subject, _text in self.arrived]


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_cut_off_and_let_back_are_told_once_each(desk):
    desk.decide(quarantine())
    desk.wait(5 * SECOND)
    ((place, subject, text),) = desk.arrived
    assert place == "noc"
    assert subject.startswith("seven: 198.51.100.4 is cut off until ")
    assert LINE in text
    assert "Why:   at least 1 in 1m: outward.scan" in text
    assert "tidegate release 198.51.100.4" in text
    assert "on probation until" in text
    desk.wait(HOUR)
    assert len(desk.arrived) == 2
    _place, subject, text = desk.arrived[1]
    assert subject == "seven: 198.51.100.4 is let back"
    assert "on probation until" in text


def test_nobody_is_told_of_what_is_not_theirs_or_was_not_done(desk):
    desk.decide(quarantine(Subject("203.0.113.9")))
    desk.decide(quarantine(B), state="refused")
    desk.decide(quarantine(A, mode="observe"), state="observed")
    desk.decide(quarantine(A, time=NOW - 2 * DAY))
    desk.wait(HOUR)
    assert desk.arrived == []


def test_a_quarantine_that_is_not_carried_out_yet_waits(desk):
    one = quarantine()
    desk.decide(one, state="")
    desk.wait(5 * SECOND)
    assert desk.arrived == []
    desk.ledger.settle([Outcome(one.id, "applied", "", desk.now)])
    desk.wait(5 * SECOND)
    assert len(desk.arrived) == 1


def test_a_release_by_hand_is_told_with_its_probation_and_only_once(desk):
    desk.decide(quarantine())
    desk.wait(5 * MINUTE)
    desk.decide(quarantine(action="release", id="r", time=desk.now, until=desk.now,
                           by="anna (uid 1000)", watched=desk.now + HOUR))  # fmt: skip
    desk.wait(DAY, HOUR)
    assert desk.subjects[1:] == ["seven: 198.51.100.4 is let back"]
    assert "by anna (uid 1000)" in desk.arrived[1][2]


def test_what_comes_within_the_pace_goes_as_one(desk):
    desk.decide(quarantine())
    desk.wait(5 * SECOND)
    desk.decide(quarantine(B, time=desk.now, span=MINUTE))
    desk.wait(PACE - 10 * SECOND)
    assert len(desk.arrived) == 1
    desk.wait(30 * SECOND)
    (_first, second) = desk.subjects
    assert second == "seven: 1 is cut off, 2 are let back"


def test_a_warning_is_told_once_a_day_and_what_was_suppressed_is_counted(desk):
    for n in range(5):
        desk.told.warned(A, NOW + n, LINE)
    desk.wait(MINUTE)
    ((_place, subject, text),) = desk.arrived
    assert subject == "seven: 198.51.100.4 was held back"
    assert LINE in text
    assert "there were 4 more things of the kind" in text
    desk.told.warned(A, desk.now, LINE)
    desk.wait(PACE)
    assert len(desk.arrived) == 1
    desk.told.warned(A, desk.now + DAY, LINE)
    desk.wait(DAY + HOUR, MINUTE)
    assert len(desk.arrived) == 2
    assert "there was 1 more thing of the kind" in desk.arrived[1][2]


def test_who_is_cut_off_at_once_is_not_warned_as_well(desk):
    desk.told.warned(A, NOW, LINE)
    desk.told.warned(A, NOW, LINE)
    desk.decide(quarantine())
    desk.wait(GRACE + SOON)
    desk.told.warned(A, desk.now, LINE)
    desk.wait(MINUTE)
    assert len(desk.arrived) == 1
    assert "is cut off" in desk.arrived[0][1]
    assert "of the kind" not in desk.arrived[0][2]


def test_lines_of_the_outward_pack_are_warnings_and_no_others(desk):
    def event(pack, subject, offset):
        kind = Kind(f"{pack}.capped", "notice", 0, "cap", pack)
        return Event(NOW, kind, subject, 1, "", offset, 4, {})

    block = Block("outward", b"one\ntwo\n", 100, NOW, 1)
    batch = Batch("outward", 1, events=[event("outward", A, 104), event("exim", B, 100)])
    desk.told.noticed(batch, block)
    desk.wait(MINUTE)
    ((_place, subject, text),) = desk.arrived
    assert "198.51.100.4" in subject
    assert "  two" in text
    nobody = Desk(owners=())
    nobody.told.noticed(batch, block)
    nobody.decide(quarantine())
    nobody.wait(HOUR, MINUTE)
    assert nobody.arrived == []
    assert not any(part == PART for part, _key in nobody.saved)


def test_a_restart_tells_nothing_twice_and_forgets_no_return(desk):
    desk.decide(quarantine())
    desk.wait(5 * SECOND)
    assert len(desk.arrived) == 1
    desk.restart()
    desk.wait(5 * MINUTE)
    desk.restart()
    desk.wait(HOUR)
    assert [subject.split(" is ")[1][:3] for subject in desk.subjects] == ["cut", "let"]


def test_killed_between_the_decision_and_the_first_look_it_is_told_after_the_start(desk):
    desk.decide(quarantine())
    desk.restart()
    desk.wait(5 * SECOND)
    assert len(desk.arrived) == 1


def test_killed_after_the_look_and_before_it_was_saved_it_is_told_once(desk):
    desk.decide(quarantine())
    desk.told.tick(desk.now + SECOND)
    desk.told.tick(desk.now + SOON)
    desk.restart()
    desk.wait(HOUR)
    assert len(desk.arrived) == 2


def test_what_was_saved_and_not_yet_sent_is_sent_after_the_start(desk):
    desk.decide(quarantine())
    desk.told.tick(desk.now + SECOND)
    assert desk.told.tick(desk.now + 3 * SECOND)
    desk.save()
    desk.restart()
    desk.wait(5 * SECOND)
    assert len(desk.arrived) == 1


def test_back_while_nobody_ran_is_told_after_the_start(desk):
    desk.decide(quarantine())
    desk.wait(5 * SECOND)
    desk.now += 3 * HOUR
    desk.restart()
    desk.wait(5 * SECOND)
    assert desk.subjects[1:] == ["seven: 198.51.100.4 is let back"]


def test_rows_that_are_numbered_anew_are_told_of(desk):
    desk.decide(quarantine())
    desk.wait(HOUR, MINUTE)
    desk.now += KEEP + DAY
    desk.ledger.forget(desk.now)
    desk.wait(SECOND)
    desk.decide(quarantine(B, time=desk.now))
    desk.wait(5 * SECOND)
    assert desk.subjects[2:][0].startswith("seven: 198.51.100.5 is cut off")


def test_a_source_of_several_is_told_to_each_without_the_lines_of_others():
    other = Owner("eight", addresses=(Subject("198.51.100.16/28"),), notify=("web",))
    desk = Desk(owners=(SEVEN, other))
    desk.decide(quarantine(Subject("198.51.100.0/24")))
    desk.wait(5 * SECOND)
    assert [place for place, _subject, _text in desk.arrived] == ["noc", "web"]
    assert not any(LINE in text for _place, _subject, text in desk.arrived)


def test_a_web_host_in_the_evidence_finds_its_owner(desk):
    line = "scan uid:7: by /srv/shop.example/tmp/x (pid 4711)"
    desk.decide(quarantine(Subject("uid:7"), evidence=(Evidence(NOW, "outward", 0, line),)))
    desk.wait(5 * SECOND)
    ((place, subject, text),) = desk.arrived
    assert (place, subject.split(" ")[0]) == ("web", "web:")
    assert line not in text, "uid 7 may be somebody else's, too"


def test_hostile_lines_steer_nothing_and_address_nobody(desk):
    line = "by \x1b[2J\r\nBcc: victim@elsewhere.example"
    desk.decide(quarantine(evidence=(Evidence(NOW, "outward", 0, line),)))
    desk.wait(5 * SECOND)
    ((place, subject, text),) = desk.arrived
    assert place == "noc"
    assert "\x1b" not in text
    assert "\nBcc" not in text
    assert "\\x1b[2J\\x0d\\x0aBcc: victim@" in text
    assert "victim" not in subject


def test_a_ledger_that_cant_be_read_delays_only(desk, monkeypatch):
    desk.decide(quarantine())
    with monkeypatch.context() as patched:

        def broken(*_words):
            raise LedgerError("the disk is full")

        patched.setattr(desk.ledger, "after", broken)
        desk.wait(5 * SECOND)
    assert desk.arrived == []
    desk.wait(5 * SECOND)
    assert len(desk.arrived) == 1


def test_more_than_fits_is_counted_and_warnings_go_first(desk):
    for n in range(MOST + 3):
        desk.told.warned(Subject(f"198.51.100.{n % 16}") if n < 16 else A, NOW + n, LINE)
    desk.wait(MINUTE)
    desk.arrived.clear()
    for n in range(16):
        desk.decide(quarantine(Subject(f"198.51.100.{n}"), time=desk.now, span=DAY))
        desk.decide(quarantine(Subject(f"198.51.100.{n}"), time=desk.now + 1, span=DAY))
    desk.wait(PACE)
    ((_place, subject, text),) = desk.arrived
    assert subject == f"seven: {MOST} are cut off"
    assert f"there were {32 - MOST} more" in text


def test_a_reload_keeps_what_waits_for_those_who_are_still_there(desk):
    desk.decide(quarantine())
    desk.told.tick(desk.now + SECOND)
    desk.told.reload((SEVEN,))
    desk.wait(5 * SECOND)
    assert len(desk.arrived) == 1
    desk.told.reload(())
    desk.wait(HOUR, MINUTE)
    assert len(desk.arrived) == 1
    desk.told.reload((SEVEN,))
    desk.decide(quarantine(B, time=desk.now))
    desk.wait(5 * SECOND)
    assert len(desk.arrived) == 2


@pytest.mark.parametrize("value", [b"", b"{", b"[[1]]", b"null", b'{"sent":1}', b"[1]", b'"x"'])
@pytest.mark.parametrize("key", ["row", "away", "warned", "owner seven"])
def test_damaged_memory_is_forgotten(desk, key, value):
    assert desk.told.restore(Change(PART, key, value))
    desk.decide(quarantine())
    desk.wait(5 * SECOND)
    assert len(desk.arrived) <= 1
    assert not desk.told.restore(Change("other", key, value))


@given(
    st.lists(
        st.tuples(st.sampled_from("qrwk."), st.integers(0, 2), st.integers(1, 400)), max_size=25
    )
)
def test_whatever_happens_each_is_told_exactly_once(steps):
    """Quarantines, releases, warnings, kills at any moment after a save: of each cut and each
    return one line, in at most one letter in ten minutes."""
    desk = Desk(owners=(SEVEN,))
    cuts = 0
    for what, who, seconds in steps:
        subject = Subject(f"198.51.100.{who}")
        if what == "q":
            cuts += 1
            desk.decide(quarantine(subject, time=desk.now, span=200 * SECOND))
        elif what == "r":
            desk.decide(quarantine(subject, action="release", id=f"r{desk.now}", time=desk.now,
                                   until=desk.now, by="anna (uid 1000)"))  # fmt: skip
        elif what == "w":
            desk.told.warned(subject, desk.now, LINE)
        elif what == "k":
            desk.restart()
        desk.wait(seconds * SECOND, 7 * SECOND)
    desk.wait(HOUR, 30 * SECOND)
    text = "\n".join(text for _place, _subject, text in desk.arrived)
    assert text.count(" is cut off: it can't begin") == cuts
    assert not desk.told._away
    news = text.count("it can begin connections again")
    assert (news > 0) == (cuts > 0)
    assert news <= cuts


def test_news_from_rows():
    one = News("cut", 1, "a", 2, 3, "why", "by", ("line",))
    assert News.from_row([*one[:-1], ["line"]]) == one
    with pytest.raises(ValueError, match="hurt"):
        News.from_row(["hurt", *one[1:]])


def test_the_watcher_tells_of_lines_and_decisions_alike(monkeypatch):
    """A cap's line and a quarantine in a whole watcher; then another one with its ledger."""
    packs = tuple(pack for pack in load_packs() if pack.name in ("outward", "inward"))
    plan = Plan(read([("policy", OUTWARD)]), packs)
    bench = Bench(plan, "outward")
    monkeypatch.setattr(watcher_module, "now_micros", lambda: bench.now)
    arrived = []

    def told(watcher):
        watcher.notices = Notices(
            [NoticeSpec("noc", mail="noc", most=100)],
            lambda _spec, letter: arrived.append(letter.subject),
        )
        watcher.owners = OwnerNotices(plan.loaded.policy.owners, bench.ledger, watcher.notices)

    told(bench.watcher)
    bench.watcher._restore()
    bench.turn(CAP.encode(), seconds=1)
    for _turn in range(20):
        bench.turn(seconds=1)
    bench.watcher.notices.close(bench.now, 10)
    assert arrived == ["seven: 198.51.100.4 was held back"]
    bench.turn(CAP.replace("cap ", "scan ").encode(), seconds=1)
    bench.watcher._checkpoint(bench.now)
    again = bench.watcher = Watcher(bench.wiring, bench.alive.append, bench.titles.append)
    told(again)
    again._restore()
    for _turn in range(12):
        bench.turn(seconds=60)
    again.notices.close(bench.now, 10)
    (row,) = [one for one in bench.ledger.history(9) if one.decision.action == "quarantine"]
    assert row.state == "applied"
    assert len(arrived) == 2
    assert "cut off" in arrived[1]
    os.close(bench.wake)
    os.close(bench._write)


OUTWARD = """
[outward]
sources = ["198.51.100.0/24"]
[rule.outward]
on = ["outward.scan"]
at-least = 1
within = "1m"
quarantine = { ladder = ["1h"] }
[owner.seven]
addresses = ["198.51.100.0/28"]
notify = ["noc"]
[notify.noc]
mail = "noc@example.org"
"""
CAP = "2025-08-12T12:00:00.000001Z tidegate outward: cap 198.51.100.4: smtp: 7 packets kept back in 10s\n"
