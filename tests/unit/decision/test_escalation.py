"""Networks: enough different children, each convicted, none with a good record; and back again."""

from __future__ import annotations

from tidegate.decision.abuse import Judge
from tidegate.decision.allow import Surroundings
from tidegate.model import DAY, HOUR, MINUTE, Decision, Micros, Ref, Subject, Verdict
from tidegate.policy.models import BanTerms, Counted, Escalation, Policy, Rule

START = 1000 * DAY
RULE = Rule("r", (Counted("web.probe"),), 3, MINUTE, BanTerms((80,)), "stated")
TERMS = (
    Escalation(4, 24, 10, HOUR, 30 * MINUTE),
    Escalation(6, 56, 3, HOUR, 30 * MINUTE),
    Escalation(6, 48, 3, HOUR, 20 * MINUTE),
)


def judge(*terms: Escalation) -> Judge:
    return Judge(Policy(rules=(RULE,), escalation=terms or TERMS))


def convict(
    each: Judge, subject: str, time: Micros = START, *, good: tuple[str, ...] = ()
) -> list[Decision]:
    """The networks that are closed for when this subject is convicted."""
    refs = (Ref(time, 1, time % 9999),)
    decision = each.judge(Verdict("r", Subject(subject), time, 3, refs), False)
    return list(each.widen(decision, lambda network: network in good))


def four(each: Judge, count: int, time: Micros = START, **more: tuple[str, ...]) -> list[Decision]:
    return [
        one for n in range(count) for one in convict(each, f"192.0.2.{n + 10}", time + n, **more)
    ]


def test_ten_different_addresses_close_their_network_for_less_than_they_got() -> None:
    each = judge()
    assert four(each, 9) == []
    (found,) = convict(each, "192.0.2.99", START + 9)
    assert (found.subject, found.ports, found.count) == ("192.0.2.0/24", (80,), 10)
    assert found.duration == 10 * MINUTE, "never longer than who made it due"
    assert found.until == START + 9 + 10 * MINUTE
    assert len(found.refs) == 10
    assert "10 in this network" in found.reason


def test_one_address_ten_times_does_not() -> None:
    each = judge()
    assert [convict(each, "192.0.2.7", START + n * MINUTE) for n in range(20)] == [[]] * 20


def test_nobody_is_closed_for_beside_somebody_good() -> None:
    each = judge()
    assert four(each, 12, good=("192.0.2.0/24",)) == []
    assert len(four(each, 1)) == 1, "once nobody there is good any more"


def test_only_within_the_time() -> None:
    each = judge()
    assert [convict(each, f"192.0.2.{n + 10}", START + n * 7 * MINUTE) for n in range(20)] == [
        []
    ] * 20


def test_other_ports_are_another_matter() -> None:
    other = Rule("s", (Counted("web.probe"),), 3, MINUTE, BanTerms((22,)), "stated")
    each = Judge(Policy(rules=(RULE, other), escalation=TERMS))
    assert four(each, 9) == []
    verdict = Verdict("s", Subject("192.0.2.99"), START, 3, (Ref(START, 1, 1),))
    assert list(each.widen(each.judge(verdict, False), lambda _network: False)) == []


def test_it_is_not_closed_twice_while_it_is_closed() -> None:
    each = judge()
    assert len(four(each, 30)) == 1
    assert len(convict(each, "192.0.2.200", START + 11 * MINUTE)) == 1


def test_one_level_at_a_time() -> None:
    """Three /64s close a /56; only three closed /56s close a /48."""
    each = judge()
    closed: list[str] = []
    for wide in range(3):
        for near in range(3):
            found = convict(each, f"2001:db8:7:{wide:x}{near:02x}::/64", START + wide * 10 + near)
            closed += [one.subject for one in found]
    assert closed == [
        "2001:db8:7::/56", "2001:db8:7:100::/56", "2001:db8:7:200::/56", "2001:db8:7::/48",
    ]  # fmt: skip
    each = judge()
    spread = [convict(each, f"2001:db8:7:{n:x}00::/64", START + n) for n in range(30)]
    assert spread == [[]] * 30, "each alone in its /56"


def test_what_is_protected_in_it_spares_the_network() -> None:
    each = judge()
    each.look(Surroundings(protected=((Subject("192.0.2.1"), "gateway"),)))
    assert [one.spared for one in four(each, 10)] == ["gateway"]


def test_a_pardon_inside_keeps_the_network_open_and_forgets() -> None:
    each = judge()
    four(each, 9)
    each.pardon(Subject("192.0.2.10"), START + 9)
    assert four(each, 12, START + 10) == []
    each = judge()
    four(each, 9)
    each.pardon(Subject("192.0.2.0/24"), START)
    assert len(each.escalations) == 0


def test_memory_survives_a_restart_and_a_reload() -> None:
    each, after, reloaded = judge(), judge(), judge()
    four(each, 9)
    reloaded.take_over(each)
    assert [after.restore(change) for change in each.changes() if change.part == "convicted"] == [
        True
    ] * 9
    assert len(convict(after, "192.0.2.99", START + 9)) == 1
    assert len(convict(reloaded, "192.0.2.99", START + 9)) == 1
    without = judge(TERMS[1])
    four(each, 9)
    assert not any(without.restore(one) for one in each.changes() if one.part == "convicted")


def test_what_is_old_is_dropped_and_memory_is_bounded() -> None:
    each = judge()
    four(each, 9)
    each.expire(START + 2 * HOUR)
    assert len(each.escalations) == 0
    each.escalations.capacity = 50
    for n in range(200):
        convict(each, f"198.51.{n}.1")
    assert len(each.escalations) <= 51
    assert each.escalations.evicted
