"""The aftermath: how much abuse a subject did before it was closed for, meanwhile, and afterwards.

Touches nothing; time comes with the events. One course for each ban, so that a report can say what
bans were good for. Limits: `CAPACITY` bans, the oldest are forgotten first; exactly the subject of
the ban; of the time before only the lines that led to it are known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from struct import Struct

from tidegate.model import DAY, MINUTE, Change, Decision, Event, Micros, Subject

CAPACITY = 10_000
SPAN: Micros = 10 * MINUTE
"""How long before a ban, and after it ended, a subject's events are counted."""

REMEMBERED: Micros = 31 * DAY
_PART = "course"
_COURSE = Struct(">6Q")


@dataclass(slots=True)
class Course:
    """What one subject did around one ban: numbers of events, and the times they belong to.

    `before`: within `SPAN` up to `time`; `during`: from then to `until`; `after`: from then to
    `stop`, which comes sooner where the next ban follows.
    """

    subject: Subject
    time: Micros
    until: Micros
    stop: Micros
    before: int = 0
    during: int = 0
    after: int = 0


class Aftermath:
    """The courses of the latest bans, by the id of the decision."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self.courses: dict[str, Course] = {}
        self._capacity = capacity
        self._watched: dict[Subject, str] = {}  # the course that is counted on
        self._dirty: set[str] = set()

    def begin(self, decision: Decision) -> None:
        """Watch what follows a ban that is carried out; of a subject only the latest is watched."""
        if decision.action != "ban" or decision.mode != "enforce" or decision.spared:
            return
        subject, time = decision.subject, decision.time
        self._end(subject, time)
        before = sum(time - SPAN < ref.time <= time for ref in decision.refs)
        until = decision.until
        self._enter(decision.id, Course(subject, time, until, until + SPAN, before))
        self._dirty.add(decision.id)

    def _enter(self, name: str, course: Course) -> None:
        self.courses[name] = course
        self._watched[course.subject] = name
        if len(self.courses) > self._capacity:
            for old in list(islice(self.courses, len(self.courses) - self._capacity)):
                self._drop(old)

    def _drop(self, name: str) -> None:
        subject = self.courses.pop(name).subject
        if self._watched.get(subject) == name:
            del self._watched[subject]
        self._dirty.add(name)

    def tally(self, events: Sequence[Event]) -> None:
        """Count the abuse of those who were closed for. Costs a look into a dictionary an event."""
        watched = self._watched
        if not watched:
            return
        for event in events:
            if event.subject in watched and event.kind.klass == "abuse":
                self._count(watched[event.subject], event)

    def _count(self, name: str, event: Event) -> None:
        course, time = self.courses[name], event.time
        if time <= course.time:  # such lines led to the ban, or are late
            return
        if time < course.until:
            course.during += event.count
        elif time < course.stop:
            course.after += event.count
        else:
            del self._watched[event.subject]
            return
        self._dirty.add(name)

    def opened(self, subject: Subject, now: Micros) -> None:
        """A person opened for the subject: from now on it is the time after its ban."""
        name = self._watched.get(subject)
        if name is not None and now < self.courses[name].until:
            course = self.courses[name]
            course.until, course.stop = max(now, course.time), now + SPAN
            self._dirty.add(name)

    def _end(self, subject: Subject, time: Micros) -> None:
        name = self._watched.pop(subject, None)
        if name is not None:
            course = self.courses[name]
            course.stop = max(course.time, min(course.stop, time))
            course.until = min(course.until, course.stop)
            self._dirty.add(name)

    def expire(self, now: Micros) -> None:
        """Watch those no longer whose time is over; forget what no report asks for."""
        courses = self.courses
        for subject in [s for s, name in self._watched.items() if courses[name].stop < now]:
            del self._watched[subject]
        for name in [one for one, found in courses.items() if found.stop + REMEMBERED < now]:
            self._drop(name)

    def changes(self) -> Iterator[Change]:
        """What changed since the last call, for a checkpoint."""
        dirty, self._dirty = self._dirty, set()
        for name in sorted(dirty):
            course = self.courses.get(name)
            if course is None:
                yield Change(_PART, name, None)
                continue
            numbers = (course.time, course.until, course.stop)
            counts = (course.before, course.during, course.after)
            yield Change(_PART, name, _COURSE.pack(*numbers, *counts) + course.subject.encode())

    def restore(self, change: Change) -> bool:
        """Take back one saved change; False if it is not ours."""
        if change.part != _PART or change.value is None or len(change.value) <= _COURSE.size:
            return False
        numbers, subject = change.value[: _COURSE.size], change.value[_COURSE.size :]
        time, until, stop, *counts = _COURSE.unpack(numbers)
        course = Course(Subject(subject.decode("utf-8", "replace")), time, until, stop, *counts)
        latest = self._watched.get(course.subject)
        self.courses[change.key] = course
        if latest is None or self.courses[latest].time < time:
            self._watched[course.subject] = change.key
        return True

    def settle(self) -> None:
        """After everything was restored: the oldest first again, as they are forgotten."""
        self.courses = dict(sorted(self.courses.items(), key=lambda item: item[1].time))
