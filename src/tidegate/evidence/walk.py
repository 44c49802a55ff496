"""Whether a source's new destinations answer: a random walk that a scanner climbs and others don't.

Touches nothing. Threshold random walk (Jung, Paxson, Berger, Balakrishnan: Fast Portscan Detection
Using Sequential Hypothesis Testing, IEEE S&P 2004) in the approximation of Weaver, Staniford and
Paxson (Very Fast Containment of Scanning Worms, USENIX Security 2004): whole numbers, a floor, +1
for a miss, and what counted as a miss is taken back when it turns out a hit. They count a try as a
miss until it is answered, and block for as long; a quarantine is not taken back that easily, so
here a try becomes a miss when it is refused or `GRACE` old. A hit weighs twice a miss, which is for
scanners that reach one in ten and users who reach six in ten (ln(.1/.6) to ln(.9/.4)) what +1 and
-1 are for two and eight: of those who share files, half of all peers are gone, and who is cut off
for nothing costs more than some more tries. Limits: `PAIRS` destinations a source.
"""

from __future__ import annotations

from tidegate.evidence.generations import Generations
from tidegate.model import HOUR, MINUTE, SECOND, Micros

THRESHOLD = 10
"""So many more misses than twice the hits convict."""
HIT = 2
FLOOR = -20
"""No more credit than this for destinations that did answer."""
GRACE = 3 * SECOND
HASTE = SECOND // 4
"""The same for who has `PENDING` tries waiting."""
FADE = MINUTE
"""A miss is forgiven each so long: what fails once in a while never adds up."""
PAIRS = 1024
PENDING = 256
DISTINCT = 64
"""So many different destinations within a day that never answered, and twice as many as did, are a
slow scan, however slowly they came."""
GOOD = 10
"""So many different destinations that answered within a day are a good record."""

_HALF_DAY = 12 * HOUR
_HALVED = 10 * SECOND
_NAMED = 8
_TRIED, _MISSED, _ANSWERED = 1, 2, 3


