"""A member that lies, and an engine that does, in real runs: refused, counted, shown; others go on."""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.fleet import liar
from tests.fleet.agents import FLEET, Agent, Clock
from tests.fleet.fleets import Near, them
from tests.fleet.servers import MISSING
from tests.fleet.truth import LIMIT, RULE

from tidegate.fleet import wire
from tidegate.fleet.counting import functions
from tidegate.fleet.counting.functions import Form
from tidegate.fleet.decisions import saying, stream
from tidegate.fleet.decisions.decisions import Entry
from tidegate.fleet.decisions.stream import HELD, STREAM, Parcel
from tidegate.fleet.engine.topology import Route
from tidegate.fleet.trust import claims
from tidegate.fleet.wire import Kind
from tidegate.model import MINUTE, SECOND, Subject

pytest.importorskip("cryptography")
pytestmark = pytest.mark.skipif(MISSING, reason="no redis-server is installed")
ENGINE, CUSTOMER = Subject("198.51.100.53"), Subject("198.51.100.200")
TERMS = claims.terms_of(RULE)


class Thief:
    """Somebody who has the key of one host, and writes to the engine what he likes."""

    def __init__(self, near: Near, name: str) -> None:
        self.near, self.name, self.counter = near, name, 0

    def seal(
        self, kind: Kind, body: bytes, *, name: str = "", signer: str = "", fleet: bytes = FLEET
    ) -> bytes:
        """A message in anybody's name, signed with any key that he has."""
        self.counter += 1
        number = wire.sequence(9, self.counter)
        message = wire.Message(kind, name or self.name, number, self.near.clock.now(), body)
        return wire.seal(message, fleet, self.near.desk.signers[signer or self.name].sign)

    def claims(self, *subjects: Subject, **more: str) -> bytes:
        """All of these have done it often, he says."""
        now = self.near.clock.now() // 1000 * 1000
        entries = tuple(wire.Entry(now - SECOND + ago * 1000, 1) for ago in range(LIMIT))
        found = [wire.Claim(TERMS.rule, TERMS.mark, one, TERMS.shape, entries) for one in subjects]
        return self.seal(Kind.CLAIMS, wire.encode_claims(found), **more)

    def bans(
        self, *subjects: Subject, rule: str = RULE.name, by: str = "rule", **more: str
    ) -> bytes:
        """All of these have to be closed for, he says."""
        now = self.near.clock.now()
        said = [
            Entry("", "ban", "", now, one, (22,), now + 20 * MINUTE, rule, by) for one in subjects
        ]
        (body,) = saying.bodies([saying.identify(self.name, one) for one in said])
        return self.seal(Kind.DECISIONS, body, **more)

    def put(self, *messages: bytes) -> None:
        """Into the stream and the snapshot."""
        commands = [one for body in messages for one in _put(body, self.near.clock)]
        with contextlib.closing(self.near.engine.connect()) as connection:
            for at in range(0, len(commands), 500):
                connection.call(commands[at : at + 500], 60)


def _put(body: bytes, clock: Clock) -> list[stream.Command]:
    parcel = Parcel.of(body, clock.now() + 20 * MINUTE)
    return stream.say(parcel)


@pytest.fixture
def near(tmp_path: Path) -> Iterator[Near]:
    with contextlib.ExitStack() as stack:
        made = Near(tmp_path, stack)
        made.desk.enrol("mallory")
        made.truth.liars.add("mallory")
        with contextlib.closing(made.engine.connect()) as one:
            made.desk.tell(one)
        yield made
        for agent in made.agents:
            agent.stop()


def begin(near: Near, names: tuple[str, ...], route: Route | None = None) -> list[Agent]:
    for name in names:
        near.agents.append(near.agent(name, route=route, listed=(CUSTOMER,), guarded=(ENGINE,)))
    near.until(
        "all to be there",
        lambda: all(
            one.health().state == "joined" and one.health().members == 4 for one in near.agents
        ),
    )
    return near.agents


def still_works(near: Near, number: int, who: tuple[Agent, ...] | list[Agent]) -> None:
    """What must be true after every attack: honest hosts together convict, and say bans."""
    for turn in range(LIMIT):
        who[turn % len(who)].lines(them(number))
    who[0].ban(them(number + 1))
    near.until(
        "the others to go on",
        lambda: all({them(number), them(number + 1)} <= one.closed() for one in who),
    )


