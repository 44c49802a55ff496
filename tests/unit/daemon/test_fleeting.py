"""A watcher among others: what it says to them, and what becomes here of what they say."""

from __future__ import annotations

import json
import logging
import os

import pytest
from tests.unit.daemon.test_watcher import NOW, POLICY, VIRUSES, A, Bench, planned

from tidegate.control.call import Call
from tidegate.control.peer import Peer
from tidegate.daemon import watcher as watcher_module
from tidegate.errors import FleetError, LedgerError
from tidegate.fleet.port import (
    Closing,
    Conviction,
    Health,
    Heard,
    MemoryFleet,
    Opening,
    Quote,
    Report,
    Seat,
)
from tidegate.model import HOUR, SECOND, Change, Sample, Subject

B = Subject("198.51.100.7")
ANNA = Peer(1, 1000, 1000, "anna", frozenset())
FLEET = POLICY + '[fleet]\nengine = "redis://192.0.2.99"\n[allow]\naddresses = ["203.0.113.0/24"]\n'
NEAR = FLEET + '[escalation.near]\nnetwork = "ipv4/24"\nchildren = 3\nwithin = "1h"\nfor = "30m"\n'


class Member(Bench):
    """A watcher whose fleet is the test: `hear` has others say something."""

    def __init__(self, text: str = FLEET, trouble: str = "") -> None:
        super().__init__(planned(text))
        self.fleet = MemoryFleet(trouble, keeping=True)
        self.fleet.health = Health("joined", host="web2", members=3)
        self.wiring.fleet = self.watcher.fleeting.fleet = self.fleet

    def turn(self, *chunks: bytes, seconds: float = 0.1) -> None:
        for chunk in chunks[:-1]:
            super().turn(chunk)
        super().turn(*chunks[-1:], seconds=seconds)
        self.watcher._confer(self.now)

    def hear(self, **heard) -> None:
        self.fleet.coming.append(Heard(**{name: tuple(rows) for name, rows in heard.items()}))
        self.turn()

    def ask(self, method, path, **words):
        query, body = (words, {}) if method == "GET" else ({}, words)
        call = Call(method, path, query, body, ANNA)
        self.watcher.answerer.answer(call, self.now)
        return call

    def state(self, number) -> str:
        return next(one.state for one in self.ledger.history(99) if one.decision.id == number)


@pytest.fixture
def make(monkeypatch, caplog):
    caplog.set_level(logging.INFO, "tidegate")
    made: list[Member] = []

    def member(*words) -> Member:
        made.append(Member(*words))
        monkeypatch.setattr(watcher_module, "now_micros", lambda: made[-1].now)
        made[-1].turn(seconds=2)
        return made[-1]

    yield member
    for one in made:
        os.close(one.wake)
        os.close(one._write)


@pytest.fixture
def member(make):
    return make()


def closing(subject=A, host="web1", number="c1", ago=1.0, span=HOUR, **other) -> Closing:
    time = NOW - int(ago * SECOND)
    values = {"rule": "virus-senders", "by": "rule", "ports": (25,), "until": time + span}
    return Closing(number, host, subject=subject, time=time, **(values | other))


def opening(number, why="revoked", subject=A, host="web1", rule="", ports=(), by="desk", ago=0.5):
    return Opening(number, subject, ports, rule, why, host, by, NOW - int(ago * SECOND))


def conviction(subject=B, number="abc", ago=1.0) -> Conviction:
    time = NOW - int(ago * SECOND)
    return Conviction(
        number, "virus-senders", subject, time, 3, (("web1", 2), ("web2", 1)), time - 9
    )


# -- out ------------------------------------------------------------------------------------------


def test_what_a_rule_closes_here_is_said_with_its_lines(member):
    member.turn(*VIRUSES[:3])
    (said,) = member.fleet.said
    assert (said.subject, said.ports, said.rule, said.until) == (
        A,
        (25,),
        "virus-senders",
        said.time + HOUR,
    )
    ((subject, rule, until, quotes),) = member.fleet.quotes
    assert (subject, rule, until) == (A, "virus-senders", said.until)
    assert [one.line for one in quotes] == [one.decode().rstrip() for one in VIRUSES[:3]]


