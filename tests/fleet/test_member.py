"""Whole members on a real engine: what is spread over hosts convicts on all of them."""

from __future__ import annotations

import pytest
from tests.fleet import servers
from tests.fleet.nodes import (
    BAD,
    Node,
    ask,
    certificate,
    enrol,
    fleet,
    prepare,
    publish,
    revocation,
    run,
    settle,
)
from tests.unit.fleet.village import rule

from tidegate.fleet.decisions.stream import HELD, STREAM
from tidegate.model import HOUR, MINUTE, SECOND, Subject
from tidegate.policy.models import ScoreTerms

pytestmark = pytest.mark.skipif(servers.MISSING, reason="no redis-server is installed")
OTHER = Subject("203.0.113.6")


def test_what_no_host_alone_would_convict_convicts_on_all_of_them(shared_server):
    with fleet(shared_server, "web1", "web2", "mx1") as nodes:
        nodes[0].hits(1)
        nodes[1].hits(1)
        nodes[2].hits(1)
        nodes[1].hits(2, OTHER)
        settle(nodes)
        assert not any(node.convictions for node in nodes)
        nodes[0].hits(1)
        run(nodes, lambda: all(node.convictions for node in nodes), "convicted")
        settle(nodes)
        for node in nodes:
            (one,) = node.convictions
            assert (one.subject, one.count) == (BAD, 4)
            assert dict(one.shares) == {"web1": 2, "web2": 1, "mx1": 1}
        assert len({node.convictions[0].id for node in nodes}) == 1


def test_three_are_too_few(shared_server):
    with fleet(shared_server, "web1", "web2", "mx1") as nodes:
        for node in nodes:
            node.hits(1)
        settle(nodes, 20)
        assert not any(node.convictions for node in nodes)


def test_one_host_that_decides_closes_on_all_and_a_person_opens_on_all(shared_server):
    with fleet(shared_server, "web1", "web2") as (one, other):
        one.decide()
        run((one, other), lambda: other.closings, "closed")
        (closing,) = other.closings
        assert (closing.host, closing.subject, closing.hosts) == ("web1", BAD, 1)
        other.decide("unban", of="manual", by="anna (uid 1000)")
        run((one, other), lambda: one.openings, "opened")
        (opening,) = one.openings
        assert (opening.why, opening.host, opening.by) == ("unban", "web2", "anna (uid 1000)")
        settle((one, other))
        assert not one.closings
        assert [opening.why for opening in other.openings] == []


def test_who_comes_late_proves_what_was_convicted_before(shared_server):
    with fleet(shared_server, "web1", "web2", "mx1") as nodes:
        for node, number in zip(nodes, (2, 1, 1), strict=True):
            node.hits(number)
        run(nodes, lambda: all(node.convictions for node in nodes), "convicted")
        length = ask(shared_server, "XLEN", STREAM)
        for node in nodes:
            node.settle()
        settle(nodes)
        assert ask(shared_server, "XLEN", STREAM) == length  # all know it by themselves
        assert ask(shared_server, "HLEN", HELD) == 3 + 1 + 3  # papers, decision, claims
        publish(shared_server, certificate("mx2", 4))
        late = Node("mx2", shared_server.address)
        run((late,), lambda: late.closings, "told")
        (closing,) = late.closings
        assert (closing.subject, closing.hosts) == (BAD, 3)
        assert late.health.refused == {}
        # One of those who counted is revoked, and without it it would not have come.
        publish(shared_server, revocation(9, "web1"))
        run((late,), lambda: late.openings, "opened")
        assert {one.why for one in late.openings} == {"revoked"}
        late.rounds.close()


def test_a_revoked_host_takes_back_what_it_caused(shared_server):
    with fleet(shared_server, "web1", "web2", "mx1") as nodes:
        nodes[0].hits(3)
        nodes[1].hits(1)
        run(nodes, lambda: all(node.convictions for node in nodes), "convicted")
        nodes[0].decide(subject=OTHER)
        run(nodes, lambda: all(node.closings for node in nodes[1:]), "closed")
        for node in nodes:
            node.settle()
        publish(shared_server, revocation(9, "web1"))
        run(nodes, lambda: all(len(node.openings) >= 2 for node in nodes[1:]), "opened")
        for node in nodes[1:]:
            ids = {one.id for one in node.openings}
            assert node.convictions[0].id in ids
            assert node.closings[0].id in ids
        run(nodes, lambda: nodes[0].health.state == "alone", "alone")


def test_an_engine_that_is_gone_is_waited_for_and_nothing_is_counted_twice(tmp_path):
    with servers.server(tmp_path) as server, fleet(server, "web1", "web2") as nodes:
        nodes[0].hits(2)
        settle(nodes)
        server.kill()
        run(nodes, lambda: all(node.health.state == "away" for node in nodes), "away")
        nodes[1].hits(1)
        assert nodes[1].health.spool == 1
        server.start()
        prepare(server)
        enrol(server, "web1", "web2")
        run(nodes, lambda: all(node.health.state == "joined" for node in nodes), "back")
        settle(nodes)
        assert not any(node.convictions for node in nodes)
        nodes[1].hits(1)
        # What was counted before is sent again where the engine has lost it, for 5 s.
        run(nodes, lambda: all(node.convictions for node in nodes), "convicted")