def test_a_host_that_lies_is_refused_counted_and_shown(near: Near) -> None:
    hosts = begin(near, ("web1", "web2", "web3"))
    thief = Thief(near, "mallory")
    two = Subject("192.0.2.2")
    thief.put(
        thief.claims(two, name="web1"),  # another's name
        thief.claims(two, name="stranger"),
        thief.claims(two, fleet=b"another fleet of"),
        thief.claims(ENGINE, CUSTOMER, Subject("127.0.0.1")),
        thief.claims(two)[:-1] + b"\0",
        thief.bans(ENGINE, CUSTOMER, Subject("0.0.0.0/0"), Subject("::/0"), Subject("10.0.0.0/8")),
        thief.bans(two, name="web2"),
        thief.bans(Subject("192.0.2.3"), rule="", by="root"),
        b"TG\1\2", b"", os.urandom(3000),
    )  # fmt: skip
    near.until(
        "all to have refused it",
        lambda: all(
            {"web1 forged", "web2 forged", "unknown", "mallory forged"} <= set(one.health().refused)
            for one in hosts
        ),
    )
    still_works(near, 10, hosts)
    for one in hosts:
        refused = one.health().refused
        assert sum(number for name, number in refused.items() if "mallory" in name) >= 4, refused
        assert one.closed() == {them(10), them(11), Subject("192.0.2.3")}
        assert all(found.subject == them(10) for found in one.watcher.convictions)


