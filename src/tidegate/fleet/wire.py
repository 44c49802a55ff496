"""What hosts of a fleet say to each other: sealed messages, and the claims inside them.

Touches nothing, verifies nothing. Decoding takes exactly what encoding writes, any other bytes
raise Malformed and nothing else. Limits: MAX_BODY, 256 claims a message, 1025 entries a claim.

A sealed message, big endian:

    "TG" | version 1 | kind 1 | host 1+n | epoch 1-4 | counter 1-6 | sent 6 (ms) | body |
    signature 64

The body is all that is left before the signature; epoch and counter are the two halves of the
sequence number, in as few bytes as they take.

The signature is Ed25519 over a preamble, the number of the fleet (so that what is said in one fleet
is worth nothing in another) and everything before it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import astuple
from enum import IntEnum
from typing import NamedTuple

from tidegate.fleet import fields
from tidegate.fleet.fields import HOST as HOST
from tidegate.fleet.fields import RULE as RULE
from tidegate.fleet.fields import Malformed as Malformed
from tidegate.fleet.fields import Reader
from tidegate.fleet.fields import rounded as rounded
from tidegate.model import Micros, Subject
from tidegate.policy.models import Rule

VERSION = 1
MAX_BODY = 1 << 16
MAX_LIST = 1 << 20  # of a list of those who are revoked
MAX_BUNDLE = 1 << 20
MAX_CLAIMS = 256
MAX_ENTRIES = 1025
MARK = 8
SIGNATURE = 64

_MAGIC = b"TG"
_PREAMBLE = b"tidegate fleet 1\0"
_COUNTER_BITS = 40


class Kind(IntEnum):
    """What a sealed message is. The desk, which enrols, says CERTIFICATE and REVOCATIONS, somebody
    who is no member yet JOIN, and members all others."""

    CLAIMS = 1
    DECISIONS = 2
    CERTIFICATE = 3
    REVOCATIONS = 4
    JOIN = 5
    POLICY = 6
    REPORT = 7
    PLAN = 8
    EVENTS = 9


class Message(NamedTuple):
    """What somebody says: `sequence` is `epoch << 40 | counter`, `sent` by the sender's clock."""

    kind: Kind
    host: str
    sequence: int
    sent: Micros
    body: bytes


class Sealed(NamedTuple):
    """A message as it came; whether `signature` is `host`'s over `signed` is not known yet."""

    message: Message
    signed: bytes
    signature: bytes
    id: bytes


class Shape(IntEnum):
    """How entries are counted, and so what their amount is: a weight, points, or the hash of a
    value, of which only different ones count."""

    WINDOW = 0
    SCORE = 1
    DISTINCT = 2


_WIDTH = {Shape.WINDOW: 2, Shape.SCORE: 4, Shape.DISTINCT: 8}


class Entry(NamedTuple):
    """One thing that was counted."""

    time: Micros
    amount: int


class Claim(NamedTuple):
    """All that a host counted of a subject for a rule within the rule's window, the newest of it.

    It bears no host: whoever signs the message it is in claims it. `entries` are in order. Without
    any it says only that the engine proposes this subject, for those to hear who have counted.
    """

    rule: str
    mark: bytes
    subject: Subject
    shape: Shape
    entries: tuple[Entry, ...]


def sequence(epoch: int, counter: int) -> int:
    """A sequence number: the n-th message since the epoch-th start. ValueError out of bounds."""
    if not 0 < epoch < 1 << (64 - _COUNTER_BITS) or not 0 <= counter < 1 << _COUNTER_BITS:
        raise ValueError("no such sequence number")
    return epoch << _COUNTER_BITS | counter


def mark(rule: Rule) -> bytes:
    """What a rule counts, as 8 bytes; not what it does about it, nor who is spared.

    Hosts count together where their rules count the same, whatever else differs in their policies.
    """
    score = rule.score and astuple(rule.score)
    counts = (rule.name, rule.on, rule.threshold, rule.within, score, rule.distinct, rule.reset_on)
    return hashlib.sha256(json.dumps(counts).encode()).digest()[:MARK]


def narrow(subject: Subject) -> bool:
    """Whether a subject is as narrow as observed ones are: an address, or the /64 of one."""
    found = fields.range_of(subject)
    return found.length == 32 if found.family == 4 else found.length >= 64


def _most(kind: Kind) -> int:
    return MAX_LIST if kind is Kind.REVOCATIONS else MAX_BODY


def to_sign(message: Message, fleet: bytes) -> bytes:
    """The bytes that a signature is over. ValueError where the message can be none."""
    return _PREAMBLE + fleet + _head(message)


def _head(message: Message) -> bytes:
    if len(message.body) > _most(message.kind):
        raise ValueError(f"a body of {len(message.body)} bytes")
    return b"".join((
        _MAGIC, bytes((VERSION, message.kind)), fields.name(message.host, HOST),
        _sequence(message.sequence), fields.moment(message.sent), message.body,
    ))  # fmt: skip


def _sequence(number: int) -> bytes:
    if not 0 < number < 1 << 64:
        raise ValueError(f"{number} is no sequence number")
    counter = number & (1 << _COUNTER_BITS) - 1
    return fields.short(number >> _COUNTER_BITS) + fields.short(counter)


