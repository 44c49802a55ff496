"""In-memory twins: numbers for origins without a ledger, and a source that hands over given bytes.

Touches nothing. For tests, for `replay` and `detect`, which keep no ledger.
Limits: numbers start at 1 and live as long as the object.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tidegate.model import Block, Micros, Origin, Position
from tidegate.source.port import Health


class Numbering:
    """Numbers origins in the order they are first seen; the default where no ledger is given."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.origins: dict[tuple[str, str], Origin] = {}

    def __call__(self, path: str, identity: str, rereadable: bool) -> Origin:
        """The origin of this path and identity, with a new number the first time."""
        found = self.origins.get((path, identity))
        if found is None:
            number = len(self.origins) + 1
            found = Origin(number, self.source, path, identity, rereadable)
            self.origins[path, identity] = found
        return found


class MemorySource:
    """A source made of the given chunks of whole lines, handed over one a read."""

    def __init__(self, name: str, chunks: Iterable[bytes] = ()) -> None:
        self.name = name
        self._chunks = list(chunks)
        self._told = bytearray()
        self._read: Micros = 0
        self._origin = Origin(1, name, "memory", "memory", rereadable=True)

    def write(self, data: bytes) -> None:
        """Have these whole lines handed over by a later read."""
        self._chunks.append(data)

    def fds(self) -> Sequence[int]:
        """None: it is read at ticks."""
        return ()

    def read(self, now: Micros) -> list[Block]:
        """The next chunk."""
        if not self._chunks:
            return []
        data = self._chunks.pop(0)
        offset = len(self._told)
        self._told += data
        self._read = now
        return [Block(self.name, data, offset, now, self._origin.number)]

    @property
    def more(self) -> bool:
        """Whether a chunk is left."""
        return bool(self._chunks)

    def positions(self) -> list[Position]:
        """How far the chunks were handed over."""
        return [Position(self.name, "memory", "memory", len(self._told))]

    def origins(self) -> list[Origin]:
        """The one origin."""
        return [self._origin]

    def fetch(self, origin: int, offset: int) -> bytes | None:
        """The line at that offset of what was handed over."""
        if origin != self._origin.number or not 0 <= offset < len(self._told):
            return None
        return bytes(self._told[offset:].partition(b"\n")[0])

    def health(self) -> Health:
        """Always well."""
        return Health("ok", "", sum(map(len, self._chunks)), self._read)

    def close(self) -> None:
        """Nothing to give back."""