def test_each_line_that_counts_is_handed_out_once(member):
    member.turn(*VIRUSES[:2])
    member.turn(VIRUSES[0])
    assert [one.subject for one in member.fleet.shared] == [A, A, A]
    assert {one.rule for one in member.fleet.shared} == {"virus-senders"}


def test_what_only_would_have_been_is_not_said(make):
    observing = make(
        FLEET.replace("[rule.virus-senders]", '[rule.virus-senders]\nmode = "observe"')
    )
    observing.turn(*VIRUSES[:3])
    assert [one.state for one in observing.ledger.history(9)] == ["observed"]
    assert observing.fleet.said == []


def test_what_the_gate_refuses_for_good_is_not_said_and_while_it_is_away_it_is(member):
    member.gate.refuses = frozenset({A})
    member.turn(*VIRUSES[:3])
    assert member.fleet.said == []
    member.gate.refuses, member.gate.gone = frozenset(), True
    member.ask("POST", "/ban", subject=B)
    assert [one.subject for one in member.fleet.said] == [B]


def test_what_a_person_orders_is_for_all_unless_said_otherwise(member):
    answer = member.ask("POST", "/ban", subject=A).wait(0).value
    assert [(one.action, one.by) for one in member.fleet.said] == [("ban", "anna (uid 1000)")]
    assert answer["fleet"] == ""
    member.ask("POST", "/unban", subject=A)
    assert [one.action for one in member.fleet.said] == ["ban", "unban"]
    for path in ("/ban", "/unban"):
        member.ask("POST", path, subject=A, local=True)
    assert len(member.fleet.said) == 2


def test_a_person_hears_that_the_others_do_not_yet(member, make):
    member.fleet.health = Health("away", "the engine unix:/x does not answer")
    answer = member.ask("POST", "/ban", subject=A).wait(0).value
    assert answer["fleet"] == "the other hosts hear of it later: the engine unix:/x does not answer"
    member.fleet.health = Health("joined", decides=False)
    answer = member.ask("POST", "/ban", subject=B).wait(0).value
    assert answer["fleet"] == "on this host only: the desk lets it decide for no other"
    apart = make(FLEET, "hiredis can't be loaded")
    answer = apart.ask("POST", "/ban", subject=A).wait(0).value
    assert answer["fleet"] == "on this host only: hiredis can't be loaded"


def test_who_must_never_be_closed_for_is_said_and_what_others_should_see(member):
    assert {"203.0.113.0/24", "127.0.0.0/8", "192.0.2.99"} <= {*member.fleet.listed}
    assert not any(one.startswith("uid:") for one in member.fleet.listed)
    assert member.fleet.reported["policy_hash"] == member.watcher.pipeline.policy.hash
    assert member.fleet.reported["bans"] == 0


# -- in -------------------------------------------------------------------------------------------


def test_what_another_host_closed_is_closed_here_and_nobody_says_it_again(member, caplog):
    member.hear(closings=[closing()])
    said = f"ban {A} (ports 25) by virus-senders (fleet:web1): applied"
    assert said in [row.message for row in caplog.records]
    assert member.closed() == [(A, (25,))]
    (entry,) = member.ledger.history(9)
    assert (entry.decision.id, entry.decision.by) == ("c1", "fleet:web1")
    assert entry.decision.until == closing().until
    assert member.fleet.said == []
    assert member.fleet.ends == {"c1": closing().until}
    member.fleet.ends.clear()
    member.hear(closings=[closing()])
    assert len(member.ledger.history(9)) == 1
    assert member.fleet.ends == {}


@pytest.mark.parametrize(
    ("subject", "spared"),
    [("203.0.113.7", "allowlist"), ("192.0.2.99", "the fleet's engine"), ("127.0.0.1", "loopback")],
)
def test_whom_this_host_spares_no_other_closes_for(member, subject, spared):
    member.hear(closings=[closing(Subject(subject))], convictions=[conviction(Subject(subject))])
    assert member.closed() == []
    assert {one.decision.spared for one in member.ledger.history(9)} == {spared}
    assert member.fleet.ends["c1"] == 0


def test_whoever_takes_no_bans_of_others_still_counts_with_them(make):
    own = make(FLEET.replace("[allow]", "accept = { bans = false }\n[allow]"))
    own.hear(closings=[closing()], convictions=[conviction()])
    assert own.closed() == [(B, (25,))]


