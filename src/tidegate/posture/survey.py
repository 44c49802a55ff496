"""A whole look at a host's posture: mounts, programs, open databases, updates, old web trees.

Touches what its parts touch, only to read. One part that can't be looked at keeps none of the
others from being told. Limits: a moment's view; nothing is watched.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from tidegate.errors import TidegateError
from tidegate.posture import ports, programs, updates, webtrees
from tidegate.posture.host import Host
from tidegate.posture.judge import Elsewhere, Verdict, elsewhere, judge, table


@dataclass(frozen=True)
class Findings:
    """What was found. `trouble`: why the mounts could not be judged, "" where they could."""

    verdicts: tuple[Verdict, ...]
    elsewhere: tuple[Elsewhere, ...]
    running: tuple[programs.Found, ...]
    open: tuple[ports.Open, ...]
    updates: updates.Updates
    web: webtrees.Walk
    trouble: str = ""

    @property
    def suspects(self) -> list[programs.Found]:
        """Programs that should not run from where they do."""
        return [one for one in self.running if one.why in programs.SUSPECT]

    @property
    def old_trees(self) -> list[webtrees.Tree]:
        """Web trees that should be updated, or go."""
        return [one for one in self.web.trees if one.why]

    @property
    def well(self) -> bool:
        """Whether there is nothing to be done."""
        return not (
            self.trouble
            or self.suspects
            or self.open
            or self.updates.waiting
            or (self.updates.trouble and self.updates.asked)
            or self.old_trees
            or any(not one.well for one in self.verdicts)
        )


def look(host: Host, now: datetime, tell: Callable[[str], None] = lambda _text: None) -> Findings:
    """Look at all of it; `tell` hears how far that has come."""
    verdicts: list[Verdict] = []
    trouble = ""
    try:
        verdicts = judge(host, table(host))
    except TidegateError as error:
        trouble = str(error)
    places = [one.path for one in host.places]
    running = programs.running(host.proc, places, tell)
    tell("looking for open databases")
    exposed = ports.exposed(host.proc)
    tell("asking apt what waits")
    waiting = updates.pending(host.lists, now)
    trees = webtrees.find(host.web, now, tell)
    others = elsewhere(host) if verdicts else []
    return Findings(
        tuple(verdicts), tuple(others), tuple(running), tuple(exposed), waiting, trees, trouble
    )
