"""The librarian: the process that verifies what the fleet has published, and keeps it on the shelf.

Touches the shelf's folder and the socket to the watcher. Frames in: `put` (`bundle`), `revoke`
(`paper`), `use` (`id`), `shelf`; each is answered by `shelf`: `books`, `current`, `why` ("": done).
Limits: whatever asks is believed nothing; a frame that makes no sense is answered with why.
"""

from __future__ import annotations

import base64
import binascii
import select
import socket
from typing import Any

from tidegate.errors import FleetError, WorldError
from tidegate.fleet.journal.course import Book
from tidegate.fleet.journal.shelf import Shelf
from tidegate.frames import Channel, Closed, Frame, Malformed
from tidegate.text import printable

GONE = "the librarian is gone: no published policy is taken until it is back; the one in use holds"
_PATIENCE = 10.0


def serve(connection: socket.socket, shelf: Shelf, host: str) -> None:
    """Keep the shelf for the watcher at the other end, until it is gone."""
    channel = Channel(connection)
    try:
        while True:
            _until_readable(channel)
            channel.fill()
            while (frame := channel.next()) is not None:
                channel.send(answer(frame, shelf, host), _PATIENCE)
    except (Closed, Malformed, TimeoutError):
        return
    finally:
        channel.close()


def _until_readable(channel: Channel) -> None:
    poll = select.poll()
    poll.register(channel.fileno(), select.POLLIN)
    poll.poll()


def answer(frame: Frame, shelf: Shelf, host: str) -> Frame:
    """What comes of a frame, and how the shelf of this host is then."""
    try:
        why = _do(frame, shelf)
        current, trouble = shelf.current()
        books = [list(Book.of(one, host)) for one in shelf.policies()]
    except WorldError as error:
        return {"type": "shelf", "books": [], "current": "", "why": str(error), "trouble": ""}
    used = current.id.hex() if current is not None else ""
    return {"type": "shelf", "books": books, "current": used, "why": why, "trouble": trouble}


def _do(frame: Frame, shelf: Shelf) -> str:
    kind = frame["type"]
    if kind == "put":
        return shelf.put(_bytes(frame.get("bundle")))
    if kind == "revoke":
        return shelf.revoke(_bytes(frame.get("paper")))
    if kind == "use" and isinstance(wanted := frame.get("id"), str):
        return shelf.use(wanted)
    return "" if kind == "shelf" else "a frame that makes no sense"


def _bytes(text: Any) -> bytes:
    try:
        return base64.b64decode(text, validate=True) if isinstance(text, str) else b""
    except (binascii.Error, ValueError):
        return b""


class Library:
    """The watcher's end of the conversation with the librarian; each method waits for its answer,
    which takes as long as a few signatures and one write. Raises FleetError where it is gone."""

    def __init__(self, connection: socket.socket) -> None:
        self._channel = Channel(connection)
        self.books: tuple[Book, ...] = ()
        self.current = ""
        self.trouble = ""

    def fileno(self) -> int:
        """Readable only when the librarian is gone."""
        return self._channel.fileno()

    def book(self, id: str = "") -> Book | None:  # noqa: A002 - the word of the field
        """The one of this id; without: the one in use."""
        return next((one for one in self.books if one.id == (id or self.current)), None)

    def look(self) -> str:
        """What is there."""
        return self._ask({"type": "shelf"})

    def put(self, bundle: bytes) -> str:
        """Have a policy judged and kept; why it is not, "" if it is."""
        return self._ask({"type": "put", "bundle": base64.b64encode(bundle).decode()})

    def revoke(self, paper: bytes) -> str:
        """Have the desk's list judged and kept; why it is not, "" if it is."""
        return self._ask({"type": "revoke", "paper": base64.b64encode(paper).decode()})

    def use(self, id: str) -> str:  # noqa: A002
        """Take this one from now on; why it can't be, "" if it is."""
        return self._ask({"type": "use", "id": id})

    def _ask(self, frame: Frame) -> str:
        try:
            self._channel.send(frame, _PATIENCE)
            told = self._channel.wait(_PATIENCE)
            books = tuple(Book(*row) for row in told["books"])
            self.books, self.current = books, str(told["current"])
            self.trouble = printable(str(told["trouble"]))
            return printable(str(told["why"]))
        except (Closed, Malformed, OSError, KeyError, TypeError, ValueError) as error:
            raise FleetError(GONE) from error  # TimeoutError is an OSError