def test_what_all_counted_together_closes_with_the_own_lines(member):
    member.turn(VIRUSES[0])
    member.hear(convictions=[conviction(A, ago=-2)])
    assert member.closed() == [(A, (25,))]
    (entry,) = member.ledger.history(9)
    assert [one.line for one in entry.decision.evidence] == [VIRUSES[0].decode().rstrip()]
    assert member.fleet.ends == {"abc": entry.decision.until}
    assert [quotes[0].line for *_rest, quotes in member.fleet.quotes] == [
        VIRUSES[0].decode().rstrip()
    ]
    # Whoever was given the crossing says it for all: that is for the fleet's process to know.
    assert [one.id for one in member.fleet.said] == ["abc"]


def test_a_pardon_anywhere_opens_everything_and_holds_for_its_hour(member):
    member.turn(*VIRUSES[:3])
    member.hear(openings=[opening("u1", "unban", by="anna")])
    assert member.closed() == []
    entry = member.ledger.entries(["u1"])[0]
    assert entry.decision.by == "anna at web1"
    member.turn(*VIRUSES[:5])
    assert member.closed() == []
    member.hear(openings=[opening("u1", "unban", by="anna")])
    allow = member.watcher.pipeline.judge.allow
    assert allow.spared(A, NOW + HOUR - 2 * SECOND, False) == "exempt"
    assert allow.spared(A, NOW + HOUR + SECOND, False) == ""


def test_a_pardon_that_is_heard_late_opens_and_exempts_nobody_any_more(member):
    member.hear(closings=[closing(ago=3 * 3600, span=24 * HOUR)])
    member.hear(openings=[opening("u1", "unban", ago=2 * 3600)])
    assert member.closed() == []
    assert member.watcher.pipeline.judge.allow.spared(A, member.now, False) == ""


def test_a_pardon_of_long_ago_opens_nothing_that_came_after_it(member):
    member.turn(*VIRUSES[:3])
    member.hear(openings=[opening("u1", "unban", ago=2 * 3600)])
    assert member.closed() == [(A, (25,))]
    member.ask("POST", "/ban", subject=B)
    member.hear(openings=[opening("u2", "unban", subject=B, ago=20)])
    assert member.closed() == [(A, (25,)), (B, ())]


def test_a_pardon_that_is_told_again_after_a_start_forgets_nothing_again(member):
    old = opening("u1", "unban", ago=2 * 3600)
    member.hear(openings=[old])
    member.turn(*VIRUSES[:2])
    member.hear(openings=[old])
    member.turn(VIRUSES[4])
    assert member.closed() == [(A, (25,))]


def test_of_a_ban_and_an_unban_that_come_together_the_later_holds(member):
    member.hear(
        openings=[opening("u1", "unban", ago=3)], closings=[closing(by="anna", rule="", ago=2)]
    )
    assert member.closed() == [(A, (25,))]
    member.hear(
        openings=[opening("u2", "unban", ago=1)],
        closings=[closing(number="c2", by="anna", rule="", ago=1)],
    )
    assert member.closed() == []


def test_an_older_word_of_a_person_elsewhere_closes_for_nobody_who_was_pardoned_here(member):
    member.ask("POST", "/unban", subject=A, local=True)
    member.hear(closings=[closing(by="anna", rule="", ago=60)])
    assert member.closed() == []
    member.hear(closings=[closing(by="anna", rule="", number="c2", ago=-3)])
    assert member.closed() == [(A, (25,))]


def test_whom_a_person_allowed_here_no_person_elsewhere_closes_for(member):
    member.ask("POST", "/allow", subject=A)
    member.hear(closings=[closing(by="anna", rule="")])
    assert (A, (25,)) not in member.closed()
    assert member.state("c1") == "spared"


def test_a_pardon_of_one_rule_opens_what_that_rule_closed(member):
    member.hear(closings=[closing(), closing(number="c2", rule="other", ports=(80,))])
    member.hear(openings=[opening("u1", "unban", rule="other", ports=(80,))])
    assert member.closed() == [(A, (25,))]


