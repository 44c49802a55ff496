"""Who is of the fleet: certificates, revocations, requests to join, and what they come to.

Touches nothing; whether a signature is right is asked of the function it is given. The desk, whose
key every host knows, signs; the engine only carries. Limits: MAX_MEMBERS; an engine that withholds
the newest revocations can't be told from one that has none, but it can't take back an older list.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntFlag
from typing import NamedTuple

from tidegate.fleet import fields
from tidegate.fleet.fields import HOST, Malformed, Reader
from tidegate.fleet.wire import MAX_LIST, Kind, Message, Sealed, unseal
from tidegate.model import SECOND, Micros, Subject

DESK = "desk"
MAX_MEMBERS = 1 << 15
LASTING: Micros = 4_102_444_800 * SECOND
"""Until when papers are kept in the engine: the year 2100, for all the same."""
_KEY = 32
_PROOF = 32
_MAX_ADDRESSES = 16

Verify = Callable[[bytes, bytes, bytes], bool]
"""Whether (key, signed, signature) fit each other; `keys.verify`, or a twin of it."""


class May(IntFlag):
    """What a host may say: claims, decisions by people, policies."""

    CLAIM = 1
    DECIDE = 2
    PUBLISH = 4


_NEEDED = {
    Kind.CLAIMS: May.CLAIM, Kind.DECISIONS: May.CLAIM, Kind.REPORT: May.CLAIM,
    Kind.POLICY: May.PUBLISH, Kind.PLAN: May.PUBLISH, Kind.EVENTS: May.CLAIM,
}  # fmt: skip


class Certificate(NamedTuple):
    """The desk's word that this key is this host's. `addresses` are never closed by the fleet."""

    host: str
    key: bytes
    may: May
    addresses: tuple[Subject, ...] = ()


class Revocation(NamedTuple):
    """The desk's word that a host is none of ours: its certificates up to the number `upto` are
    void, and what it said until `time` counts for nothing, on all hosts alike."""

    upto: int
    time: Micros

    def joined(self, other: Revocation | None) -> Revocation:
        """Both of them: a later one takes nothing of an earlier one back."""
        if other is None:
            return self
        return Revocation(max(self.upto, other.upto), max(self.time, other.time))


class Join(NamedTuple):
    """A host asks to be enrolled; `proof` shows that it holds the one-time token."""

    key: bytes
    proof: bytes
    addresses: tuple[Subject, ...] = ()


@dataclass(frozen=True, slots=True)
class Member:
    """A host by its newest certificate; `number` is the desk's."""

    certificate: Certificate
    number: int


def _addresses(addresses: tuple[Subject, ...]) -> bytes:
    if len(addresses) > _MAX_ADDRESSES:
        raise ValueError(f"{len(addresses)} addresses of one host")
    return bytes((len(addresses),)) + b"".join(fields.subject(one) for one in addresses)


def _read_addresses(reader: Reader) -> tuple[Subject, ...]:
    return tuple(reader.subject() for _ in range(reader.number(1, 0, _MAX_ADDRESSES)))


def _key(key: bytes) -> bytes:
    if len(key) != _KEY:
        raise ValueError("a key has 32 bytes")
    return key


def encode_certificate(found: Certificate) -> bytes:
    """The body of CERTIFICATE."""
    named = fields.name(found.host, HOST) + _key(found.key)
    return named + bytes((found.may,)) + _addresses(found.addresses)


def decode_certificate(body: bytes) -> Certificate:
    """The certificate in a body. Malformed where it is none."""
    reader = Reader(body)
    host, key, may = reader.name(HOST), reader.take(_KEY), May(reader.number(1, 0, 7))
    found = Certificate(host, key, may, _read_addresses(reader))
    reader.end()
    return found


def encode_revocations(revoked: Mapping[str, Revocation]) -> bytes:
    """The body of REVOCATIONS, the whole list: host, number, moment (in milliseconds), each. In the
    order of the names, so that one list has one spelling. ValueError where it is too long."""
    rows = (
        fields.name(host, HOST) + fields.number(one.upto, 8) + fields.moment(one.time)
        for host, one in sorted(revoked.items())
    )
    body = fields.number(len(revoked), 4) + b"".join(rows)
    if len(body) > MAX_LIST:
        raise ValueError(f"{len(revoked)} revocations are too many for one list")
    return body


