"""The packs: shipped and own files loaded, and their example lines tried.

Touches the pack files it is handed and the shipped ones, nothing else.
Limits: every fault of every file is collected, then raised at once as one PackError.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Protocol

from tidegate.detector.definition import Detector, Example, Pack
from tidegate.detector.reader import read_pack
from tidegate.errors import PackError
from tidegate.model import Batch, Block, Event

__all__ = ["Detector", "Example", "Pack", "load_packs", "read_pack", "try_examples"]

_LATER = 4_102_444_800_000_000  # 2100-01-01: no example line is ahead of its arrival


class Detects(Protocol):
    """The part of the engine that the examples need."""

    def detect(self, block: Block, *, fields: bool = False) -> Batch:
        """The events in a block."""


def load_packs(
    own: Sequence[Path] = (),
    *,
    shipped: bool = True,
    judge_shipped: bool = False,
    published: Sequence[tuple[str, bytes]] = (),
) -> tuple[Pack, ...]:
    """The shipped packs and the given files, sorted by name; an own pack replaces a published one,
    and that a shipped one. `published`: names for messages, and what stands in them.

    The patterns of shipped packs were judged by the tests, which takes a third of a second that
    every start would pay again; `judge_shipped` does so here (for `check`). Raises PackError with
    every fault of every file.
    """
    faults: list[str] = []
    packs: dict[str, Pack] = {}
    if shipped:
        folder = resources.files("tidegate.detector") / "packs"
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
            if entry.name.endswith(".toml"):
                _take(entry.name, entry.read_bytes(), packs, faults, judge=judge_shipped)
    theirs: dict[str, Pack] = {}
    for origin, data in published:
        _take(origin, data, theirs, faults)
    mine: dict[str, Pack] = {}
    for path in own:
        content = _content(path, faults)
        if content is not None:
            _take(str(path), content, mine, faults)
    if faults:
        raise PackError(faults)
    return tuple(pack for _name, pack in sorted((packs | theirs | mine).items()))


def _content(path: Path, faults: list[str]) -> bytes | None:
    """The bytes of an own pack; None, and a fault, where it is no file that can be read."""
    try:
        # Opened without waiting, so that a FIFO in the place of a pack can't hang anything.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return file.read()
            faults.append(f"{path}: expected a regular file")
    except OSError as error:
        faults.append(f"{path}: expected a readable file: {error.strerror}")
    return None


def _take(
    origin: str, content: bytes, packs: dict[str, Pack], faults: list[str], *, judge: bool = True
) -> None:
    try:
        pack = read_pack(content, origin, judge=judge)
    except PackError as error:
        faults.extend(error.faults)
        return
    if pack.name in packs:
        faults.append(f"{origin}: name: {pack.name} is already taken by {packs[pack.name].origin}")
    packs[pack.name] = pack


def try_examples(pack: Pack, engine: Detects) -> list[str]:
    """Every example line of the pack tried on an engine that holds it; one line a fault."""
    faults = []
    for detector in pack.detectors:
        where = f"{pack.origin}: detector {detector.name}:"
        for number, example in enumerate(detector.match):
            source = f"{detector.name} {number}"  # sessions of one example are not another's
            seen = [
                event
                for event in _events(example.line, engine, source)
                if event.kind.pack == pack.name
                and (detector.session != "joins" or event.kind is detector.kind)
            ]
            said = _compare(detector, example, seen)
            if said:
                faults.append(f"{where} match: {said}: {example.line!r}")
        faults.extend(
            f"{where} reject: expected no event, it matches: {line!r}"
            for number, line in enumerate(detector.reject)
            if any(
                event.kind is detector.kind
                for event in _events(line, engine, f"not {detector.name} {number}")
            )
        )
    return faults


def _events(text: str, engine: Detects, source: str) -> Iterable[Event]:
    data = text.encode("utf-8") + b"\n"
    return engine.detect(Block(source, data, 0, _LATER, 0), fields=True).events


def _compare(detector: Detector, example: Example, seen: Sequence[Event]) -> str:
    """What is wrong with the events of one example line; "" if it is as stated."""
    if len(seen) != 1:
        return f"expected one event, there are {len(seen)}"
    event = seen[0]
    if event.kind is not detector.kind:
        return f"expected it to match here, {event.kind.detector} takes it"
    values = {
        **event.fields,
        "subject": event.subject,
        "count": str(event.count),
        "session": event.session,
        "kind": event.kind.name,
    }
    for key, wanted in example.expect.items():
        if key == "kind" and "." not in wanted:
            wanted = f"{event.kind.pack}.{wanted}"
        if values.get(key) != wanted:
            return f"expected {key} {wanted!r}, it is {values.get(key)!r}"
    return ""
