"""How decisions are written into a sealed message, and read from one that anybody may have sent.

Touches nothing. Decoding takes exactly what encoding writes, anything else raises Malformed.
Limits: 256 decisions in a body of 64 KiB; addresses and networks, 64 ports, 1024 hosts in shares.

The body of DECISIONS is one after another, big endian; `short` is a number in as few bytes as it
takes, and what is in brackets is there where its flag says so:

    flags 1 | subject | [ports 1+2n] | time 6 | [lasts short] | [rule 1+n] | [by 1+n] | [note 1+n] |
    [shares short+(tag 4, count short) | needed short] | [proof 1+16n]

A decision goes to every host of a fleet, and each byte of it as often as there are hosts.

A decision's id is a hash of its host and these bytes: who says the same again says nothing new.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from enum import IntFlag

from tidegate.fleet import fields
from tidegate.fleet.counting import functions
from tidegate.fleet.decisions.kept import Entry, Ports, Verb
from tidegate.fleet.fields import HOST, RULE, Malformed, Reader
from tidegate.fleet.wire import MAX_BODY

MAX_ENTRIES = 256
MAX_PORTS = 64
MAX_SHARES = 1024
MAX_PROOF = 64
MAX_TEXT = 200
PROOF = 16

_VERBS: tuple[Verb, ...] = ("ban", "unban")
_TAG = re.compile(r"#[0-9a-f]{8}", re.ASCII)
_BY = "rule"
_LONGEST = (1 << 48) - 1
_MANY = (1 << 32) - 1


def identify(host: str, entry: Entry) -> Entry:
    """The entry as every host will know it: moments rounded, `host` the one who says it, its id.

    ValueError where it can't be said, as of a `uid:33`, which is another user on each host.
    """
    shares = tuple((f"#{tag.hex()}", count) for tag, count in _shares(entry))
    said = entry._replace(
        host=host, time=fields.rounded(entry.time), until=fields.rounded(entry.until), shares=shares
    )
    return said._replace(id=_id(host, _encode(said)))


def bodies(entries: Iterable[Entry]) -> list[bytes]:
    """The bodies that say all of these, each as full as may be; in order. ValueError as above."""
    packed: list[list[bytes]] = []
    size = 0
    for one in map(_encode, entries):
        if not packed or len(packed[-1]) == MAX_ENTRIES or size + len(one) > MAX_BODY:
            packed.append([])
            size = 0
        packed[-1].append(one)
        size += len(one)
    return [b"".join(each) for each in packed]


def decode(host: str, body: bytes) -> tuple[Entry, ...]:
    """What a host says in a body of DECISIONS. Malformed where it says nothing of the kind."""
    reader = Reader(body)
    found: list[Entry] = []
    while reader.left or not found:
        if len(found) == MAX_ENTRIES:
            raise Malformed(f"more than {MAX_ENTRIES} decisions")
        before = len(body) - reader.left
        entry = _decode(reader)
        number = _id(host, body[before : len(body) - reader.left])
        found.append(entry._replace(host=host, id=number))
    return tuple(found)


def _id(host: str, data: bytes) -> str:
    return hashlib.blake2b(host.encode() + b"\0" + data, digest_size=16).hexdigest()


class _Has(IntFlag):
    """What of a decision is said, since it is not what it mostly is."""

    UNBAN = 1
    PORTS = 2
    RULE = 4
    BY = 8
    NOTE = 16
    SHARES = 32
    PROOF = 64


def _encode(one: Entry) -> bytes:
    _check(one)
    said = (
        one.verb == "unban",
        one.ports,
        one.rule,
        one.by != _BY,
        one.note,
        one.shares,
        one.proof,
    )
    has = sum(flag for flag, value in zip(_Has, said, strict=True) if value)
    parts = [bytes((has,)), fields.subject(one.subject)]
    if one.ports:
        parts.append(fields.number(len(one.ports), 1))
        parts += [fields.number(port, 2) for port in one.ports]
    parts.append(fields.moment(one.time))
    if one.verb == "ban":
        parts.append(fields.short(one.until // 1000 - one.time // 1000))
    if one.rule:
        parts.append(fields.name(one.rule, RULE))
    parts += [_text(text) for text, told in ((one.by, one.by != _BY), (one.note, one.note)) if told]
    if one.shares:
        shares = _shares(one)
        parts.append(fields.short(len(shares)))
        parts += [tag + fields.short(count) for tag, count in shares]
        parts.append(fields.short(one.needed))
    if one.proof:
        parts += [bytes((len(one.proof),)), *one.proof]
    return b"".join(parts)


def tagged(host: str) -> str:
    """How a host is called among the shares of a decision: by its tag, which is shorter. Two hosts
    of 15,000 may share one, with a chance of 1 in 40; then they are taken for one."""
    return f"#{functions.tag(host).hex()}"


def _shares(one: Entry) -> list[tuple[bytes, int]]:
    """The shares by tag, in order. ValueError where a host can be none."""
    found: dict[bytes, int] = {}
    for host, count in one.shares:
        if not HOST.fullmatch(host) and not _TAG.fullmatch(host):
            raise ValueError(f"{host!r} is no host")
        tag = bytes.fromhex(host[1:]) if host.startswith("#") else functions.tag(host)
        found[tag] = found.get(tag, 0) + count
    return sorted(found.items())


def _check(one: Entry) -> None:
    """What bytes can't hold is refused by the fields; this is what they could, and must not."""
    hosts = [host for host, _count in one.shares]
    if len(one.ports) > MAX_PORTS or list(one.ports) != sorted(set(one.ports) - {0}):
        raise ValueError(f"ports {one.ports}: expected at most {MAX_PORTS}, ascending, none twice")
    if len(hosts) > MAX_SHARES or hosts != sorted(set(hosts)):
        raise ValueError(f"{len(hosts)} shares: expected at most {MAX_SHARES}, by host, none twice")
    counts = [*(count for _host, count in one.shares), *([one.needed] * bool(hosts))]
    if not all(0 < count <= _MANY for count in counts) or bool(hosts) != bool(one.needed):
        raise ValueError("shares that count nothing, or without what is needed")
    if len(one.proof) > MAX_PROOF or any(len(each) != PROOF for each in one.proof):
        raise ValueError(f"a proof of {len(one.proof)} messages: at most {MAX_PROOF} ids")
    if one.until // 1000 <= one.time // 1000 if one.verb == "ban" else one.until:
        raise ValueError("a ban ends after it began, and an unban has no end")
    fields.moment(one.until)  # so that the end of time is the same for all