def test_what_a_revoked_host_closed_is_opened_and_what_this_host_closed_is_not(member):
    member.turn(*VIRUSES[:3])
    own, theirs = member.fleet.said[0].until, closing(ago=-3, span=4 * HOUR)
    member.hear(closings=[theirs])
    assert [one.until for one in member.gate.observe(member.now)] == [theirs.until]
    member.hear(openings=[opening("c1")])
    assert [one.until for one in member.gate.observe(member.now)] == [own]


def test_what_a_person_on_a_revoked_host_closed_is_opened_alone(member):
    member.turn(*VIRUSES[:3])
    own = member.fleet.said[0].until
    member.hear(closings=[closing(ago=-3, span=4 * HOUR, by="anna", rule="", note="worm")])
    (entry,) = [one for one in member.ledger.history(9) if one.decision.id == "c1"]
    assert (entry.decision.by, entry.decision.note) == ("fleet:web1", "anna: worm")
    member.hear(openings=[opening("c1")])
    assert [one.until for one in member.gate.observe(member.now)] == [own]


def test_what_is_counted_here_outlasts_a_persons_ban_on_a_revoked_host(member):
    member.turn(*VIRUSES[:2])
    member.hear(closings=[closing(by="anna", rule="", ports=())])
    member.hear(openings=[opening("c1")])
    assert member.closed() == []
    member.turn(VIRUSES[2])
    assert member.closed() == [(A, (25,))]


def test_what_two_hosts_closed_stays_closed_when_one_of_them_is_revoked(member):
    member.hear(closings=[closing(), closing(host="web3", number="c3", ago=0.9)])
    assert [one.decision.id for one in member.ledger.history(9)] == ["c1"]
    member.hear(openings=[opening("c1")])
    assert member.closed() == [(A, (25,))]
    member.hear(openings=[opening("c3", host="web3")])
    assert member.closed() == []


def test_what_all_counted_outlasts_a_host_that_had_closed_before(member):
    member.hear(closings=[closing(B)], convictions=[conviction(B, ago=0.5)])
    assert [one.decision.id for one in member.ledger.history(9)] == ["c1"]
    member.hear(openings=[opening("c1", subject=B)])
    assert member.closed() == [(B, (25,))]
    member.hear(openings=[opening("abc", subject=B)])
    assert member.closed() == []


def test_what_falls_with_a_revoked_host_is_counted_anew(member):
    member.turn(VIRUSES[0])
    member.hear(convictions=[conviction(A, ago=-2)])
    member.hear(openings=[opening("abc")])
    assert member.closed() == []
    assert member.watcher.fleeting.heeding._caused == {}
    member.turn(*VIRUSES[1:4])
    assert member.closed() == [(A, (25,))]


def test_what_could_not_be_opened_is_opened_as_soon_as_the_ledger_is_well(member, monkeypatch):
    member.hear(closings=[closing()], convictions=[conviction()])
    member.ledger.full = True
    member.hear(openings=[opening("c1")])
    assert len(member.closed()) == 2

    def unreadable(_numbers):
        raise LedgerError("it is damaged")

    with monkeypatch.context() as broken:
        broken.setattr(member.ledger, "entries", unreadable)
        member.hear(openings=[opening("abc", subject=B)])
    member.ledger.full = False
    member.turn(seconds=2)
    assert member.closed() == []


def test_a_network_that_was_closed_for_its_members_falls_with_them_also_after_a_start(make):
    before = make(NEAR)
    three = [Subject(f"198.51.100.{number}") for number in range(3)]
    before.hear(convictions=[conviction(one, f"id{one}") for one in three])
    net = Subject("198.51.100.0/24")
    assert {one for one, _ports in before.closed()} == {*three, net}
    before.turn(seconds=3)
    member = make(NEAR)
    member.ledger.checkpoint([], [*before.ledger.memory()])
    member.watcher.actor.ledger = member.wiring.ledger = before.ledger
    member.gate = member.watcher.actor.gate = before.gate
    member.watcher._restore()
    member.hear(openings=[opening(f"id{three[2]}", subject=three[2])])
    assert {one for one, _ports in member.closed()} == {*three[:2]}


# -- memory, trouble ------------------------------------------------------------------------------


def test_the_memory_of_the_fleet_is_saved_and_given_back(member, make):
    seen = Change("fleet seen", "web1", b"\x07")
    member.hear(changes=[seen], convictions=[conviction()])
    member.turn(seconds=3)
    again = make(NEAR)
    for change in [*member.ledger.memory()]:
        again.ledger.checkpoint([], [change])
    again.watcher._restore()
    assert again.fleet.restored == [seen]
    again.turn(seconds=700)
    assert {one.part for one in again.ledger.memory()} >= {"fleet seen"}


