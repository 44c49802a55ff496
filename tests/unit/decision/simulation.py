"""A host under load, in a model: what the kernel's averages say, what stopping and throttling do.

Touches nothing; `python -m tests.unit.decision.simulation` prints what the guards make of it.
Limits: a service is a number of tasks that want to run; nothing of memory, disks or people.

The averages are the kernel's own: fixed point with 11 bits, every five seconds
(include/linux/sched/loadavg.h, kernel/sched/loadavg.c).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from tidegate.decision.guards import Guards
from tidegate.evidence.conditions import Evidence
from tidegate.model import MINUTE, SECOND, Change, Micros, Move, Sample
from tidegate.policy.guards import Compare, GateSpec, GuardSpec, Or, Service, Step, Throttle
from tidegate.policy.models import Policy

START: Micros = 1_800_000_000 * SECOND
ABUSE = 2400
"""Seconds of abuse in every curve, of an hour."""
FIXED = 1 << 11
FADING = (1884, 2014, 2037)
"""What is left after 5 s of the averages over 1, 5 and 15 minutes, of 2048."""

Curve = Callable[[int], float]
"""Tasks that the abusers keep running, by the second."""

CLOSE = Or((Compare("la1", ">=", 10), Compare("la5", ">=", 6)))
OPEN = Compare("la1", "<=", 2)


class Load:
    """The kernel's three averages."""

    def __init__(self) -> None:
        self.averages = [0, 0, 0]

    def tick(self, active: float) -> None:
        """Five seconds have passed with so many tasks running or waiting for a disk."""
        now = round(active * FIXED)
        for n, fading in enumerate(FADING):
            load = self.averages[n] * fading + now * (FIXED - fading)
            if now >= self.averages[n]:
                load += FIXED - 1
            self.averages[n] = load // FIXED

    def read(self) -> tuple[float, float, float]:
        """As /proc/loadavg has them, with two digits."""
        one, five, fifteen = (
            int((each + FIXED // 200) * 100 / FIXED) / 100 for each in self.averages
        )
        return one, five, fifteen


@dataclass
class Host:
    """A host with one service. Times in seconds; `share`: of the abuse that a throttle takes off.

    `own`: tasks of those who behave; `stopping`: how long the service goes on when it is stopped;
    `lag`: in this time what a throttle keeps out has half gone.
    """

    own: float = 0.5
    stopping: int = 0
    share: float = 0.9
    lag: int = 5
    load: Load = field(default_factory=Load)
    _let: float = 1.0  # the share of the abuse that comes in
    _stopped: int = 0  # for how many seconds it was told to be stopped

    def second(self, now: int, abuse: float, *, throttled: bool, stopped: bool) -> float:
        """A second passes; the tasks that were running in it."""
        aim = 1 - self.share if throttled else 1.0
        self._let += (
            (aim - self._let) * (1 - 0.5 ** (1 / self.lag)) if self.lag else aim - self._let
        )
        self._stopped = self._stopped + 1 if stopped else 0
        running = 0.0 if self._stopped > self.stopping else self.own + abuse * self._let
        if now % 5 == 0:
            self.load.tick(running)
        return running

    @property
    def up(self) -> bool:
        """Whether the service answers."""
        return self._stopped <= self.stopping


class Run(NamedTuple):
    """What became of it: moves, and by the second what was closed and the averages."""

    moves: tuple[Move, ...]
    closed: tuple[frozenset[str], ...]
    loads: tuple[tuple[float, float, float], ...]
    up: int

    def count(self, gate: str, verb: str = "close") -> int:
        """How often a gate was closed."""
        return sum(move.gate == gate and move.verb == verb for move in self.moves)

    def open_after(self, gate: str, second: int) -> int:
        """In how many seconds after this one the gate was open for good."""
        last = max((n for n, each in enumerate(self.closed) if gate in each), default=-1)
        return max(0, last + 1 - second)


def samples(load: Sequence[float], now: Micros) -> list[Sample]:
    return [
        Sample(name, now, value) for name, value in zip(("la1", "la5", "la15"), load, strict=True)
    ]


def fresh(policy: Policy) -> Guards:
    return Guards(policy, Evidence(policy))


def play(
    spec: GuardSpec, curve: Curve, host: Host | None = None, length: int = 3600,
    restarts: frozenset[int] = frozenset(),
) -> Run:  # fmt: skip
    """Run a guard on a host for so many seconds; at `restarts` it is ended, and begins anew from
    what it had saved."""
    host = replace(host) if host else Host()
    host.load = Load()
    policy = Policy(guards=(spec,))
    guards, kept = fresh(policy), {}
    moves: list[Move] = []
    closed: list[frozenset[str]] = []
    loads: list[tuple[float, float, float]] = []
    up = 0
    wanted: frozenset[str] = frozenset()
    for second in range(length):
        throttled = any(name.endswith("throttle") for name in wanted)
        stopped = any(not name.endswith("throttle") for name in wanted)
        host.second(second, curve(second), throttled=throttled, stopped=stopped)
        now = START + second * SECOND
        if second in restarts:
            guards = fresh(policy)
            for (part, key), value in kept.items():
                guards.restore(Change(part, key, value))
        moves += guards.step(now, samples(host.load.read(), now), ())
        for change in guards.changes() if restarts else ():
            kept[change.part, change.key] = change.value
        wanted = frozenset(guards.closed(now))
        closed.append(wanted)
        loads.append(host.load.read())
        up += host.up
    return Run(tuple(moves), tuple(closed), tuple(loads), up)


def plain(curve: Curve, host: Host | None = None, length: int = 3600) -> tuple[int, int]:
    """The bare rules, as sysfence or a script runs them every ten seconds: stops, seconds up."""
    host = replace(host) if host else Host()
    host.load = Load()
    stopped, stops, up = False, 0, 0
    for second in range(length):
        host.second(second, curve(second), throttled=False, stopped=stopped)
        up += host.up
        if second % 10 == 0:
            la1, la5, _la15 = host.load.read()
            if not stopped and (la1 >= 10 or la5 >= 6):
                stopped, stops = True, stops + 1
            elif stopped and la1 <= 2:
                stopped = False
    return stops, up


# -- guards ----------------------------------------------------------------------------------------

STOP = GateSpec("apache.stop", Service("apache2.service"))
THROTTLE = GateSpec("apache.throttle", Throttle((80, 443)))
ALONE = GuardSpec("apache", CLOSE, OPEN, steps=(Step(STOP),), flaps=1)
BELOW = GuardSpec(
    "apache", CLOSE, OPEN,
    steps=(Step(THROTTLE, when=Compare("la1", ">=", 6)), Step(STOP, after=MINUTE)), flaps=1,
)  # fmt: skip


# -- curves ----------------------------------------------------------------------------------------


def steady(tasks: float, end: int = ABUSE) -> Curve:
    """So many tasks, for 40 minutes."""
    return lambda second: tasks if second < end else 0


def ramp(tasks: float, end: int = ABUSE) -> Curve:
    """Ever more."""
    return lambda second: tasks * second / end if second < end else 0


def waves(tasks: float, on: int, off: int, end: int = ABUSE) -> Curve:
    """On and off."""
    return lambda second: tasks if second < end and second % (on + off) < on else 0


def recorded(seed: int, mean: float, end: int = ABUSE) -> Curve:
    """As it is on a host: bursts of all lengths on top of a random walk."""
    random_ = random.Random(seed)
    level, found, burst = mean, [], 0
    for _second in range(end):
        level = max(0.2 * mean, level + random_.gauss(0, mean / 25) + (mean - level) / 120)
        if not burst and random_.random() < 1 / 90:
            burst = int(random_.paretovariate(1.3) * 10)
        burst = max(0, burst - 1)
        found.append(min(level * (2.5 if burst else 1), 400))
    return lambda second: found[second] if second < len(found) else 0


CURVES: dict[str, Curve] = {
    "steady 12": steady(12),
    "steady 20": steady(20),
    "steady 30": steady(30),
    "steady 50": steady(50),
    "steady 150": steady(150),
    "ramp to 60": ramp(60),
    "waves 40, 3 min on, 1 off": waves(40, 180, 60),
    "waves 60, 1 min on, 1 off": waves(60, 60, 60),
    "waves 25, 10 min on, 5 off": waves(25, 600, 300),
    "recorded, about 15": recorded(1, 15),
    "recorded, about 30": recorded(2, 30),
    "recorded, about 80": recorded(3, 80),
}


def main() -> None:
    """Print what the guards make of every curve."""
    print("40 minutes of abuse, 20 of calm; open: seconds after the abuse until open for good;")
    print("a throttle keeps out 97 % of the abuse")
    print(
        f"{'curve':28}{'stop':>6} |{'plain 10/6→2':>16} |{'stop alone':>22} |{'throttle, then stop':>30}"
    )
    print(
        f"{'':28}{'takes':>6} |{'stops':>8}{'up':>8} |{'stops':>8}{'open':>6}{'up':>8} |{'throttled':>10}{'stops':>6}{'open':>6}{'up':>8}"
    )
    for name, curve in CURVES.items():
        for delay in (0, 20, 60):
            host = Host(stopping=delay, share=0.97)
            bare, bare_up = plain(curve, host)
            alone, below = play(ALONE, curve, host), play(BELOW, curve, host)
            print(
                f"{name:28}{delay:5}s |{bare:8}{bare_up:7}s |{alone.count(STOP.name):8}"
                f"{alone.open_after(STOP.name, ABUSE):5}s{alone.up:7}s |"
                f"{below.count(THROTTLE.name):10}{below.count(STOP.name):6}"
                f"{below.open_after(STOP.name, ABUSE):5}s{below.up:7}s"
            )


if __name__ == "__main__":
    main()
