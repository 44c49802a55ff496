"""How often a member speaks to the engine."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tidegate.fleet.rounds import LARGE, Rounds


class Nobody:
    """An engine that is not there, and a mailbox without mail."""

    urgent = False
    is_one = True

    def twin(self):
        return self

    def open(self, _key):
        return None

    def asks(self, _now, *, urgent=False):
        return []

    def lost(self, _ask):
        return None


@pytest.mark.parametrize(("members", "period"), [(2, 0.2), (LARGE, 0.2), (LARGE + 1, 0.25)])
def test_a_large_fleet_speaks_a_little_less_often(members, period):
    nobody = Nobody()
    roster = SimpleNamespace(members=dict.fromkeys(range(members)))
    member = SimpleNamespace(
        mailbox=nobody, trust=SimpleNamespace(roster=roster), stale=False, urgent=False,
        asks=nobody.asks, lost=nobody.lost,
    )  # fmt: skip
    rounds = Rounds(member, nobody, phase=0.0)
    rounds.turn(frozenset())
    assert rounds.rounds == 1
    assert rounds._period == pytest.approx(period)
