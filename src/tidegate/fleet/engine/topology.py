"""Which server leads: one engine, one that sentinels watch, or a cluster with its slots.

Touches nothing: gives commands and reads their replies. Limits: servers that are named by hosts and
ports as a cluster or a sentinel tells them; their word is taken, since a false one gains nothing.
"""

from __future__ import annotations

import contextlib
import re
from binascii import crc_hqx
from typing import Literal, NamedTuple

from tidegate.fleet.counting.functions import Command
from tidegate.fleet.engine.connection import Address, Refused
from tidegate.frames import Malformed

SLOTS = 16_384

Kind = Literal["single", "sentinel", "cluster"]


class Route(NamedTuple):
    """How the engine is reached: at one of `seeds`, in order; `name` is what sentinels call it."""

    kind: Kind
    seeds: tuple[Address, ...]
    name: str = ""


class Range(NamedTuple):
    """Slots from `first` to `last` are led by a server, and copied by others."""

    first: int
    last: int
    primary: Address
    replicas: tuple[Address, ...]


def slot(key: str) -> int:
    """The slot of a key: of what stands in its first braces, if anything does.

    Source: Redis cluster specification, "Hash tags"; CRC16 as of XMODEM.
    """
    _before, _brace, rest = key.partition("{")
    inner, brace, _after = rest.partition("}")
    return crc_hqx((inner if brace and inner else key).encode(), 0) % SLOTS


def primary_command(name: str) -> Command:
    """Ask a sentinel who leads."""
    return ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", name)


def read_primary(reply: object, like: Address) -> Address | None:
    """Who leads, as a sentinel says; None where it does not know. TLS as with the sentinel."""
    if reply is None or isinstance(reply, Refused):
        return None
    if not isinstance(reply, list) or len(reply) != 2:
        raise Malformed("a sentinel's answer that names nobody")
    return _address(reply[0], reply[1], like)


SLOTS_COMMAND: Command = ("CLUSTER", "SLOTS")


def read_slots(reply: object, like: Address) -> tuple[Range, ...]:
    """Who leads which slots. Malformed where it is no answer to `SLOTS_COMMAND`."""
    if isinstance(reply, Refused):
        raise Malformed(f"who leads: {reply}")
    if not isinstance(reply, list):
        raise Malformed("slots that are none")
    found = []
    for one in reply:
        match one:
            case [int() as first, int() as last, [*primary], *replicas]:
                others = tuple(_node(replica, like) for replica in replicas)
                found.append(Range(first, last, _node(primary, like), others))
            case _:
                raise Malformed("slots that are none")
    return tuple(found)


def led_by(ranges: tuple[Range, ...], number: int) -> Address | None:
    """Who leads a slot."""
    return next((one.primary for one in ranges if one.first <= number <= one.last), None)


COPIES_COMMAND: Command = ("INFO", "replication")
"""Ask a server who has copies of its data."""

_COPY = re.compile(rb"^slave\d+:ip=([^,\r\n]+),port=(\d+),state=online", re.MULTILINE)


def read_copies(reply: object, like: Address) -> tuple[Address, ...]:
    """Who has copies of a server's data and is up to date. TLS as with that server."""
    text = reply.encode() if isinstance(reply, str) else reply
    if not isinstance(text, bytes):
        return ()
    found = []
    for host, port in _COPY.findall(text):
        with contextlib.suppress(Malformed):
            found.append(_address(host, port, like))
    return tuple(found)


def elsewhere(reply: object) -> bool:
    """Whether a reply says that another server leads now, or will."""
    codes = ("MOVED", "READONLY", "CLUSTERDOWN", "MASTERDOWN", "TRYAGAIN", "ASK", "LOADING")
    return isinstance(reply, Refused) and reply.code in codes


def _node(node: object, like: Address) -> Address:
    if not isinstance(node, list) or len(node) < 2:
        raise Malformed("a server without an address")
    return _address(node[0] or like.host.encode(), node[1], like)


def _address(host: object, port: object, like: Address) -> Address:
    try:
        if not isinstance(host, bytes) or not isinstance(port, bytes | int):
            raise ValueError
        number, name = int(port), host.decode("ascii")
    except ValueError as error:
        raise Malformed("a server without an address") from error
    if not name or not 0 < number < 65_536:
        raise Malformed("a server without an address")
    return Address(host=name, port=number, tls=like.tls)
