"""A large fleet on a real engine: claims go to who counted the same, and all hear what came of it."""

from __future__ import annotations

import contextlib

import pytest
from tests.fleet import servers
from tests.fleet.nodes import BAD, GUESSING, ask, fleet, now, publish, revocation, run, settle

from tidegate.fleet.decisions import mail
from tidegate.fleet.decisions.decisions import Entry
from tidegate.fleet.decisions.stream import STREAM
from tidegate.model import MINUTE

pytestmark = pytest.mark.skipif(servers.MISSING, reason="no redis-server is installed")
NAMES = ("web1", "web2", "web3", "web4")


@contextlib.contextmanager
def large(server, *, min_hosts=1):
    """Four hosts who take themselves for too many to hear all claims."""
    with fleet(server, *NAMES) as nodes:
        for node in nodes:
            node.member.claiming.circle = 0
            node.member.follow([GUESSING], min_hosts)
        yield nodes


def counted(nodes):
    """web1 to web3 count what none of them alone would convict of; whom the engine asks."""
    for node in nodes[:2]:
        node.hits(1)
    settle(nodes)
    nodes[2].hits(2)
    run(nodes, lambda: nodes[2].convictions, "convicted")
    return nodes[2]


def test_only_who_counted_hears_claims_and_all_hear_what_came_of_it(shared_server):
    with large(shared_server) as nodes:
        papers = ask(shared_server, "XLEN", STREAM)
        asked = counted(nodes)
        (one,) = asked.convictions
        assert (one.subject, one.count) == (BAD, 4)
        assert dict(one.shares) == {"web1": 1, "web2": 1, "web3": 2}
        assert ask(shared_server, "XLEN", STREAM) == papers
        assert ask(shared_server, "EXISTS", mail.box("web4")) == 0
        asked.settle()
        others = [node for node in nodes if node is not asked]
        run(nodes, lambda: all(node.closings for node in others), "closed")
        for node in others:
            (closing,) = node.closings
            assert (closing.host, closing.subject, closing.hosts) == ("web3", BAD, 1)
            assert not node.convictions
        assert ask(shared_server, "XLEN", STREAM) == papers + 1
        publish(shared_server, revocation(9, "web2"))
        run(nodes, lambda: nodes[3].openings, "taken back")
        (opening,) = nodes[3].openings
        assert (opening.why, opening.subject) == ("revoked", BAD)


def test_who_was_asked_and_spares_has_the_others_judge_for_themselves(shared_server):
    with large(shared_server) as nodes:
        asked = counted(nodes)
        others = [node for node in nodes if node is not asked]
        run(nodes, lambda: all(node.convictions for node in others), "convicted")
        assert {node.convictions[0].count for node in others} == {4}


def test_who_asks_for_two_hosts_verifies_what_they_claimed(shared_server):
    with large(shared_server, min_hosts=2) as nodes:
        counted(nodes).settle()
        run(nodes, lambda: nodes[3].closings, "closed")
        (closing,) = nodes[3].closings
        assert (closing.host, closing.hosts) == ("web3", 3)
        assert nodes[3].member.trust.cases.of("guessing", BAD).count == 4


def test_what_one_host_says_of_others_is_not_believed_where_two_are_asked_for(shared_server):
    """web1 says that the others counted, who never did."""
    with large(shared_server, min_hosts=2) as nodes:
        shares = (("web1", 1), ("web2", 1), ("web3", 2))
        lie = Entry("", "ban", "", now(), BAD, (22,), now() + MINUTE, "guessing", shares=shares, needed=4)  # fmt: skip
        nodes[0].member.assembly.say([lie], now())
        told = lambda node: node.member.accepting.refused["web1", "min-hosts"]  # noqa: E731
        run(nodes, lambda: all(map(told, nodes[1:])), "refused")
        assert not any(node.closings for node in nodes)


def test_a_host_that_sleeps_finds_its_mail_when_it_wakes(shared_server):
    with large(shared_server) as nodes:
        awake = nodes[1:]
        nodes[0].hits(1)
        settle(nodes)
        awake[0].hits(3)
        settle(awake, 20)
        assert not awake[0].convictions
        run(nodes, lambda: awake[0].convictions, "convicted")


def test_in_a_small_fleet_all_hear_what_was_answered_to_a_letter(shared_server):
    with fleet(shared_server, *NAMES) as nodes:
        papers = ask(shared_server, "XLEN", STREAM)
        for node in nodes:
            node.hits(1)
        run(nodes, lambda: all(node.convictions for node in nodes), "convicted")
        assert ask(shared_server, "XLEN", STREAM) == papers + 4
        boxes = ask(shared_server, "KEYS", "{tg:decisions}:to:*")
        assert len(boxes) == 3  # of all but the one that was asked
        assert all(ask(shared_server, "PTTL", one) > 0 for one in boxes)


def test_an_engine_without_memory_still_lets_hear(shared_server):
    """What is counted it refuses; both go in one call, until that is refused."""
    with fleet(shared_server, *NAMES) as nodes:
        nodes[0].hits(1)
        settle(nodes)
        try:
            nodes[1].decide()
            settle(nodes[1:2])
            ask(shared_server, "CONFIG", "SET", "maxmemory", "1")
            for node in nodes:
                node.hits(1)
            run(nodes, lambda: all("OOM" in node.member.counting.trouble for node in nodes), "full")
            assert ask(shared_server, "XLEN", STREAM) == 5
            run(nodes, lambda: nodes[0].closings, "heard")
        finally:
            ask(shared_server, "CONFIG", "SET", "maxmemory", "0")
