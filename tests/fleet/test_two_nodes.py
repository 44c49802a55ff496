"""Two nodes share the work, whole members on a real engine: together they decide what one machine
would that saw all lines, and each alone what it would without the other."""

from __future__ import annotations

import random

import pytest
from tests.fleet import servers
from tests.fleet.nodes import Node, fleet, run, settle
from tests.unit.daemon.test_together import alone, policy
from tests.unit.daemon.together import Line, Machine, counts, deeds

from tidegate.model import MINUTE, SECOND, Decision, Subject
from tidegate.policy.models import BanTerms, Counted, Policy, Rule, ScoreTerms

pytestmark = pytest.mark.skipif(servers.MISSING, reason="no redis-server is installed")

BAN = BanTerms((22,), (30 * MINUTE,))
LOGINS = ("sshd.auth_failed", "sshd.invalid_user")
RULES = (
    Rule("logins", tuple(map(Counted, LOGINS)), 6, MINUTE, BAN, "6", probation=True, shared=True),
    Rule("virus", (Counted("exim.malware"),), 7, MINUTE, BAN, "7", shared=True),
    Rule("users", (Counted(LOGINS[0]),), 4, MINUTE, BAN, "4", distinct="user", shared=True),
    Rule("points", (Counted("exim.malware", 2),), 1, 1, BAN, "s", shared=True,
         score=ScoreTerms(9, True, 3, 10 * MINUTE, form="exponential")),
)  # fmt: skip


class Active:
    """A node: its core, and its part in the fleet."""

    def __init__(self, node: Node, rules: Policy) -> None:
        self.node, self.machine = node, Machine(node.name, rules)

    def read(self, line: Line) -> None:
        now = self.node.now()
        decisions = self.machine.read(line)
        shared = self.machine.pipeline.windows.take_shared()
        self.node.member.share(shared, now)
        self.node.member.say(decisions, now)

    def hear(self) -> None:
        node, machine, now = self.node, self.machine, self.node.now()
        for one in node.convictions:
            found = machine.pipeline.convicted(
                one.rule, one.subject, one.time, one.count, one.shares, one.id
            )
            machine.own += found
            machine.decisions += found
            node.member.settled(one.id, machine.pipeline.held(one.rule, one.subject))
        for told in node.closings:
            machine.decisions += machine.pipeline.accept(told, now)
        node.convictions.clear()
        node.closings.clear()


def confer(pair: list[Active]) -> None:
    nodes = [one.node for one in pair]
    for _ in range(3):
        settle(nodes, 2)
        for one in pair:
            one.hear()


def written(now: int, seed: int, number: int) -> list[Line]:
    dice = random.Random(seed)
    time, found = now // 1000 * 1000 - 50 * SECOND, []
    for _ in range(number):
        time += dice.randrange(1, 800) * 1000
        host, session = dice.randrange(2), dice.choice("xyz")
        found.append(
            Line(time, dice.choice([*LOGINS, "exim.malware"]),
                 Subject(f"192.0.2.{dice.randrange(4)}"), host, dice.choice("abcd"),
                 f"{host} {session}", dice.choice([1, 1, 2]))
        )  # fmt: skip
    return found


def scored(found: list[Decision]) -> tuple[list[Decision], set[tuple[str, str]]]:
    """Those of exact counts, and whom points convicted, which prolong what they closed."""
    exact = [one for one in found if one.rule != "points"]
    return exact, {(one.rule, one.subject) for one in found if one.rule == "points"}


@pytest.mark.parametrize("seed", [1, 2])
def test_together_they_decide_as_one_machine(shared_server: servers.Server, seed: int) -> None:
    rules = policy(*RULES)
    with fleet(shared_server, "one", "two", rules=RULES) as nodes:
        pair = [Active(node, rules) for node in nodes]
        lines = written(nodes[0].now(), seed, 70)
        whole, points = scored(alone(rules, lines))
        assert len(whole) > 5
        for line in lines:
            pair[line.host].read(line)
            confer(pair)
        apart = [scored(one.machine.own)[0] for one in pair]
        assert counts([*apart[0], *apart[1]]) == counts(whole)
        for one in pair:
            exact, found = scored(one.machine.decisions)
            assert deeds(exact) == deeds(whole)
            assert sorted(each.until for each in exact) == sorted(each.until for each in whole)
            assert found == points
        shares = [one for each in pair for one in each.machine.own if "2 hosts" in one.reason]
        assert shares, "what neither would have closed for alone"


def test_each_alone_decides_as_one_machine_and_tells_the_other_when_it_is_back(
    shared_server: servers.Server,
) -> None:
    rules = policy(*RULES)
    with fleet(shared_server, "one", "two", rules=RULES) as nodes:
        pair = [Active(node, rules) for node in nodes]
        here, there = pair
        lines = [one._replace(host=0) for one in written(nodes[0].now(), 3, 60)]
        for line in lines:
            here.read(line)  # the other is down; so is the line to the engine
        assert here.machine.decisions == alone(rules, lines)
        exact, points = scored(here.machine.decisions)

        def back() -> bool:
            for one in pair:
                one.hear()
            told, found = scored(there.machine.decisions)
            return len(told) >= len(exact) and found == points

        run(nodes, back, "the other knows")
        confer(pair)
        assert deeds(scored(there.machine.decisions)[0]) == deeds(exact)
        assert here.machine.decisions == alone(rules, lines), "nothing is closed a second time"
