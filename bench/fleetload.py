"""What the hosts of a made-up fleet see: everyday failures of many, and attackers who are spread.

Touches nothing; two processes with the same plan see parts of the same. Limits: events come evenly,
attackers one after another; nobody who is not meant to crosses the limit.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator
from typing import NamedTuple

from tidegate.model import MINUTE, Subject
from tidegate.policy.models import BanTerms, Counted, Rule

LIMIT = 30
RULE = Rule(
    "ssh-guess", (Counted("sshd.failed"),), LIMIT, MINUTE, BanTerms((22,)), "30 in 1m",
    shared=True,
)  # fmt: skip
_BETWEEN = 0.05  # seconds between two attempts of one attacker


class Plan(NamedTuple):
    """`agents` hosts see `rate` events a second of `subjects` addresses; of them come `decisions`
    attackers a second, each of whom tries `LIMIT` times, in turn at `spread` hosts. `min_hosts`:
    how many have to have counted in what a host closes for."""

    agents: int
    seconds: float
    spread: int = 3
    rate: int = 10_000
    subjects: int = 50_000
    decisions: int = 40
    seed: int = 7
    min_hosts: int = 1

    @property
    def attackers(self) -> int:
        """How many there are in all."""
        return int(self.decisions * self.seconds)


class Event(NamedTuple):
    """So many seconds after the beginning a host (by its number) counts somebody once."""

    at: float
    agent: int
    subject: Subject
    number: int


def host(agent: int) -> str:
    """How a host is called: about as long as hosts are called."""
    return f"web{agent:04d}.dc1"


def attacker(number: int) -> Subject:
    """Addresses of attackers, who do nothing else."""
    return Subject(f"198.{18 + (number >> 16 & 1)}.{number >> 8 & 255}.{number & 255}")


def is_attacker(subject: Subject) -> bool:
    """Whether this is one of them."""
    return subject.startswith(("198.18.", "198.19."))


def events(plan: Plan, mine: Collection[int]) -> list[Event]:
    """What these hosts see, in order."""
    every = [*_attempts(plan, mine), *_noise(plan, mine)]
    return sorted(every)


def _attempts(plan: Plan, mine: Collection[int]) -> Iterator[Event]:
    for number in range(plan.attackers):
        drawn = random.Random(plan.seed * 1_000_003 + number)
        targets = drawn.sample(range(plan.agents), min(plan.spread, plan.agents))
        begin = (number + drawn.random()) / plan.decisions
        for turn in range(LIMIT):
            agent = targets[turn % len(targets)]
            if agent in mine:
                yield Event(begin + turn * _BETWEEN, agent, attacker(number), turn)


def _noise(plan: Plan, mine: Collection[int]) -> Iterator[Event]:
    """Users who mistype: in a minute each of them less often than the limit."""
    hosts = sorted(mine)
    drawn = random.Random(plan.seed * 7 + hosts[0])
    rate = plan.rate - plan.decisions * LIMIT
    number = round(rate * plan.seconds * len(hosts) / plan.agents)
    for turn in range(number):
        who = drawn.randrange(plan.subjects)
        subject = Subject(f"10.{who >> 16 & 255}.{who >> 8 & 255}.{who & 255}")
        yield Event(plan.seconds * turn / number, drawn.choice(hosts), subject, turn)
