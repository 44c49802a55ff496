"""Explains a line: its header, the literals in it, who was asked, how far each pattern got.

Touches nothing; the budget it is handed may use a timer. Asks in the engine's own order, with its
own matchers. Limits: one line at a time; what joins lines (sessions, torn lines) the engine says.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Literal

from tidegate.detector.budget import Budget, RanAway, Unlimited
from tidegate.detector.journal import entry_header
from tidegate.detector.line import SHAPES, Header, read_header
from tidegate.detector.matcher import Literals, Matcher
from tidegate.detector.reach import reach
from tidegate.model import Block

Outcome = Literal[
    "matched", "no match", "no address", "other program", "already taken", "no literal", "ran away"
]
"""`no address`: the pattern matches, but what stands in the slot is no address. `already taken`:
an earlier detector of the pack has the line. `no literal`: not asked, and it could not match."""

LONGEST = 32 * 1024
_NEAREST = 5
_FACILITY = re.compile(rb"<[0-9.]{1,5}>|[a-z][a-z0-9]{1,8}\.[a-z]{3,7}:?")
_RFC5424 = re.compile(rb"<[0-9]{1,3}>1 \S+ (\S+) ")


@dataclass(frozen=True, slots=True)
class Taken:
    """A piece of the line and what it was taken for: `line[start:stop]`."""

    name: str
    start: int
    stop: int
    value: str


@dataclass(frozen=True, slots=True)
class Tried:
    """One detector and the line. `at`: how far its pattern got, in bytes of the line (-1: it was
    not asked); `expected`: what it wanted there; `taken`: what a match took."""

    detector: str
    kind: str
    outcome: Outcome
    at: int = -1
    expected: str = ""
    taken: tuple[Taken, ...] = ()
    time_from: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Everything about one line. `form` is its header's ("none": all of it is message); `message`
    the byte where the message begins; `repeated` the N of `message repeated N times`, else 0."""

    line: bytes
    form: str
    stamp: str
    host: str
    program: str
    pid: str
    message: int
    repeated: int
    literals: tuple[str, ...]
    tried: tuple[Tried, ...]
    of_program: tuple[str, ...] = ()
    """Texts that the packs of this program look for, where none of them is in the line."""


