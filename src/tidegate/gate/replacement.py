"""A replacement of all bans, as it is streamed to the keeper in parts.

Touches nothing. Every part is judged when it comes; what passed waits for the commit.
Limits: the keeper bounds how many there may be.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tidegate.frames import Frame, Malformed
from tidegate.gate.charter import Charter, Tempo, judge_all
from tidegate.gate.port import Gate, Refusal
from tidegate.model import Ban, Micros


class Replacement:
    """What was streamed so far, and where in the stream each stood.

    `seen` counts all of it; `refusals` are those that did not pass, by their place in the stream.
    """

    def __init__(self) -> None:
        self._taken: dict[str, list[Ban]] = {"ban": [], "allow": []}
        self._places: dict[str, list[int]] = {"ban": [], "allow": []}
        self.refusals: list[Refusal] = []
        self.seen = 0

    def take(self, frame: Frame, charter: Charter, tempo: Tempo, now: Micros, most: int) -> None:
        """A frame's bans and allows. Raises Malformed: they are none, or more than `most`."""
        for verb in ("ban", "allow"):
            items = listed(frame, f"{verb}s")
            if self.seen + len(items) > most:
                raise Malformed(f"more than {most} bans")
            self.add(verb, items, charter, tempo, now)

    def commit(self, gate: Gate, now: Micros) -> list[Refusal]:
        """Make what passed the state of the gate; what did not, by its place in the stream."""
        return self.refusals + self.placed(gate.replace(*self.wanted(), now))

    def add(
        self, verb: str, items: Sequence[Any], charter: Charter, tempo: Tempo, now: Micros
    ) -> None:
        """A part: `[subject, ports, until]` each, as bans or as allows."""
        whole = [[verb, *item] if item.__class__ is list else item for item in items]
        requests, places, refusals = judge_all(whole, charter, tempo, now)
        make = tuple.__new__  # what a NamedTuple does in the end, at a third of the time
        self._taken[verb] += [
            make(Ban, (subject, ports or (), until)) for _verb, subject, ports, until in requests
        ]
        self._places[verb] += [self.seen + place for place in places]
        self.refusals += self._moved(refusals)
        self.seen += len(items)

    def _moved(self, refusals: Sequence[Refusal]) -> list[Refusal]:
        return [Refusal(self.seen + index, reason) for index, reason in refusals]

    def wanted(self) -> tuple[list[Ban], list[Ban]]:
        """The bans and the allows that passed."""
        return self._taken["ban"], self._taken["allow"]

    def placed(self, refusals: Sequence[Refusal]) -> list[Refusal]:
        """Refusals of a gate that was given `wanted`, by their place in the stream."""
        places = self._places["ban"] + self._places["allow"]
        return [Refusal(places[index], reason) for index, reason in refusals]


def listed(frame: Frame, name: str) -> list[Any]:
    """A list in a frame; [] where it is left out. Raises Malformed where it is something else."""
    found = frame.get(name, [])
    if not isinstance(found, list):
        raise Malformed(f"{name} must be a list")
    return found
