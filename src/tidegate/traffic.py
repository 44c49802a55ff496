"""What is seen of traffic: contacts with how they went, and what the kernel's caps kept back.

Touches nothing: plain values between those who listen to the kernel (or to routers) and the core.
Limits: addresses as canonical text, ports 0 where a protocol has none.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from tidegate.model import Micros, Subject

Outcome = Literal["tried", "answered", "refused", "unanswered", "unheard"]
"""`tried`: the first packet went out, and nothing came back at once; `refused`: a reset or an ICMP
error came back; `unanswered`: given up on without a word; `unheard`: listening was given up on, so
that nobody will ever know: a try that was told before must not be held against anybody."""


class Contact(NamedTuple):
    """One source and one destination: the first of their connections within a while, and later what
    became of it. `source` is an address, an IPv6 /64, a customer's network, `uid:N` or
    `interface:NAME`; `destination` a single address; `protocol` an IP number (6, 17, ...)."""

    time: Micros
    source: Subject
    destination: str
    protocol: int
    port: int
    outcome: Outcome


class Cut(NamedTuple):
    """What one cap or filter kept back of one source within `span` up to `time`.

    `what` is `destinations`, `syn`, `udp`, `smtp`, `irc` (seen, not kept back) or `filter NAME`.
    `destinations` are some of those it was for, as `198.51.100.4:1434/udp` (IPv6 in brackets).
    `by`: the program behind it where that is known, as `/var/tmp/x (pid 4711)`.
    """

    time: Micros
    source: Subject
    what: str
    packets: int
    span: Micros
    destinations: tuple[str, ...] = ()
    by: str = ""


class Flow(NamedTuple):
    """Packets of one direction of one connection, as a router or a meter counted them.

    `first` and `last` are when the first and last of them passed; `flags` of TCP, all ORed.
    """

    first: Micros
    last: Micros
    source: str
    destination: str
    protocol: int
    source_port: int
    port: int
    packets: int
    bytes: int
    flags: int = 0
    exporter: str = ""
