"""What belongs together: closings with one cause become an incident, with its start and its end.

Touches nothing: closings in, incidents out; the same closings give the same incidents, in whatever
order they come. Limits: bans become one only where `LEAST` of them fall `WITHIN`; any quarantine
and any gate that takes a service away does. What is closed by one rule or guard within `QUIET`
after the end of the last is the same incident.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Literal, NamedTuple

from tidegate.model import MINUTE, Micros, Subject

LEAST = 10
WITHIN: Micros = 10 * MINUTE
QUIET: Micros = 30 * MINUTE
MOST = 1000
"""So many incidents, the newest of them, are told of at once."""

What = Literal["ban", "quarantine", "stop", "limit", "run"]
"""Of gates `stop` takes a service away, `limit` only slows, `run` leaves nothing closed."""
Sort = Literal["wave", "cut", "guard"]
Slip = Literal["opened", "good", "spared", "refused"]

_SORTS: dict[What, Sort] = {
    "ban": "wave",
    "quarantine": "cut",
    "stop": "guard",
    "limit": "guard",
    "run": "guard",
}
_HEAVY = frozenset({"quarantine", "stop"})
_FOREVER: Micros = 1 << 62


class Cause(NamedTuple):
    """Whose closings they are: the rule's (with what it closes) or the guard's; "" by hand."""

    sort: Sort
    name: str
    services: tuple[str, ...] = ()


class Closing(NamedTuple):
    """Something closed. `end`: since when it is open again, or when it opens by itself; None:
    closed, and nobody knows till when. `undone`: it was opened before its time, by `opened_by`."""

    id: str
    start: Micros
    end: Micros | None
    what: What
    name: str
    subject: Subject
    services: tuple[str, ...]
    by: str
    undone: bool = False
    opened_by: str = ""

    @property
    def cause(self) -> Cause:
        """What it is put together by. Of a guard all gates, whatever they close."""
        sort = _SORTS[self.what]
        return Cause(sort, self.name, self.services if sort == "wave" else ())


class Mishap(NamedTuple):
    """Something that we have to admit: a person opened what we had closed, it hit somebody with a
    good record, the breaker spared somebody, or it could not be closed."""

    time: Micros
    cause: Cause
    slip: Slip
    subject: Subject
    by: str = ""
    span: Micros = 0
    detail: str = ""


class Incident(NamedTuple):
    """Closings with one cause, the earliest first. Its id is that of the first that counted."""

    id: str
    cause: Cause
    closings: tuple[Closing, ...]
    mishaps: tuple[Mishap, ...] = ()

    @property
    def start(self) -> Micros:
        """When the first of it was closed."""
        return self.closings[0].start

    @property
    def end(self) -> Micros | None:
        """Of bans when the last of them began; of all others when the last of them opens."""
        if self.cause.sort == "wave":
            return self.closings[-1].start
        ends = [one.end for one in self.closings]
        return None if None in ends else max(end for end in ends if end is not None)

    def is_open(self, now: Micros) -> bool:
        """Whether it goes on: something of it is closed, or bans came until just now."""
        end = self.end
        if end is None:
            return True
        return now < end + (QUIET if self.cause.sort == "wave" else 0)

    @property
    def last(self) -> Micros:
        """When something of it was closed last."""
        return max(one.start for one in self.closings)

    @property
    def subjects(self) -> tuple[Subject, ...]:
        """Who or what was closed for, each once, in that order."""
        return tuple(dict.fromkeys(one.subject for one in self.closings))

    @property
    def services(self) -> tuple[str, ...]:
        """What was closed, each once."""
        return tuple(dict.fromkeys(name for one in self.closings for name in one.services))


def incidents(closings: Iterable[Closing], mishaps: Iterable[Mishap] = ()) -> list[Incident]:
    """All of them, the newest first; at most `MOST`."""
    alike: dict[tuple[What, str, tuple[str, ...]], list[Closing]] = defaultdict(list)
    for one in closings:
        alike[one.what, one.name, one.services].append(one)
    by_cause: dict[Cause, list[Closing]] = defaultdict(list)
    for each in alike.values():
        by_cause[each[0].cause] += each
    slips: dict[Cause, list[Mishap]] = defaultdict(list)
    for slip in mishaps:
        slips[slip.cause].append(slip)
    found = []
    for cause, own in by_cause.items():
        own.sort(key=attrgetter("start", "id"))
        parts = _waves(own) if cause.sort == "wave" else _outages(own)
        for part in parts:
            made = Incident(_first(part).id, cause, tuple(part))
            found.append(made._replace(mishaps=tuple(_of(made, slips[cause]))))
    found.sort(key=lambda one: (one.start, one.id), reverse=True)
    return found[:MOST]


def _waves(closings: Sequence[Closing]) -> Iterator[list[Closing]]:
    """Runs of bans that come so fast that they are one event. Sorted by start."""
    dense = _dense([one.start for one in closings])
    first = last = -1
    for number in dense:
        if last >= 0 and closings[number].start - closings[last].start > QUIET:
            yield list(closings[first : last + 1])
            first = number
        elif last < 0:
            first = number
        last = number
    if last >= 0:
        yield list(closings[first : last + 1])


def _dense(times: Sequence[Micros]) -> list[int]:
    """Which of these moments, in order, lie among `LEAST` that fall `WITHIN`."""
    found: list[int] = []
    done = 0  # the first number that is not known to be one
    for last in range(LEAST - 1, len(times)):
        first = last - LEAST + 1
        if times[last] - times[first] <= WITHIN:
            found.extend(range(max(first, done), last + 1))
            done = last + 1
    return found


def _outages(closings: Sequence[Closing]) -> Iterator[list[Closing]]:
    """Closings with less than `QUIET` between them, where at least one of them is heavy."""
    part: list[Closing] = []
    end = 0
    for one in closings:
        if part and one.start - end > QUIET:
            if any(other.what in _HEAVY for other in part):
                yield part
            part = []
        own = _FOREVER if one.end is None else one.end
        end = max(end, own) if part else own
        part.append(one)
    if any(other.what in _HEAVY for other in part):
        yield part


def _first(part: Sequence[Closing]) -> Closing:
    """The first that counted: not a throttle before the stop, which may be forgotten earlier."""
    return next((one for one in part if one.what in _HEAVY), part[0])


def _of(incident: Incident, mishaps: Iterable[Mishap]) -> Iterator[Mishap]:
    """What happened meanwhile with the same cause, the earliest first."""
    stop = _FOREVER if incident.end is None else incident.end
    stop = max(stop, *(one.end or 0 for one in incident.closings)) + QUIET
    for slip in sorted(mishaps):
        if incident.start <= slip.time <= stop:
            yield slip