class Walk:
    """What is known of one source. Only the first contact with a destination counts; it is first
    again when it was not seen for half a day, or after `PAIRS` others."""

    __slots__ = (
        "_before", "_day", "_faded", "_halved", "answers", "answers_run", "begun", "failures",
        "hits", "misses", "misses_run", "named", "pairs", "pending", "unknown", "value",
    )  # fmt: skip

    def __init__(self, now: Micros) -> None:
        self.pairs: Generations[int] = Generations(PAIRS, _HALF_DAY)
        self.pending: dict[str, tuple[Micros, str]] = {}
        self.unknown = 0
        self._day = now
        self._before = (0, 0)
        self.hits = self.misses = 0
        self._restart(now)

    def _restart(self, now: Micros) -> None:
        self.value = 0
        self._faded = self._halved = now
        self.answers = self.failures = 0
        self.answers_run = self.misses_run = 0
        self.begun = now
        self.named: list[str] = []

    def convicted(self, now: Micros) -> None:
        """All is said: begin anew, so that whoever does it again is found again, and as fast."""
        self.pairs = Generations(PAIRS, _HALF_DAY)
        self.pending.clear()
        self._day, self._before = now, (0, 0)
        self.hits = self.misses = 0
        self._restart(now)

    def tried(self, destination: str, label: str, time: Micros) -> None:
        """A first packet went there. `label`: how the destination is called in a finding."""
        if destination in self.pending or self.pairs.get(destination) is not None:
            return
        if len(self.pending) >= PENDING:
            self.unknown += (
                1  # this one is not waited for; should it answer, it counts all the same
            )
            return
        self.pairs.put(destination, _TRIED, time)
        self.pending[destination] = (time, label)

    def answered(self, destination: str, time: Micros) -> None:
        """It answered, for the first time or again."""
        state = self.pairs.get(destination)
        if state == _ANSWERED:
            return
        self.pending.pop(destination, None)
        self.pairs.put(destination, _ANSWERED, time)
        if time - self._halved >= _HALVED:
            self._turn(time)
        self.hits += 1
        self.answers += 1
        self.answers_run += 1
        if state == _MISSED:
            self.misses = max(self.misses - 1, 0)
            self.failures = max(self.failures - 1, 0)
            self.misses_run = max(self.misses_run - 1, 0)
            self.value -= HIT + 1
        else:
            self.value -= HIT
        # With each try a miss until it is answered, the floor is one for both together.
        self.value = max(self.value, FLOOR - len(self.pending))
        if self.value <= 0:
            self.answers_run = self.misses_run = 0
            self.begun = time
            self.named.clear()

    def gave_up(self, destination: str, label: str, time: Micros, *, counts: bool) -> None:
        """It was given up on, long after the try. Whoever is not remembered any more was judged."""
        if self.pairs.get(destination) is not None:
            self.missed(destination, label, time, counts=counts)

    def missed(self, destination: str, label: str, time: Micros, *, counts: bool = True) -> None:
        """It refused, or never answered. `counts` False: that says nothing about the source."""
        state = self.pairs.get(destination)
        if state in (_ANSWERED, _MISSED):
            return
        self.pending.pop(destination, None)
        if not counts:
            return
        self.pairs.put(destination, _MISSED, time)
        self._turn(time)
        self._fade(time)
        if not self.misses_run:
            self.begun = time
        self.misses += 1
        self.failures += 1
        self.misses_run += 1
        self.value += 1
        self.named = [*self.named[-_NAMED + 1 :], label]

    def unheard(self, destination: str) -> None:
        """Nobody will ever know what came of it."""
        if self.pending.pop(destination, None) is not None:
            self.unknown += 1

    def overdue(self, now: Micros) -> list[tuple[str, str, Micros]]:
        """Destinations, with labels and times, tried long enough ago to be taken for misses."""
        found = []
        grace = GRACE if len(self.pending) < PENDING else HASTE
        for destination, (time, label) in self.pending.items():
            if now - time < grace:
                break
            found.append((destination, label, time))
        return found

    def waiting(self, since: Micros) -> int:
        """How many of the destinations tried before that time have not answered yet."""
        return sum(1 for time, _label in self.pending.values() if time <= since)

    @property
    def crossed(self) -> bool:
        """Whether the walk has climbed over its threshold."""
        return self.value >= THRESHOLD

    @property
    def slow(self) -> bool:
        """Whether it scans, too slowly for the walk."""
        misses, hits = self.day
        return misses >= DISTINCT and misses > 2 * hits

    @property
    def day(self) -> tuple[int, int]:
        """Different destinations that never answered, and that did, within about a day."""
        return self.misses + self._before[0], self.hits + self._before[1]

    @property
    def good(self) -> bool:
        """Whether many of its destinations have answered, and more than did not."""
        misses, hits = self.day
        return hits >= GOOD and hits > misses

    def lately(self, now: Micros) -> None:
        """Let what was lately (`answers`, `failures`) fade: by half each ten seconds."""
        rounds = (now - self._halved) // _HALVED
        if rounds > 0:
            self._halved += rounds * _HALVED
            self.answers >>= min(rounds, 64)
            self.failures >>= min(rounds, 64)

    def _fade(self, time: Micros) -> None:
        steps = (time - self._faded) // FADE
        if steps > 0:
            self._faded += steps * FADE
            if self.value > 0:
                self.value = max(self.value - steps, 0)
        if self.value <= 0:
            self.misses_run = 0

    def _turn(self, time: Micros) -> None:
        self.lately(time)
        halves = (time - self._day) // _HALF_DAY
        if halves > 0:
            self._before = (self.misses, self.hits) if halves == 1 else (0, 0)
            self.misses = self.hits = 0
            self._day += halves * _HALF_DAY
