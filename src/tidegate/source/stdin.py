"""Standard input as a source: lines that another program pipes in.

Touches one descriptor, and never its blocking mode, which is shared with whoever gave it to us.
Limits: not re-readable (the last 16 MiB are kept), and nothing is known of it after a restart.
"""

from __future__ import annotations

import os
import select
from collections.abc import Sequence

from tidegate.model import Block, Micros, Origin, Position
from tidegate.source.origins import Origins
from tidegate.source.port import MAX_BLOCK, Health, Register
from tidegate.source.stream import LineCutter, Ring

MAX_READ = 8 << 20


class StdinSource:
    """Reads a pipe to its end; `ended` is true from then on."""

    def __init__(self, name: str, *, register: Register | None = None, descriptor: int = 0) -> None:
        self.name = name
        self.more = False
        self.ended = False
        self._descriptor = descriptor
        self._origins = Origins(name, register)
        self._origin = 0
        self._cutter = LineCutter()
        self._ring = Ring()
        self._problem = ""
        self._read: Micros = 0

    def fds(self) -> Sequence[int]:
        """The descriptor, until its end."""
        return () if self.ended else (self._descriptor,)

    def read(self, now: Micros) -> list[Block]:
        """The lines that came since, at most about 8 MiB."""
        blocks: list[Block] = []
        room = MAX_READ
        while not self.ended and room > 0 and self._ready():
            chunk = self._chunk()
            self.ended = not chunk
            for piece in self._cutter.feed(chunk) if chunk else self._cutter.finish():
                self._ring.add(*piece)
                blocks.append(Block(self.name, piece.data, piece.offset, now, self._number()))
                room -= len(piece.data)
        self.more = room <= 0
        if blocks:
            self._read = now
        return blocks

    def _ready(self) -> bool:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        return bool(poll.poll(0))

    def _chunk(self) -> bytes:
        """What is there; b"" at the end."""
        try:
            return os.read(self._descriptor, MAX_BLOCK)
        except OSError as error:
            self._problem = f"standard input: {error.strerror or error}"
            return b""

    def _number(self) -> int:
        if not self._origin:
            self._origin = self._origins.number("stdin", "stdin", rereadable=False)
        return self._origin

    @property
    def cut_lines(self) -> int:
        """Lines longer than 1 MiB that were cut."""
        return self._cutter.cut_lines

    def positions(self) -> list[Position]:
        """None: a pipe can't be gone back to."""
        return []

    def origins(self) -> list[Origin]:
        """The pipe, once something was read from it."""
        return self._origins.all()

    def fetch(self, origin: int, offset: int) -> bytes | None:
        """The line that starts there, at most 32 KiB; None if it left the ring."""
        if not origin or origin != self._origin:
            return None
        return self._ring.line(offset)

    def health(self) -> Health:
        """Degraded after a read error; waiting once the other end has closed."""
        if self._problem:
            return Health("degraded", self._problem, 0, self._read)
        if self.ended:
            return Health("waiting", "standard input has ended", 0, self._read)
        return Health("ok" if self._read else "waiting", "", 0, self._read)

    def close(self) -> None:
        """Nothing to give back: the descriptor is not ours."""
        self.ended = True
