"""Whom people pardoned: found at once however many they are, and never more than can be kept."""

from __future__ import annotations

from tidegate.decision import abuse
from tidegate.decision.abuse import Judge
from tidegate.decision.allow import Allow
from tidegate.model import DAY, HOUR, Subject
from tidegate.policy.models import Policy

NOW = 20_000 * DAY


class Counted(dict):
    """A dictionary that nobody should walk through."""

    def items(self):
        raise AssertionError("all of them are looked at")


def test_one_is_found_among_many_without_looking_at_all():
    allow = Allow()
    allow.exempt = Counted({Subject("198.51.0.0/16"): NOW, Subject("2001:db8::/32"): NOW})
    for inside in ("198.51.100.7", "198.51.100.0/24", "198.51.0.0/16", "2001:db8:1:2::/64"):
        assert allow.spared(Subject(inside), NOW - 1, good=False) == "exempt"
        assert allow.spared(Subject(inside), NOW, good=False) == ""
    for outside in ("198.50.0.1", "198.0.0.0/8", "2001:db9::/64"):
        assert allow.spared(Subject(outside), NOW - 1, good=False) == ""


def test_no_more_are_kept_than_there_is_room_for(monkeypatch):
    monkeypatch.setattr(abuse, "MOST_EXEMPT", 100)
    judge = Judge(Policy())
    for number in range(300):
        judge.pardon(Subject(f"198.51.{number >> 8}.{number & 255}"), NOW, HOUR)
    assert len(judge.allow.exempt) == 100
    assert judge.allow.spared(Subject("198.51.1.43"), NOW, good=False) == "exempt"
    assert sum(one.part == "exempt" and one.value is not None for one in judge.changes()) == 100
