"""Places for free text in the packs' own examples: where a client's words may stand in a line.

Touches nothing. Every pattern is read for repeats that can hold letters, dots and digits, and every
string of JSON is a place. Limits: whose words stand there says `writing`; multi-line examples are
read line by line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from re import _constants as sre  # type: ignore[attr-defined]
from typing import Any, NamedTuple

from tidegate.detector import tree
from tidegate.detector.definition import Detector, Pack
from tidegate.detector.line import read_header


def mask(text: str) -> int:
    """The bytes of a set of characters, as a 256-bit mask."""
    found = tree.charset(*tree.items(tree.parse(text.encode()))[0])
    assert found is not None
    return found


_LETTERS = mask("[a.0]")

TOLD = frozenset(  # groups whose text the daemon makes itself, or bounds to digits and few words
    [
        "addr",
        "time",
        "session",
        "port",
        "dport",
        "count",
        "status",
        "severity",
        "rank",
        "stamp",
        "when",
        "tries",
        "errors",
        "early",
        "more",
        "proto",
        "tag",
        "id",
    ]
)


class Place(NamedTuple):
    """Where free text stands in an example: [begin, stop) of `line`, in the group `name` or none.

    `holds` are the bytes that the pattern lets stand there, as a 256-bit mask; `depth` says how
    many strings of JSON it stands in.
    """

    pack: str
    detector: str
    line: bytes
    begin: int
    stop: int
    name: str
    holds: int
    depth: int


def places(pack: Pack, detector: Detector, example: str) -> list[Place]:
    """The places of an example of a detector."""
    data, at = example.encode(), 0
    found: dict[Place, None] = {}
    for line in data.split(b"\n"):
        for begin, stop, name, holds in free(pack, detector, line):
            deep = (each[2] for each in json_strings(line) if each[0] <= begin <= each[1])
            where = (data, at + begin, at + stop)
            found[Place(pack.name, detector.name, *where, name, holds, next(deep, 0))] = None
        at += len(line) + 1
    return list(found)


def free(pack: Pack, detector: Detector, line: bytes) -> Iterator[tuple[int, int, str, int]]:
    """The free stretches of one line, and every string of JSON in it."""
    if not line:
        return
    addresses = {text for _begin, _stop, text in slots(pack, detector, line)}
    strings = [(begin, stop) for begin, stop, _depth in json_strings(line)]
    for begin, stop in strings:
        if not any(each in line[begin:stop] for each in addresses):
            yield begin, stop, _key(line, begin), tree.EVERY
    found = _match(pack, detector, line)
    if found is None:
        return
    held = _held[found.re]
    names = {number: name for name, number in found.re.groupindex.items()}
    for number in range(1, (found.re.groups or 0) + 1):
        begin, stop = found.span(number)
        name = names.get(number, "")
        if begin < 0 or name in TOLD or name.startswith("_"):
            continue
        if begin == stop and not name:
            continue
        inside = any(each[0] <= begin and stop <= each[1] for each in strings)
        if inside or not any(begin < each[1] and each[0] < stop for each in _objects(line)):
            yield begin, stop, name, tree.EVERY if name else held[number]


def _key(line: bytes, begin: int) -> str:
    found = re.search(rb'"([^"\\]*)" ?: ?"\Z', line[:begin])
    return found[1].decode() if found else ""


def slots(pack: Pack, detector: Detector, line: bytes) -> list[tuple[int, int, bytes]]:
    """Where the address of the subject stands in a line, every time it does."""
    found = _match(pack, detector, line)
    if found is None or "addr" not in found.re.groupindex or not (text := found["addr"]):
        return []
    whole = rb"(?<![0-9A-Za-z.:])" + re.escape(text) + rb"(?![0-9A-Za-z]|\.[0-9])"
    return [(each.start(), each.end(), text) for each in re.finditer(whole, line)]


def _match(pack: Pack, detector: Detector, line: bytes) -> re.Match[bytes] | None:
    """The line read by this detector, else by the first of its pack that can."""
    header = read_header(line + b"\n", 0, len(line))
    for each in (detector, *pack.detectors):
        found = marked(each.pattern).match(line, header.begin, header.stop)
        if found is not None:
            return found
    return None


@cache
def marked(pattern: bytes) -> re.Pattern[bytes]:
    """A pattern with a group around each repeat that can hold letters, dots and digits."""
    parsed = tree.parse(b"(?:" + pattern + rb")\r?\Z")
    held: dict[int, int] = {}
    made = tree.compiled(_mark(parsed, parsed, held))
    _held[made] = held
    return made


_held: dict[re.Pattern[bytes], dict[int, int]] = {}
"""What each group that was put into a pattern can hold."""


def _mark(whole: Any, part: Any, held: dict[int, int]) -> Any:
    made = []
    for operator, value in tree.items(part):
        if operator is sre.SUBPATTERN:
            value = (*value[:3], value[3] if value[0] else _mark(whole, value[3], held))
        elif operator is sre.BRANCH:
            value = (value[0], [_mark(whole, each, held) for each in value[1]])
        elif operator in tree.LOOPS or operator is sre.POSSESSIVE_REPEAT:
            if value[1] > 8 and _holds(value[2]) & _LETTERS == _LETTERS:
                number = whole.state.opengroup()
                inner = tree.sequence(whole, [(operator, value)])
                whole.state.closegroup(number, inner)
                held[number] = _holds(value[2])
                operator, value = sre.SUBPATTERN, (number, 0, 0, inner)
            elif value[1] == 1:
                value = (*value[:2], _mark(whole, value[2], held))
        made.append((operator, value))
    return tree.sequence(whole, made)


def _holds(part: Any) -> int:
    """The bytes that a sequence can hold anywhere."""
    taken = 0
    for operator, value in tree.items(part):
        single = tree.charset(operator, value)
        taken |= single if single is not None else 0
        if operator not in (sre.ASSERT, sre.ASSERT_NOT):
            for each in tree.inner(operator, value):
                taken |= _holds(each)
    return taken


_STRING = re.compile(rb'"((?:[^"\\]|\\.)*)"')


@cache
def json_strings(line: bytes) -> tuple[tuple[int, int, int], ...]:
    """The values that are strings in the JSON of a line: begin, stop, and how deep JSON stands in
    strings of JSON there."""
    found = []
    for at, stop in _objects(line):
        for one in _STRING.finditer(line, at, stop):
            if not re.match(rb"\s*:", line[one.end() :]):
                inner = line[one.start() : one.end()]
                deeper = b'\\"' in inner and _json(json.loads(inner).strip().encode()) > 0
                found.append((*one.span(1), 2 if deeper else 1))
    return tuple(found)


@cache
def _objects(line: bytes) -> tuple[tuple[int, int], ...]:
    """Where JSON stands in a line."""
    found, at = [], 0
    while (at := line.find(b"{", at)) >= 0:
        length = _json(line[at:])
        if length:
            found.append((at, at + length))
        at += length or 1
    return tuple(found)


def _json(text: bytes) -> int:
    """How long the object is that a text begins with; 0 if it is none."""
    if not re.match(rb'\{\s*"', text):
        return 0
    try:
        shown = text.decode("latin-1")
        value, length = json.JSONDecoder().raw_decode(shown)
    except ValueError:
        return 0
    return length if isinstance(value, dict) else 0
