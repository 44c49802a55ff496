"""Which decisions of this host the others may not have heard yet, should it stop just now.

Touches nothing; is told the time. What is said goes out within a round where the engine answers;
who stops while it does not says it again after the start. Limits: 20,000 decisions, the latest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tidegate.model import SECOND, Change, Decision, Micros

UNSURE = "said to fleet"
HEARD: Micros = 10 * SECOND
"""Joined for so long after it was said, the engine has it."""
_MOST = 20_000


class Unsure:
    """The ids of what was said, until it was surely heard."""

    def __init__(self) -> None:
        self._since: dict[str, Micros] = {}  # 0: not counted yet
        self._changes: dict[str, Change] = {}

    @property
    def numbers(self) -> list[str]:
        """What is to be said again."""
        return list(self._since)

    def note(self, decisions: Iterable[Decision]) -> None:
        """These were said just now."""
        for one in decisions:
            self._since[one.id] = 0
            self._changes[one.id] = Change(UNSURE, one.id, b"\1")
        while len(self._since) > _MOST:
            self._forget(next(iter(self._since)))

    def tick(self, now: Micros, *, joined: bool) -> bool:
        """Every second or so; whether there is something to write down."""
        for number, since in list(self._since.items()):
            if not joined or not since or since > now:
                self._since[number] = now if joined else 0
            elif now - since >= HEARD:
                self._forget(number)
        return bool(self._changes)

    def changes(self) -> Iterator[Change]:
        """What has changed since last asked, for a checkpoint."""
        changes, self._changes = self._changes, {}
        yield from changes.values()

    def restore(self, change: Change) -> bool:
        """Take back one change; False where it is not ours."""
        if change.part == UNSURE and change.value is not None:
            self._since[change.key] = 0
        return change.part == UNSURE

    def _forget(self, number: str) -> None:
        del self._since[number]
        self._changes[number] = Change(UNSURE, number, None)
