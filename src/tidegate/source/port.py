"""What every source is: something that hands over blocks of whole lines and remembers its place.

Touches nothing itself. A source never blocks, never raises for a missing file (it is degraded and
recovers), never skips a line and never hands one over twice. Limits: blocks of about 1 MiB.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, Protocol

from tidegate.model import Block, Micros, Origin, Position

MAX_BLOCK = 1 << 20

Register = Callable[[str, str, bool], Origin]
"""Numbers a file: (path, identity, rereadable) → Origin. The ledger supplies it."""


class Health(NamedTuple):
    """How a source is: `state`, one line of detail, bytes not yet read, time of its last line."""

    state: Literal["ok", "waiting", "degraded"]
    detail: str
    lag: int
    last_read: Micros


class Source(Protocol):
    """A named place that lines come from.

    The loop watches `fds()` for readability (they may change after each `read`), calls `read`
    when one is ready and at every tick, and hands `positions()` to the ledger at checkpoints.
    """

    name: str

    def fds(self) -> Sequence[int]:
        """Descriptors that become readable when there may be something to read."""

    def read(self, now: Micros) -> list[Block]:
        """The next blocks, at most about 8 MiB together; [] when there is nothing new.

        Whole lines only; a last line without newline waits. When more is at hand than was
        returned, `more` is true afterwards.
        """

    @property
    def more(self) -> bool:
        """Whether `read` would return more at once, without waiting."""

    def positions(self) -> list[Position]:
        """Where to read on after everything that `read` has returned."""

    def origins(self) -> list[Origin]:
        """The files behind the origin numbers of the blocks handed over so far."""

    def fetch(self, origin: int, offset: int) -> bytes | None:
        """The line at that place, without newline, at most 32 KiB; None if it is gone."""

    def health(self) -> Health:
        """How this source is doing."""

    def close(self) -> None:
        """Give every descriptor and child process back."""