def decode_revocations(body: bytes) -> dict[str, Revocation]:
    """The list in a body. Malformed where it is none."""
    reader = Reader(body)
    found: dict[str, Revocation] = {}
    last = ""
    for _ in range(reader.number(4, 0, MAX_LIST // 16)):
        host = reader.name(HOST)
        if host <= last:
            raise Malformed("revocations out of order")
        found[host] = Revocation(reader.number(8), reader.moment())
        last = host
    reader.end()
    return found


def encode_join(join: Join) -> bytes:
    """The body of JOIN."""
    return _key(join.key) + join.proof + _addresses(join.addresses)


def decode_join(body: bytes) -> Join:
    """The request in a body. Malformed where it is none."""
    reader = Reader(body)
    found = Join(reader.take(_KEY), reader.take(_PROOF), _read_addresses(reader))
    reader.end()
    return found


def join_proof(secret: bytes, fleet: bytes, host: str, key: bytes) -> bytes:
    """What only the holder of a token can say of a key: an HMAC-SHA256."""
    said = b"tidegate fleet join\0" + fleet + key + host.encode("ascii")
    return hmac.digest(secret, said, "sha256")


def judge_join(
    sealed: Sealed, fleet: bytes, secret: bytes, verify: Verify
) -> tuple[Join | None, str]:
    """The request, where its sender holds both the token and the key; or why not."""
    try:
        join = decode_join(sealed.message.body)
    except Malformed as error:
        return None, f"malformed: {error}"
    proof = join_proof(secret, fleet, sealed.message.host, join.key)
    if not hmac.compare_digest(proof, join.proof):
        return None, "it does not hold the token"
    if not verify(join.key, sealed.signed, sealed.signature):
        return None, "it does not hold the key it names"
    return join, ""


class Roster:
    """The members of one fleet, as far as the desk's signed word has come. All of it only grows:
    a certificate gives way to one with a higher number, and so does the list of the revoked."""

    def __init__(self, fleet: bytes, desk: bytes, verify: Verify) -> None:
        self.fleet, self.desk, self.verify = fleet, desk, verify
        self.members: dict[str, Member] = {}
        self.revoked: dict[str, Revocation] = {}
        self.number = 0
        self.papers: dict[str, bytes] = {}  # the newest sealed word on each host; "": the list
        self.moved: dict[str, bool] = {}
        """Of whom the word has changed since somebody emptied it; True: another key."""

    def take(self, data: bytes) -> tuple[frozenset[str], str]:
        """Take in a sealed certificate or list: the hosts that are no members any more, and why it
        was refused ("": it was not). The same again changes nothing."""
        try:
            sealed = unseal(data, self.fleet)
            kind = sealed.message.kind
            if sealed.message.host != DESK or kind not in (Kind.CERTIFICATE, Kind.REVOCATIONS):
                return frozenset(), "not of the desk"
            if self._is_old(sealed.message):
                return frozenset(), ""
            if not self.verify(self.desk, sealed.signed, sealed.signature):
                return frozenset(), "forged"
            if kind is Kind.CERTIFICATE:
                return frozenset(), self._admit(sealed.message, data)
            return self._revoke(sealed.message, data), ""
        except Malformed as error:
            return frozenset(), f"malformed: {error}"

    def _is_old(self, message: Message) -> bool:
        """Whether we know it, or newer: asked before the dear verification."""
        if message.kind is Kind.REVOCATIONS:
            return message.sequence <= self.number
        found = decode_certificate(message.body)
        known = self.members.get(found.host)
        if message.sequence <= self._void(found.host):
            return True
        return known is not None and message.sequence <= known.number

    def _admit(self, message: Message, data: bytes) -> str:
        found = decode_certificate(message.body)
        if found.host == DESK:
            return "a host with the desk's name"
        if found.host not in self.members and len(self.members) >= MAX_MEMBERS:
            return f"more than {MAX_MEMBERS} members"
        known = self.members.get(found.host)
        self.moved[found.host] = known is not None and known.certificate.key != found.key
        self.members[found.host] = Member(found, message.sequence)
        self.papers[found.host] = data
        return ""

    def _revoke(self, message: Message, data: bytes) -> frozenset[str]:
        # Joined with what is known: the desk's newest list may be shorter, never what we refuse.
        for host, one in decode_revocations(message.body).items():
            self.revoked[host] = one.joined(self.revoked.get(host))
        self.number, self.papers[""] = message.sequence, data
        gone = frozenset(
            host for host, member in self.members.items()
            if member.number <= self._void(host)
        )  # fmt: skip
        for host in gone:
            del self.members[host], self.papers[host]
        self.moved.update(dict.fromkeys(("", *gone), False))
        return gone

    def _void(self, host: str) -> int:
        """Up to which number certificates of this host are void."""
        found = self.revoked.get(host)
        return found.upto if found is not None else 0

    def refusal(self, message: Message) -> str:
        """Why what this host says counts for nothing, whoever signed it; "" if it may count."""
        member = self.members.get(message.host)
        if member is None:
            return "revoked" if message.host in self.revoked else "unknown"
        needed = _NEEDED.get(message.kind)
        allowed = needed is not None and member.certificate.may.value & needed.value
        return "" if allowed else "not allowed"

    def may(self, host: str, what: May) -> bool:
        """Whether this is a member that may do so (DECIDE: have its people speak for all)."""
        member = self.members.get(host)
        return member is not None and bool(member.certificate.may & what)

    def is_signed(self, sealed: Sealed) -> bool:
        """Whether the member who is named has signed it. The member must be one."""
        key = self.members[sealed.message.host].certificate.key
        return self.verify(key, sealed.signed, sealed.signature)

    def addresses(self) -> tuple[Subject, ...]:
        """Where members are: nobody of the fleet closes for another."""
        members = self.members.values()
        return tuple(one for member in members for one in member.certificate.addresses)


def certify(found: Certificate, number: int, sent: Micros) -> Message:
    """What the desk has to sign to enrol a host."""
    return Message(Kind.CERTIFICATE, DESK, number, sent, encode_certificate(found))


def revoke(revoked: Mapping[str, Revocation], number: int, sent: Micros) -> Message:
    """What the desk has to sign so that these hosts are no members any more."""
    return Message(Kind.REVOCATIONS, DESK, number, sent, encode_revocations(revoked))
