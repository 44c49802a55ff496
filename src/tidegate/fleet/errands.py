"""What a member does at the engine besides counting, claiming and deciding: one errand for each.

Touches nothing. Limits: an errand has at most one exchange on the way; the next one in a round.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from tidegate.fleet.counting.functions import Command
from tidegate.fleet.decisions.stream import Reply
from tidegate.fleet.journal.carrier import NEWEST, Carrier
from tidegate.model import Micros


class Errand(Protocol):
    """`part` names it, `key` says which server is asked. The replies to `commands` go to `take`, or
    they are `lost`."""

    part: str
    key: str

    def commands(self, now: Micros) -> Sequence[Command]:
        """What to ask now; nothing: there is nothing to do."""

    def take(self, replies: Sequence[Reply], now: Micros) -> None:
        """What came of it. Malformed where the engine makes no sense."""

    def lost(self) -> None:
        """The connection broke, or there is none."""


class Carrying:
    """What the fleet has published; `found` is emptied by whoever takes it."""

    part = "journal"
    key = NEWEST.decode()

    def __init__(self, carrier: Carrier) -> None:
        self.carrier = carrier
        self.found: list[bytes] = []

    def commands(self, now: Micros) -> Sequence[Command]:
        """Look for it, fetch it, offer it."""
        return self.carrier.commands(now)

    def take(self, replies: Sequence[Reply], now: Micros) -> None:
        """What is whole now."""
        self.found += self.carrier.take(replies, now)

    def lost(self) -> None:
        """All is asked again."""
        self.carrier.lost()
