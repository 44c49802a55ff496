"""One step of a guard's ladder: its states as a table, its dwell times, its penalty for flapping.

Touches nothing. A rung is open or closed by the guard, or something came between: a person closed
it, opened it, had stopped it before us, or it refused.
Limits: knows nothing of conditions or of its neighbours; the guard does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from tidegate.model import HOUR, MINUTE, Micros
from tidegate.policy.guards import GuardSpec, Properties, Restart, Step, Terms, Throttle

State = Literal["open", "closed", "person", "taken", "away", "refused"]
"""`closed`: by the guard. `person`: by a person. `taken`: a person opened it, so it is left alone.
`away`: a person had stopped it before we could. `refused`: it could not be closed."""
Happening = Literal["rise", "fall", "shut", "let", "taken", "away", "refused", "over"]
"""`rise`, `fall`: the guard's will. `shut`, `let`: a person's. `taken`, `away`, `refused`: what was
reported. `over`: the time is over for which it was so."""

TABLE: Mapping[tuple[State, Happening], State] = {
    ("open", "rise"): "closed",
    ("open", "shut"): "person",
    ("open", "let"): "taken",
    ("closed", "fall"): "open",
    ("closed", "shut"): "person",
    ("closed", "let"): "taken",
    ("closed", "taken"): "taken",
    ("closed", "away"): "away",
    ("closed", "refused"): "refused",
    ("person", "shut"): "person",
    ("person", "let"): "taken",
    ("person", "taken"): "taken",
    ("person", "over"): "open",
    ("taken", "shut"): "person",
    ("taken", "let"): "taken",
    ("taken", "over"): "open",
    ("away", "shut"): "person",
    ("away", "let"): "taken",
    ("away", "over"): "open",
    ("refused", "shut"): "person",
    ("refused", "let"): "taken",
    ("refused", "over"): "open",
}
"""What follows from what; whatever is not here changes nothing."""
SHUT: frozenset[State] = frozenset({"closed", "person"})
"""The states in which the gate is to be closed."""

ALONE: Micros = HOUR
"""For how long a gate is left alone that a person opened, unless `open` holds before."""
AGAIN: Micros = MINUTE
"""After this a refused closing is tried again; twice as long each time, ten times at the most."""
HALF_LIFE: Micros = 15 * MINUTE
"""In this time a penalty is halved. Source: RFC 2439 §4.2 (the shape), Cisco's default."""
GENTLE = (Throttle, Properties)
"""They take nobody's service away, so they may close again at once."""
FOREVER: Micros = 1 << 62


@dataclass(slots=True)
class Rung:
    """What is remembered of one gate; times in microseconds, 0 for none.

    `since`: when it came to its state; `until`: when that is over. `least`: not opened by the
    guard before. `penalty`: closings, halved every 15 minutes, as of `counted`. `hold`: until then
    a person wants it left as it is. `said`: what has been said and is not to be repeated.
    `stale`: it was opened although `close` still held.
    """

    state: State = "open"
    since: Micros = 0
    until: Micros = 0
    least: Micros = 0
    penalty: float = 0.0
    counted: Micros = 0
    refusals: int = 0
    hold: Micros = 0
    stale: bool = False
    said: str = ""
    fired: list[Micros] = field(default_factory=list)

    def happen(self, happening: Happening, now: Micros, until: Micros = 0) -> bool:
        """Go where the table says; whether that is another state, or a person's new word."""
        after = TABLE.get((self.state, happening))
        if after is None:
            return False
        # What was left alone may close at once: it has been open all the while.
        rests = happening != "over" or self.state == "person"
        self.state, self.since, self.until = after, now if rests else 0, until
        return True

    def close(self, spec: GuardSpec, now: Micros) -> Micros:
        """Close it by the guard's will; for how long at least (more, if it has flapped)."""
        self.happen("rise", now)
        self.penalty = self._faded(now) + 1
        self.counted = now
        lasting = spec.least_closed + self._damping(spec)
        self.least = now + lasting
        return lasting

    def ready(self, terms: Terms, now: Micros) -> bool:
        """Whether `fire` would restart it now."""
        if not isinstance(terms, Restart):
            return False
        recent = [one for one in self.fired if now - one < terms.within]
        waits = bool(recent) and now < recent[-1] + terms.wait
        return not waits and len(recent) < terms.most

    def fire(self, terms: Terms, now: Micros) -> Literal["fire", "give-up", ""]:
        """What becomes of a gate without a closed state, for which it is time."""
        if not isinstance(terms, Restart):
            if self.said == "ran":
                return ""
            self.said, self.since = "ran", now
            return "fire"
        self.fired = [one for one in self.fired if now - one < terms.within]
        if self.fired and now < self.fired[-1] + terms.wait:
            return ""
        if len(self.fired) >= terms.most:
            if self.said == "gave up":
                return ""
            self.said = "gave up"
            return "give-up"
        self.fired.append(now)
        self.since = now
        return "fire"

    def calm(self, *, known: bool) -> None:
        """What it would be closed for does not hold (`known`), or may not."""
        self.stale = False
        if known:
            self.said = ""

    def refuse(self, now: Micros) -> Micros:
        """It could not be closed; for how long it is not tried again."""
        wait = AGAIN * min(1 << min(self.refusals, 4), 10)
        self.refusals += 1
        self.penalty = max(0.0, self.penalty - 1)  # nothing was closed that could have flapped
        self.happen("refused", now, now + wait)
        return wait

    def rested(self, spec: GuardSpec, step: Step, now: Micros) -> bool:
        """Whether it has been open for long enough to be closed again."""
        gentle = isinstance(step.gate.terms, GENTLE)
        return gentle or not self.since or now >= self.since + spec.least_open

    def mend(self, spec: GuardSpec, now: Micros) -> None:
        """After the clock was set back: nothing lies in the future that never could."""
        if self.since > now:
            back = self.since - now
            self.least -= back
            if self.state == "person" and self.until:
                self.until -= back  # or an hour that a person named becomes a day
            self.since = now
        self.counted = min(self.counted, now)
        self.least = min(self.least, now + longest(spec))
        if self.state in ("taken", "away"):
            self.until = min(self.until, now + ALONE)
        elif self.state == "refused":
            self.until = min(self.until, now + 10 * AGAIN)
        if self.fired and self.fired[-1] > now:
            self.fired = [min(one, now) for one in self.fired]

    def packed(self) -> dict[str, Any]:
        """What differs from a rung that nothing ever happened to."""
        plain = asdict(Rung())
        return {key: value for key, value in asdict(self).items() if value != plain[key]}

    @classmethod
    def unpacked(cls, found: Mapping[str, Any]) -> Rung:
        """A saved rung. Raises TypeError or ValueError where it is damaged."""
        rung = cls(**found)
        if rung.state not in {state for state, _happening in TABLE}:
            raise ValueError(rung.state)
        return rung

    def _faded(self, now: Micros) -> float:
        return self.penalty * math.exp2(-max(0, now - self.counted) / HALF_LIFE)

    def _damping(self, spec: GuardSpec) -> Micros:
        """Until the penalty has faded to `flaps`, bounded."""
        if self.penalty <= spec.flaps or spec.flaps <= 0:
            return 0
        return min(round(HALF_LIFE * math.log2(self.penalty / spec.flaps)), spec.longest_damped)


def longest(spec: GuardSpec) -> Micros:
    """The longest that a guard keeps a gate closed once `open` holds."""
    return spec.least_closed + spec.longest_damped
