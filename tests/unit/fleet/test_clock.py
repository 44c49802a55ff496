"""A clock that was put ahead and back again: nothing in force is lost for longer than that."""

from __future__ import annotations

from tests.unit.fleet.village import DESK, FLEET, NOW, WHO, Host, verify

from tidegate.fleet.decisions import saying
from tidegate.fleet.decisions.decisions import Entry
from tidegate.fleet.member import Member, Setting
from tidegate.fleet.trust.admission import Budget
from tidegate.fleet.trust.keys import Identity
from tidegate.model import DAY, HOUR, MINUTE, SECOND


def test_who_spoke_while_a_clock_was_ahead_is_heard_when_it_is_right_again():
    budget = Budget(60)
    assert budget.take("web2", NOW + DAY, 60)
    assert not budget.has("web2", NOW + DAY)
    assert budget.has("web2", NOW)
    assert budget.left("web2", NOW) == 60
    assert budget.take("web2", NOW, 60)
    assert not budget.take("web2", NOW)
    assert budget.take("web2", NOW + MINUTE)


def test_what_seemed_over_while_a_clock_was_ahead_is_read_again():
    me = Host("web1")
    identity = Identity(FLEET, DESK.public, "web1")
    member = Member(Setting(identity, me.seal.sign, 1, verify))
    member.restore((), NOW)
    member.papers.hear(me.certificate(1), NOW)
    member.counting.offset = 0
    one = Entry("", "ban", "", NOW, WHO, until=NOW + HOUR, rule="guessing")
    member.assembly.decisions.hear([saying.identify("web2", one)], NOW)
    listener = member.assembly.listener
    listener.phase = "stream"
    member.asks(NOW + SECOND)
    assert listener.phase == "stream"
    member.asks(NOW + DAY)  # before the engine has said what time it is
    assert member.assembly.decisions.standing(NOW) == []
    member.counting.offset = -DAY
    member.asks(NOW + DAY + SECOND)
    member.counting.offset = 0
    member.asks(NOW + 2 * SECOND)
    assert listener.phase != "stream"
