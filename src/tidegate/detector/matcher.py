"""Matchers: detectors compiled, alone and together with a header form, and who is asked when.

Touches nothing. A line is read in two steps, header then message; for forms that occur often both
are one pattern, so that an ordinary hit costs a single match. Limits: both give the same by design.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import cached_property
from typing import NamedTuple

from tidegate.detector.definition import Detector, Pack
from tidegate.detector.lean import lean
from tidegate.detector.line import NOT_REPEATED, Shape
from tidegate.errors import PackError
from tidegate.model import Kind, Subject
from tidegate.subject import of_address, of_host, parse

_REMEMBERED = 65_536
_MERGED = 4_096
COUNT_MOST = 1_000

NOBODY = Subject("")
Match = Callable[[bytes, int, int], "re.Match[bytes] | None"]


class Slot(dict[bytes | None, Subject | None]):
    """What stands in an address slot, by its bytes: the subject, or None if it is refused.

    Fills itself. Where nothing stands (None or empty) it is `nobody`, if that may be, else refused.
    """

    def __init__(self, *, host: bool, nobody: bool, wide: bool = False) -> None:
        super().__init__()
        self._make = parse if wide else of_host if host else of_address
        self._nobody = NOBODY if nobody else None

    def __missing__(self, text: bytes | None) -> Subject | None:
        if len(self) >= _REMEMBERED:
            self.clear()
        found = self._make(text.decode("latin-1")) if text else self._nobody
        self[text] = found
        return found


class Programs(dict[bytes | None, bool]):
    """Whether a program is one of the pack's, compared whole; `*` in a name takes any part of one.

    Fills itself. None, which is a line that names no program, is one of them if `bare`.
    """

    def __init__(self, names: Sequence[str], *, bare: bool = True) -> None:
        super().__init__()
        self.bare = bare
        parts = (re.escape(name).replace(r"\*", "[0-9A-Za-z_./@+-]*") for name in names)
        self.pattern = f"(?:{'|'.join(parts)})"
        self._matches = re.compile(self.pattern.encode()).fullmatch

    def __missing__(self, program: bytes | None) -> bool:
        if len(self) >= _REMEMBERED:
            self.clear()
        taken = self.bare if program is None else self._matches(program) is not None
        self[program] = taken
        return taken


class Matcher:
    """One detector, ready to match. `pack` numbers its pack, so that one wins in each.

    `named`: its events always have their fields; `told`: each success is an event too.
    """

    def __init__(
        self,
        detector: Detector,
        pack: int,
        programs: Programs,
        slot: Slot,
        *,
        named: bool = False,
        told: bool = False,
    ) -> None:
        self.detector = detector
        self.kind = detector.kind
        self.named = named
        self.told = told
        self.pack = pack
        self.slot = slot
        self.success = detector.kind.klass == "success"
        self.programs = programs
        self._address: int | None = None
        self._session: int | None = None
        self._count: int | None = None
        self._time: int | None = None
        self._forwarded: int | None = None
        self._ready: dict[int, Ready] = {}

    @cached_property
    def message(self) -> Match:
        """The pattern for a whole message; compiled when a line first asks for it, which most of a
        thousand detectors never see."""
        compiled = re.compile(lean(b"(?:" + self.detector.pattern + rb")\r?\Z"))
        groups = compiled.groupindex
        self._address = groups.get("addr")
        self._session = groups.get("session")
        self._count = groups.get("count")
        self._time = groups.get("time")
        self._forwarded = groups.get("forwarded")
        return compiled.match

    def who(self, found: re.Match[bytes]) -> Subject | None:
        """The subject that a match is about; None if the address is none."""
        return self.slot[found[self._address] if self._address else None]

    def forwarded(self, found: re.Match[bytes]) -> bytes | None:
        """The addresses that a proxy passed on, as the line lists them."""
        return found[self._forwarded] if self._forwarded else None

    def session(self, found: re.Match[bytes], pid: bytes | None) -> str:
        """What groups the lines of one connection: the pattern's session, else the process id."""
        session = found[self._session] if self._session else None
        return (session or pid or b"").decode("latin-1")

    def stamp(self, found: re.Match[bytes]) -> bytes | None:
        """The stamp inside the message, by its group `time`; None where it has none."""
        return found[self._time] if self._time else None

    def count(self, found: re.Match[bytes]) -> int:
        """How many attempts the line sums up, by its group `count`."""
        return count_of(found[self._count]) if self._count else 1

    def fields(self, found: re.Match[bytes]) -> dict[str, str]:
        """The named groups that took part, as text."""
        return {
            name: value.removesuffix(b"\r").decode("utf-8", "backslashreplace")
            for name, value in found.groupdict().items()
            if value is not None and name[0] != "_"
        }

    def with_header(self, form: int, shape: Shape) -> Ready:
        """Header and message as one pattern, for a shape that always has a stamp."""
        ready = self._ready.get(form)
        if ready is None:
            ready = self._ready[form] = self._compile(shape)
        return ready

    def _compile(self, shape: Shape) -> Ready:
        header = shape.header(self.programs.pattern, swift=True) + NOT_REPEATED
        message = b"(?:" + self.detector.pattern + rb")\r?\Z(?P<_nothing>)"
        compiled = re.compile(lean(header + message))
        groups = compiled.groupindex
        nothing = groups["_nothing"]
        thread = groups.get("session", groups.get("_pid", nothing))
        return Ready(
            compiled.match,
            self.pack,
            groups.get("addr", nothing),
            0 if self.success and not self.told else thread,
            groups.get("_pid", nothing),
            groups.get("count", 0),
            self.slot,
            self.kind,
            self.fields if self.named else None,
            groups.get("forwarded", 0),
            self,
        )


