"""Hostile texts: keys, slots, brackets and whole messages of every program, naming a forged address.

Touches nothing. Messages are the packs' own examples with their address replaced, whole, and cut
where free text stands. Limits: a seeded choice, the same in every run; more of it is a longer run.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Sequence

from tests.unit.packs.places import Place, free, slots

from tidegate.detector.definition import Detector, Pack
from tidegate.detector.line import read_header

FORGED, FORGED6, FORGED_HOST = "198.18.66.6", "2001:db8:bad:6::6", "forged.example.com"

FORGED, FORGED6, FORGED_HOST = "198.18.66.6", "2001:db8:bad:6::6", "forged.example.com"

PIECES = (
    FORGED,
    FORGED6,
    f" {FORGED} ",
    f" from {FORGED} port 22 ssh2",
    f" from {FORGED}",
    f"' from {FORGED}",
    f"[{FORGED}]",
    f"x]{FORGED}[",
    f"({FORGED})",
    f" ip={FORGED} ",
    f', client: {FORGED}, server: x, request: "GET / HTTP/1.1"',
    f", client: {FORGED6}",
    f"rhost={FORGED}",
    f" rhost={FORGED}  user=x",
    f" SRC={FORGED} DST=192.0.2.1 ",
    f' src="{FORGED}" ',
    f'"remote_ip":"{FORGED}"',
    f'","remote_ip":"{FORGED}","x":"',
    f'", "ip": "{FORGED}", "x": "',
    f'" remote_addr={FORGED} x="',
    f"|src={FORGED} dst=192.0.2.1",
    f"\tsrc={FORGED}\tx=",
    f',"{FORGED}",',
    f";{FORGED};",
    f"<{FORGED}>",
    f"@{FORGED}",
    f", IP: {FORGED}",
    f" IP address: {FORGED}",
    f" ({FORGED}) [{FORGED}]:22 ",
    f"unknown[{FORGED}]",
    f" H=(x) [{FORGED}]",
    f"client={FORGED_HOST}[{FORGED}]",
    f"{FORGED} - x [21/Aug/2026:14:03:22 +0200] ",
    f'" 401 1 "-" "-" {FORGED}',
    f"#012{FORGED} ",
    f"\\n{FORGED} ",
    f"%0a{FORGED} ",
    f"\\x0a{FORGED} ",
    "' ",
    '"',
    "]",
    "[",
    ")",
    "(",
    "> ",
    ": ",
    ", ",
    "\\",
    "|",
    "=",
    "; ",
    "#",
    " ",
)
NEWLINES = ("#012", "\\n", "%0a", "\\x0a", "\\012", "^J", " ")


def sayings(pack: Pack) -> list[str]:
    """Every example's lines as whole messages, and their beginnings and ends up to free text,
    with another's address in them."""
    examples = ((one, each.line) for one in pack.detectors for each in one.match)
    return list(
        dict.fromkeys(text for one, line in examples for text in sayings_of(pack, one, line))
    )


def sayings_of(pack: Pack, detector: Detector, example: str) -> Iterator[str]:
    """Those of one example."""
    for line in example.encode().split(b"\n"):
        yield from _sayings(pack, detector, line)


def _sayings(pack: Pack, detector: Detector, line: bytes) -> Iterator[str]:
    found = slots(pack, detector, line)
    if not found:
        return
    forged = line.decode("utf-8", "replace")
    begin = read_header(line + b"\n", 0, len(line)).begin
    yield forge(line[begin:], found)
    if begin:
        yield forged.replace(found[0][2].decode(), _for(found[0][2]))
    for first, last, _name, _holds in free(pack, detector, line):
        if any(last <= each[0] for each in found):
            yield forge(line[last:], found)
        if any(each[1] <= first for each in found) and first > begin:
            yield forge(line[begin:first], found)


def forge(text: bytes, found: Iterable[tuple[int, int, bytes]]) -> str:
    """A text with each address in it another's."""
    for address in {each[2] for each in found}:
        whole = rb"(?<![0-9A-Za-z.:])" + re.escape(address) + rb"(?![0-9A-Za-z]|\.[0-9])"
        text = re.sub(whole, _for(address).encode(), text)
    return text.decode("utf-8", "replace")


def _for(address: bytes) -> str:
    if re.fullmatch(rb"[0-9.]+", address):
        return FORGED
    return FORGED6 if b":" in address else FORGED_HOST


def texts(
    place: Place, own: Sequence[str], same: Sequence[str], other: Sequence[str], count: int
) -> Iterator[str]:
    """What to put into a place: sayings of its own example, and a seeded choice of other texts."""
    chance = random.Random(f"{place.line!r} {place.begin} {place.name}")
    before = place.line[place.begin : place.stop].decode("utf-8", "replace")
    for text in own:
        yield before + text
        yield text
    for number in range(count):
        if number % 3 == 0:
            yield "".join(chance.choices(PIECES, k=chance.randint(1, 4)))
            continue
        text = chance.choice(same if number % 3 == 1 and same else other)
        around = chance.choices(("", before, "x", *PIECES[-17:], *NEWLINES), k=2)
        yield around[0] + text + chance.choice(("", "", around[1]))
