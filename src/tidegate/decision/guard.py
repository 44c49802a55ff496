"""The control law of one guard: which steps of its ladder are closed, from verdicts on readings.

Touches nothing. Closes from the most reversible step up, opens from the topmost down; what
follows from what is the table in `rung`. Every state is saved, so a restart changes no decision.
Limits: unknown never closes; nothing stays closed that nobody can judge for ten minutes.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator, Sequence

from tidegate.decision.course import Course
from tidegate.decision.rung import SHUT, Rung, longest
from tidegate.decision.warning import DARK, Crossing, Evidence
from tidegate.model import MINUTE, Change, GuardVerb, Micros, Move
from tidegate.policy.durations import format_duration
from tidegate.policy.guards import KERNEL, LEASE, ONCE, GuardSpec, Or, Restart, Step

PROBE: Micros = 2 * MINUTE
"""After a step has opened, the one below it stays closed for this long."""
Leave = Callable[[str, Micros], tuple[bool, str]]
"""Of a pool by name: whether it may be left right now, else it is asked for; and what to add to the
reason of the closing."""
Lacking = Callable[[str, Micros], tuple[bool, str]]
"""Of a pool by name: whether a member that is out has to come back; and why none may leave ("")."""


def granted(_pool: str, _now: Micros) -> tuple[bool, str]:
    """Nobody has to be asked."""
    return True, ""


class Guard:
    """One guard. `lacking` answers for the pools that its gates are members of, and `leave` before
    it leaves one; `acts`: it closes in the world, and does not only say what it would."""

    def __init__(
        self, spec: GuardSpec, evidence: Evidence, lacking: Lacking, *, acts: bool = True,
        leave: Leave = granted,
    ) -> None:  # fmt: skip
        self.spec, self.acts = spec, acts
        self.rungs = [Rung() for _step in spec.steps]
        self._evidence, self._lacking, self._leave = evidence, lacking, leave
        whens = tuple(step.when for step in spec.steps if step.when is not None)
        self._close = spec.close or (Or(whens) if whens else None)
        self._acted = acts  # whether it did when its rungs came to where they are
        self._seen: Micros = 0  # when time passed for it last
        self._risen: Micros = 0  # since when `close` holds
        self._opened: Micros = 0  # when its last step opened
        self._quiet: Micros = 0  # since when `close` is false
        self._undecided: Micros = 0  # since when nobody can judge it
        self._course = Course()  # of how far `close` is exceeded, while something is closed
        self._warning = Crossing(spec, evidence)
        self._saved = b""

    # -- what others ask ---------------------------------------------------------------------------

    @property
    def shut(self) -> bool:
        """Whether any of its gates is to be closed."""
        return any(rung.state in SHUT for rung in self.rungs)

    @property
    def raised(self) -> bool:
        """Whether it lifts the host's tide."""
        return self.shut or self._warning.on

    def closed(self, now: Micros) -> Iterator[tuple[str, Micros, bool]]:
        """Gates to be closed: name, when a person's closing ends (0: none), whether a person's."""
        for step, rung in zip(self.spec.steps, self.rungs, strict=True):
            if rung.state in SHUT and not (rung.until and now >= rung.until):
                yield step.gate.name, rung.until, rung.state == "person"

    # -- time passes -------------------------------------------------------------------------------

    def step(self, now: Micros) -> list[Move]:
        """What to do now, from what is known now."""
        self._mend(now)
        lapsed = self._lapse(now)
        close, opens = self._verdict(now)
        rises = self._rises(now, close)
        known = self._evidence.excess(self._close, now) if self._close and self.shut else None
        self._course.note(now, known)
        moves = lapsed + self._warning.step(now)
        moves += self._over(now, calm=opens is True and close is not True and True not in rises)
        moves += self._rise(now, rises)
        moves += self._fall(now, rises, close, opens)
        return moves

    def _mend(self, now: Micros) -> None:
        """After the clock was set back: nothing lies ahead that cannot."""
        for rung in self.rungs:
            rung.mend(self.spec, now)
        self._opened, self._quiet = min(self._opened, now), min(self._quiet, now)
        self._undecided, self._risen = min(self._undecided, now), min(self._risen, now)

    def _lapse(self, now: Micros) -> list[Move]:
        """What was closed in another life, and is not any more: nobody renewed it (we were not
        there, the machine slept), or it was only observed. What holds now is for readings to say.
        """
        seen, self._seen = self._seen, now
        acted, self._acted = self._acted, self.acts
        gap = now - seen if seen else 0
        if acted == self.acts and gap <= LEASE:
            return []
        top_down = range(len(self.rungs) - 1, -1, -1)
        shut = [k for k in top_down if self.rungs[k].state == "closed"]
        reason = f"nobody renewed it for {format_duration(gap)}, so it has opened at its end"
        if acted and not self.acts:
            reason = "its guard only observes now"
        moves = [self._open(k, now, reason, stale=False) for k in shut]
        if acted:
            return moves
        for k in shut:
            self.rungs[k].since = 0  # it has been open all the while
        return []

    def _verdict(self, now: Micros) -> tuple[bool | None, bool | None]:
        """Whether `close` holds, and whether `open` does."""
        close = None if self._close is None else self._evidence.holds(self._close, now)
        self._quiet = (self._quiet or now) if close is False else 0
        self._risen = (self._risen or now) if close else 0
        if self.spec.open is not None:
            return close, self._evidence.holds(self.spec.open, now)
        if close is None:
            return None, None
        return close, bool(self._quiet) and now >= self._quiet + self.spec.patience

    def _rises(self, now: Micros, close: bool | None) -> list[bool | None]:
        """Of every step, whether it is to be closed: by its own `when`, else by `close`."""
        return [
            close if step.when is None else self._evidence.holds(step.when, now)
            for step in self.spec.steps
        ]

    # -- closing -----------------------------------------------------------------------------------

    def _rise(self, now: Micros, rises: Sequence[bool | None]) -> list[Move]:
        moves: list[Move] = []
        steps = self.spec.steps
        urgent = max((k for k, step in enumerate(steps) if step.when and rises[k]), default=-1)
        below: int | None = None  # the nearest closed step, which the next one waits for
        hurried = False  # unless the one in between refused
        spared: Micros = 0  # since when a person keeps us from the one in between
        for k, (step, rung) in enumerate(zip(steps, self.rungs, strict=True)):
            once = isinstance(step.gate.terms, ONCE)
            if not rises[k]:
                rung.calm(known=rises[k] is False)
            if rung.state in SHUT:
                below, hurried, spared = k, False, 0
            elif not rises[k] and (once or k >= urgent):
                continue
            elif now < rung.hold or rung.state in ("taken", "away"):
                spared = max(spared, self._risen, rung.since)
            elif rung.state != "open" or self._kept(k, now, moves):
                hurried = hurried or rung.state == "refused"
            elif (
                k >= urgent
                and step.when is None
                and (now < spared + step.after or (not hurried and self._waits(k, below, now)))
            ):
                break
            elif once and (not rung.ready(step.gate.terms, now) or self._leaves(k, now)[0]):
                moves += self._fire(k, now)
                below = k
            elif (
                not once
                and rung.rested(self.spec, step, now)
                and not self._stale(rung, now)
                and (leave := self._leaves(k, now))[0]
            ):
                moves.append(self._shut(k, below, now, leave[1]))
                below, hurried, spared = k, False, 0
            elif k >= urgent:
                break
        return moves

    def _waits(self, k: int, below: int | None, now: Micros) -> bool:
        """Whether the step below has not been closed for long enough yet, or seems to help."""
        if below is None:
            return False
        terms, after = self.spec.steps[below].gate.terms, self.spec.steps[k].after
        if isinstance(terms, Restart):
            after = max(after, terms.wait)
        return now < self.rungs[below].since + after or self._course.falling

    def _stale(self, rung: Rung, now: Micros) -> bool:
        """Whether what holds is only the memory of what it was closed for before."""
        calm = self.spec.open is not None and self._evidence.holds(self.spec.open, now) is True
        return rung.stale and calm

    def missed(self, k: int, now: Micros) -> str:
        """Why a pool needs this member; "" where it does not."""
        pool = self.spec.steps[k].gate.pool
        return self._lacking(pool, now)[1] if pool else ""

    def _kept(self, k: int, now: Micros, moves: list[Move]) -> bool:
        """Whether a pool needs this member; said once."""
        rung, gate = self.rungs[k], self.spec.steps[k].gate
        why = self.missed(k, now)
        if not why:
            if rung.said == "pool":
                rung.said = ""
            return False
        self._leaves(k, now)  # where the fleet said no, it is asked again
        if rung.said != "pool":
            rung.said = "pool"
            moves.append(self.move("warn", k, now, f"{gate.name} is left open: {why}"))
        return True

    def _leaves(self, k: int, now: Micros) -> tuple[bool, str]:
        """Whether it may be closed right now, as far as others have a say; and what they said."""
        pool = self.spec.steps[k].gate.pool
        return self._leave(pool, now) if pool else (True, "")

    def _shut(self, k: int, below: int | None, now: Micros, note: str) -> Move:
        step, rung = self.spec.steps[k], self.rungs[k]
        lasting = rung.close(self.spec, now)
        reason = self._told(k, now)
        if below is not None and step.when is None:
            lower = self.spec.steps[below].gate.name
            span = format_duration(now - self.rungs[below].since)
            reason += f"; {lower} has been closed for {span}"
        if lasting > self.spec.least_closed:
            reason += (
                f"; closed before not long ago, so now for at least {format_duration(lasting)}"
            )
        return self.move("close", k, now, reason + note)

    def _fire(self, k: int, now: Micros) -> list[Move]:
        """Restart or run, unless it was tried often enough."""
        terms = self.spec.steps[k].gate.terms
        verb = self.rungs[k].fire(terms, now)
        if not verb:
            return []
        reason = self._told(k, now)
        if verb == "give-up" and isinstance(terms, Restart):
            reason = (
                f"restarting {terms.service} {terms.most} times in {format_duration(terms.within)}"
                f" did not help: {reason}; it is left to you, and not restarted for now"
            )
        return [self.move(verb, k, now, reason)]

    # -- opening -----------------------------------------------------------------------------------

    def _fall(
        self, now: Micros, rises: Sequence[bool | None], close: bool | None, opens: bool | None
    ) -> list[Move]:
        top = max((k for k, rung in enumerate(self.rungs) if rung.state == "closed"), default=-1)
        for k, (step, rung) in enumerate(zip(self.spec.steps, self.rungs, strict=True)):
            if rung.state == "closed" and step.gate.pool:
                back, why = self._lacking(step.gate.pool, now)
                if back:
                    rung.said = "pool"
                    return [self._open(k, now, f"its pool needs it: {why}", stale=False)]
        if top < 0:
            self._undecided = 0
            return []
        rung = self.rungs[top]
        contested = close is True or rises[top] is True
        undecided = opens is None and not contested
        self._undecided = (self._undecided or now) if undecided else 0
        probed = not self._opened or now >= self._opened + PROBE
        if undecided and now >= self._undecided + DARK and probed:
            reason = f"nobody could judge it for {format_duration(DARK)}: {self._told(top, now)}"
            return [self._open(top, now, reason, stale=False)]
        if not opens or now < rung.least or (top < len(self.rungs) - 1 and not probed):
            return []
        if contested and now < rung.since + longest(self.spec):
            return []
        return [self._open(top, now, self._calmed(top, now, contested=contested), stale=contested)]

    def _calmed(self, k: int, now: Micros, *, contested: bool) -> str:
        condition = self.spec.open or self._close
        reason = self._evidence.told(condition, now) if condition is not None else ""
        reason += f"; it was closed for {format_duration(now - self.rungs[k].since)}"
        if contested:
            reason += f"; {self._told(k, now)} is left from before, which closes it no longer"
        return reason

    def _open(self, k: int, now: Micros, reason: str, *, stale: bool) -> Move:
        self.rungs[k].happen("fall", now)
        self.rungs[k].stale = stale
        self._opened = now
        return self.move("open", k, now, reason)

    def _over(self, now: Micros, *, calm: bool) -> list[Move]:
        """What was so for a time, and is over."""
        moves = []
        for k, rung in enumerate(self.rungs):
            ends = rung.until and now >= rung.until
            if rung.state == "person" and ends:
                rung.happen("over", now)
                moves.append(self.move("open", k, now, "the time is over that a person named"))
            elif rung.state == "refused":
                if ends:
                    rung.happen("over", now)
            elif rung.state in ("taken", "away") and (ends or calm):
                rung.happen("over", now)
        return moves

    # -- what is said and saved --------------------------------------------------------------------

    def move(self, verb: GuardVerb, k: int, now: Micros, reason: str) -> Move:
        """A move with one of its gates."""
        condition = self.spec.steps[k].when or self._close
        samples = () if condition is None else self._evidence.samples(condition, now)
        return Move(now, self.spec.name, self.spec.steps[k].gate.name, verb, reason, samples, k)

    def _told(self, k: int, now: Micros) -> str:
        condition = self.spec.steps[k].when or self._close
        return "" if condition is None else self._evidence.told(condition, now)

    def changes(self) -> Iterator[Change]:
        """Its state, if it changed since the last call."""
        packed = self.packed()
        if packed != self._saved:
            self._saved = packed
            yield Change(self.part, "state", packed)

    @property
    def part(self) -> str:
        """The name of its part of the core's memory."""
        return f"guard {self.spec.name}"

    def packed(self) -> bytes:
        """Its state, gate by gate."""
        gates = (step.gate.name for step in self.spec.steps)
        rungs = {name: rung.packed() for name, rung in zip(gates, self.rungs, strict=True)}
        times = (self._opened, self._quiet, self._undecided, *self._warning.packed())
        # To the minute, so that it is not saved anew every second; nothing closed, nothing lapses.
        seen = self._seen // MINUTE * MINUTE if self.shut else 0
        state = {
            "rungs": rungs, "times": times, "course": self._course.packed(),
            "seen": seen, "risen": self._risen, "acts": self._acted,
            "what": {step.gate.name: _mark(step) for step in self.spec.steps},
        }  # fmt: skip
        return json.dumps(state, separators=(",", ":")).encode()

    def restore(self, packed: bytes) -> None:
        """Take back its saved state; of what is damaged, or of gates it has no more, nothing."""
        try:
            found = json.loads(packed)
            rungs = {name: Rung.unpacked(one) for name, one in found["rungs"].items()}
            opened, quiet, undecided, warned, calm = map(int, found["times"])
            seen, risen = int(found.get("seen", 0)), int(found.get("risen", 0))
            acted = bool(found.get("acts", self.acts))
            course = Course()
            course.unpack(found["course"])
            what = dict(found.get("what", {}))
        except (ValueError, TypeError, KeyError, AttributeError):
            return
        # A gate of the same name that closes something else is another gate: it begins open.
        same = {s.gate.name for s in self.spec.steps if what.get(s.gate.name, _mark(s)) == _mark(s)}
        for name in rungs.keys() - same:
            del rungs[name]
        self.rungs = [rungs.get(step.gate.name, Rung()) for step in self.spec.steps]
        self._opened, self._quiet, self._undecided = opened, quiet, undecided
        self._seen, self._risen, self._acted = seen, risen, acted
        self._course = course
        self._warning.unpack(warned, calm)


def _mark(step: Step) -> int:
    """What a gate closes, as a number; of one in the kernel only that it does."""
    terms = step.gate.terms
    return 0 if isinstance(terms, KERNEL) else zlib.crc32(repr(terms).encode())
