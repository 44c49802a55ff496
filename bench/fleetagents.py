"""Many hosts of a made-up fleet in one process: the real client, five rounds a second each.

Touches the engine it is given. What a watcher would do is done in one line: each conviction is
carried out, each closing of another host noted. Limits: what would be the same on each host of a
real fleet is worked out once per process: signatures that were verified, messages that were read,
the desk's certificates.
"""

from __future__ import annotations

import functools
import gc
import heapq
import resource
import select
import time
from collections import Counter
from collections.abc import Sequence
from multiprocessing.connection import Connection as Pipe
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bench import fleetload
from tidegate.fleet import wire
from tidegate.fleet.counting.functions import SHARDS, Crossing
from tidegate.fleet.decisions import saying
from tidegate.fleet.engine.connection import Login
from tidegate.fleet.engine.engine import Engine
from tidegate.fleet.engine.topology import Route
from tidegate.fleet.member import Member, Setting
from tidegate.fleet.rounds import Rounds
from tidegate.fleet.trust import keys, trust
from tidegate.fleet.trust.keys import Identity, Signer
from tidegate.fleet.trust.members import DESK, Certificate, May, certify
from tidegate.model import MINUTE, Change, Decision, Micros, Shared, Subject

FLEET = b"a fleet of bench"
BAN: Micros = 10 * MINUTE
DRAIN = 1.5
"""Seconds after the load in which what was decided last still reaches all."""
WARM = 2.0
"""Seconds at the beginning that are not measured."""
_REMEMBERED = 1 << 14


class Result(NamedTuple):
    """What came of one process: of each attacker, how many of its hosts closed, and when the last
    of them; when the engine had found each; what it used."""

    closed: dict[Subject, list[float]]
    crossed: dict[Subject, float]
    cpu: float
    verified: int
    looked: int
    said: int
    late: float
    troubles: dict[str, int]


def signer(name: str) -> Signer:
    """The same key for the same name, so that nobody has to hand it round."""
    import hashlib

    return Signer(Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest()))


def papers(agents: int) -> list[bytes]:
    """The desk's certificates of all."""
    desk, now = signer(DESK), time.time_ns() // 1000
    found = []
    for agent in range(agents):
        name = fleetload.host(agent)
        word = certify(Certificate(name, signer(name).public, May.CLAIM), agent + 1, now)
        found.append(wire.seal(word, FLEET, desk.sign))
    return found


