"""How decisions are written into a sealed message, and read from one that anybody may have sent.

Touches nothing. Decoding takes exactly what encoding writes, anything else raises Malformed.
Limits: 256 decisions in a body of 64 KiB; addresses and networks, 64 ports, 1024 hosts in shares.

The body of DECISIONS is `count 2`, then of each, big endian:

    verb 1 | subject | ports 1+2n | time 6 | until 6 | rule 1+n | by 1+n | note 1+n |
    shares 2+(host 1+n, count 4) | needed 4 | proof 1+16n

A decision's id is a hash of its host and these bytes: who says the same again says nothing new.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from tidegate.fleet import fields
from tidegate.fleet.fields import HOST, RULE, Malformed, Reader
from tidegate.fleet.kept import Entry, Ports, Verb
from tidegate.fleet.wire import MAX_BODY

MAX_ENTRIES = 256
MAX_PORTS = 64
MAX_SHARES = 1024
MAX_PROOF = 64
MAX_TEXT = 200
PROOF = 16

_VERBS: tuple[Verb, ...] = ("ban", "unban")
_RULE_OR_NONE = re.compile(rf"(?:{RULE.pattern})?", re.ASCII)


def identify(host: str, entry: Entry) -> Entry:
    """The entry as every host will know it: moments rounded, `host` the one who says it, its id.

    ValueError where it can't be said, as of a `uid:33`, which is another user on each host.
    """
    said = entry._replace(
        host=host, time=fields.rounded(entry.time), until=fields.rounded(entry.until)
    )
    return said._replace(id=_id(host, _encode(said)))


def bodies(entries: Iterable[Entry]) -> list[bytes]:
    """The bodies that say all of these, each as full as may be; in order. ValueError as above."""
    packed: list[list[bytes]] = []
    size = 0
    for one in map(_encode, entries):
        if not packed or len(packed[-1]) == MAX_ENTRIES or size + len(one) > MAX_BODY:
            packed.append([])
            size = 2
        packed[-1].append(one)
        size += len(one)
    return [fields.number(len(each), 2) + b"".join(each) for each in packed]


def decode(host: str, body: bytes) -> tuple[Entry, ...]:
    """What a host says in a body of DECISIONS. Malformed where it says nothing of the kind."""
    reader = Reader(body)
    found = []
    for _ in range(reader.number(2, 1, MAX_ENTRIES)):
        before = len(reader.taken)
        entry = _decode(reader)
        found.append(entry._replace(host=host, id=_id(host, reader.taken[before:])))
    reader.end()
    return tuple(found)


def _id(host: str, data: bytes) -> str:
    return hashlib.blake2b(host.encode() + b"\0" + data, digest_size=16).hexdigest()


def _encode(one: Entry) -> bytes:
    _check(one)
    return b"".join((
        bytes((_VERBS.index(one.verb),)), fields.subject(one.subject),
        fields.number(len(one.ports), 1), *(fields.number(port, 2) for port in one.ports),
        fields.moment(one.time), fields.moment(one.until),
        fields.name(one.rule, _RULE_OR_NONE), _text(one.by), _text(one.note),
        fields.number(len(one.shares), 2),
        *(fields.name(host, HOST) + fields.number(count, 4) for host, count in one.shares),
        fields.number(one.needed, 4), fields.number(len(one.proof), 1), *one.proof,
    ))  # fmt: skip


def _check(one: Entry) -> None:
    """What bytes can't hold is refused by the fields; this is what they could, and must not."""
    hosts = [host for host, _count in one.shares]
    if len(one.ports) > MAX_PORTS or list(one.ports) != sorted(set(one.ports) - {0}):
        raise ValueError(f"ports {one.ports}: expected at most {MAX_PORTS}, ascending, none twice")
    if len(hosts) > MAX_SHARES or hosts != sorted(set(hosts)):
        raise ValueError(f"{len(hosts)} shares: expected at most {MAX_SHARES}, by host, none twice")
    if not all(count > 0 for _host, count in one.shares) or bool(hosts) != bool(one.needed):
        raise ValueError("shares that count nothing, or without what is needed")
    if len(one.proof) > MAX_PROOF or any(len(each) != PROOF for each in one.proof):
        raise ValueError(f"a proof of {len(one.proof)} messages: at most {MAX_PROOF} ids")
    if one.until // 1000 <= one.time // 1000 if one.verb == "ban" else one.until:
        raise ValueError("a ban ends after it began, and an unban has no end")


def _decode(reader: Reader) -> Entry:
    verb = _VERBS[reader.number(1, 0, len(_VERBS) - 1)]
    subject = reader.subject()
    ports: Ports = tuple(reader.number(2) for _ in range(reader.number(1, 0, MAX_PORTS)))
    time, until = reader.moment(), reader.moment()
    rule, by, note = reader.name(_RULE_OR_NONE), _read_text(reader), _read_text(reader)
    count = reader.number(2, 0, MAX_SHARES)
    shares = tuple((reader.name(HOST), reader.number(4)) for _ in range(count))
    needed = reader.number(4)
    proof = tuple(reader.take(PROOF) for _ in range(reader.number(1, 0, MAX_PROOF)))
    found = Entry("", verb, "", time, subject, ports, until, rule, by, shares, needed, proof, note)
    try:
        _check(found)
    except ValueError as error:
        raise Malformed(str(error)) from error
    return found


def _text(value: str) -> bytes:
    """Text with its length in front, cut to what may be said; what is no text becomes `?`."""
    data = value.encode("utf-8", "replace")[:MAX_TEXT]
    while data.decode("utf-8", "ignore").encode() != data:
        data = data[:-1]
    return fields.number(len(data), 1) + data


def _read_text(reader: Reader) -> str:
    try:
        return reader.take(reader.number(1, 0, MAX_TEXT)).decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed("text that is not UTF-8") from error
