"""What the agent says: the state file that it goes by, its lines to HAProxy, whom it owes one.

Touches nothing but the clock that counts since boot. Limits: imports little, since `responder` does
so; a balancer is known by its address, however many of its backends ask.
"""

# HAProxy 2.6, configuration.txt 5.2 "agent-check": one line of ASCII ended by LF; `ready` alone
# leaves drain, and ends an administrator's own drain or maintenance too; what is not said persists.

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

HEAD = "tidegate lease 2"
PEERS = 1024
"""Balancers that are remembered; what is over goes, the oldest first."""
LARGEST = 1 << 16
ENOUGH_ANSWERS, ENOUGH_SECONDS = 10, 120.0
"""How often, and for how long, a balancer is told all of it (`ready up 100%`) after it was told
otherwise. Then only `up`: so an administrator's own drain, maintenance or weight there lasts."""


def boot_seconds() -> float:
    """Seconds since boot: nobody sets this clock."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot() -> str:
    """Which boot this is: after another, seconds since boot mean nothing."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


class Track(NamedTuple):
    """A number in a file: until then it stands there, afterwards `back` does again."""

    value: int
    back: int
    until: float
    path: str


class State:
    """What the state file says: weights in percent, and files, each until a moment (seconds since
    boot). What is stated of another boot is over."""

    def __init__(self, closings: Mapping[int, float], tracks: Sequence[Track] = ()) -> None:
        self.closings, self.tracks = dict(closings), list(tracks)

    def weight(self, now: float) -> int:
        """The least that is said now; 100: nothing is."""
        return min([100, *(weight for weight, until in self.closings.items() if now < until)])

    def __str__(self) -> str:
        """As it stands in the file."""
        lines = [HEAD, f"boot {boot()}"]
        lines += [f"closed {weight} {until:.3f}" for weight, until in self.closings.items()]
        lines += [f"track {one.value} {one.back} {one.until:.3f} {one.path}" for one in self.tracks]
        return "\n".join([*lines, "end", ""])


def read(text: str) -> State:
    """The state in this text. ValueError where it is not one that we wrote, whole."""
    lines = text.split("\n")
    if lines[0] != HEAD or lines[-2:] != ["end", ""]:
        raise ValueError("not a whole state file")
    made, same = State({}), 0
    for line in lines[1:-2]:
        word, _, rest = line.partition(" ")
        if word == "boot":
            same = int(rest == boot())
        elif word == "closed":
            weight, until = rest.split(" ")
            made.closings[min(100, max(0, int(weight)))] = same * float(until)
        elif word == "track":
            value, back, until, path = rest.split(" ", 3)
            made.tracks.append(Track(int(value), int(back), same * float(until), path))
        else:
            raise ValueError(f"unknown word {word!r}")
    return made


def answer(weight: int, owed: bool) -> bytes:
    """The line that HAProxy is told at this weight, in percent; `owed`: it was told otherwise."""
    if weight <= 0:
        return b"drain up 0%\n"
    return b"ready up %d%%\n" % weight if weight < 100 or owed else b"up\n"


class Debts:
    """To which balancers `ready` is owed: those that were told otherwise. `all`: they are not known
    by name, since another of us told them."""

    def __init__(self, all_: bool) -> None:
        self._all = all_
        self._owed: dict[str, tuple[int, float]] = {}  # answers left; not before (0: not begun)

    def restricted(self, peer: str) -> None:
        """This one was told less than ready."""
        self._put(peer, (ENOUGH_ANSWERS, 0.0))

    def readied(self, peer: str, now: float) -> bool:
        """Whether to tell this one all of it now; counts that it was told."""
        left, until = self._owed.get(peer, (ENOUGH_ANSWERS if self._all else 0, 0.0))
        if left <= 0 and now >= until:
            self._put(peer, (0, 0.0 if until == 0 else until))
            return False
        self._put(peer, (max(0, left - 1), until or now + ENOUGH_SECONDS))
        return True

    def _put(self, peer: str, owed: tuple[int, float]) -> None:
        self._owed.pop(peer, None)
        self._owed[peer] = owed
        if len(self._owed) > PEERS:
            del self._owed[next(iter(self._owed))]

    def untold(self) -> int:
        """How many were told otherwise, and not yet `ready`, not even once."""
        return sum(left > 0 and until == 0 for left, until in self._owed.values())

    def paid(self, now: float) -> bool:
        """Whether everybody knows; then new ones owe us nothing either."""
        if self._all and not self._owed:
            return False
        if any(left > 0 or now < until for left, until in self._owed.values()):
            return False
        self._all = False
        return True

    def __len__(self) -> int:
        return len(self._owed)
