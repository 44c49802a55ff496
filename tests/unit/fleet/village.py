"""A fleet on paper for tests: members with keys that cost nothing, rules, claims sealed in a name."""

from __future__ import annotations

import hashlib
from typing import ClassVar

from tidegate.fleet import wire
from tidegate.fleet.trust.admission import Guarded
from tidegate.fleet.trust.claims import terms_of
from tidegate.fleet.trust.members import Certificate, May, Revocation, Roster, certify, revoke
from tidegate.fleet.trust.trust import Trust
from tidegate.model import HOUR, MINUTE, SECOND, Subject
from tidegate.policy.models import BanTerms, Counted, Rule, ScoreTerms

FLEET = bytes(range(16))
NOW = 500_000 * HOUR
WHO = Subject("192.0.2.7")
ENGINE = Subject("198.51.100.53")


def rule(name="guessing", threshold=4, within=5 * MINUTE, **more):
    on = (Counted("sshd.failed"),)
    return Rule(name, on, threshold, within, BanTerms((22,)), "stated", **more)


def points(name="points", limit=10, **more):
    return rule(name, 0, 0, score=ScoreTerms(limit, True, 5, MINUTE, 1, **more))


class Seal:
    """A twin of a signer: whoever has the object can sign, and its public key tells nobody how."""

    book: ClassVar[dict[bytes, bytes]] = {}

    def __init__(self, name: str) -> None:
        self.public = hashlib.sha256(b"public" + name.encode()).digest()
        self._private = hashlib.sha256(b"private" + name.encode()).digest()
        Seal.book[self.public] = self._private

    def sign(self, signed: bytes) -> bytes:
        return hashlib.sha512(self._private + signed).digest()


def verify(key: bytes, signed: bytes, signature: bytes) -> bool:
    return key in Seal.book and hashlib.sha512(Seal.book[key] + signed).digest() == signature


DESK = Seal("the desk")


class Host:
    """A member that can say what it likes in its name."""

    def __init__(self, name: str, seal: Seal | None = None) -> None:
        self.name, self.seal, self.counter = name, seal or Seal(name), 0

    def certificate(self, number: int, may=May.CLAIM, addresses=()) -> bytes:
        found = Certificate(self.name, self.seal.public, may, addresses)
        return wire.seal(certify(found, number, NOW), FLEET, DESK.sign)

    def says(
        self, *claims, sent=NOW, sequence=0, kind=wire.Kind.CLAIMS, body=None, name="", fleet=FLEET
    ) -> bytes:
        self.counter += 1
        sequence = sequence or wire.sequence(1, self.counter)
        body = wire.encode_claims(claims) if body is None else body
        message = wire.Message(kind, name or self.name, sequence, sent, body)
        return wire.seal(message, fleet, self.seal.sign)


def claim(*seconds, subject=WHO, of=None, amounts=(), now=NOW):
    """A claim of events so many seconds ago."""
    of = terms_of(of or rule())
    amounts = amounts or (1,) * len(seconds)
    entries = sorted(
        wire.Entry(now - int(ago * SECOND), n) for ago, n in zip(seconds, amounts, strict=True)
    )
    return wire.Claim(of.rule, of.mark, Subject(subject), of.shape, tuple(entries))


def revocation(number: int, time=NOW, **upto: int) -> bytes:
    revoked = {host: Revocation(last, time) for host, last in upto.items()}
    return wire.seal(revoke(revoked, number, NOW), FLEET, DESK.sign)


def village(*names, rules=None, min_hosts=1, listed=(), verify=verify, **more):
    """What one host believes, and the hosts it knows."""
    terms = [terms_of(one, min_hosts) for one in rules or (rule(), points())]
    trust = Trust(Roster(FLEET, DESK.public, verify), terms, Guarded((ENGINE,)), **more)
    hosts = [Host(name) for name in names]
    for place, host in enumerate(hosts, 1):
        assert trust.paper(host.certificate(place), NOW) == []
    trust.look(listed)
    return trust, *hosts