def _read_sequence(reader: Reader) -> int:
    epoch = reader.short((1 << 64 - _COUNTER_BITS) - 1)
    number = epoch << _COUNTER_BITS | reader.short((1 << _COUNTER_BITS) - 1)
    if not number:
        raise Malformed("a message without a sequence number")
    return number


def seal(message: Message, fleet: bytes, sign: Callable[[bytes], bytes]) -> bytes:
    """A message with its signature behind it."""
    head = _head(message)
    return head + sign(_PREAMBLE + fleet + head)


def unseal(data: bytes, fleet: bytes) -> Sealed:
    """What is in sealed bytes, nothing of it verified. Malformed where they are none."""
    reader = Reader(data)
    if reader.take(2) != _MAGIC:
        raise Malformed("not a message of a fleet")
    if (version := reader.number(1)) != VERSION:
        raise Malformed(f"version {version}, we speak {VERSION}")
    try:
        kind = Kind(reader.number(1))
    except ValueError as error:
        raise Malformed("of no known kind") from error
    host = reader.name(HOST)
    number, sent = _read_sequence(reader), reader.moment()
    size = reader.left - SIGNATURE
    if not 0 <= size <= _most(kind):
        raise Malformed(f"a message with a body of {size} bytes")
    body = reader.take(size)
    signed = _PREAMBLE + fleet + reader.taken
    signature = reader.take(SIGNATURE)
    reader.end()
    message = Message(kind, host, number, sent, body)
    return Sealed(message, signed, signature, hashlib.sha256(data).digest()[:16])


def sender(data: bytes) -> str:
    """Who is named as its sender in what `unseal` has taken."""
    return data[5 : 5 + data[4]].decode("ascii")


def encode_claims(claims: Sequence[Claim]) -> bytes:
    """The body of CLAIMS. ValueError where a claim can be none or there are too many."""
    if not 0 < len(claims) <= MAX_CLAIMS:
        raise ValueError(f"{len(claims)} claims")
    return fields.number(len(claims), 2) + b"".join(encode_claim(claim) for claim in claims)


def encode_claim(claim: Claim) -> bytes:
    """One claim, as it stands among others."""
    entries = claim.entries
    if len(entries) > MAX_ENTRIES or list(entries) != sorted(entries):
        raise ValueError("entries that are too many, or out of order")
    if not narrow(claim.subject):
        raise ValueError(f"{claim.subject} is too wide to be claimed")
    parts = [_about(claim.rule, claim.mark, claim.subject), bytes((claim.shape,))]
    parts.append(fields.number(len(entries), 2))
    before = 0
    if entries:
        parts.append(fields.moment(entries[0].time))
        before = entries[0].time // 1000
    for time, amount in entries:
        now = time // 1000
        parts.append(fields.number(now - before, 4) + fields.number(amount, _WIDTH[claim.shape]))
        before = now
    return b"".join(parts)


def decode_claims(body: bytes) -> tuple[Claim, ...]:
    """The claims in a body. Malformed where they are none."""
    reader = Reader(body)
    found = tuple(_claim(reader) for _ in range(reader.number(2, 1, MAX_CLAIMS)))
    reader.end()
    return found


def _claim(reader: Reader) -> Claim:
    rule, digest, subject = _read_about(reader)
    if not narrow(subject):
        raise Malformed("a claim about a network")
    shape = Shape(reader.number(1, 0, max(Shape)))
    size = reader.number(2, 0, MAX_ENTRIES)
    time = reader.moment() if size else 0
    entries: list[Entry] = []
    for place in range(size):
        passed = reader.number(4, 0, None if place else 0)
        time += passed * 1000
        entry = Entry(time, reader.number(_WIDTH[shape], 0 if shape is Shape.DISTINCT else 1))
        if entries and entry < entries[-1]:
            raise Malformed("entries out of order")
        entries.append(entry)
    if time >= 1000 << 48:
        raise Malformed("an entry behind the end of time")
    return Claim(rule, digest, subject, shape, tuple(entries))


def _about(rule: str, digest: bytes, subject: Subject) -> bytes:
    if len(digest) != MARK:
        raise ValueError("a mark has 8 bytes")
    return fields.name(rule, RULE) + digest + fields.subject(subject)


def _read_about(reader: Reader) -> tuple[str, bytes, Subject]:
    return reader.name(RULE), reader.take(MARK), reader.subject()


def encode_bundle(messages: Sequence[bytes]) -> bytes:
    """Sealed messages that prove something together."""
    found = bytes((len(messages),)) + b"".join(fields.number(len(one), 4) + one for one in messages)
    if not 0 < len(messages) <= 64 or len(found) > MAX_BUNDLE:
        raise ValueError(f"a bundle of {len(messages)} messages, {len(found)} bytes")
    return found


def decode_bundle(data: bytes) -> tuple[bytes, ...]:
    """The sealed messages in a bundle, not unsealed. Malformed where it is none."""
    if len(data) > MAX_BUNDLE:
        raise Malformed(f"a bundle of {len(data)} bytes")
    reader = Reader(data)
    found = tuple(reader.take(reader.number(4)) for _ in range(reader.number(1, 1, 64)))
    reader.end()
    return found
