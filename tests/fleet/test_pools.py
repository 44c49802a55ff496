"""Who may leave a pool, in a real server: of two that want to at once, one."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

import pytest
from tests.fleet.nodes import Node, ask, enrol, prepare, run, turn
from tests.fleet.servers import Server
from tests.fleet.test_stream import shipped_rights
from tests.fleet.timed import Timed

from tidegate.daemon.pooling import Pooling
from tidegate.decision.guards import Guards
from tidegate.evidence.conditions import Evidence
from tidegate.fleet import pools
from tidegate.fleet.counting import functions
from tidegate.fleet.engine.connection import Address
from tidegate.fleet.port import Heard, Place
from tidegate.model import Sample
from tidegate.policy.loader import read

NOW = 1_790_000_000_000  # milliseconds
KEY = "{tg:decisions}:pool:web"
STAYS = 10_000
PEER = "up(http://192.0.2.2:80)"
POLICY = f"""
[fleet]
engine = "unix:/none"
[pool.web]
peers = ["{PEER}"]
[guard.web]
close = {{ when = "la1 >= 10", at-least = "1s" }}
open = {{ when = "la1 <= 2", at-least = "1s" }}
service = "apache2"
pool = "web"
"""


@pytest.fixture
def engine(shared_server: Server) -> Iterator[Timed]:
    connection = shared_server.connect()
    yield Timed(connection, NOW)
    connection.close()


def says(engine: Timed, host: str, word: str, least: int = 1) -> tuple[bool, int]:
    return pools.read(engine.call(pools.command("web", host, word, least))[0])


def test_of_two_that_want_to_leave_one_may_and_the_other_when_that_is_back(engine: Timed) -> None:
    assert says(engine, "web1", "in") == (False, 0)
    assert says(engine, "web2", "in") == (False, 1)
    assert says(engine, "web1", "leave") == (True, 1)
    assert says(engine, "web2", "leave") == (False, 0)
    assert says(engine, "web1", "leave") == (True, 1), "whoever lost the answer asks again"
    assert says(engine, "web1", "out") == (True, 1)
    assert says(engine, "web2", "leave") == (False, 0)
    assert says(engine, "web1", "in") == (False, 1)
    assert says(engine, "web2", "leave") == (True, 1)


def test_who_dies_is_in_service_no_more(engine: Timed) -> None:
    says(engine, "web1", "in")
    says(engine, "web2", "in")
    engine.advance(STAYS - 1000)
    says(engine, "web2", "in")
    assert says(engine, "web2", "leave") == (True, 1)
    says(engine, "web2", "in")
    engine.advance(2000)
    assert says(engine, "web2", "leave") == (False, 0)


def test_who_is_out_and_no_longer_may_is_told(engine: Timed) -> None:
    says(engine, "web2", "in")
    assert says(engine, "web1", "leave") == (True, 1)
    assert says(engine, "web2", "out") == (False, 0), "that one did not ask"
    assert says(engine, "web1", "out") == (False, 0)


def test_what_others_put_there_keeps_nobody_from_saying_where_it_is(engine: Timed) -> None:
    engine.call(("SET", KEY, "x", "PX", 100_000))
    (reply,) = engine.connection.call([pools.command("web", "web1", "leave", 1)], 30)
    assert isinstance(reply, Exception)
    engine.advance(10)
    assert says(engine, "web1", "in") == (False, 0)
    engine.call(("ZADD", KEY, NOW * 2, "forever"))
    assert says(engine, "web1", "leave") == (False, 0)
    for odd in (("x",), ("x", "leave"), ("", "leave", 1), ("x", "go", 1), ("x", "leave", "many")):
        (reply,) = engine.connection.call([("FCALL", "tg1_pool", 1, KEY, *odd)], 30)
        assert isinstance(reply, Exception), odd


def test_the_same_as_on_paper(engine: Timed) -> None:
    """Whatever happens, it is as if each host's last word stood on a list."""
    chance = random.Random(7)
    paper: dict[str, int] = {}
    for _ in range(400):
        if chance.random() < 0.2:
            engine.advance(chance.choice((500, 3000, STAYS)))
        paper = {host: until for host, until in paper.items() if until > engine.now}
        host, word = chance.choice("abcd"), chance.choice(("in", "in", "leave", "out"))
        least = chance.choice((1, 2))
        paper.pop(host, None)
        may = word != "in" and len(paper) >= least
        assert says(engine, host, word, least) == (may, len(paper))
        if word == "in" or (word == "leave" and not may):
            paper[host] = engine.now + STAYS


