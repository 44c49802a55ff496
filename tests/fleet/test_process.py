"""The fleet's process and its watcher's end, with keys of their own, on a real engine."""

from __future__ import annotations

import select
import socket
import threading
import time

import pytest
from tests.fleet import servers
from tests.fleet.nodes import BAD, GUESSING, prepare, publish

from tidegate.errors import FleetError
from tidegate.fleet import wire
from tidegate.fleet.port import Heard, Place, Quote, Seat
from tidegate.fleet.process import serve
from tidegate.fleet.remote import RemoteFleet
from tidegate.fleet.trust import keys
from tidegate.fleet.trust.keys import Identity
from tidegate.fleet.trust.members import Certificate, May, certify
from tidegate.model import MINUTE, Decision, Shared, Subject
from tidegate.policy.fleet import FleetSpec
from tidegate.policy.models import Policy

pytestmark = pytest.mark.skipif(servers.MISSING, reason="no redis-server is installed")
FLEET = bytes(range(16))
OTHER = Subject("203.0.113.6")


def now() -> int:
    return time.time_ns() // 1000


class Watcher:
    """A process in a thread, and what its watcher has heard."""

    def __init__(self, name, signer, desk, server, epoch=1, changes=()):
        ours, theirs = socket.socketpair()
        spec = FleetSpec((f"unix:{server.socket}",))
        policy = Policy(rules=(GUESSING,), fleet=spec)
        who = Identity(FLEET, desk.public, name)
        self.thread = threading.Thread(
            target=serve, args=(theirs, lambda: policy, signer, who, epoch), daemon=True
        )
        self.fleet = RemoteFleet(ours)
        self.ours = ours
        self.thread.start()
        self.heard = Heard()
        self.line = 0
        self.fleet.restore(list(changes))

    def close(self):
        self.ours.close()
        self.thread.join(20)
        assert not self.thread.is_alive()

    def hits(self, number, subject=BAD):
        rows = []
        for _ in range(number):
            self.line += 100
            rows.append(Shared("guessing", subject, now(), 1, self.line))
        self.fleet.share(rows)


def until(watchers, reached, what):
    deadline = time.monotonic() + 30
    while not reached():
        assert time.monotonic() < deadline, (what, [one.fleet.health for one in watchers])
        poll = select.poll()
        for one in watchers:
            poll.register(one.fleet.fileno(), select.POLLIN)
        poll.poll(100)
        for one in watchers:
            more = one.fleet.take()
            one.heard = Heard(*(a + b for a, b in zip(one.heard, more, strict=True)))


@pytest.fixture
def pair(shared_server, tmp_path):
    prepare(shared_server)
    desk = keys.make(tmp_path / "desk", "desk")
    names = ("web1", "web2")
    signers = {name: keys.make(tmp_path / name) for name in names}
    for number, name in enumerate(names, 1):
        found = Certificate(name, signers[name].public, May.CLAIM | May.DECIDE)
        publish(shared_server, wire.seal(certify(found, number, now()), FLEET, desk.sign))
    made = [Watcher(name, signers[name], desk, shared_server) for name in names]
    until(made, lambda: all(one.fleet.health.state == "joined" for one in made), "joined")
    yield made
    for one in made:
        one.close()


def test_watchers_count_decide_and_pardon_together(pair):
    one, other = pair
    one.hits(2)
    other.hits(2)
    until(pair, lambda: all(each.heard.convictions for each in pair), "convicted")
    (found,) = other.heard.convictions
    assert (found.subject, found.count, dict(found.shares)) == (BAD, 4, {"web1": 2, "web2": 2})
    assert found == one.heard.convictions[0]
    moment = now()
    ban = Decision(
        "x", moment, "ban", OTHER, "guessing", (22,), moment + 30 * MINUTE, 30 * MINUTE, 4, 0,
        "enforce", "",
    )  # fmt: skip
    one.fleet.say([ban])
    until(pair, lambda: other.heard.closings, "closed")
    assert other.heard.closings[0][1:7] == (
        "web1",
        "guessing",
        "rule",
        OTHER,
        (22,),
        moment // 1000 * 1000,
    )
    other.fleet.say([Decision(
        "y", now(), "unban", OTHER, "", (), 0, 0, 0, 0, "enforce", "", by="anna (uid 1000)"
    )])  # fmt: skip
    until(pair, lambda: one.heard.openings, "opened")
    assert one.heard.openings[0].by == "anna (uid 1000)"
    assert one.heard.changes


def test_why_and_hosts_are_answered_by_all(pair):
    one, other = pair
    quotes = [Quote("", "guessing", now(), "/var/log/auth.log", "Failed password \x1b[31m")]
    other.fleet.explain(BAD, "guessing", now() + MINUTE, quotes)
    other.fleet.report({"version": "1.2", "bans": 3, "posture": "normal"})
    time.sleep(1)
    numbers = one.fleet.ask("why", BAD), one.fleet.ask("hosts")
    until(pair, lambda: len(one.heard.told) == 2, "told")
    told = dict(one.heard.told)
    (quote,) = told[numbers[0]]
    assert (quote.host, quote.path) == ("web2", "/var/log/auth.log")
    assert "\x1b" not in quote.line
    assert [row.host for row in told[numbers[1]]] == ["web1", "web2"]


def test_pools_are_said_and_answered(pair):
    one, other = pair
    other.fleet.pools([Place("web", 1, "in", 1)])
    until(pair, lambda: other.heard.seats, "in service")
    one.fleet.pools([Place("web", 1, "leave", 2)])
    until(pair, lambda: one.heard.seats, "answered")
    assert one.heard.seats[0] == Seat("web", 2, True, 1)
    other.fleet.pools([Place("web", 1, "leave", 3)])
    until(pair, lambda: other.heard.seats[-1].number == 3, "answered")
    assert other.heard.seats[-1] == Seat("web", 3, False, 0)


def test_who_asks_while_the_engine_is_away_is_answered_without_rows(tmp_path):
    with servers.server(tmp_path) as server:
        desk, signer = keys.make(tmp_path / "desk", "desk"), keys.make(tmp_path / "web1")
        address = server.socket
        server.kill()
        one = Watcher("web1", signer, desk, server)
        until([one], lambda: one.fleet.health.state == "away", "away")
        assert str(address) in one.fleet.health.detail
        one.fleet.ask("why", BAD)
        until([one], lambda: one.heard.told, "told")
        assert one.heard.told == ((1, ()),)
        one.close()


def test_a_process_that_is_gone_is_said_so():
    ours, theirs = socket.socketpair()
    fleet = RemoteFleet(ours)
    theirs.close()
    with pytest.raises(FleetError, match="alone"):
        fleet.take()
    ours.close()
