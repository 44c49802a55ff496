"""Notices on their way: paces, troubles said once, tries again, reloads."""

from __future__ import annotations

import threading
from itertools import pairwise

import pytest

from tidegate.daemon.digest import Letter
from tidegate.daemon.notices import LONGEST_WAIT, Notices
from tidegate.errors import WorldError
from tidegate.model import DAY, HOUR, MINUTE, SECOND, Change
from tidegate.policy.guards import NoticeSpec

NOW = 1_800_000_000 * SECOND


class Post:
    """Where letters go in these tests; `trouble` makes it refuse."""

    def __init__(self) -> None:
        self.arrived: list[tuple[str, str]] = []
        self.tries = 0
        self.trouble = ""
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, spec: NoticeSpec, letter: Letter) -> None:
        assert self.gate.wait(30)
        self.tries += 1
        if self.trouble:
            raise WorldError(self.trouble)
        self.arrived.append((spec.name, letter.subject))


def settle(notices: Notices, now: int) -> None:
    """A tick, and the letters that it sent, and what became of them."""
    notices.tick(now)
    for place in notices._places.values():
        place.wait(30)
        place.settle(now)


def made(*names: str, most: int = 4) -> tuple[Notices, Post]:
    post = Post()
    return Notices([NoticeSpec(name, mail="root", most=most) for name in names], post), post


def test_only_whom_it_is_for() -> None:
    notices, post = made("admins", "night")
    notices.tell(["night", "night", "nobody"], NOW, "apache2 is stopped", "text")
    settle(notices, NOW)
    assert post.arrived == [("night", "apache2 is stopped")]


def test_every_place_has_its_turn() -> None:
    notices, post = made("admins", "night")
    notices.tell(["admins", "night"], NOW, "closed", "")
    assert notices.tick(NOW)
    settle(notices, NOW)
    assert sorted(post.arrived) == [("admins", "closed"), ("night", "closed")]
    assert not notices.tick(NOW + SECOND)


def test_a_host_without_room_for_a_thread_loses_no_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    notices, post = made("admins")
    notices.tell(["admins"], NOW, "closed", "")
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", full)
        assert notices.tick(NOW)
    assert "at its limits" in notices.failures()["admins"]
    settle(notices, NOW + HOUR)
    assert post.arrived == [("admins", "closed")]
    assert notices.failures()["admins"] == ""


def test_nothing_waits_for_a_slow_place() -> None:
    notices, post = made("slow")
    post.gate.clear()
    for number in range(3):
        notices.tell(["slow"], NOW, f"number {number}", "")
        notices.tick(NOW + number * SECOND)
    assert notices.waiting() == {"slow": 2}
    post.gate.set()
    for number in range(3, 6):
        settle(notices, NOW + number * SECOND)
    assert post.arrived == [("slow", "number 0"), ("slow", "2 notices, the latest: number 2")]


def test_a_letter_that_hangs_is_told_of() -> None:
    notices, post = made("admins")
    post.gate.clear()
    notices.tell(["admins"], NOW, "closed", "")
    notices.tick(NOW)
    notices.tick(NOW + 4 * MINUTE)
    assert notices.failures() == {}
    notices.tick(NOW + 6 * MINUTE)
    assert "does not arrive" in notices.failures()["admins"]
    post.gate.set()
    settle(notices, NOW + 7 * MINUTE)
    assert notices.failures() == {"admins": ""}


def test_failures_are_told_until_they_are_over_and_tried_again_ever_later() -> None:
    notices, post = made("admins")
    assert notices.failures() == {}
    post.trouble = "connection refused"
    notices.tell(["admins"], NOW, "closed", "")
    moments = []
    for second in range(3600):
        before = post.tries
        settle(notices, NOW + second * SECOND)
        if post.tries > before:
            moments.append(second)
    assert notices.failures() == {"admins": "connection refused"}
    assert moments[:6] == [0, 10, 30, 70, 150, 310]
    assert max(b - a for a, b in pairwise(moments)) * SECOND <= LONGEST_WAIT
    post.trouble = ""
    notices.tell(["admins"], NOW + HOUR, "all clear", "", about="apache", clear=True)
    settle(notices, NOW + HOUR + LONGEST_WAIT)
    assert post.arrived == [("admins", "2 notices, the latest: all clear")]
    assert notices.failures() == {"admins": ""}


