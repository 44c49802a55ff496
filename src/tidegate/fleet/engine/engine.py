"""The engine, whichever server leads it just now: connections to it, made and made again.

Touches sockets. Waits until a deadline where it has to connect, or to ask who leads.
Limits: what was on the way when a connection breaks may be done or not: whoever asked, asks again.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TypeVar

from tidegate.errors import FleetError
from tidegate.fleet.counting.functions import Command
from tidegate.fleet.engine import topology
from tidegate.fleet.engine.connection import Address, Connection, Login, connect
from tidegate.fleet.engine.topology import Range, Route
from tidegate.frames import Malformed

T = TypeVar("T")


class Engine:
    """`login` is ours at the engine, `sentinels` at sentinels, which often ask for none."""

    def __init__(
        self, route: Route, login: Login, timeout: float, sentinels: Login | None = None
    ) -> None:
        self._route, self._login, self._timeout = route, login, timeout
        self._sentinels = sentinels or Login()
        self._open: dict[Address, Connection] = {}
        self._ranges: tuple[Range, ...] = ()
        self._primary: Address | None = None

    @property
    def is_one(self) -> bool:
        """Whether one server leads all keys."""
        return self._route.kind != "cluster"

    def twin(self) -> Engine:
        """The same, with connections of its own."""
        return Engine(self._route, self._login, self._timeout, self._sentinels)

    def close(self) -> None:
        """End all connections."""
        for one in self._open.values():
            one.close()
        self._open.clear()

    def primary(self, key: str) -> Address:
        """The server that leads a key; asks where it is not known. FleetError: nobody does."""
        if self._route.kind == "cluster":
            found = topology.led_by(self._ranges or self._learn_slots(), topology.slot(key))
        else:
            found = self._primary or self._learn_primary()
        if found is None:
            raise FleetError(f"nobody leads the slot of {key!r}: is the cluster whole?")
        return found

    def connection(self, key: str) -> Connection:
        """A connection to the server that leads a key. FleetError where there is none."""
        where = self.primary(key)
        found = self._open.get(where)
        if found is None or found.fileno() < 0:
            found = self._open[where] = connect(where, self._login, self._timeout)
        return found

    def open(self, key: str) -> Connection | None:
        """The connection to the server that leads a key, where it is known and there is one."""
        if self._route.kind == "cluster":
            where = topology.led_by(self._ranges, topology.slot(key))
        else:
            where = self._primary
        found = None if where is None else self._open.get(where)
        return None if found is None or found.fileno() < 0 else found

    def copy(self, key: str) -> Connection:
        """A new connection to one that has a copy of a key's data, to read there. Whoever leads it
        is asked who that is. FleetError where there is none. For another thread than all else."""
        where = self.twin().primary(key)
        asked = connect(where, self._login, self._timeout)
        try:
            (reply,) = asked.call([topology.COPIES_COMMAND], self._timeout)
        finally:
            asked.close()
        copies = topology.read_copies(reply, where)
        if not copies:
            raise FleetError(f"engine {where} has no copies: decisions are read from it itself")
        made = connect(random.choice(copies), self._login, self._timeout)  # noqa: S311 - no secret
        if self._route.kind == "cluster":
            made.call([("READONLY",)], self._timeout)
        return made

    def peers(self) -> set[str]:
        """The addresses of servers that are connected."""
        return {peer for one in self._open.values() if (peer := one.peer)}

    def where(self) -> str:
        """Where it is, to be shown: who leads, as far as it is known."""
        if self._primary is not None:
            return str(self._primary)
        return " ".join(str(one) for one in self._route.seeds)

    def renew(self) -> None:
        """Ask anew who leads, while what is open goes on. FleetError where nobody can say."""
        if self._route.kind == "cluster":
            self._learn_slots()
        else:
            self._learn_primary()

    def call(self, key: str, commands: Sequence[Command]) -> list[object]:
        """Ask whoever leads a key; once more where all of it was refused since another does."""
        for last in (False, True):
            try:
                replies = self.connection(key).call(commands, self._timeout)
            except FleetError:
                self.forget()
                raise
            if not any(map(topology.elsewhere, replies)):
                return replies
            self.forget()
            if last or not all(map(topology.elsewhere, replies)):
                return replies
        raise AssertionError("unreachable")

    def forget(self) -> None:
        """Ask anew who leads; call it when a connection broke or a server says it is another."""
        self.close()
        self._ranges, self._primary = (), None

    def _learn_primary(self) -> Address:
        if self._route.kind == "single":
            self._primary = self._route.seeds[0]
            return self._primary
        command = topology.primary_command(self._route.name)
        found = self._ask_seeds(command, self._sentinels, topology.read_primary)
        if found is None:
            raise FleetError(f"no sentinel knows who leads {self._route.name!r}: is that its name?")
        self._primary = found
        return found

    def _learn_slots(self) -> tuple[Range, ...]:
        found = self._ask_seeds(topology.SLOTS_COMMAND, self._login, topology.read_slots)
        if not found:
            raise FleetError("no server of the cluster says who leads its slots")
        self._ranges = found
        return found

    def _ask_seeds(
        self, command: Command, login: Login, read: Callable[[object, Address], T | None]
    ) -> T | None:
        """What the first seed says that has something to say; None if all answer and none has."""
        failed: FleetError | None = None
        for seed in self._route.seeds:
            try:
                asked = connect(seed, login, self._timeout)
                (reply,) = asked.call([command], self._timeout)
                asked.close()
                found = read(reply, seed)
            except FleetError as error:
                failed = failed or error
            except Malformed as error:
                failed = failed or FleetError(f"engine {seed} says {error}")
            else:
                if found:
                    return found
        if failed is not None:
            raise failed
        return None
