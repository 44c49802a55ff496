"""The numbers of the files that one source's lines come from.

Touches only what `register` touches. A ledger that can't be written just now (full disk) stops no
line: the block goes out with number 0 and the next one asks again. Limits: 0 can't be fetched.
"""

from __future__ import annotations

from collections.abc import Iterable

from tidegate.errors import WorldError
from tidegate.model import Origin
from tidegate.source.memory import Numbering
from tidegate.source.port import Register


class Origins:
    """The origins known to one source: those of earlier runs as given, and those it registers."""

    def __init__(
        self, source: str, register: Register | None, known: Iterable[Origin] = ()
    ) -> None:
        self._register = register or Numbering(source)
        self._known = {each.number: each for each in known if each.source == source}

    def number(self, path: str, identity: str, *, rereadable: bool) -> int:
        """Its number; 0 while the ledger refuses."""
        try:
            origin = self._register(path, identity, rereadable)
        except WorldError:
            return 0
        self._known[origin.number] = origin
        return origin.number

    def get(self, number: int) -> Origin | None:
        """The origin with that number, if it is one of this source's."""
        return self._known.get(number)

    def all(self) -> list[Origin]:
        """Every origin known, the oldest first."""
        return list(self._known.values())