def test_a_clock_set_back_does_not_keep_it_from_trying() -> None:
    notices, post = made("admins")
    post.trouble = "x"
    notices.tell(["admins"], NOW, "closed", "")
    settle(notices, NOW)
    post.trouble = ""
    settle(notices, NOW - DAY)
    assert post.arrived


def test_a_bug_in_a_delivery_is_a_failure_like_others() -> None:
    said: list[str] = []
    hook, threading.excepthook = threading.excepthook, lambda told: said.append(str(told.exc_value))

    def broken(_spec: NoticeSpec, _letter: Letter) -> None:
        raise ZeroDivisionError("bug")

    try:
        notices = Notices([NoticeSpec("admins", mail="root")], broken)
        notices.tell(["admins"], NOW, "closed", "")
        settle(notices, NOW)
    finally:
        threading.excepthook = hook
    assert notices.failures() == {"admins": "it ended without a word"}
    assert said == ["bug"]


def test_a_reload_keeps_what_waits() -> None:
    notices, post = made("admins", "gone")
    post.trouble = "no such user"
    notices.tell(["admins", "gone"], NOW, "closed", "")
    settle(notices, NOW)
    post.trouble = ""
    notices.reload([NoticeSpec("admins", mail="other"), NoticeSpec("new", mail="root")])
    settle(notices, NOW + SECOND)  # a corrected address is tried at once
    assert post.arrived == [("admins", "closed")]
    assert notices.failures() == {"admins": ""}
    assert notices.waiting() == {"admins": 0, "new": 0}


def test_at_the_end_what_may_go_goes() -> None:
    notices, post = made("admins", most=1)
    notices.tell(["admins"], NOW, "closed", "")
    notices.close(NOW, patience=30)
    assert post.arrived == [("admins", "closed")]
    # It has arrived, so it is not kept to be sent again.
    assert b"closed" not in b"".join(one.value or b"" for one in notices.changes())


def test_the_end_does_not_wait_for_who_hangs() -> None:
    notices, post = made("admins")
    post.gate.clear()
    notices.tell(["admins"], NOW, "closed", "")
    notices.close(NOW, patience=0.05)
    post.gate.set()
    assert post.arrived in ([], [("admins", "closed")])


def test_a_restart_keeps_what_waits_and_the_pace() -> None:
    notices, post = made("admins", "gone", most=1)
    post.gate.clear()
    notices.tell(["admins"], NOW, "closed", "Why: la1\nmore")
    notices.tick(NOW)
    notices.tell(["admins"], NOW + SECOND, "all clear", "", about="apache", clear=True)
    kept = list(notices.changes())
    assert list(notices.changes()) == []
    post.gate.set()
    again, post = made("admins", most=1)
    assert all(again.restore(one) for one in kept)
    assert not again.restore(Change("guard apache", "state", b"{}"))
    assert [(one.key, one.value) for one in again.changes()][-1] == ("gone", None)
    settle(again, NOW + MINUTE)
    assert post.arrived == []  # one letter an hour, before the restart and after it
    settle(again, NOW + HOUR)
    assert post.arrived == [("admins", "2 notices, the latest: all clear")]


def test_of_damaged_memory_nothing_is_taken() -> None:
    notices, post = made("admins")
    for value in (b"", b"{}", b"[1]", b'{"sent":[],"left_out":0,"waiting":[[1,2]]}', None):
        assert notices.restore(Change("notices", "admins", value))
    settle(notices, NOW)
    assert post.arrived == []
