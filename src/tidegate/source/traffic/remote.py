"""The watcher's end of the conversation with the meter: frames in, contacts and cuts out.

Touches one socket, and never waits but for one second where the meter does not take a frame.
Limits: what the meter says is looked at as if it were a stranger's; what is odd is left out.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeGuard, TypeVar, get_args

from tidegate.errors import SourceError
from tidegate.frames import Channel, Closed, Frame, Malformed
from tidegate.model import Subject
from tidegate.source.traffic.port import Counted, Heard, MeterHealth
from tidegate.text import printable
from tidegate.traffic import Contact, Cut, Outcome

GONE = "the meter is gone: what leaves is not watched until it is back; the caps hold"

_PATIENCE = 1.0
_LARGEST = 1 << 60
_LONGEST = 400
_MOST_SHOWN = 8
_OUTCOMES = frozenset(get_args(Outcome))

Row = TypeVar("Row")


class RemoteTraffic:
    """Traffic behind a meter. `take` and `reload` raise SourceError where that is gone."""

    def __init__(self, connection: socket.socket) -> None:
        self._channel = Channel(connection)
        self.health = MeterHealth()
        self.trouble = ""

    def fileno(self) -> int:
        """Readable when something has arrived, or the meter has gone."""
        return self._channel.fileno()

    def take(self) -> Heard:
        """What has arrived since last asked, as far as it was taken in with one reading."""
        contacts: list[Contact] = []
        cuts: list[Cut] = []
        handshakes: list[Counted] = []
        try:
            self._channel.fill()
            while (frame := self._channel.next()) is not None:
                if frame["type"] == "traffic":
                    contacts += _rows(frame.get("contacts"), _contact)
                    cuts += _rows(frame.get("cuts"), _cut)
                    handshakes += _rows(frame.get("handshakes"), _counted)
                else:
                    self._hear(frame)
        except (Closed, Malformed, OSError) as error:
            raise SourceError(GONE) from error
        return Heard(contacts, cuts, handshakes)

    def reload(self) -> None:
        """Have the meter read the policy again."""
        self.trouble = ""
        try:
            self._channel.send({"type": "reload"}, _PATIENCE)
        except (Closed, OSError) as error:  # TimeoutError is one
            raise SourceError(GONE) from error

    def _hear(self, frame: Frame) -> None:
        if frame["type"] == "health":
            self.health = _health(frame)
        elif frame["type"] == "error":
            self.trouble = _text(frame.get("reason"))


def _rows(rows: Any, read: Callable[[list[Any]], Row | None]) -> list[Row]:
    """Those rows that are what they should be."""
    if not isinstance(rows, list):
        return []
    return [one for row in rows if isinstance(row, list) and (one := read(row)) is not None]


def _contact(row: list[Any]) -> Contact | None:
    if len(row) != 6:
        return None
    time, source, destination, protocol, port, outcome = row
    if not (_number(time) and _number(protocol) and _number(port)):
        return None
    if not (isinstance(source, str) and isinstance(destination, str)):
        return None
    if not isinstance(outcome, str) or outcome not in _OUTCOMES:
        return None
    return Contact(*row)


def _cut(row: list[Any]) -> Cut | None:
    if len(row) != 7:
        return None
    time, source, what, packets, span, destinations, by = row
    if not (_number(time) and _number(packets) and _number(span)):
        return None
    if not all(isinstance(one, str) for one in (source, what, by)):
        return None
    if not isinstance(destinations, list):
        return None
    shown = tuple(_text(one) for one in destinations[:_MOST_SHOWN])
    return Cut(time, Subject(source), what, packets, span, shown, _text(by))


def _counted(row: list[Any]) -> Counted | None:
    return Counted(*row) if len(row) == 4 and all(map(_number, row)) else None


def _health(frame: Frame) -> MeterHealth:
    troubles = frame.get("troubles")
    told: dict[str, Any] = {
        "troubles": tuple(map(_text, troubles[:8])) if isinstance(troubles, list) else ()
    }
    for one in fields(MeterHealth):
        value = frame.get(one.name)
        if one.name in ("share", "cost") and isinstance(value, int | float):
            told[one.name] = min(max(0.0, float(value)), 1e6)
        elif one.name not in told and _number(value):
            told[one.name] = value
    return MeterHealth(**told)


def _number(part: object) -> TypeGuard[int]:
    return isinstance(part, int) and not isinstance(part, bool) and 0 <= part <= _LARGEST


def _text(part: object) -> str:
    return printable(str(part)[:_LONGEST])
