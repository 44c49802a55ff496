"""What replies of the engine say of their own size and kind, before anybody makes room for that.

Touches nothing. `hiredis` takes them apart; but a list of 2,147,483,647 takes 16 GiB there at once.
Limits: RESP2 and RESP3; what is inside of texts is passed over; a list has fewer than `_ROWS`
parts, a line `_LONGEST` bytes at most.
"""

from __future__ import annotations

import re

from tidegate.errors import FleetError

MOST = 16 << 20
"""Bytes of a text, and of a reply."""
_ROWS = 1 << 20
_LONGEST = 1 << 16
_LISTS = frozenset((b"*", b"%", b"~", b">", b"|"))
_TEXTS = frozenset((b"$", b"=", b"!"))
_PLAIN = frozenset((b"+", b"-", b":", b"_", b",", b"#", b"("))
_NUMBER = re.compile(rb"-?\d{1,10}", re.ASCII)


class Heads:
    """Passes by what comes, in whatever pieces. FleetError where it says what no engine does."""

    def __init__(self) -> None:
        self._line = b""
        self._inside = 0  # bytes of a text that are still to come

    def pass_by(self, data: bytes) -> None:
        """These bytes come next."""
        if self._line:
            data, self._line = self._line + data, b""
        at, size = 0, len(data)
        while at < size:
            if self._inside:
                passed = min(self._inside, size - at)
                self._inside -= passed
                at += passed
                continue
            end = data.find(b"\r\n", at)
            if end < 0:
                self._line = data[at:]
                break
            self._look(data[at : at + 1], data[at + 1 : end])
            at = end + 2
        if len(self._line) > _LONGEST:
            raise FleetError(f"the engine says a line of more than {_LONGEST >> 10} KiB")

    def _look(self, kind: bytes, rest: bytes) -> None:
        if kind in _LISTS or kind in _TEXTS:
            number = int(rest) if _NUMBER.fullmatch(rest) else MOST
            if number >= (MOST if kind in _TEXTS else _ROWS):
                raise FleetError(f"the engine says more than {MOST >> 20} MiB at once")
            self._inside = number + 2 if kind in _TEXTS and number >= 0 else 0
        elif kind not in _PLAIN:
            raise FleetError(
                "the engine does not speak as Redis does: a kind of reply nobody knows"
            )
