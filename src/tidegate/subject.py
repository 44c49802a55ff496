"""Subjects: canonical text for whom an event is about, and the networks behind that text.

Touches nothing: never asks DNS, never reads the host. RFC 4291 and RFC 5952 spelling.
Limits: addresses and networks only; other subjects (`uid:…`, `service:…`, names) pass through.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from functools import lru_cache
from typing import NamedTuple

from tidegate.model import Subject

_MAPPED = b"\0" * 10 + b"\xff\xff"
_NAME = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,62})(?:\.[a-z0-9_-]{1,63})*\.?", re.ASCII)
_OTHER = re.compile(
    r"uid:[0-9]{1,10}|interface:[A-Za-z0-9_.@-]{1,15}|service:[A-Za-z0-9:_.@\\-]{1,255}", re.ASCII
)

# Where a /64 would be everybody, the single address is the subject: NAT64 (RFC 6052),
# Teredo (RFC 4380), 6to4 relays share nothing below /64 and need no exception.
_SINGLE = (
    (bytes.fromhex("0064ff9b0000000000000000"), 12),
    (bytes.fromhex("20010000"), 4),
)


class Network(NamedTuple):
    """An address range: `family` 4 or 6, `length` of the prefix in bits, `bits` the packed address.

    `bits` has 4 or 16 bytes, those behind the prefix are zero.
    """

    family: int
    length: int
    bits: bytes

    @property
    def first(self) -> int:
        """The lowest address, as a number."""
        return int.from_bytes(self.bits)

    @property
    def last(self) -> int:
        """The highest address, as a number."""
        return self.first | ((1 << (len(self.bits) * 8 - self.length)) - 1)

    def holds(self, other: Network) -> bool:
        """Whether `other` lies wholly inside this network."""
        return (
            self.family == other.family
            and self.length <= other.length
            and self.first <= other.first <= self.last
        )

    def overlaps(self, other: Network) -> bool:
        """Whether any address is in both."""
        return self.holds(other) or other.holds(self)


def of_address(text: str) -> Subject | None:
    """The subject of an observed address: itself for IPv4, its /64 for IPv6; None if it is none.

    An IPv4-mapped address is the IPv4 address (RFC 4291 §2.5.5.2); a zone (`%eth0`) is dropped.
    """
    try:
        return Subject(socket.inet_ntop(socket.AF_INET, socket.inet_pton(socket.AF_INET, text)))
    except (OSError, UnicodeEncodeError, ValueError):
        pass
    try:
        packed = socket.inet_pton(socket.AF_INET6, text.partition("%")[0])
    except (OSError, UnicodeEncodeError, ValueError):
        return None
    return _of_packed6(packed)


def _of_packed6(packed: bytes) -> Subject:
    if packed.startswith(_MAPPED):
        return Subject(socket.inet_ntop(socket.AF_INET, packed[12:]))
    if any(packed.startswith(prefix) for prefix, _length in _SINGLE):
        return Subject(socket.inet_ntop(socket.AF_INET6, packed))
    return Subject(socket.inet_ntop(socket.AF_INET6, packed[:8] + b"\0" * 8) + "/64")


def of_host(text: str) -> Subject | None:
    """The subject of an address or a host name; None if the text is neither.

    A name is counted and shown; nothing resolves it and no gate takes it.
    """
    found = of_address(text)
    if found is not None:
        return found
    name = text.lower()
    if len(name) <= 253 and _NAME.fullmatch(name) and not name.replace(".", "").isdigit():
        return Subject(name.removesuffix("."))
    return None


def parse(text: str) -> Subject | None:
    """A subject as a person types it: address (IPv6: its /64), address/length, `uid:…`.

    `2001:db8::1/128` names the single address. Host bits behind a stated prefix are cleared.
    """
    if _OTHER.fullmatch(text):
        return Subject(text)
    if "/" not in text:
        return of_address(text)
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
    return from_network(Network(network.version, network.prefixlen, network.network_address.packed))


@lru_cache(4096)
def network(subject: Subject) -> Network | None:
    """The range behind a subject; None where the subject is no address."""
    address, slash, length = subject.partition("/")
    try:
        if ":" in address:
            bits = socket.inet_pton(socket.AF_INET6, address)
            found = Network(6, int(length) if slash else 128, bits)
        else:
            bits = socket.inet_pton(socket.AF_INET, address)
            found = Network(4, int(length) if slash else 32, bits)
    except (OSError, ValueError, UnicodeEncodeError):
        return None
    if not 0 <= found.length <= len(bits) * 8:
        return None
    return found


def from_network(found: Network) -> Subject:
    """The canonical text of a range: no `/32` or `/128`, IPv4-mapped ranges as IPv4."""
    if found.family == 6 and found.length >= 96 and found.bits.startswith(_MAPPED):
        found = Network(4, found.length - 96, found.bits[12:])
    width = len(found.bits) * 8
    family = socket.AF_INET if found.family == 4 else socket.AF_INET6
    if found.length == width:
        return Subject(socket.inet_ntop(family, found.bits))
    mask = ((1 << found.length) - 1) << (width - found.length)
    bits = (found.first & mask).to_bytes(width // 8)
    return Subject(f"{socket.inet_ntop(family, bits)}/{found.length}")


def covering(subject: Subject) -> list[Subject]:
    """Every network subject that holds this one, the narrowest first (for `why ADDR`)."""
    own = network(subject)
    if own is None:
        return []
    return [
        from_network(Network(own.family, length, own.bits))
        for length in range(own.length - 1, 7, -1)
    ]
