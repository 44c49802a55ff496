"""How points fade: linearly, in ModSecurity's steps, or halved; exactly, in whole numbers.

Touches nothing. A state is three whole numbers; adding points gives the next. What comes late is
put in its place where the entries are still known. Limits: "steps" depends on the order of
arrival, as the original does; "exponential" forgets what is 64 half-lives old.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from tidegate.model import Micros
from tidegate.policy.models import ScoreTerms


class Points(NamedTuple):
    """Points that were given: when, by the line that stands where, of which kind (a hash)."""

    time: Micros
    ref: int
    kind: int
    points: int


State = tuple[int, int, int]
EMPTY: State = (0, 0, 0)


class Form(Protocol):
    """One way of fading. All times in microseconds, all levels in points."""

    def add(self, state: State, given: Points) -> State:
        """The state after these points, which are not older than any before."""

    def beyond(self, state: State, time: Micros, limit: int, *, over: bool) -> bool:
        """Whether the score at a time is over the limit, or (not `over`) has reached it."""

    def score(self, state: State, time: Micros) -> float:
        """The score at a time, for people."""

    def release(self, state: State, level: int) -> Micros:
        """The first moment at which the score is not above this level any more."""


def form_of(terms: ScoreTerms) -> Form:
    """The way of fading that a rule states."""
    if terms.form == "exponential":
        return Exponential(terms.span)
    return (Steps if terms.form == "steps" else Linear)(terms.points, terms.span)


class Linear:
    """`points` fade in `span`, continuously, never below 0.

    Kept is the moment at which the score is 0, times `points`, so that all is exact: what the
    generic cell rate algorithm calls the theoretical arrival time. State: (folded, all, unused).
    """

    def __init__(self, points: int, span: Micros) -> None:
        self._points, self._span = points, span

    def _step(self, empty: int, given: Points) -> int:
        now = given.time * self._points
        empty = max(empty, now) + given.points * self._span
        return max(empty, now)

    def add(self, state: State, given: Points) -> State:
        """The state after these points."""
        return state[0], self._step(state[1], given), 0

    def fold(self, state: State, given: Points) -> State:
        """The state when these points, the oldest of those kept, are not kept any more."""
        return self._step(state[0], given), state[1], 0

    def again(self, state: State, kept: Sequence[Points]) -> State:
        """The state from what was folded and what is kept, in order of time."""
        empty = state[0]
        for given in kept:
            empty = self._step(empty, given)
        return state[0], empty, 0

    def beyond(self, state: State, time: Micros, limit: int, *, over: bool) -> bool:
        """See `Form`."""
        above = state[1] - time * self._points - limit * self._span
        return above > 0 if over else above >= 0

    def score(self, state: State, time: Micros) -> float:
        """The score at a time."""
        return max(0, state[1] - time * self._points) / self._span

    def release(self, state: State, level: int) -> Micros:
        """See `Form`."""
        return -((level * self._span - state[1]) // self._points)


class Steps:
    """`points` less for each whole `span` since the last change, as `setvar` and `deprecatevar` do.

    Source: ModSecurity 2.x, re_actions.c: new = max(0, old - points * floor(passed / span)), where
    every change starts the clock anew, and remainders are lost. State: (score, last change, 0).
    """

    def __init__(self, points: int, span: Micros) -> None:
        self._points, self._span = points, span

    def _left(self, state: State, time: Micros) -> int:
        return max(0, state[0] - self._points * max(0, (time - state[1]) // self._span))

    def add(self, state: State, given: Points) -> State:
        """The state after these points."""
        return max(0, self._left(state, given.time) + given.points), max(given.time, state[1]), 0

    def beyond(self, state: State, time: Micros, limit: int, *, over: bool) -> bool:
        """See `Form`."""
        left = self._left(state, time)
        return left > limit if over else left >= limit

    def score(self, state: State, time: Micros) -> float:
        """The score at a time."""
        return self._left(state, time)

    def release(self, state: State, level: int) -> Micros:
        """See `Form`."""
        steps = -((level - state[0]) // self._points)
        return state[1] + max(0, steps) * self._span


class Exponential:
    """Halved in `span`: a sum, so it is the same in whatever order, or on however many hosts, the
    points come together.

    Points are weighed as of the beginning of their epoch (32 half-lives), in whole numbers: those
    add up exactly. State: (epoch, sum of the epoch before, sum of this one).
    Source: Cormode, Shkapenyuk, Srivastava, Xu: Forward Decay, ICDE 2009.
    """

    _EPOCH = 32
    _FINE = 40  # bits behind the point

    def __init__(self, span: Micros) -> None:
        self._span = span
        self._length = span * self._EPOCH

    def _weighed(self, given: Points, epoch: int) -> int:
        age = given.time - epoch * self._length
        return round(given.points * math.ldexp(2.0 ** (age / self._span), self._FINE))

    def _moved(self, state: State, epoch: int) -> State:
        if epoch == state[0]:
            return state
        return epoch, state[2] if epoch == state[0] + 1 else 0, 0

    def add(self, state: State, given: Points) -> State:
        """The state after these points."""
        epoch = given.time // self._length
        if epoch < state[0] - 1:
            return state
        if epoch < state[0]:
            return state[0], state[1] + self._weighed(given, epoch), state[2]
        epoch, before, now = self._moved(state, epoch)
        return epoch, before, now + self._weighed(given, epoch)

    def _sum(self, state: State) -> int:
        """As of the beginning of the epoch."""
        return max(0, state[2] + (state[1] >> self._EPOCH))

    def score(self, state: State, time: Micros) -> float:
        """The score at a time, to the 1024th part of a point: what was rounded when points were
        weighed must not decide what is just the limit."""
        age = time - state[0] * self._length
        score = math.ldexp(self._sum(state) * 2.0 ** (-age / self._span), -self._FINE)
        return round(score * 1024) / 1024

    def beyond(self, state: State, time: Micros, limit: int, *, over: bool) -> bool:
        """See `Form`."""
        score = self.score(state, time)
        return score > limit if over else score >= limit

    def release(self, state: State, level: int) -> Micros:
        """See `Form`."""
        total = self._sum(state)
        if total <= 0:
            return 0
        passed = math.log2(math.ldexp(total, -self._FINE) / level) * self._span
        return state[0] * self._length + math.ceil(passed)
