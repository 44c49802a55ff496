"""Sessions: an event whose line names nobody is about whom another line of its connection names.

Touches nothing. A detector that "joins" has no address slot; one that "opens" tells whose the
connection is, one that "ends" tells it afterwards. Limits: 8,192 sessions, then the oldest is
forgotten and counted; ten minutes of the log's own time; nothing outlives the process.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from tidegate.model import MINUTE, Batch, Block, Event, Micros, Subject

SESSIONS = 8_192
WAITING = 8  # events that one session may hold back
_FRESH = 10 * MINUTE

Key = tuple[str, str, bytes, str]
_HOST = re.compile(
    rb"<[0-9]{1,3}>1 \S+ (?P<host>\S+) "  # RFC 5424
    rb"|(?:(?P<old>\S+) +)?(?:[a-z][a-z0-9]{1,8}\.[a-z]{3,7} +)?[^\s\[\]:]+\[[0-9]{1,10}\]"
)
_CLOCK = re.compile(rb"[\dT.,Z+-]*:[\d:.,Z+-]*")


@dataclass(slots=True)
class _Session:
    """What is known of one connection: whose it is, or what waits for that to be told."""

    time: Micros
    subject: Subject | None = None
    address: str = ""
    waiting: list[Event] = field(default_factory=list)


class Sessions:
    """Joins events of the same connection. `forgotten` counts sessions dropped for want of room."""

    def __init__(self, roles: Mapping[int, str], limit: int = SESSIONS) -> None:
        """`roles`: what the events of a kind do (by `id` of the kind): opens, ends or joins."""
        self._roles = roles
        self._limit = limit
        self._known: dict[Key, _Session] = {}
        self._threads: dict[str, int] = {}  # how many of them have that process id, whatever else
        self.forgotten = 0

    def join(self, batch: Batch, block: Block) -> None:
        """Complete the events that name nobody, now or when their connection ends; drop the rest.

        An event that had to wait stands at the line that told whose it is.
        """
        roles = self._roles
        if not any(id(event.kind) in roles for event in batch.events):
            return
        joined: list[Event] = []
        for event in batch.events:
            role = roles.get(id(event.kind))
            if role == "joins":
                joined += self._joins(event, block)
            else:
                joined.append(event)
                if role == "opens":
                    self._opens(event, block)
                elif role == "ends":
                    joined += self._ends(event, block)
        batch.events[:] = joined

    def take_over(self, old: Sessions) -> None:
        """Go on, before anything was read, with the connections that another one knows."""
        self._known |= old._known
        for thread, count in old._threads.items():
            self._threads[thread] = self._threads.get(thread, 0) + count
        self.forgotten += old.forgotten

    def _joins(self, event: Event, block: Block) -> list[Event]:
        if not event.session:
            return []
        session = self._at(_key(event, block), event.time)
        if session.subject is not None:
            return [_about(event, session.subject, session.address)]
        if len(session.waiting) < WAITING:
            session.waiting.append(event)
        return []

    def _opens(self, event: Event, block: Block) -> None:
        if event.session and event.subject:
            key = _key(event, block)
            self._forget(key)
            session = self._at(key, event.time)
            session.subject, session.address = event.subject, event.fields.get("addr", "")

    def _ends(self, event: Event, block: Block) -> list[Event]:
        if event.session not in self._threads:
            return []
        session = self._forget(_key(event, block))
        if session is None or not event.subject or not _fresh(session, event.time):
            return []
        address = event.fields.get("addr", "")
        return [
            _about(held, event.subject, address)._replace(
                time=event.time, offset=event.offset, length=event.length
            )
            for held in session.waiting
        ]

    def _at(self, key: Key, time: Micros) -> _Session:
        """The session of that key; a new one if there is none, or one too old to be the same."""
        session = self._known.get(key)
        if session is None or not _fresh(session, time):
            self._forget(key)
            if len(self._known) >= self._limit:
                self._forget(next(iter(self._known)))
                self.forgotten += 1
            session = self._known[key] = _Session(time)
            self._threads[key[3]] = self._threads.get(key[3], 0) + 1
        return session

    def _forget(self, key: Key) -> _Session | None:
        session = self._known.pop(key, None)
        if session is not None:
            self._threads[key[3]] -= 1
            if not self._threads[key[3]]:
                del self._threads[key[3]]
        return session


def _fresh(session: _Session, time: Micros) -> bool:
    return abs(time - session.time) <= _FRESH


def _about(event: Event, subject: Subject, address: str) -> Event:
    fields = {**event.fields, "addr": address} if address else event.fields
    return event._replace(subject=subject, fields=fields)


def _key(event: Event, block: Block) -> Key:
    """Process ids are each host's own, and one file may hold the lines of many hosts."""
    host = b""
    if block.framing == "lines":
        start = event.offset - block.offset
        found = _HOST.search(block.data, start, min(start + event.length, start + 256))
        named = (found["host"] or found["old"] or b"") if found else b""
        host = b"" if _CLOCK.fullmatch(named) else named
    return block.source, event.kind.pack, host, event.session
