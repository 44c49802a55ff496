"""A host of a fleet as far as decisions go: it says, hears, merges and offers again.

Touches the engine it is given. Limits: signatures are blank; who may be believed is tested elsewhere.
"""

from __future__ import annotations

from tidegate.errors import FleetError
from tidegate.fleet import wire
from tidegate.fleet.decisions import saying
from tidegate.fleet.decisions.decisions import Decisions, Entry
from tidegate.fleet.decisions.listener import Listener
from tidegate.fleet.decisions.offers import Offers
from tidegate.fleet.decisions.stream import Parcel, identity
from tidegate.fleet.engine.connection import Connection
from tidegate.model import MINUTE, SECOND, Subject

NOW = 1_755_000_000 * SECOND
FLEET = b"a fleet of tests"


def sealed(host: str, number: int, *entries: Entry) -> bytes:
    (body,) = saying.bodies([saying.identify(host, one) for one in entries])
    message = wire.Message(wire.Kind.DECISIONS, host, number, NOW, body)
    return wire.seal(message, FLEET, lambda _data: bytes(64))


class Host:
    """Reads and writes by one connection, in exchanges; `now` is what it is told."""

    def __init__(self, name: str, connection: Connection | None, *, hosts: int = 3) -> None:
        self.name, self.connection, self.hosts = name, connection, hosts
        self.decisions, self.listener, self.offers = Decisions(), Listener(), Offers(name)
        self.now, self.number = NOW, 0
        self.heard = 0
        self.said: list[bytes] = []
        self.stale, self.trouble = False, ""

    def say(self, *entries: Entry) -> None:
        self.number += 1
        body = sealed(self.name, self.number, *entries)
        self.said.append(body)
        self.offers.say(self._read(body))

    def ban(self, address: str, minutes: int = 30, **more: object) -> None:
        self.say(Entry("", "ban", "", self.now, Subject(address), until=self.now + minutes * MINUTE,
                       rule="ssh", **more))  # fmt: skip

    def unban(self, address: str) -> None:
        time = self.decisions.outranking(Subject(address), self.now)
        self.say(Entry("", "unban", "", time, Subject(address), by="anna"))

    def reconnect(self, connection: Connection | None) -> None:
        if self.connection is not None:
            self.connection.close()
        self.connection = connection
        self.listener.reconnected()
        self.offers.lost()

    def exchange(self, *, lose: str = "") -> bool:
        """Once; whether there is more. `lose`: the `reply`, or all from the `command` on."""
        hearing = self.listener.commands(self.now)
        commands = hearing + self.offers.commands()
        if self.connection is None or lose == "command":
            self.offers.lost()
            self.listener.reconnected()
            return False
        try:
            replies = self.connection.call(commands, 30)
        except FleetError:
            self.reconnect(None)
            return False
        if lose == "reply":
            self.offers.lost()
            self.listener.reconnected()
            return True
        heard = self.listener.take(replies[: len(hearing)])
        self.stale, self.trouble = heard.stale, heard.trouble
        for body in heard.bodies:
            if identity(body) not in self.offers:
                self.offers.hold(self._read(body))
        if heard.moved:
            self.offers.moved(self.hosts, self.now)
        self.offers.take(replies[len(hearing) :])
        return heard.behind

    def settle(self) -> None:
        """Until there is nothing more to hear or to say; at most what a minute of exchanges does."""
        for _ in range(300):
            behind = self.exchange()
            if not behind and not self.offers.unsaid and not self.offers.commands():
                return
        raise AssertionError(f"{self.name} never settles")

    @property
    def closed(self) -> set[str]:
        return {str(one.subject) for one in self.decisions.standing(self.now)}

    def _read(self, body: bytes) -> Parcel:
        self.heard += 1
        found = wire.unseal(body, FLEET)
        entries = saying.decode(found.message.host, found.message.body)
        self.decisions.hear(entries, self.now)
        until = max(self.decisions.limits.end(one) for one in entries)
        return Parcel.of(body, until)