def test_a_clock_that_is_wrong_counts_alone_and_says_so(shared_server):
    with fleet(shared_server, "web1", "web2") as (one, other):
        wrong = Node("mx1", shared_server.address, ahead=10 * MINUTE)
        wrong.hits(3)
        run((wrong,), lambda: wrong.health.state == "alone", "alone")
        assert "clock" in wrong.health.detail
        one.hits(1)
        settle((one, other, wrong))
        assert not any(node.convictions for node in (one, other, wrong))
        wrong.rounds.close()


def test_what_all_came_to_is_said_again_where_the_engine_and_who_said_it_are_gone(tmp_path):
    with servers.server(tmp_path) as server, fleet(server, "web1", "web2", "mx1") as nodes:
        for node, number in zip(nodes, (2, 1, 1), strict=True):
            node.hits(number)
        run(nodes, lambda: all(node.convictions for node in nodes), "convicted")
        for node in nodes:
            node.settle()
        settle(nodes)
        (one,) = [n for n in nodes if n.member.claiming.was_lent("guessing", BAD, n.now())]
        one.rounds.close()
        left = [node for node in nodes if node is not one]
        server.kill()
        run(left, lambda: all(node.health.state == "away" for node in left), "away")
        server.start()
        prepare(server)
        run(left, lambda: all(node.health.state != "away" for node in left), "back")
        for node in left:
            node.ahead += 20 * SECOND  # the while that it waits whether another says it
        enrol(server, "web1", "web2", "mx1", "late")
        late = Node("late", server.address)
        run((*left, late), lambda: late.closings, "said again")
        (closing,) = late.closings[:1]
        assert (closing.subject, closing.hosts) == (BAD, 3)
        late.rounds.close()


def test_what_a_host_counted_before_it_was_started_anew_is_claimed_and_counted_once(shared_server):
    with fleet(shared_server, "web1", "web2") as (one, other):
        one.hits(2)
        settle((one, other))
        one.rounds.close()
        again = Node("web1", shared_server.address, epoch=2)
        again.member.remember(one.counted)
        run((again, other), lambda: again.health.state == "joined", "joined")
        settle((again, other))
        assert not again.convictions
        other.hits(2)
        run((again, other), lambda: again.convictions and other.convictions, "convicted")
        assert dict(other.convictions[0].shares) == {"web1": 2, "web2": 2}
        again.rounds.close()


def test_an_engine_without_our_functions_is_named_and_what_was_counted_waits(tmp_path):
    with servers.server(tmp_path) as server:
        enrol(server, "web1", "web2")
        nodes = [Node(name, server.address) for name in ("web1", "web2")]
        nodes[0].hits(2)
        run(nodes, lambda: all(node.health.state == "alone" for node in nodes), "alone")
        assert "tidegate fleet init" in nodes[0].health.detail
        nodes[0].decide(subject=OTHER)
        run(nodes, lambda: nodes[1].closings, "heard all the same")
        prepare(server)
        enrol(server, "web1", "web2")
        run(nodes, lambda: all(node.health.state == "joined" for node in nodes), "joined")
        nodes[1].hits(2)
        run(nodes, lambda: all(node.convictions for node in nodes), "convicted")
        for node in nodes:
            node.rounds.close()


def test_values_weights_and_points_are_those_of_all_hosts(shared_server):
    halving = ScoreTerms(10, True, 5, HOUR, form="exponential")
    rules = (
        rule("users", 3, distinct="user", shared=True),
        rule("heavy", 6, shared=True),
        rule("points", 0, 0, score=halving, shared=True),
    )
    with fleet(shared_server, "web1", "web2", rules=rules) as (one, other):
        nodes = (one, other)
        one.hits(1, of="users", value="root")
        other.hits(1, of="users", value="root")  # the same everywhere
        other.hits(1, of="users", value="admin")
        one.hits(1, of="heavy", amount=3)
        other.hits(1, of="heavy", amount=2)
        one.hits(1, of="points", amount=5)
        other.hits(1, of="points", amount=5)
        settle(nodes, 15)
        assert not one.convictions + other.convictions
        one.hits(1, of="users", value="mail")
        other.hits(1, of="heavy", amount=1)
        one.hits(1, of="points", amount=4)
        run(nodes, lambda: all(len(node.convictions) == 3 for node in nodes), "convicted")
        for node in nodes:
            counts = {each.rule: each.count for each in node.convictions}
            assert counts == {"users": 3, "heavy": 6, "points": 14}
