"""What goes between the desk and a host that wants to join, and what the desk says to all.

Touches the engine it is given, and waits as long as that does. Limits: the engine carries, and is
not believed: a host takes only a certificate by the desk that its token names, over its own key. An
engine, and whoever may write to it, can keep a host waiting, and no more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from tidegate.errors import FleetError
from tidegate.fleet import wire
from tidegate.fleet.counting import functions
from tidegate.fleet.counting.functions import Command
from tidegate.fleet.decisions import stream
from tidegate.fleet.decisions.stream import HELD, Parcel, identity
from tidegate.fleet.engine.connection import Refused
from tidegate.fleet.engine.engine import Engine
from tidegate.fleet.fields import Malformed
from tidegate.fleet.reports import HOSTS
from tidegate.fleet.trust import keys, members
from tidegate.fleet.trust.desk import Written
from tidegate.fleet.trust.keys import Signer, Token
from tidegate.fleet.trust.members import DESK, LASTING, Certificate, Join
from tidegate.fleet.wire import Kind, Message, Sealed
from tidegate.model import HOUR, Micros, Subject

JOINS = b"{tg:decisions}:joins"
"""Hash: a host's name, and its request to join."""
WELCOME = b"{tg:decisions}:welcome"
"""Hash: a host's name, and its certificate, for it to fetch."""
_KEY = stream.STREAM.decode()  # all of these are in one slot
_LIVES = b"%d" % (HOUR // 1000)
_MOST = 1024  # bytes of a request or a certificate
_AT_ONCE = 200

T = TypeVar("T")


class Post:
    """The engine, as the desk and who wants to join use it. Everything may raise FleetError."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def ask(self, *commands: Command) -> list[object]:
        """The replies; a refused command is an error that says who has to allow it."""
        replies = self._engine.call(_KEY, commands) if commands else []
        for command, reply in zip(commands, replies, strict=True):
            if isinstance(reply, Refused):
                raise FleetError(f"the engine refuses {_name(command)}: {reply}{_advice(reply)}")
        return replies

    def time(self) -> Micros:
        """The engine's clock."""
        match self.ask(("TIME",)):
            case [[bytes() as seconds, bytes() as micros]]:
                return int(seconds) * 1_000_000 + int(micros)
        raise FleetError("the engine does not say what time it is")

    def publish(self, written: Written) -> None:
        """Say a paper to all hosts, and keep it for those who come later; what it takes the place
        of goes."""
        self._say([written.paper])
        ids = [identity(one) for one in written.instead]
        for some in _parts(ids):
            self.ask(("HDEL", HELD, *some), ("ZREM", stream.ENDS, *some))

    def forget(self, hosts: Iterable[str]) -> None:
        """What these reported of themselves is of no interest any more."""
        for some in _parts(list(hosts)):
            self.ask(("HDEL", HOSTS, *some))

    def complete(self, papers: Sequence[bytes]) -> int:
        """Say what the engine lacks of these; how many those were."""
        lacking = []
        for some in _parts(papers):
            sizes = self.ask(*[("HSTRLEN", HELD, identity(one)) for one in some])
            lacking += [one for one, size in zip(some, sizes, strict=True) if size != len(one)]
        self._say(lacking)
        return len(lacking)

    def request(self, host: str, request: bytes) -> None:
        """Ask the desk to be enrolled; said again every second, as others may write there too."""
        self.ask(("HSET", JOINS, host, request), ("PEXPIRE", JOINS, _LIVES))

    def requests(self, hosts: Iterable[str]) -> dict[str, bytes]:
        """What those of these hosts ask that ask anything."""
        return dict(self._small(JOINS, list(hosts)))

    def welcome(self, host: str, paper: bytes) -> None:
        """Give a host its certificate; its request is answered."""
        self.ask(
            ("HSET", WELCOME, host, paper), ("PEXPIRE", WELCOME, _LIVES), ("HDEL", JOINS, host)
        )

    def welcomed(self, host: str) -> bytes | None:
        """What lies there for a host, from whomever."""
        return dict(self._small(WELCOME, [host])).get(host)

    def _say(self, papers: Sequence[bytes]) -> None:
        for paper in papers:
            replies = self._engine.call(_KEY, stream.say(Parcel.of(paper, LASTING)))
            if not stream.was_said(replies):
                why = next((one for one in replies if isinstance(one, Refused)), None)
                raise FleetError(f"the engine does not take papers: {why}{_advice(why)}")

    def _small(self, key: bytes, hosts: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        for some in _parts(hosts):
            sizes = self.ask(*[("HSTRLEN", key, host) for host in some])
            fitting = [
                host for host, size in zip(some, sizes, strict=True)
                if isinstance(size, int) and 0 < size <= _MOST
            ]  # fmt: skip
            for host, found in zip(
                fitting, self.ask(*[("HGET", key, host) for host in fitting]), strict=True
            ):
                if isinstance(found, bytes):
                    yield host, found


def join_request(
    token: Token, signer: Signer, addresses: tuple[Subject, ...], now: Micros
) -> bytes:
    """What a host says to be enrolled with its token."""
    proof = members.join_proof(token.secret, token.fleet, token.host, signer.public)
    body = members.encode_join(Join(signer.public, proof, addresses))
    return wire.seal(Message(Kind.JOIN, token.host, 1, now, body), token.fleet, signer.sign)


def read_request(data: bytes, fleet: bytes, host: str) -> Sealed | None:
    """A request of this host, not judged yet; None where it is none."""
    try:
        sealed = wire.unseal(data, fleet)
    except Malformed:
        return None
    fits = sealed.message.kind is Kind.JOIN and sealed.message.host == host
    return sealed if fits else None


def read_welcome(data: bytes | None, token: Token, key: bytes) -> Certificate | None:
    """Our certificate, by the desk that our token names; None where it is anything else."""
    try:
        sealed = wire.unseal(data or b"", token.fleet)
        if sealed.message.kind is not Kind.CERTIFICATE or sealed.message.host != DESK:
            return None
        found = members.decode_certificate(sealed.message.body)
    except Malformed:
        return None
    if (found.host, found.key) != (token.host, key):
        return None
    return found if keys.verify(token.desk, sealed.signed, sealed.signature) else None


def load_functions(engine: Engine) -> int | Refused:
    """Put the functions into every server that leads some of our keys; how many those are, or why
    we may not."""
    done = set()
    for shard in range(functions.SHARDS):
        key = functions.waiting_key(shard)
        where = engine.primary(key)
        if where in done:
            continue
        (reply,) = engine.call(key, [functions.load_command()])
        if isinstance(reply, Refused):
            if reply.code == "NOPERM":
                return reply
            raise FleetError(f"engine {where} does not take our functions: {reply}")
        done.add(where)
    return len(done)


def has_functions(engine: Engine) -> bool:
    """Whether somebody has loaded them."""
    (reply,) = engine.call(functions.waiting_key(0), [functions.due_command([0])])
    return isinstance(reply, bytes)


def _parts(things: Sequence[T]) -> Iterator[Sequence[T]]:
    for at in range(0, len(things), _AT_ONCE):
        yield things[at : at + _AT_ONCE]


def _name(command: Command) -> str:
    return str(command[0])


def _advice(reply: Refused | None) -> str:
    code = reply.code if reply is not None else ""
    if code == "NOAUTH":
        return "; say who we are: user and password-file"
    if code == "NOPERM":
        return "; give that user the rights in packaging/fleet/tidegate.acl"
    return ""
