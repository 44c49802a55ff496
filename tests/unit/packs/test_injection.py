"""Whatever a client writes into whatever it may write: no pack blames, or speaks for, anybody else.

Driven by the packs themselves: each free place of each example holds hostile text as its program
would write it, and all packs together read the line, as a daemon's do that names no detectors.
TIDEGATE_INJECTION=full tries fifteen times as many texts.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC
from functools import cache
from itertools import count

import pytest
from tests.unit.detector.making import packs
from tests.unit.packs.places import Place, places
from tests.unit.packs.sayings import sayings, sayings_of, texts
from tests.unit.packs.writing import LIMITS, OWN, QUOTED, put, written

from tidegate.detector import matcher
from tidegate.detector.definition import Detector, Pack
from tidegate.detector.engine import Engine
from tidegate.detector.line import read_header
from tidegate.detector.pack import load_packs
from tidegate.model import Block, Event

COUNT = 1800 if os.environ.get("TIDEGATE_INJECTION") == "full" else 120
"""Texts in each place, besides those of its own example."""

PACKS = load_packs()
SAYINGS = {pack.name: sayings(pack) for pack in PACKS}
ALL = [text for said in SAYINGS.values() for text in said]
_number = count()


@cache
def engine() -> Engine:
    return Engine(PACKS, zone=UTC)


@pytest.fixture(scope="module", autouse=True)
def _every_set_of_literals() -> Iterator[None]:
    """Hostile lines hold more sets of literals than an engine remembers, which makes it ask all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matcher, "_MERGED", 1 << 40)
        yield


def events(reader: Engine, line: bytes) -> list[Event]:
    """The events of a line in a source of its own, so that no other line's session matters."""
    source = f"log {next(_number)}"
    return reader.detect(
        Block(source, line + b"\n", 0, 1_790_000_000_000_000, 0), fields=True
    ).events


def forms(pack: Pack, line: bytes, begin: int) -> Iterator[bytes]:
    """The line, and without its header, if the pack may get it so. Not where the text, from `begin`
    on, then begins the line: all that helps there is to name a source's detectors."""
    yield line
    header = read_header(line + b"\n", 0, len(line))
    named = header.program is not None and pack.bare and b"\n" not in line
    if named and begin > header.begin + 1:
        yield line[header.begin :]


def hostile(pack: Pack, detector: Detector, example: str, place: Place) -> Iterator[bytes]:
    """The lines that come of an example by what a client may write at a place of it."""
    own = list(dict.fromkeys(sayings_of(pack, detector, example)))
    for text in texts(place, own, SAYINGS.get(pack.name, own), ALL, COUNT):
        said = written(place, text)
        if said is not None:
            yield from forms(pack, put(place, said), place.begin)


def forgeries(reader: Engine, pack: Pack) -> list[str]:
    """Every event about somebody whom the example is not about."""
    found = []
    for detector in pack.detectors:
        for example in detector.match:
            about = {event.subject for event in events(reader, example.line.encode())}
            about.add(example.expect.get("subject", ""))
            for place in places(pack, detector, example.line):
                found += [
                    f"{event.kind.detector} {event.subject}: {line!r}"
                    for line in hostile(pack, detector, example.line, place)
                    for event in events(reader, line)
                    if event.kind.klass != "notice" and event.subject not in about
                ]
    return found


@pytest.mark.parametrize("pack", PACKS, ids=lambda pack: pack.name)
def test_nobody_is_blamed_or_spoken_for_by_what_a_client_writes(pack: Pack) -> None:
    assert forgeries(engine(), pack)[:5] == []


FOOLED = r"""
name = "fooled"
programs = ["fooledd"]
bare = {bare}
[[detector]]
name = "failed"
kind = "failed"
literals = ["no login for"]
pattern = '''no login for {user} from <addr>{rest}'''
match = [{{ line = "Aug 21 14:03:22 mx fooledd[712]: no login for bob from 192.0.2.7 port 22", subject = "192.0.2.7" }}]
"""


@pytest.mark.parametrize(
    ("user", "rest", "fooled"),
    [
        ("(?P<user>.*?)", ".*", True),  # the first that fits
        (".*?", ".*", True),  # without a name
        ("(?P<user>.*)", "(?: port [0-9]+)?(?P<said>.*)", True),  # the last, with free text behind
        (r"(?P<user>\S*)", ".*", True),  # a word, if names had no blanks
        ("(?P<user>.*)", " port [0-9]+", False),  # the last, and nothing behind it
    ],
)
def test_a_pack_that_can_be_fooled_is_found(user: str, rest: str, fooled: bool) -> None:
    (pack,) = packs(FOOLED.format(user=user, rest=rest, bare="true"))
    assert bool(forgeries(Engine([pack], zone=UTC), pack)) == fooled


def test_a_pack_that_takes_what_other_programs_write_is_found() -> None:
    """Free text in front: another program's headerless line is enough."""
    (pack,) = packs(FOOLED.format(user="(?P<user>.*)", rest=" port [0-9]+", bare="true"))
    loose = packs(FOOLED.replace("'''no", "'''.*no").format(user=".*", rest=".*", bare="true"))
    strict = packs(FOOLED.replace("'''no", "'''.*no").format(user=".*", rest=".*", bare="false"))
    line = b"bob said: no login for x from 198.18.66.6 port 22"
    assert [event.subject for event in events(Engine(loose, zone=UTC), line)] == ["198.18.66.6"]
    assert not events(Engine([pack], zone=UTC), line)
    assert not events(Engine(strict, zone=UTC), line)


def test_what_is_known_of_programs_is_of_programs_that_there_are() -> None:
    """A name that nothing has any more would hide nothing, or the wrong thing."""
    known = {pack.name for pack in PACKS}
    known.update(each.name for pack in PACKS for each in pack.detectors)
    named = {name.partition(":")[0] for name in (*LIMITS, *OWN)} | QUOTED
    assert named - {"*"} <= known
    groups: dict[str, set[str]] = {}
    for pack in PACKS:
        for detector in pack.detectors:
            for example in detector.match:
                for place in places(pack, detector, example.line):
                    for name in (detector.name, pack.name, "*"):
                        groups.setdefault(name, set()).add(place.name)
    for name in (*LIMITS, *OWN):
        owner, _, group = name.partition(":")
        assert group in groups.get(owner, ()), name
