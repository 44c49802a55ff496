"""From guards' moves to notices: who is to be told, in which words, with what was captured.

Touches the notices that it holds. A notice waits a little for what the host looked like, so that
it is whole. Limits: who wants no notices is told nothing; the ledger has every move in any case.
"""

from __future__ import annotations

from typing import NamedTuple

from tidegate.daemon.moves import spec_of
from tidegate.daemon.notice_text import said
from tidegate.daemon.notices import Notices
from tidegate.model import SECOND, Micros, Move
from tidegate.policy.guards import GuardSpec
from tidegate.policy.models import Policy

CAPTURE_WITHIN: Micros = 10 * SECOND
"""For how long a notice waits for what was captured."""


class _Owed(NamedTuple):
    """A move that somebody wants to hear of; `number`: its decision's id; `observed`: it is only
    said what would have been done."""

    move: Move
    number: str
    until: Micros
    observed: bool


class Telling:
    """Which moves are still to be told of, and how they go out."""

    def __init__(self, policy: Policy, notices: Notices) -> None:
        self.policy = policy
        self._notices = notices
        self._owed: list[_Owed] = []
        self._texts: dict[str, str] = {}  # decision → what was captured, until it is told

    def owe(
        self, move: Move, number: str, now: Micros, *, captured: bool, observed: bool = False
    ) -> None:
        """Have it told, where its guard names somebody; `captured`: something is under way;
        `observed`: nothing is done."""
        spec = spec_of(self.policy, move.guard)
        if spec is not None and spec.notify:
            until = now + (CAPTURE_WITHIN if captured else 0)
            self._owed.append(_Owed(move, number, until, observed))

    def captured(self, number: str, text: str) -> None:
        """What the host looked like before this decision."""
        if any(number == one.number for one in self._owed):
            self._texts[number] = text

    def tick(self, now: Micros) -> bool:
        """Hand over what is ready; whether there was anything."""
        ready = [
            one
            for one in self._owed
            if one.number in self._texts or not now < one.until <= now + CAPTURE_WITHIN
        ]
        self._owed = [one for one in self._owed if one not in ready]
        for one in ready:
            spec = spec_of(self.policy, one.move.guard)
            guard = spec if isinstance(spec, GuardSpec) else None
            capture = self._texts.pop(one.number, "")
            told = said(one.move, guard, capture, observed=one.observed)
            time = one.move.time // SECOND * SECOND
            self._notices.tell(
                spec.notify if spec else (), time, told.subject, told.text,
                about=told.about, clear=told.clear,
            )  # fmt: skip
        return bool(ready)
