"""Events as columns: many of them as few bytes, and back. One object for each stretch of a day.

Touches nothing. Each side keeps tables of the kinds and subjects it has met, so pages are read in
the order they were written. Reading raises nothing but Damaged. Limits: MOST_SUBJECTS a stretch,
PAGE events a page, values of LONGEST characters (of longer ones a hash keeps them apart).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from hashlib import blake2b
from itertools import repeat

from tidegate.chronicle.columns import MOST, Columns, Damaged, numbers, steps, texts
from tidegate.chronicle.records import Noted
from tidegate.model import DAY, Batch, Event, Kind, Micros, Subject, Success

MOST_SUBJECTS = 1 << 15
PAGE = 4096
LONGEST = 512
_CUT = 480
_MOST_PAIRS = 256
_LATEST = 1 << 62
_LARGEST_COUNT = 1 << 32
_PLACES = 1 << 48
_KLASSES = ("abuse", "success", "notice")
_NEVER = -(1 << 62)

Known = Callable[[Subject], Micros]
"""The newest success of a subject; 0: none is known."""


class Writer:
    """Notes batches and gives them as pages. `fields` are the names that are kept of an event's."""

    def __init__(self, fields: frozenset[str] = frozenset()) -> None:
        self._names = tuple(sorted(fields))
        self._kinds: dict[int, int] = {}
        self._met: list[Kind] = []  # kept, so that none of their ids is given to another
        self._subjects: dict[Subject, int] = {}
        self._succeeded: dict[Subject, Micros] = {}
        self._batches: list[tuple[str, int, int, int, int]] = []
        self._events: list[Event] = []
        self._successes: list[tuple[int, int, int, int]] = []
        self._fresh: list[Subject] = []
        self._known: list[Micros] = []
        self.cut = 0

    @property
    def waiting(self) -> int:
        """How much is noted and in no page yet: events, and successes."""
        return len(self._events) + len(self._successes)

    @property
    def full(self) -> bool:
        """Whether another stretch should be begun."""
        return len(self._subjects) >= MOST_SUBJECTS

    def note(self, batch: Batch, known: Known) -> None:
        """Take in a batch that is about to be counted. At most MOST - PAGE events and successes."""
        subjects, place = self._subjects, len(self._fresh)
        for event in batch.events:
            if event[2] not in subjects:
                self._meet(event[2], known)
        first = len(self._successes)
        succeeded, keep = self._succeeded, self._successes.append
        for subject, (_count, offset, began, last) in batch.successes.items():
            # Good for 30 days: a later success the same day tells nothing new.
            if last - succeeded.get(subject, _NEVER) > DAY:
                if subject not in subjects:
                    self._meet(subject, known)
                succeeded[subject] = last
                keep((subjects[subject], offset, began, last))
        count, good = len(batch.events), len(self._successes) - first
        if count or good:
            fresh = len(self._fresh) - place
            self._batches.append((batch.source, batch.origin, count, good, fresh))
            self._events += batch.events

    def _meet(self, subject: Subject, known: Known) -> None:
        self._subjects[subject] = len(self._subjects)
        self._fresh.append(subject)
        self._known.append(known(subject))

    def page(self) -> bytes:
        """What was noted since the last page."""
        sources, origins, counts, goods, fresh = _columns(self._batches, 5)
        kinds_before = len(self._met)
        events = self._page_events()
        met = self._met[kinds_before:]
        parts = [
            texts(sources), numbers(origins), numbers(counts), numbers(goods), numbers(fresh),
            texts([kind.name for kind in met]),
            numbers([_KLASSES.index(kind.klass) for kind in met]),
            numbers([kind.weight for kind in met]), texts([kind.detector for kind in met]),
            texts(self._fresh), numbers(self._known),
            *events,
            *(numbers(column) for column in _columns(self._successes, 4)),
        ]  # fmt: skip
        self._batches, self._events, self._successes = [], [], []
        self._fresh, self._known = [], []
        return b"".join(parts)

    def _page_events(self) -> list[bytes]:
        if not self._events:
            return [numbers([0])]
        times, kinds, subjects, counts, sessions, offsets, _length, fields = zip(
            *self._events, strict=True
        )
        ids = list(map(self._kinds.get, map(id, kinds)))
        if None in ids:
            for kind in kinds:
                if id(kind) not in self._kinds:
                    self._kinds[id(kind)] = len(self._met)
                    self._met.append(kind)
            ids = [self._kinds[id(kind)] for kind in kinds]
        if max(counts) > _LARGEST_COUNT:
            counts = tuple(min(count, _LARGEST_COUNT) for count in counts)
        pairs, flat = self._fields(fields) if self._names and any(fields) else ([], [])
        return [
            numbers([len(times)]), steps(times), numbers(ids),  # type: ignore[arg-type]
            numbers(list(map(self._subjects.__getitem__, subjects))),
            numbers(counts), texts(sessions), steps(offsets), numbers(pairs), texts(flat),
        ]  # fmt: skip

    def _fields(self, fields: tuple[Mapping[str, str], ...]) -> tuple[list[int], list[str]]:
        """How many are kept of each event, and all of them one behind another."""
        pairs: list[int] = []
        flat: list[str] = []
        for each in fields:
            before = len(flat)
            for name in self._names:
                value = each.get(name)
                if value is not None:
                    flat += (name, value if len(value) <= LONGEST else self._shortened(value))
            pairs.append((len(flat) - before) // 2)
        return pairs, flat

    def _shortened(self, value: str) -> str:
        self.cut += 1
        told = blake2b(value.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
        return f"{value[:_CUT]}…{told}"


class Reader:
    """Reads the pages of one stretch, in their order."""

    def __init__(self) -> None:
        self._kinds: list[Kind] = []
        self._subjects: list[Subject] = []

    def read(self, data: bytes) -> Iterator[Noted]:
        """The batches of a page. Damaged where it is none; then none of it was given."""
        columns = Columns(data)
        sources = columns.texts()
        size = len(sources)
        origins, counts, goods, fresh = (columns.numbers(size) for _ in range(4))
        self._read_kinds(columns)
        known = self._read_subjects(columns, len(self._subjects))
        events = self._read_events(columns)
        successes = self._read_successes(columns)
        columns.end()
        wanted = (counts, len(events)), (goods, len(successes)), (fresh, len(known))
        if any(sum(column) != total or min(column, default=0) < 0 for column, total in wanted):
            raise Damaged("batches that do not add up")
        if not _within(origins, 1 << 20):
            raise Damaged("an origin that is none")
        return _batches(zip(sources, origins, counts, goods, fresh, strict=True),
                        events, successes, known)  # fmt: skip

    def _read_kinds(self, columns: Columns) -> None:
        names = columns.texts()
        size = len(names)
        klasses, weights = columns.numbers(size), columns.numbers(size)
        detectors = columns.texts(size)
        if not _within(klasses, len(_KLASSES)) or len(self._kinds) + size > MOST:
            raise Damaged("kinds that are none")
        for name, klass, weight, detector in zip(names, klasses, weights, detectors, strict=True):
            kind = Kind(name, _KLASSES[klass], weight, detector, "")  # type: ignore[arg-type]
            self._kinds.append(kind)

    def _read_subjects(self, columns: Columns, before: int) -> list[tuple[Subject, Micros]]:
        subjects = columns.texts()
        known = columns.numbers(len(subjects))
        if before + len(subjects) > 4 * MOST or not _moments(known):
            raise Damaged("subjects that are none")
        fresh = [Subject(one) for one in subjects]
        self._subjects += fresh
        return list(zip(fresh, known, strict=True))

    def _read_events(self, columns: Columns) -> list[Event]:
        (size,) = columns.numbers(1)
        if not size:
            return []
        if not 0 < size <= MOST:
            raise Damaged(f"{size} events")
        times, kinds, subjects = columns.steps(size), columns.numbers(size), columns.numbers(size)
        counts, sessions, offsets = columns.numbers(size), columns.texts(size), columns.steps(size)
        pairs, flat = columns.numbers(), columns.texts()
        bounds = (
            (kinds, len(self._kinds)), (subjects, len(self._subjects)),
            (counts, _LARGEST_COUNT + 1), (offsets, _PLACES), (pairs, _MOST_PAIRS),
        )  # fmt: skip
        if not _moments(times) or not all(_within(column, most) for column, most in bounds):
            raise Damaged("events that are none")
        return list(map(Event._make, zip(
            times, map(self._kinds.__getitem__, kinds),
            map(self._subjects.__getitem__, subjects), counts, sessions, offsets,
            repeat(0), _mappings(pairs, flat, size),
        )))  # fmt: skip

    def _read_successes(self, columns: Columns) -> list[tuple[Subject, Success]]:
        subjects = columns.numbers()
        rest = [columns.numbers(len(subjects)) for _ in range(3)]
        if not _within(subjects, len(self._subjects)) or not all(map(_moments, rest)):
            raise Damaged("successes that are none")
        return [
            (self._subjects[subject], Success(1, *times))
            for subject, *times in zip(subjects, *rest, strict=True)
        ]


def _batches(
    rows: Iterator[tuple[str, int, int, int, int]],
    events: list[Event],
    successes: list[tuple[Subject, Success]],
    known: list[tuple[Subject, Micros]],
) -> Iterator[Noted]:
    at = good = new = 0
    for source, origin, count, goods, fresh in rows:
        batch = Batch(source, origin, events[at : at + count], dict(successes[good : good + goods]))
        yield Noted(batch, {one: time for one, time in known[new : new + fresh] if time})
        at, good, new = at + count, good + goods, new + fresh


def _mappings(pairs: list[int], flat: list[str], size: int) -> Iterator[Mapping[str, str]]:
    if len(pairs) not in (0, size) or sum(pairs) * 2 != len(flat):
        raise Damaged("fields that do not add up")
    return _taken(pairs, flat) if pairs else repeat(_NONE, size)


_NONE: Mapping[str, str] = {}


def _taken(pairs: list[int], flat: list[str]) -> Iterator[Mapping[str, str]]:
    at = 0
    for count in pairs:
        end = at + 2 * count
        yield dict(zip(flat[at:end:2], flat[at + 1 : end : 2], strict=True)) if count else _NONE
        at = end


def _within(values: list[int], limit: int, least: int = 0) -> bool:
    return not values or (min(values) >= least and max(values) < limit)


def _moments(values: list[int]) -> bool:
    return _within(values, _LATEST, -_LATEST)  # a stamp may be older than the epoch


def _columns(rows: list[tuple], width: int) -> list[tuple]:  # type: ignore[type-arg]
    return list(zip(*rows, strict=True)) if rows else [()] * width
