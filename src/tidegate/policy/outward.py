"""What the administrator says of traffic that leaves: caps, filters, owners, as frozen values.

Touches nothing. Spans in microseconds, lengths in bytes. Read by `outwardreader` from `[outward]`,
`[outward.filter.NAME]` and `[owner.NAME]`. Limits: plain values without behaviour.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tidegate.model import SECOND, Micros, Mode, Subject


@dataclass(frozen=True, slots=True)
class Rate:
    """So many packets in a span, and so many at once."""

    packets: int
    per: Micros
    burst: int


@dataclass(frozen=True, slots=True)
class Filter:
    """Packets that are a worm's by protocol, port and length alone: dropped in both directions.
    `length` is the IP packet's, header included (0: any)."""

    name: str
    protocol: Literal["udp", "tcp"]
    port: int
    length: int = 0


@dataclass(frozen=True, slots=True)
class OutwardSpec:
    """What may leave, per source.

    Sources: with `uids` each user of this host by itself (`uid:33`); each address of `networks`
    (IPv6: each /64), each of `customers` as a whole, and each of `interfaces` (`interface:lan0`) of
    what is forwarded. `destinations`: so many that have not answered yet may be tried at once; one
    is forgotten after `remember`. `busy` are left alone (MX, resolvers, monitors, crawlers).
    `irc`: whoever speaks IRC is told of. `mode` "observe": counted and told, nothing is dropped.
    `stop`: what is done, while a user is cut off, to programs of theirs that run from where
    everybody may write.
    """

    mode: Mode = "enforce"
    uids: bool = False
    networks: tuple[Subject, ...] = ()
    customers: tuple[Subject, ...] = ()
    interfaces: tuple[str, ...] = ()
    destinations: int = 10
    remember: Micros = 10 * SECOND
    syn: Rate | None = Rate(50, SECOND, 200)
    udp: Rate | None = Rate(100, SECOND, 400)
    smtp: Rate | None = Rate(20, 60 * SECOND, 40)
    busy: tuple[Subject, ...] = ()
    irc: bool = True
    stop: Literal["never", "throttle", "freeze"] = "never"
    filters: tuple[Filter, ...] = ()


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose addresses, users and web hosts these are, and by which notices (`[notify.NAME]`) that
    person is told when they are cut, warned or let back. Never taken from a log."""

    name: str
    addresses: tuple[Subject, ...] = ()
    uids: tuple[int, ...] = ()
    vhosts: tuple[str, ...] = ()
    notify: tuple[str, ...] = ()