@pytest.mark.parametrize("rights", ["least", "shipped"])
def test_these_rights_suffice(shared_server: Server, rights: str) -> None:
    prepare(shared_server)
    least = ["resetkeys", "~{tg:*", "-@all", *(f"+{word}" for word in pools.COMMANDS)]
    given = least if rights == "least" else shipped_rights()
    with contextlib.closing(shared_server.connect()) as admin:
        admin.call([("ACL", "SETUSER", "tide", "on", "nopass", *given)], 30)
        try:
            with contextlib.closing(shared_server.connect()) as one:
                assert one.call([("AUTH", "tide", "any")], 30) == [b"OK"]
                asked = [pools.command("web", "web1", w, 1) for w in ("in", "leave", "out")]
                assert one.call(asked, 30) == [[0, 0]] * 3
        finally:
            admin.call([("ACL", "DELUSER", "tide")], 30)


class Member(Node):
    """A node with guards whose gate takes it out of the pool; its probes find the other well."""

    def __init__(self, name: str, address: Address) -> None:
        super().__init__(name, address)
        self.policy = read([("policy", POLICY)]).policy
        self.guards = Guards(self.policy, Evidence(self.policy))
        self.seats: list[object] = []
        self.pooling = Pooling(self)  # type: ignore[arg-type]
        self.load, self.others = 1.0, -1

    def pools(self, places: list[Place]) -> None:
        self.member.pools.follow(places, self.now())

    def _take(self, heard: Heard) -> None:
        super()._take(heard)
        self.seats += heard.seats
        for seat in heard.seats:
            self.others = seat.others

    def guard(self) -> None:
        moment = self.now()
        self.guards.pools.words = self.pooling.known(self.policy, moment)
        samples = [Sample("la1", moment, self.load), Sample(PEER, moment, 1.0)]
        self.guards.step(moment, samples, ())
        leaving = frozenset(self.guards.pools.leaving)
        self.pooling.tell(self.policy, leaving, self.guards.closed(moment), moment)

    @property
    def closed(self) -> bool:
        return bool(self.guards.closed(self.now()))

    @property
    def kept(self) -> str:
        return self.guards.stand("web", self.now()).kept


def both(members: list[Member], reached, what: str, seconds: float = 60) -> None:
    """Let them go on until it is so; never are both out."""

    def step() -> bool:
        for one in members:
            one.guard()
        assert not all(one.closed for one in members), "the last one has left"
        return reached()

    run(members, step, what, seconds)


def test_two_members_that_close_at_once(shared_server: Server) -> None:
    prepare(shared_server)
    enrol(shared_server, "web1", "web2")
    one, two = members = [Member(name, shared_server.address) for name in ("web1", "web2")]
    try:
        run(members, lambda: all(m.health.state == "joined" for m in members), "joined", 60)
        both(members, lambda: all(m.others == 1 for m in members), "each knows of the other")
        one.load = two.load = 20.0
        both(members, lambda: one.closed or two.closed, "one closes")
        out, stays = (one, two) if one.closed else (two, one)
        both(members, lambda: bool(stays.kept), "the other says why it does not")
        assert stays.kept.startswith("the fleet keeps it: pool web needs 1 others in service")
        for _ in range(100):
            turn(members)
            both(members, lambda: True, "")
        assert out.closed
        out.load = 1.0
        both(members, lambda: stays.closed, "when that is back, the other may")
        assert not out.closed
    finally:
        for each in members:
            each.rounds.close()


def test_an_engine_with_older_functions_leaves_it_to_the_probes_and_says_so(
    shared_server: Server,
) -> None:
    prepare(shared_server)
    older = functions.library().replace("redis.register_function('tg1_pool', pool)\n", "")
    assert ask(shared_server, "FUNCTION", "LOAD", "REPLACE", older) == b"tidegate1"
    enrol(shared_server, "web1", "web2")
    one, two = members = [Member(name, shared_server.address) for name in ("web1", "web2")]
    try:
        run(members, lambda: all(m.health.state == "joined" for m in members), "joined", 60)
        one.load = 20.0
        both(members, lambda: one.closed, "closed by its probes")
        both(members, lambda: bool(one.health.troubles), "said")
        assert "tidegate fleet init" in one.health.troubles[0]
        two.decide()
        both(members, lambda: bool(one.closings), "all else goes on")
    finally:
        for each in members:
            each.rounds.close()
