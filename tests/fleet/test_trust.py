"""Claims over a real server, signed with real keys: an honest engine, one that lies, a thief in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from tests.fleet.servers import Server
from tests.fleet.timed import Timed

from tidegate.fleet import wire
from tidegate.fleet.counting import functions
from tidegate.fleet.counting.functions import Hit, Sum
from tidegate.fleet.trust import claims, keys
from tidegate.fleet.trust.admission import Guarded, Refusal
from tidegate.fleet.trust.cases import Conviction, TakeBack
from tidegate.fleet.trust.members import Certificate, May, Revocation, Roster, certify, revoke
from tidegate.fleet.trust.trust import Output, Trust
from tidegate.model import MINUTE, SECOND, Micros, Subject
from tidegate.policy.models import BanTerms, Counted, Rule

NOW = 1_790_000_000_000  # milliseconds
START: Micros = NOW * 1000
FLEET = bytes(range(16))
THEM = Subject("192.0.2.7")
RULE = Rule("guessing", (Counted("sshd.failed"),), 6, 5 * MINUTE, BanTerms((22,)), "6 in 5m")
MARK = wire.mark(RULE)
STREAM = b"tg:claims"

pytest.importorskip("cryptography")


@pytest.fixture
def engine(shared_server: Server) -> Iterator[Timed]:
    connection = shared_server.connect()
    yield Timed(connection, NOW)
    connection.close()


@dataclass
class Agent:
    """One host: what it counts goes to the engine, what it claims into the stream."""

    name: str
    engine: Timed
    signer: keys.Signer
    trust: Trust
    counter: int = 0
    read: bytes = b"0"
    found: list[Output] = field(default_factory=list)

    def counts(self, *times: Micros, subject: Subject = THEM) -> int:
        """Send what was seen; how many crossings the engine hands out for it."""
        self.counter += 1
        hits = tuple(
            Hit(START + at, functions.place_of(self.name, number))
            for number, at in enumerate(times)
        )
        for hit in hits:
            self.trust.counted.count(claims.terms_of(RULE), subject, hit.time)
        sums = [Sum(functions.terms_of(RULE, MARK), subject, hits)]
        number = (1, self.counter)
        command = functions.count_command(self.name, 0, number, 0, START, sums)
        answer = functions.read_answer(self.engine.call(command)[0])
        for crossing in answer.crossings:
            self.trust.counted.nominated(crossing.mark, crossing.subject, START)
        return len(answer.crossings)

    def flush(self) -> int:
        """Say what is owed; how many claims."""
        owed = list(self.trust.counted.due(START))
        if owed:
            self.counter += 1
            number = wire.sequence(1, self.counter)
            said = wire.Message(
                wire.Kind.CLAIMS, self.name, number, START, wire.encode_claims(owed)
            )
            self.engine.call(("XADD", STREAM, "*", "m", wire.seal(said, FLEET, self.signer.sign)))
        return len(owed)

    def hears(self) -> list[Output]:
        """Read on in the stream."""
        entries = self.engine.call(("XRANGE", STREAM, b"(" + self.read, "+"))[0]
        heard: list[Output] = []
        for place, (_name, data) in entries:  # type: ignore[union-attr,misc,attr-defined]
            self.read = place
            heard += self.trust.receive(data, START, START)
        self.found += heard
        return heard


@pytest.fixture(scope="module")
def signers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, keys.Signer]:
    folder = tmp_path_factory.mktemp("keys")
    return {name: keys.make(folder, name) for name in ("desk", "web1", "web2", "web3")}


@pytest.fixture
def agents(engine: Timed, signers: dict[str, keys.Signer]) -> list[Agent]:
    names = ("web1", "web2", "web3")
    papers = []
    for number, name in enumerate(names, 1):
        word = certify(Certificate(name, signers[name].public, May.CLAIM), number, START)
        papers.append(wire.seal(word, FLEET, signers["desk"].sign))
    made = []
    for name in names:
        roster = Roster(FLEET, signers["desk"].public, keys.verify)
        trust = Trust(roster, [claims.terms_of(RULE)], Guarded())
        assert [trust.paper(paper, START) for paper in papers] == [[]] * 3
        made.append(Agent(name, engine, signers[name], trust))
    return made


def rounds(agents: list[Agent]) -> None:
    """All say and hear until nobody has anything to say."""
    for _ in range(9):
        if not sum(agent.flush() for agent in agents):
            return
        for agent in agents:
            agent.hears()
    raise AssertionError("they talk for ever")


def test_one_pattern_over_three_hosts_convicts_at_all_three(agents: list[Agent]) -> None:
    handed = [agent.counts(at, at + SECOND) for at, agent in enumerate(agents)]
    assert handed == [0, 0, 1]
    rounds(agents)
    convictions = [one for agent in agents for one in agent.found]
    assert all(isinstance(one, Conviction) for one in convictions)
    assert len(convictions) == 3
    (found,) = set(convictions)
    assert isinstance(found, Conviction)
    assert (found.subject, found.count) == (THEM, 6)
    assert found.shares == (("web1", 2), ("web2", 2), ("web3", 2))


def test_what_the_engine_changes_or_makes_up_convicts_nobody(
    engine: Timed, agents: list[Agent]
) -> None:
    for at, agent in enumerate(agents):
        agent.counts(at, at + SECOND)
    agents[2].flush()
    ((_place, (_name, genuine)),) = engine.call(("XRANGE", STREAM, "-", "+"))[0]  # type: ignore[misc,union-attr]
    engine.call(("DEL", STREAM))
    assert isinstance(genuine, bytes)
    worse = [
        genuine[:at] + bytes((genuine[at] ^ 1,)) + genuine[at + 1 :]
        for at in range(0, len(genuine), 7)
    ]
    worse += [genuine.replace(b"web3", b"web1"), genuine[:-1], genuine * 2, b"", bytes(300)]
    for data in worse:
        engine.call(("XADD", STREAM, "*", "m", data))
    for agent in agents:
        heard = agent.hears()
        assert len(heard) == len(worse)
        assert all(isinstance(one, Refusal) for one in heard)
        assert agent.trust.refused.counts.total() == len(worse)
        assert not list(agent.trust.cases.standing())
    engine.call(("XADD", STREAM, "*", "m", genuine))
    for agent in agents[:2]:
        assert agent.hears() == []
        agent.flush()
    assert [isinstance(one, Conviction) for one in agents[0].hears()] == [True]


def test_a_host_that_is_revoked_has_its_convictions_taken_back_everywhere(
    agents: list[Agent], signers: dict[str, keys.Signer]
) -> None:
    """web3 makes up everything; what two others saw themselves stays."""
    other = Subject("192.0.2.8")
    assert agents[2].counts(*range(6)) == 1
    assert agents[0].counts(*range(6), subject=other) == 1
    rounds(agents)
    assert [len(agent.found) for agent in agents] == [2, 2, 2]
    word = wire.seal(revoke({"web3": Revocation(3, START)}, 4, START), FLEET, signers["desk"].sign)
    for agent in agents:
        (back,) = agent.trust.paper(word, START)
        assert isinstance(back, TakeBack)
        assert back.subject == THEM
        assert [one.subject for one in agent.trust.cases.standing()] == [other]
    agents[2].counts(*range(10, 16), subject=Subject("192.0.2.9"))
    agents[2].flush()
    assert [one.reason for one in agents[0].hears() if isinstance(one, Refusal)] == ["revoked"]