class Explainer:
    """Explains lines to whoever wonders. `literals`: the engine's own.

    `anyway`: detectors (or packs) of which, where nothing matches, those that get farthest are told
    even if none of their literals is in the line.
    """

    def __init__(
        self, literals: Literals, *, anyway: Collection[str] = (), budget: Budget | None = None
    ) -> None:
        self._literals = literals
        self._anyway = frozenset(anyway)
        self._budget = budget or Unlimited()

    def line(self, block: Block, start: int, stop: int) -> Explanation | None:
        """The line [start, stop) of a block's data; None if it is no message (of the journal)."""
        data, cut = block.data, min(stop, start + LONGEST)
        journal = block.framing == "journal"
        header = (entry_header if journal else read_header)(data, start, cut)
        if header is None:
            return None
        present = [number for number, text in enumerate(self._literals.texts)
                   if data.find(text, start, stop) >= 0]  # fmt: skip
        form = "journal" if journal else SHAPES[header.form].name if header.form >= 0 else "none"
        return Explanation(
            line=data[start:stop],
            form=form,
            stamp=_text(header.stamp),
            host="" if journal else _text(_host(data, start, header)),
            program=_text(header.program),
            pid=_text(header.pid),
            message=header.begin - start,
            repeated=header.repeated,
            literals=tuple(_text(self._literals.texts[number]) for number in present),
            tried=tuple(self._tried(data, start, header, present)),
            of_program=() if present else self._of_program(header.program),
        )

    def _tried(self, data: bytes, start: int, header: Header, present: list[int]) -> list[Tried]:
        found: list[Tried] = []
        taken = -1
        asked = self._literals.together(present)
        for matcher in asked:
            name, kind = matcher.detector.name, matcher.kind.name
            if matcher.pack == taken:
                found.append(Tried(name, kind, "already taken"))
            elif not matcher.programs[header.program]:
                found.append(Tried(name, kind, "other program"))
            else:
                found.append(self._try(matcher, data, start, header))
                if found[-1].outcome == "matched":
                    taken = matcher.pack
        if taken < 0:
            left = [one for one in self._literals.every() if one not in asked and self._named(one)]
            tries = [self._try(matcher, data, start, header) for matcher in left]
            tries.sort(key=lambda one: -one.at)
            near = [one for one in tries if one.at > header.begin - start][:_NEAREST]
            near = near or ([] if found else tries[:1])
            found += [replace(one, outcome="no literal") for one in near]
        return found

    def _named(self, matcher: Matcher) -> bool:
        return not self._anyway.isdisjoint((matcher.kind.pack, matcher.detector.name))

    def _try(self, matcher: Matcher, data: bytes, start: int, header: Header) -> Tried:
        name, kind = matcher.detector.name, matcher.kind.name
        self._budget.start()
        try:
            found = matcher.message(data, header.begin, header.stop)
            if found is None:
                stopped = reach(matcher.detector.pattern, data, header.begin, header.stop)
        except RanAway as error:
            return Tried(name, kind, "ran away", header.begin - start, str(error))
        finally:
            self._budget.stop()
        if found is None:
            return Tried(name, kind, "no match", stopped.at - start, stopped.expected)
        taken = tuple(_groups(found, start))
        if matcher.who(found) is None:
            at = next((one.start for one in taken if one.name == "addr"), header.begin - start)
            wanted = "an address or a host name" if matcher.detector.host else "an address"
            wanted = "an address, a network or uid:N" if matcher.detector.wide else wanted
            return Tried(name, kind, "no address", at, wanted, taken)
        time_from = "arrival"
        if header.time is not None:
            time_from = "journal"
        elif header.stamp:
            time_from = "header"
        elif matcher.stamp(found):
            time_from = "message"
        return Tried(name, kind, "matched", found.end() - start, "", taken, time_from)

    def _of_program(self, program: bytes | None) -> tuple[str, ...]:
        if program is None:
            return ()
        asked = [matcher for matcher in self._literals.every() if matcher.programs[program]]
        # Other packs may read this program too; the one of that name is meant most likely.
        asked.sort(key=lambda one: one.kind.pack != program.decode("latin-1"))
        texts = (_text(text) for matcher in asked for text in matcher.detector.literals)
        return tuple(dict.fromkeys(texts))


def _groups(found: re.Match[bytes], start: int) -> list[Taken]:
    """The named groups that took part, in the order of the line."""
    pieces = []
    for name, value in found.groupdict().items():
        if value is not None and not name.startswith("_"):
            first, last = found.span(name)
            pieces.append(Taken(name, first - start, last - start, _text(value)))
    return sorted(pieces, key=lambda one: (one.start, one.stop))


def _host(data: bytes, start: int, header: Header) -> bytes:
    """The host that the header names: the word before the program, or RFC 5424's HOSTNAME."""
    head = data[start : header.begin]
    if (named := _RFC5424.match(head)) is not None:
        return b"" if named[1] == b"-" else named[1]
    if header.program is None:
        return b""
    if header.stamp is not None:
        head = head.partition(header.stamp)[2]
    behind = rb"\[" + header.pid + rb"\]" if header.pid else rb"\]?:"
    tag = re.search(rb"(?:^|[ \[])" + re.escape(header.program) + behind, head)
    words = head[: tag.start()].split() if tag else []
    words = [word for word in words if not _FACILITY.fullmatch(word)]
    return words[-1] if words else b""


def _text(data: bytes | None) -> str:
    return data.decode("utf-8", "surrogateescape") if data else ""