def count_of(digits: bytes | None) -> int:
    """A count as a line states it, from 1 to COUNT_MOST."""
    return max(1, min(int(digits), COUNT_MOST)) if digits and digits.isdigit() else 1


class Ready(NamedTuple):
    """A matcher together with a swift header, laid out for the inner loop.

    `address`, `thread`, `process` and `many` are numbers of groups; `thread`, the session (where
    that took no part `process`, the process id), is 0 for a success, which needs none; `many`, the
    count, and `forwarded` are 0 where there is none. Group 1 is the stamp.
    """

    match: Match
    pack: int
    address: int
    thread: int
    process: int
    many: int
    slot: Slot
    kind: Kind
    named: Callable[[re.Match[bytes]], dict[str, str]] | None
    forwarded: int
    matcher: Matcher


class Literals:
    """Which matchers to ask, by the literals that were found in a line.

    A key stands for a set of literals: those below `len(texts)` for one alone, the others for sets.
    `speaking` are the keys of the literals that only successes have. `full`: there are so many sets
    that every further one is taken to be all literals, which is slow; then begin anew.
    """

    def __init__(self, matchers: Sequence[Matcher]) -> None:
        self.texts = sorted({text for each in matchers for text in each.detector.literals})
        number = {text: index for index, text in enumerate(self.texts)}
        self._asking: list[list[int]] = [[] for _ in self.texts]
        for order, matcher in enumerate(matchers):
            for text in matcher.detector.literals:
                self._asking[number[text]].append(order)
        self._matchers = list(matchers)
        self.speaking = frozenset(
            index
            for index, asking in enumerate(self._asking)
            if all(matchers[order].success and not matchers[order].told for order in asking)
        )
        self.begin_anew()

    def begin_anew(self) -> None:
        """Forget all sets but those of one literal; whoever holds on to their keys must, too."""
        self.full = False
        self._sets: list[frozenset[int]] = [frozenset((index,)) for index in range(len(self.texts))]
        self._merged: dict[tuple[int, int], int] = {}
        self._numbers = {each: index for index, each in enumerate(self._sets)}

    def of(self, matchers: Iterable[Matcher]) -> frozenset[int]:
        """The literals of these matchers, by number."""
        texts = {text for each in matchers for text in each.detector.literals}
        return frozenset(index for index, text in enumerate(self.texts) if text in texts)

    def merge(self, key: int, literal: int) -> int:
        """The key of that set with one literal more."""
        try:
            return self._merged[key, literal]
        except KeyError:
            pass
        together = self._sets[key] | {literal}
        number = self._numbers.get(together)
        if number is None and len(self._sets) - len(self.texts) >= _MERGED:
            # A flood of odd lines: ask everybody, for as long as this block lasts.
            self.full = True
            together = frozenset(range(len(self.texts)))
            number = self._numbers.get(together)
        if number is None:
            number = len(self._sets)
            self._sets.append(together)
            self._numbers[together] = number
        if len(self._merged) < 16 * _MERGED:
            self._merged[key, literal] = number
        return number

    def matchers(self, key: int, without: Collection[str]) -> list[Matcher]:
        """Who is asked, pack by pack, in the order of the files."""
        asking = sorted({order for literal in self._sets[key] for order in self._asking[literal]})
        found = [self._matchers[order] for order in asking]
        return [each for each in found if each.detector.name not in without]

    def together(self, literals: Iterable[int]) -> list[Matcher]:
        """Who is asked about a line with just these literals, by number; [] where it has none."""
        asking = sorted({order for literal in literals for order in self._asking[literal]})
        return [self._matchers[order] for order in asking]

    def every(self) -> Sequence[Matcher]:
        """All of them, in the order in which they would be asked."""
        return self._matchers


def matchers_of(
    packs: Sequence[Pack],
    wanted: Collection[str] | None,
    named: Collection[str] = (),
    told: Collection[str] = (),
) -> list[Matcher]:
    """The detectors of the packs, all or those named (`exim`, `exim.malware-data`), compiled.

    `named`, `told`: kinds, see `Matcher`. Raises PackError for names that nothing has.
    """
    known = {pack.name for pack in packs}
    known.update(detector.name for pack in packs for detector in pack.detectors)
    unknown = sorted(set(wanted or ()) - known)
    if unknown:
        raise PackError([f"{name}: unknown detector{_near(name, known)}" for name in unknown])
    slots = {
        (host, wide, notice): Slot(host=host, nobody=notice, wide=wide)
        for host in (False, True)
        for wide in (False, True)
        for notice in (False, True)
    }
    return [
        Matcher(
            detector,
            number,
            programs,
            slots[detector.host, detector.wide, may_be_nobody(detector)],
            named=detector.kind.name in named,
            told=detector.kind.name in told,
        )
        for number, pack in enumerate(packs)
        for programs in (Programs(pack.programs, bare=pack.bare),)
        for detector in pack.detectors
        if wanted is None or pack.name in wanted or detector.name in wanted
    ]


def may_be_nobody(detector: Detector) -> bool:
    """Whether a line may name no address: a notice, or one that its session completes."""
    return detector.kind.klass == "notice" or detector.session == "joins"


def _near(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, known, 1, 0.4)
    return f"; did you mean {near[0]}?" if near else ""