class Crew:
    """The hosts with these numbers. `run` is a whole measurement."""

    def __init__(self, plan: fleetload.Plan, mine: Sequence[int], route: Route) -> None:
        self._plan, self._mine = plan, mine
        self._verify = functools.lru_cache(_REMEMBERED)(keys.verify)
        # Whoever reads a message reads the same: once per process here.
        trust.unseal = functools.lru_cache(_REMEMBERED)(wire.unseal)  # type: ignore[attr-defined]
        saying.decode = functools.lru_cache(_REMEMBERED)(saying.decode)  # type: ignore[assignment]
        self.rounds: dict[int, Rounds] = {}
        self._closed: dict[Subject, list[float]] = {}  # how many hosts, and when the last
        self._crossed: dict[Subject, float] = {}
        self._poll = select.epoll()
        self._owner: dict[int, int] = {}
        self._fds: dict[int, list[int]] = {}
        self._timers: list[tuple[float, int]] = []
        self._late = 0.0
        self._join(route)

    def _join(self, route: Route) -> None:
        desk = signer(DESK).public
        shared = None
        for agent in self._mine:
            name = fleetload.host(agent)
            setting = Setting(
                Identity(FLEET, desk, name), signer(name).sign, 1, self._verify,
                SHARDS if route.kind == "cluster" else 1,
            )  # fmt: skip
            member = Member(setting, [fleetload.RULE])
            if shared is None:
                kept = [Change("fleet paper", "", one) for one in papers(self._plan.agents)]
                member.trust.restore(kept)
                shared = member.trust.roster
            member.trust.roster = shared
            member.follow([fleetload.RULE], self._plan.min_hosts)
            self._listen(member)
            copies = route.kind == "cluster"
            self.rounds[agent] = Rounds(member, Engine(route, Login(), 10), copies=copies)
            heapq.heappush(self._timers, (0.0, agent))

    def _listen(self, member: Member) -> None:
        """Note when the engine found a crossing that it lends to this one."""
        propose = member.claiming.propose

        def noting(crossings: Sequence[Crossing], now: Micros, *more: Any, **named: Any) -> None:
            for one in crossings:
                self._crossed.setdefault(one.subject, one.arrived / 1e6)
            propose(crossings, now, *more, **named)

        member.claiming.propose = noting  # type: ignore[method-assign]

    def run(self, pipe: Pipe) -> None:
        """Join, say so, and do as the plan says from the moment that is told."""
        self._until(lambda: all(self._is_joined(one) for one in self.rounds.values()))
        todo = fleetload.events(self._plan, set(self._mine))
        # A process of one host has a hundredth of these objects to look through.
        gc.collect()
        gc.freeze()
        gc.disable()
        pipe.send("joined")
        while not pipe.poll():
            self._step(time.monotonic() + 0.05)
        start = pipe.recv()
        looked = self._verify.cache_info()
        at = self._live(todo, 0, start, start + WARM)
        self._late, before = 0.0, self._used()
        at = self._live(todo, at, start, start + self._plan.seconds)
        used, late = self._used() - before, self._late
        self._live(todo, at, start, start + self._plan.seconds + DRAIN)
        seen = self._verify.cache_info()
        pipe.send(
            Result(
                self._closed, self._crossed, used, seen.misses - looked.misses,
                seen.hits + seen.misses - looked.hits - looked.misses,
                sum(one.member.sent for one in self.rounds.values()), late, self._troubles(),
            )
        )  # fmt: skip
        for one in self.rounds.values():
            one.close()

    def _live(self, todo: Sequence[fleetload.Event], at: int, start: float, end: float) -> int:
        """What happens until then; where in `todo` that is."""
        while (moment := time.monotonic()) < end:
            due: dict[int, list[Shared]] = {}
            now = time.time_ns() // 1000
            while at < len(todo) and start + todo[at].at <= moment:
                _at, agent, subject, _number = todo[at]
                one = Shared(fleetload.RULE.name, subject, now, agent, at)
                due.setdefault(agent, []).append(one)
                at += 1
            for agent, counted in due.items():
                self.rounds[agent].member.share(counted, now)
            self._step(min(moment + 0.01, end))
        return at

    def _troubles(self) -> dict[str, int]:
        found: Counter[str] = Counter()
        for one in self.rounds.values():
            member = one.member
            found.update(
                {f"refused {why}": n for (_h, why), n in member.trust.refused.counts.items()}
            )
            found.update({f"refused {why}": n for (_h, why), n in member.accepting.refused.items()})
            found.update({f"count {why}": n for why, n in member.counting.troubles.items()})
            found[one.away or member.trouble] += bool(one.away or member.trouble)
            found["dropped"] += member.counting.dropped
        return {name: number for name, number in found.items() if number}

    def _until(self, reached: object) -> None:
        deadline = time.monotonic() + 120
        while not reached():  # type: ignore[operator]
            if time.monotonic() > deadline:
                raise TimeoutError(f"the hosts do not join: {self._troubles()}")
            self._step(time.monotonic() + 0.05)

    @staticmethod
    def _is_joined(one: Rounds) -> bool:
        listens = one.member.assembly.listener.phase == "stream" and one.ear.fds()
        return not one.away and bool(listens)

    @staticmethod
    def _used() -> float:
        used = resource.getrusage(resource.RUSAGE_SELF)
        return used.ru_utime + used.ru_stime

    def _step(self, until: float) -> None:
        """Everybody's turn whose it is; wait for nothing longer than until then."""
        moment = time.monotonic()
        first = self._timers[0][0] if self._timers else until
        wait = max(0.0, min(first, until) - moment)
        readable: dict[int, set[int]] = {}
        for fd, _event in self._poll.poll(wait, 256):
            if fd in self._owner:
                readable.setdefault(self._owner[fd], set()).add(fd)
        moment = time.monotonic()
        while self._timers and self._timers[0][0] <= moment:
            due, agent = heapq.heappop(self._timers)
            if due:
                self._late = max(self._late, moment - due)
            self._turn(agent, readable.pop(agent, set()))
            heapq.heappush(self._timers, (time.monotonic() + self.rounds[agent].pause(), agent))
        for agent, fds in readable.items():
            self._turn(agent, fds)

    def _turn(self, agent: int, ready: set[int]) -> None:
        one = self.rounds[agent]
        one.turn(ready)
        if not ready:  # it was time for a round: connections come with those
            fds = one.fds()
            if fds != self._fds.get(agent):
                self._watch(agent, fds)
        if self._carry_out(one.member):
            one.turn(set())  # as after whatever a watcher says

    def _watch(self, agent: int, fds: list[int]) -> None:
        for fd in self._fds.get(agent, ()):
            if self._owner.get(fd) == agent and fd not in fds:
                del self._owner[fd]
        for fd in fds:
            if self._owner.get(fd) != agent:
                self._owner[fd] = agent
                try:
                    self._poll.register(fd, select.EPOLLIN)
                except FileExistsError:
                    self._poll.modify(fd, select.EPOLLIN)
        self._fds[agent] = fds

    def _carry_out(self, member: Member) -> bool:
        """What a watcher would do; whether it has anything to say."""
        if not (member.accepting.closings or member._convictions):
            return False
        heard = member.heard()
        self._close([one.subject for one in heard.closings])
        if not heard.convictions:
            return False
        now = time.time_ns() // 1000
        self._close([one.subject for one in heard.convictions])
        for one in heard.convictions:
            member.settled(one.id, now + BAN)
            member.say([decision(one.rule, one.subject, one.time)], now)
        return True

    def _close(self, subjects: Sequence[Subject]) -> None:
        moment = time.time()
        for subject in subjects:
            known = self._closed.get(subject)
            if known is None:
                self._closed[subject] = [1, moment]
            else:
                known[0] += 1
                known[1] = moment


def decision(rule: str, subject: Subject, at: Micros) -> Decision:
    """What a watcher decides when claims convict."""
    number = f"{rule} {subject} {at}"
    return Decision(
        number, at, "ban", subject, rule, (22,), at + BAN, BAN, fleetload.LIMIT, 1, "enforce", ""
    )


def serve(plan: fleetload.Plan, mine: Sequence[int], route: Route, pipe: Pipe) -> None:
    """A process of hosts."""
    Crew(plan, mine, route).run(pipe)
