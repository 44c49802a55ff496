"""Whose traffic is listened to: which source an address belongs to, and what is none of it.

Touches nothing: the policy's caps, own addresses and networks behind interfaces in, answers out.
Limits: of what several would claim, the customer comes first, then the single address, then the
interface, as in the kernel's table; the user of a host's own connection is found elsewhere.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from tidegate import subject as subjects
from tidegate.model import Subject
from tidegate.policy.outward import OutwardSpec
from tidegate.subject import Network

MOST_BEHIND = 200
"""Networks of one interface that are told apart; behind one with more is everybody else."""

_NOBODY4 = ("127.0.0.0/8", "0.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3")
_NOBODY6 = ("::/127", "fe80::/10", "ff00::/8")
_REMEMBERED = 65_536

LOCAL = Subject("local")
"""In the place of `uid:N`, until that is known."""
MIX = 0x9E3779B1


class Source(NamedTuple):
    """Whose a connection is, and the number that its share is reckoned from; `key` None: the
    destination's, since of a host's users only the host is known so early."""

    subject: Subject
    key: int | None


class Claim(NamedTuple):
    """What belongs to a source. `each`: every address (IPv6: every /64) in it by itself."""

    network: Network
    subject: Subject
    each: bool = False


class Reach:
    """Claims in order, and what is passed over. `own` are this host's addresses, `behind` the
    networks that are reached through each interface."""

    def __init__(
        self, spec: OutwardSpec, own: Iterable[str], behind: Mapping[str, Iterable[Network]]
    ) -> None:
        self.uids = spec.uids
        self.own = frozenset(filter(None, map(_packed, own)))
        self.busy = _networks(
            one for one in spec.busy if not one.startswith(("uid:", "interface:"))
        )
        # root is never capped, nor cut off: who is root undoes it.
        self.spared = frozenset(("uid:0", *spec.busy))
        self.interfaces = frozenset(spec.interfaces)
        self.nobody = _networks(map(Subject, (*_NOBODY4, *_NOBODY6)))
        claims = [
            Claim(network, subjects.from_network(network))
            for network in sorted(_networks(spec.customers), key=lambda one: -one.length)
        ]
        claims += [Claim(one, Subject(""), True) for one in _networks(spec.networks)]
        for name in spec.interfaces:
            networks = list(behind.get(name, ()))
            claims += [Claim(one, Subject(f"interface:{name}")) for one in _few(networks)]
        self.claims = tuple(claims)
        self._known: dict[bytes, Source | None] = {}

    def same_as(self, other: Reach) -> bool:
        """Whether nothing would be judged in another way."""
        return (
            (self.uids, self.own, self.busy, self.claims, self.spared)
            == (other.uids, other.own, other.busy, other.claims, other.spared)
        )  # fmt: skip

    def source(self, address: bytes) -> Source | None:
        """Whose connection one from this address is; LOCAL, or None where it is nobody's here."""
        try:
            return self._known[address]
        except KeyError:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            found = self._known[address] = self._source(address)
            return found

    def _source(self, address: bytes) -> Source | None:
        if address in self.own:
            return Source(LOCAL, None) if self.uids else None
        one = _single(address)
        if any(network.holds(one) for network in (*self.nobody, *self.busy)):
            return None
        for claim in self.claims:
            if claim.network.holds(one):
                if not claim.each:
                    return Source(claim.subject, named(claim.subject))
                subject = subjects.of_address(_text(address))
                key = folded(address, 2 if len(address) == 16 else 1)
                return None if subject is None else Source(subject, key)
        return None

    def leaves(self, address: bytes) -> bool:
        """Whether this destination counts: neither ourselves, nor this link's, nor one that means
        many."""
        first = address[0]
        if address in self.own:
            return False
        if len(address) == 16:
            return first != 0xFF and address[:2] != b"\xfe\x80" and address[:15] != bytes(15)
        return 0 < first < 224 and first != 127 and address[:2] != b"\xa9\xfe"


def folded(address: bytes, words: int) -> int:
    """The first words of an address in one number."""
    found = int.from_bytes(address[:4])
    for at in range(4, min(len(address), words * 4), 4):
        found = ((found * MIX) & 0xFFFFFFFF) ^ int.from_bytes(address[at : at + 4])
    return found


def named(subject: str) -> int:
    """A number for a source of many addresses; the same in every life."""
    found = 0x811C9DC5
    for byte in subject.encode():
        found = ((found ^ byte) * 0x01000193) & 0xFFFFFFFF
    return found


def _few(networks: list[Network]) -> list[Network]:
    """The narrowest first; of too many, the two that hold them all."""
    if len(networks) > MOST_BEHIND:
        return [Network(4, 0, bytes(4)), Network(6, 0, bytes(16))]
    return sorted(networks, key=lambda one: -one.length)


def _networks(members: Iterable[Subject]) -> tuple[Network, ...]:
    return tuple(found for one in members if (found := subjects.network(one)) is not None)


def _single(address: bytes) -> Network:
    return Network(4 if len(address) == 4 else 6, len(address) * 8, address)


def _packed(text: str) -> bytes | None:
    try:
        return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)
    except (OSError, ValueError):
        return None


def _text(address: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)
