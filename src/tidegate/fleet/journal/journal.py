"""What a fleet has published: numbered entries, whose they are, and which hosts try them first.

Touches nothing. What comes off a shelf or the engine is judged from the fleet's anchor on, whoever
handed it over; anything that is not what it should be raises Malformed and nothing else.
Limits: MOST_FILES files, MOST_CONTENT bytes compressed, MOST_CANARIES hosts that try it first.

    bundle: revocations 4+n (0: none) | certificate 4+n | entry (sealed POLICY) 4+n | content 4+n
    entry's body: number 8 | trial 4 (s) | flags 1 | note 2+n | content's SHA-256 32 | canaries 2+n
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from tidegate.fleet import fields
from tidegate.fleet.fields import Malformed, Reader
from tidegate.fleet.trust.members import Certificate, Roster, Verify, decode_certificate
from tidegate.fleet.wire import Kind, Message, Sealed, seal, sequence, unseal
from tidegate.model import SECOND, Micros

MOST_CANARIES = 2_000
MOST_CONTENT = 1 << 20
MOST_PLAIN = 8 << 20
MOST_FILES = 4_096
LONGEST_TRIAL = 7 * 86_400
LONGEST_NOTE = 200
PATH = re.compile(
    r"(?:tidegate\.toml|(?:policy\.d|detectors)/[A-Za-z0-9_][A-Za-z0-9_.-]*\.toml"
    r"|sysfence/[A-Za-z0-9_][A-Za-z0-9_.-]*)",
    re.ASCII,
)
"""What is taken of a work tree, and nothing else."""

_BACK = 1
_DIGEST = 32

Files = Mapping[str, bytes]
Rank = tuple[int, bytes]


class Entry(NamedTuple):
    """One number of the journal: a whole policy, for all hosts or, where there are `canaries`, for
    these, which try it for `trial` seconds. `note`: what people call it, such as a commit."""

    number: int
    digest: bytes
    canaries: tuple[str, ...] = ()
    trial: int = 0
    back: bool = False
    note: str = ""


class Published(NamedTuple):
    """An entry that a member signed who may publish, with its content, as `bundle` proves it."""

    entry: Entry
    host: str
    sent: Micros
    id: bytes
    content: bytes
    bundle: bytes

    @property
    def rank(self) -> Rank:
        """The higher one holds, on every host, in whatever order they came."""
        return self.entry.number, self.id

    @property
    def hash(self) -> str:
        """What people compare: the same for the same files."""
        return self.entry.digest.hex()[:12]

    @property
    def until(self) -> Micros:
        """When a trial that nobody confirmed is over; 0: it is none."""
        if not self.entry.canaries:
            return 0
        return self.sent + self.entry.trial * SECOND * 3 // 2


def encode(entry: Entry) -> bytes:
    """The body of POLICY. ValueError where it can be none."""
    note = entry.note.encode()
    if not 0 < entry.number < 1 << 40 or len(entry.digest) != _DIGEST or len(note) > LONGEST_NOTE:
        raise ValueError("an entry that can be none")
    if not 0 <= entry.trial <= LONGEST_TRIAL or len(entry.canaries) > MOST_CANARIES:
        raise ValueError(f"a trial of {entry.trial} s by {len(entry.canaries)} hosts")
    if list(entry.canaries) != sorted(set(entry.canaries)):
        raise ValueError("canaries out of order")
    return b"".join((
        fields.number(entry.number, 8), fields.number(entry.trial, 4),
        bytes((_BACK if entry.back else 0,)), fields.number(len(note), 2), note, entry.digest,
        fields.number(len(entry.canaries), 2),
        *(fields.name(one, fields.HOST) for one in entry.canaries),
    ))  # fmt: skip


def decode(body: bytes) -> Entry:
    """The entry in a body. Malformed where it is none."""
    reader = Reader(body)
    number = reader.number(8, 1, (1 << 40) - 1)
    trial, back = reader.number(4, 0, LONGEST_TRIAL), bool(reader.number(1, 0, _BACK))
    try:
        note = reader.take(reader.number(2, 0, LONGEST_NOTE)).decode()
    except UnicodeDecodeError as error:
        raise Malformed("a note that is no text") from error
    content = reader.take(_DIGEST)
    canaries = tuple(reader.name(fields.HOST) for _ in range(reader.number(2, 0, MOST_CANARIES)))
    if list(canaries) != sorted(set(canaries)):
        raise Malformed("canaries out of order")
    reader.end()
    return Entry(number, content, canaries, trial, back, note)


def pack(files: Files) -> bytes:
    """The content that these files make: the same bytes for the same files. ValueError where they
    are none or too many, or one has another name than is taken."""
    parts = [fields.number(len(files), 2)]
    for path, data in sorted(files.items()):
        if not PATH.fullmatch(path):
            raise ValueError(f"{path}: nothing of this name is published")
        parts += [fields.name(path, PATH), fields.number(len(data), 4), data]
    plain = b"".join(parts)
    found = zlib.compress(plain, 9)
    if not 0 < len(files) <= MOST_FILES or len(plain) > MOST_PLAIN or len(found) > MOST_CONTENT:
        raise ValueError(
            f"{len(files)} files with {len(plain)} bytes, {len(found)} of them compressed;"
            f" expected 1 to {MOST_FILES} files and at most {MOST_PLAIN} and {MOST_CONTENT} bytes"
        )
    return found


def unpack(content: bytes) -> dict[str, bytes]:
    """The files in a content, by their paths. Malformed where it is none."""
    if len(content) > MOST_CONTENT:
        raise Malformed("too large")
    machine = zlib.decompressobj()
    try:
        plain = machine.decompress(content, MOST_PLAIN)
    except zlib.error as error:
        raise Malformed("not compressed") from error
    if not machine.eof or machine.unused_data:
        raise Malformed("compressed otherwise than it should be")
    reader = Reader(plain)
    found: dict[str, bytes] = {}
    last = ""
    for _ in range(reader.number(2, 1, MOST_FILES)):
        path = reader.name(PATH)
        if path <= last:
            raise Malformed("files out of order")
        found[path], last = reader.take(reader.number(4)), path
    reader.end()
    return found


def digest(content: bytes) -> bytes:
    """What an entry names its content by."""
    return hashlib.sha256(content).digest()


def publish(
    entry: Entry, host: str, fleet: bytes, now: Micros, sign: Callable[[bytes], bytes]
) -> bytes:
    """The sealed entry. Its sequence number is its own: it is no part of what the host's daemon
    says, and coming again does it no harm."""
    message = Message(Kind.POLICY, host, sequence(1, entry.number), now, encode(entry))
    return seal(message, fleet, sign)


def encode_bundle(revocations: bytes, certificate: bytes, entry: bytes, content: bytes) -> bytes:
    """All that proves a published policy to who knows the anchor."""
    parts = (revocations, certificate, entry, content)
    return b"".join(fields.number(len(part), 4) + part for part in parts)


def parts_of(bundle: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    """Revocations, certificate, entry and content, none of it judged. Malformed: no bundle."""
    reader = Reader(bundle)
    first, second, third, fourth = (reader.take(reader.number(4)) for _ in range(4))
    reader.end()
    return first, second, third, fourth


def judge(
    bundle: bytes, fleet: bytes, desk: bytes, verify: Verify, lists: Iterable[bytes] = ()
) -> Published:
    """What a bundle proves, from the anchor on; `lists`: the revocations that are known besides.
    Malformed where it proves nothing."""
    revocations, certificate, sealed, content = parts_of(bundle)
    roster = Roster(fleet, desk, verify)
    for paper in (*lists, *([revocations] if revocations else ()), certificate):
        _gone, why = roster.take(paper)
        if why:
            raise Malformed(f"a paper of the desk: {why}")
    return vouched(roster, sealed, content)


def vouched(roster: Roster, data: bytes, content: bytes) -> Published:
    """An entry with its content, where this roster's word is enough. Malformed where it is not."""
    sealed = unseal(data, roster.fleet)
    entry = opened(sealed)
    if why := roster.refusal(sealed.message):
        raise Malformed(f"published by {sealed.message.host}: {why}")
    if not roster.is_signed(sealed):
        raise Malformed(f"not signed by {sealed.message.host}")
    if digest(content) != entry.digest:
        raise Malformed("the content is another one than was published")
    unpack(content)
    message = sealed.message
    papers = roster.papers.get("", b""), roster.papers[message.host]
    bundle = encode_bundle(*papers, data, content)
    return Published(entry, message.host, message.sent, sealed.id, content, bundle)


