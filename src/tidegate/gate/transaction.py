"""From a plan to nf_tables transactions, and around what the kernel refuses in them.

Touches the kernel through the given `Netfilter` only. All of a transaction happens or nothing; an
element that the kernel refuses is left out and the rest done. Limits: eight rounds of that.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from tidegate.errors import GateError
from tidegate.gate.book import Plan, Scope, closed
from tidegate.gate.layout import milliseconds
from tidegate.gate.netfilter import PER_MESSAGE, Change, Fault, Netfilter
from tidegate.model import Micros

_ROUNDS = 8

Refused = dict[tuple[Scope, bytes], str]
"""Elements that the kernel did not take, and why."""


class TableMissing(Exception):  # noqa: N818 - a turn in the road, not an error
    """The kernel has no such set: somebody removed our table, or part of it."""


@dataclass(slots=True)
class Job:
    """Elements of one set that are treated alike."""

    kind: Literal["create", "renew", "remove"]
    scope: Scope
    keys: list[bytes]
    timeouts: list[int]

    def changes(self) -> Iterator[Change]:
        """Add, delete and add again is the one form that every kernel takes for an element that
        may or may not be there; an element known to be new is created, which fails if it is not."""
        name = self.scope.name
        if self.kind == "create":
            yield Change("create", name, self.keys, self.timeouts)
            return
        yield Change("put", name, self.keys, self.timeouts)
        yield Change("delete", name, self.keys)
        if self.kind == "renew":
            yield Change("put", name, self.keys, self.timeouts)

    def pieces(self, step: int) -> Iterator[Job]:
        """The same in jobs of at most `step` elements."""
        for at in range(0, len(self.keys), step):
            yield Job(
                self.kind, self.scope, self.keys[at : at + step], self.timeouts[at : at + step]
            )

    def without(self, gone: set[int]) -> None:
        """Leave out the keys at these places."""
        self.keys = [key for place, key in enumerate(self.keys) if place not in gone]
        self.timeouts = [left for place, left in enumerate(self.timeouts) if place not in gone]


def transactions(plan: Plan, now: Micros, room: int) -> list[list[Job]]:
    """All of it at once where the sets have `room` for that, else in pieces, removals first.

    Within a transaction the kernel counts an element twice that is removed and added again.
    """
    jobs = [
        Job("remove", scope, list(gone), [1000] * len(gone))
        for scope, gone in plan.drops.items()
        if gone
    ]
    for scope, new in plan.puts.items():
        renewed = plan.renewed.get(scope, set())
        create, renew = Job("create", scope, [], []), Job("renew", scope, [], [])
        for bits, until in new.items():
            job = renew if bits in renewed else create
            job.keys.append(bits)
            job.timeouts.append(milliseconds(until, now))
        jobs += [job for job in (create, renew) if job.keys]
    if sum(len(job.keys) for job in jobs) <= room:
        return [jobs] if jobs else []
    return [[piece] for job in jobs for piece in job.pieces(room)]


def transact(netfilter: Netfilter, jobs: list[Job], refused: Refused) -> bool:
    """Do the jobs in one transaction, again without what the kernel refuses.

    What it refused is added to `refused`. Returns whether anything was left to do and done.
    Raises TableMissing, or GateError where it refuses as a whole.
    """
    each = PER_MESSAGE
    for _round in range(_ROUNDS):
        jobs = [job for job in jobs if job.keys]
        if not jobs:
            return False
        owners = [(job, change) for job in jobs for change in job.changes()]
        faults = netfilter.transact([change for _job, change in owners], each)
        if not faults:
            return True
        _leave_out([(owners[fault.change][0], fault) for fault in faults], refused)
        each = 1
    offender = next((closed(scope, bits, 0).subject for scope, bits in refused), None)
    raise GateError("the kernel refuses element after element", offender)


def _leave_out(faults: list[tuple[Job, Fault]], refused: Refused) -> None:
    gone: dict[int, tuple[Job, set[int]]] = {}
    for job, fault in faults:
        places = _faulty(job, fault)
        gone.setdefault(id(job), (job, set()))[1].update(places)
        for place in places:
            refused[job.scope, job.keys[place]] = _reason(fault.errno)
    for job, places in gone.values():
        job.without(places)


def _faulty(job: Job, fault: Fault) -> set[int]:
    """Which keys of the job to leave out; changes the job where another form is what it takes."""
    if fault.of_set:
        raise TableMissing
    if fault.errno == errno.EEXIST:
        job.kind = "renew"
        return set()
    if fault.keys > 1:
        return set()  # the next round names each
    if fault.errno == errno.ENFILE:
        return set(range(fault.first, len(job.keys)))  # full now is full for all that follow
    return {fault.first}


def _reason(code: int) -> str:
    if code == errno.ENFILE:
        return "the kernel's set is full"
    return f"the kernel refused: {os.strerror(code)}"