def test_a_million_proposals_of_one_host(near: Near) -> None:
    """Rightly signed, 6,000 of them are listened to each minute; nobody else is listened to less."""
    hosts = begin(near, ("web1", "web2"))
    thief = Thief(near, "mallory")
    chance = random.Random(1)
    began = time.monotonic()
    messages = 1_000_000 // wire.MAX_CLAIMS
    some = [thief.claims(*_many(chance)) for _ in range(20)]
    thief.put(*some)
    body = wire.unseal(some[0], FLEET).message.body
    for _ in range(messages // 100):
        said = [stream.tell(thief.seal(Kind.CLAIMS, body)) for _ in range(100)]
        with contextlib.closing(near.engine.connect()) as connection:
            connection.call(said, 60)
    near.until(
        "the flood to be heard",
        lambda: all(one.health().refused.get("mallory quota", 0) > 0 for one in hosts),
    )
    still_works(near, 10, hosts)
    near.until(
        "all of the flood to be heard",
        lambda: all(one.health().refused["mallory quota"] > messages * 0.5 for one in hosts),
    )
    still_works(near, 20, hosts)
    for one in hosts:
        alone = [
            found
            for found in one.watcher.convictions
            if [host for host, _n in found.shares] == ["mallory"]
        ]
        assert len(alone) <= 600 * (2 + (time.monotonic() - began) / 60)
        assert len(one.member.trust.cases) < 20_000


def _many(chance: random.Random) -> list[Subject]:
    return [
        Subject(f"100.{chance.randrange(64, 128)}.{chance.randrange(256)}.{chance.randrange(256)}")
        for _ in range(wire.MAX_CLAIMS)
    ]


def test_counts_in_the_name_of_others_are_shown_and_convict_nobody(near: Near) -> None:
    """A host with the others' rights at the engine can spoil counting; never have anybody closed."""
    hosts = begin(near, ("web1", "web2"))
    terms = functions.terms_of(RULE, wire.mark(RULE))
    now = near.clock.now()
    for host, two in (("web1", Subject("192.0.2.2")), ("web2", Subject("192.0.2.3"))):
        hits = tuple(functions.Hit(now, functions.place_of(host, at)) for at in range(LIMIT))
        sums = [functions.Sum(terms, two, hits)]
        reply = near.engine(*functions.count_command(host, 0, (200, 1), 0, now, sums))
        assert functions.read_answer(reply).crossings
    for number in range(200):
        near.engine("ZADD", functions.waiting_key(0), 0, os.urandom(40 + number))
    near.engine("SET", functions.sum_key(terms, them(10), 0), b"none of ours")
    still_works(near, 10, hosts)
    assert all(one.closed() == {them(10), them(11)} for one in hosts)
    for host in ("web1", "web2"):
        last = (1 << 24) - 1
        near.engine(*functions.count_command(host, 0, (last, 1 << 39), 0, near.clock.now(), []))
    hosts[0].lines(them(20))
    near.until(
        "web1 to say so", lambda: any("in the name of" in one for one in hosts[0].health().troubles)
    )
    hosts[0].ban(them(21))
    near.until("bans to go on", lambda: all(them(21) in one.closed() for one in hosts))


def test_what_is_said_again_closes_nothing_again(near: Near) -> None:
    hosts = begin(near, ("web1", "web2", "web3"))
    near.pattern(1)
    hosts[0].ban(them(2))
    near.closed_everywhere(them(1), them(2))
    spoken = [fields[1] for _place, fields in near.engine("XRANGE", STREAM, "-", "+")]  # type: ignore[union-attr,attr-defined]
    held = near.engine("HVALS", HELD)
    assert isinstance(held, list)
    hosts[1].unban(them(1))
    hosts[1].unban(them(2))
    near.until("the pardon", lambda: all(not one.closed() for one in hosts))
    Thief(near, "mallory").put(*spoken, *held)
    still_works(near, 10, hosts)
    late = near.agent("mallory")
    near.agents.append(late)
    near.until("who comes late to know", lambda: {them(10), them(11)} <= late.closed())
    for one in near.agents:
        assert one.closed() == {them(10), them(11)}
        assert len([found for found in one.watcher.convictions if found.subject == them(1)]) <= 1


def test_a_host_is_revoked_and_what_it_caused_is_taken_back(near: Near) -> None:
    hosts = begin(near, ("web1", "web2"))
    thief = Thief(near, "mallory")
    alone, word, most = Subject("192.0.2.1"), Subject("192.0.2.2"), Subject("192.0.2.3")
    thief.put(thief.claims(alone), thief.bans(word))
    for turn in range(LIMIT - 1):
        hosts[turn % 2].lines(most)
    thief.put(thief.claims(most))
    still_works(near, 10, hosts)
    near.until(
        "his lies to be believed", lambda: all({alone, word, most} <= one.closed() for one in hosts)
    )
    paper = near.desk.revoke(near.clock.now(), "mallory")
    with contextlib.closing(near.engine.connect()) as one:
        near.desk.tell(one)
    assert paper in near.desk.papers
    near.until(
        "it to be taken back",
        lambda: all(one.closed() == {them(10), them(11)} for one in hosts),
    )
    thief.put(thief.claims(alone), thief.bans(word))
    still_works(near, 20, hosts)
    for one in hosts:
        assert not {alone, word, most} & one.closed()
        assert one.health().refused["revoked"] >= 2


@pytest.fixture
def lying(near: Near, tmp_path: Path) -> Iterator[liar.Liar]:
    """web3 speaks to the engine by this one, the others do not."""
    with liar.liar(tmp_path, near.engine.socket) as made:
        yield made
        for agent in near.agents:
            agent.stop()


def with_liar(near: Near, lying: liar.Liar) -> tuple[list[Agent], Agent]:
    hosts = list(begin(near, ("web1", "web2")))
    begin(near, ("web3",), Route("single", (lying.address,)))
    return hosts, near.agents[-1]


def lies(change: Callable[[bytes], bytes], chance: random.Random, often: float) -> liar.Twist:
    """What is said is changed on the way, now and then."""

    def twist(command: list[bytes], reply: object) -> object:
        if command[0] == b"FCALL_RO":
            return liar.Error("NOPERM only to have it read by XREAD")
        if command[0] != b"XREAD" or not isinstance(reply, list):
            return reply
        ((name, entries),) = reply
        changed = [
            [place, [b"m", change(fields[1]) if chance.random() < often else fields[1]]]
            for place, fields in entries
        ]
        return [[name, changed]]

    return twist


def test_an_engine_that_changes_what_is_said(near: Near, lying: liar.Liar) -> None:
    hosts, victim = with_liar(near, lying)
    chance = random.Random(2)

    def flipped(body: bytes) -> bytes:
        at = chance.randrange(len(body))
        return body[:at] + bytes((body[at] ^ (1 << chance.randrange(8)),)) + body[at + 1 :]

    lying.twist = lies(flipped, chance, 0.7)
    for number in range(1, 20):
        for turn in range(LIMIT):  # of the two who hear each other
            hosts[(number + turn) % 2].lines(them(number))
        hosts[number % 2].ban(them(100 + number))
        time.sleep(0.05)
    wanted = {*map(them, range(1, 20)), *map(them, range(101, 120))}
    near.until("the others to agree", lambda: all(one.closed() >= wanted for one in hosts))
    near.until("it to be shown", lambda: sum(victim.health().refused.values()) > 5)
    assert victim.closed() <= wanted
    lying.twist = liar.honest
    near.clock.leap(6 * MINUTE, near.engine)
    near.until("web3 to hear it all", lambda: victim.closed() == wanted)
    still_works(near, 30, near.agents)


def test_an_engine_that_proposes_a_million_and_says_what_it_likes(
    near: Near, lying: liar.Liar
) -> None:
    """Proposals convict nobody; nonsense ends that connection, and the next is as good as any."""
    hosts, victim = with_liar(near, lying)
    mark = wire.mark(RULE)
    proposed = 0

    some = [CUSTOMER, ENGINE, Subject("10.0.0.0/8"), Subject("0.0.0.0/0")]
    some += [Subject(f"100.64.{at >> 8}.{at & 255}") for at in range(10_000)]
    tokens = [_token(mark, one) for one in some]

    def proposals(number: int) -> bytes:
        nonlocal proposed
        moment = (near.clock.now() // 1000).to_bytes(6) * 3
        found = []
        for _ in range(number):
            one = tokens[proposed % len(tokens)]
            proposed += 1
            found.append((len(one) + 22).to_bytes(2) + moment + proposed.to_bytes(4) + one)
        return b"".join(found)

    def twist(command: list[bytes], reply: object) -> object:
        if (
            command[:2] == [b"FCALL", b"tg1_count"]
            and isinstance(reply, bytes)
            and proposed < 10**6
        ):
            return reply[:15].ljust(15, b"\0") + bytes(24) + proposals(100_000)
        if command[:2] == [b"FCALL", b"tg1_due"] and isinstance(reply, bytes) and proposed < 10**6:
            return reply + proposals(100_000)
        return reply

    lying.twist = twist
    before = _memory()
    near.until("a million proposals", lambda: proposed >= 10**6)
    still_works(near, 1, hosts)
    near.until("web3 to go on, too", lambda: {them(1), them(2)} <= victim.closed())
    assert victim.closed() == {them(1), them(2)}
    assert _memory() - before < 200 << 20
    nonsense = iter(
        (
            7,
            None,
            b"",
            b"x" * 70,
            [],
            [[]],
            [b"0", [b"x"]],
            liar.Error("ERR no"),
            bytearray(b"?!\r\n"),
        )
        * 20
    )
    lying.twist = lambda _command, reply: next(nonsense, reply)
    still_works(near, 11, hosts)
    near.until("all nonsense to be said", lambda: next(nonsense, liar) is liar)
    near.until("web3 to be back", lambda: {them(11), them(12)} <= victim.closed())
    still_works(near, 21, near.agents)


def _token(mark: bytes, subject: Subject) -> bytes:
    """A crossing that a host seems to have counted in, behind its times and count."""
    terms = functions.Terms(Form.WINDOW, mark, LIMIT, MINUTE)
    key = functions.sum_key(terms, subject, 0).partition("}")[2].encode()
    return (1).to_bytes(2) + functions.tag("web1") + key


def _memory() -> int:
    """What this process has, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_an_engine_with_another_time_is_believed_in_nothing(near: Near, lying: liar.Liar) -> None:
    hosts, victim = with_liar(near, lying)

    def ahead(command: list[bytes], reply: object) -> object:
        if command[0] == b"FCALL" and isinstance(reply, bytes) and len(reply) >= 6:
            return (int.from_bytes(reply[:6]) + 600_000).to_bytes(6) + reply[6:]
        return reply

    lying.twist = ahead
    near.until("web3 to see it", lambda: victim.health().state == "alone")
    still_works(near, 1, hosts)
    time.sleep(1)
    assert not victim.closed()
    lying.twist = liar.honest
    near.until("web3 to be back", lambda: {them(1), them(2)} <= victim.closed())