def test_what_the_others_may_not_have_heard_is_said_again_after_a_start(make):
    before = make()
    before.fleet.health = Health("away", "the engine is away")
    before.turn(*VIRUSES[:3])
    before.ask("POST", "/ban", subject=B)
    before.turn(seconds=60)
    member = make()
    for change in before.ledger.memory():
        member.ledger.checkpoint([], [change])
    member.watcher.actor.ledger = member.wiring.ledger = before.ledger
    member.fleet.health = Health("starting")
    member.watcher._restore()
    member.turn(seconds=2)
    assert member.fleet.said == []
    member.fleet.health = Health("joined")
    member.turn(seconds=2)
    assert [(one.subject, one.by) for one in member.fleet.said] == [
        (A, "rule"),
        (B, "anna (uid 1000)"),
    ]
    assert [subject for subject, *_rest in member.fleet.quotes] == [A]
    for _ in range(4):
        member.turn(seconds=4)
    assert not any(one.part == "said to fleet" for one in before.ledger.memory())


def test_a_policy_that_takes_no_bans_of_others_opens_what_they_closed(member):
    member.turn(*VIRUSES[:3])
    own = member.fleet.said[0].until
    member.hear(closings=[closing(ago=-3, span=4 * HOUR), closing(B, number="c2")])
    member.wiring.next = planned(FLEET.replace("[allow]", "accept = { bans = false }\n[allow]"))
    assert member.watcher.reload(member.now) == []
    assert [(one.subject, one.until) for one in member.gate.observe(member.now)] == [(A, own)]


def test_trouble_is_said_in_one_line_and_when_it_is_over(member, make, caplog):
    caplog.clear()
    for why in ("does not answer", "cannot be reached", "does not answer"):
        member.fleet.health = Health("away", f"the engine redis://192.0.2.99 {why}")
        member.turn(seconds=2)
    member.fleet.health = Health("joined")
    member.turn(seconds=2)
    said = [row.message for row in caplog.records if row.message.startswith("fleet")]
    why = "the engine redis://192.0.2.99 does not answer; this host counts and decides alone until it is well again"
    assert said == [f"fleet: {why}", f"fleet: well again (was: {why})"]
    caplog.clear()
    apart = make(FLEET, "hiredis can't be loaded")
    apart.turn(*VIRUSES[:3])
    apart.turn(seconds=2)
    assert apart.closed() == [(A, (25,))]
    said = [row.message for row in caplog.records if row.levelname == "WARNING"]
    assert said == ["fleet: hiredis can't be loaded; this host counts and decides alone"]
    assert (apart.fleet.said, apart.fleet.shared) == ([], [])


def test_without_a_fleet_nothing_is_said_of_one(make, caplog):
    alone = make(POLICY)
    alone.turn(*VIRUSES[:3], seconds=2)
    assert (alone.fleet.said, alone.fleet.shared) == ([], [])
    assert alone.ask("GET", "/status").wait(0).value["fleet"] is None
    assert not any("fleet" in row.message for row in caplog.records)


def test_a_process_that_is_gone_ends_the_turn_and_no_order_of_a_person(member, monkeypatch):
    def gone(*_words):
        raise FleetError("the fleet's process is gone")

    for name in ("say", "share", "look", "report"):
        monkeypatch.setattr(MemoryFleet, name, gone)
    assert member.ask("POST", "/ban", subject=A).wait(0).status == 200
    assert member.closed() == [(A, ())]
    assert not member.watcher.stopping
    member.turn(*VIRUSES[:1], seconds=2)
    assert member.watcher.stopping


# -- asked ----------------------------------------------------------------------------------------