def opened(sealed: Sealed) -> Entry:
    """The entry in a sealed message, whoever signed it. Malformed where there is none."""
    if sealed.message.kind is not Kind.POLICY:
        raise Malformed("no policy")
    return decode(sealed.message.body)


def publisher(bundle: bytes, fleet: bytes) -> Certificate:
    """Whose certificate is in a bundle; not judged."""
    return decode_certificate(unseal(parts_of(bundle)[1], fleet).message.body)


def canaries(names: Iterable[str], entry: bytes, per_cent: float) -> tuple[str, ...]:
    """The hosts that try a content first (by its digest and number): those whose hash comes first,
    others for each; at least one, and never more than MOST_CANARIES."""
    known = sorted(set(names), key=lambda name: _place(name, entry))
    wanted = min(MOST_CANARIES, max(1, int(len(known) * per_cent / 100)))
    return tuple(sorted(known[:wanted]))


def is_turn(host: str, names: Iterable[str], of: bytes, wanted: int) -> bool:
    """Whether a host is one of so many, by a hash, that do what would do no harm if all did it."""
    mine = _place(host, of)
    return sum(_place(name, of) < mine for name in names) < wanted


def _place(host: str, entry: bytes) -> tuple[bytes, str]:
    return hashlib.sha256(entry + host.encode("ascii")).digest(), host
