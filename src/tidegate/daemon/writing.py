"""Lines that we write ourselves: findings as blocks for the pipeline, kept for `why`.

Touches what `register` touches. Offsets begin anew with each life, and so does the origin.
Limits: not re-readable; the last 16 MiB are kept, and nothing is known of a line after a restart.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from tidegate.evidence.finding import Finding, line
from tidegate.model import Block, Micros, Origin, Position
from tidegate.source.origins import Origins
from tidegate.source.port import Register
from tidegate.source.stream import Ring


class Writing:
    """A source that writes its lines itself. `what`: where it hears of things; `findings`: lines so
    far."""

    def __init__(self, name: str, what: str, register: Register | None) -> None:
        self.name = name
        self.findings = 0
        self._what = what
        self._origins = Origins(name, register)
        self._identity = f"{what}:{time.time_ns()}"
        self._origin = 0
        self._ring = Ring()
        self._offset = 0

    def written(self, found: Sequence[Finding], now: Micros) -> list[Block]:
        """A line for each of these; [] where there are none."""
        if not found:
            return []
        data = "".join(f"{line(one)}\n" for one in found).encode("utf-8", "backslashreplace")
        if not self._origin:
            self._origin = self._origins.number(self._what, self._identity, rereadable=False)
        block = Block(self.name, data, self._offset, now, self._origin)
        self._ring.add(self._offset, data)
        self._offset += len(data)
        self.findings += len(found)
        return [block]

    def positions(self) -> list[Position]:
        """None: what was heard is not said again."""
        return []

    def origins(self) -> list[Origin]:
        """Itself, once there was a line."""
        return self._origins.all()

    def fetch(self, origin: int, offset: int) -> bytes | None:
        """The line that starts there; None if it left the ring, or is of another life."""
        if not origin or origin != self._origin:
            return None
        return self._ring.line(offset)