def test_why_waits_for_what_other_hosts_counted(member):
    member.hear(closings=[closing()])
    call = member.ask("GET", "/why", address=A)
    assert call.wait(0) is None
    call = member.ask("GET", "/why", address=A)
    member.fleet.coming[:] = []
    line = Quote("web1", "virus-senders", NOW, "/var/log/mainlog", "a line")
    own = Quote("web2", "virus-senders", NOW, "/var/log/mainlog", "ours")
    member.hear(told=[(member.fleet._asked, (line, own))])
    answer = call.wait(0).value
    json.dumps(answer)
    assert answer["fleet"]["answered"]
    assert [(one["host"], one["line"]) for one in answer["fleet"]["lines"]] == [("web1", "a line")]
    assert answer["banned"][0]["by"] == "fleet:web1"


def test_why_answers_alone_where_the_others_do_not(member):
    call = member.ask("GET", "/why", address=A)
    member.fleet.coming[:] = []
    member.turn(seconds=1.5)
    member.turn(seconds=1.5)
    assert call.wait(0).value["fleet"] == {"answered": False, "lines": []}


def test_why_says_what_is_counted_here_and_that_others_count_too(member):
    member.turn(VIRUSES[0])
    call = member.ask("GET", "/why", address=A)
    member.turn()
    (row,) = call.wait(0).value["tallies"]
    assert (row["count"], row["together"]) == (1, True)
    alone = Member(FLEET.replace("[rule.virus-senders]", '[rule.virus-senders]\ncount = "host"'))
    alone.turn(VIRUSES[0])
    call = alone.ask("GET", "/why", address=A)
    alone.turn()
    assert "together" not in call.wait(0).value["tallies"][0]


def test_why_asks_nobody_about_a_user_of_this_host(member):
    assert "fleet" not in member.ask("GET", "/why", address="www-data", user="uid:33").wait(0).value


def test_the_hosts_of_the_fleet(member):
    call = member.ask("GET", "/fleet")
    member.fleet.coming[:] = [
        Heard(told=((1, (Report("web3", bans=7), Report("web1", sent=NOW))),))
    ]
    member.turn()
    answer = call.wait(0).value
    json.dumps(answer)
    assert [one["host"] for one in answer["hosts"]] == ["web1", "web3"]
    assert answer["hosts"][1]["bans"] == 7
    assert (answer["fleet"]["state"], answer["fleet"]["members"]) == ("joined", 3)
    assert answer["fleet"]["rules"] == ["virus-senders"]


def test_the_hosts_of_no_fleet(make):
    answer = make(POLICY).ask("GET", "/fleet").wait(0).value
    assert answer == {"v": 1, "fleet": None, "answered": False, "hosts": []}
    apart = make(FLEET, "hiredis can't be loaded").ask("GET", "/fleet").wait(0).value
    assert (apart["fleet"]["state"], apart["fleet"]["detail"]) == ("off", "hiredis can't be loaded")


def test_what_fell_with_a_host_and_comes_to_the_same_without_it_is_closed_again(member):
    one = conviction(B, ago=5)
    member.hear(convictions=[one])
    member.hear(openings=[opening("abc", subject=B)])
    assert member.closed() == []
    member.hear(convictions=[one])  # who was away has counted as much, until the same moment
    assert member.closed() == [(B, (25,))]
    member.hear(openings=[opening("abc", subject=B)])
    assert member.closed() == []


POOL = (
    FLEET
    + """
[pool.web]
peers = ["up(http://192.0.2.2:80)"]
[guard.web]
close = "la1 >= 10"
service = "apache2"
pool = "web"
"""
)


def test_the_fleet_is_asked_before_a_gate_takes_this_host_out_of_its_pool(make):
    member = make(POOL)
    member.watcher.guarding.start()

    def read(load):
        for name, value in (("la1", load), ("up(http://192.0.2.2:80)", 1.0)):
            member.wiring.readings.coming.append(Sample(name, member.now, value))
        member.turn(seconds=1)
        member.watcher._guard(member.now)

    read(1.0)
    assert [one[:3] for one in member.fleet.places] == [("web", 1, "in")]
    read(20.0)
    (place,) = member.fleet.places
    assert place.word == "leave"
    member.watcher._dirty = False
    member.hear(seats=[Seat("web", place.number, False, 0)])
    assert not member.watcher._dirty, "nothing to write down"
    read(20.0)
    assert member.watcher.guarding.closed(member.now) == {}
    member.hear(seats=[Seat("web", place.number, True, 1)])
    read(20.0)
    assert list(member.watcher.guarding.closed(member.now)) == ["web"]
    assert [one.word for one in member.fleet.places] == ["out"]