def _decode(reader: Reader) -> Entry:
    has = reader.number(1, 0, sum(_Has))
    ban = not has & _Has.UNBAN
    subject = reader.subject()
    count = reader.number(1, 1, MAX_PORTS) if has & _Has.PORTS else 0
    ports: Ports = tuple(reader.number(2) for _ in range(count))
    time = reader.moment()
    until = time + reader.short(_LONGEST) * 1000 if ban else 0
    rule = reader.name(RULE) if has & _Has.RULE else ""
    by = _read_text(reader) if has & _Has.BY else _BY
    note = _read_text(reader) if has & _Has.NOTE else ""
    shares, needed = _read_shares(reader) if has & _Has.SHARES else ((), 0)
    count = reader.number(1, 1, MAX_PROOF) if has & _Has.PROOF else 0
    proof = tuple(reader.take(PROOF) for _ in range(count))
    found = Entry("", _VERBS[not ban], "", time, subject, ports, until, rule, by, shares, needed,
                  proof, note)  # fmt: skip
    if (by == _BY and has & _Has.BY) or (not note and has & _Has.NOTE):
        raise Malformed("text that goes without saying")
    try:
        _check(found)
    except ValueError as error:
        raise Malformed(str(error)) from error
    return found


def _read_shares(reader: Reader) -> tuple[tuple[tuple[str, int], ...], int]:
    count = reader.short(MAX_SHARES)
    shares = tuple((f"#{reader.take(4).hex()}", reader.short(_MANY)) for _ in range(count))
    return shares, reader.short(_MANY)


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
