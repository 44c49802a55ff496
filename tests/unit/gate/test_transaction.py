"""Around what the kernel refuses: with a kernel that refuses to order."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence

import pytest
from tests.unit.gate.conftest import START

from tidegate.errors import GateError
from tidegate.gate.book import Plan, Scope
from tidegate.gate.netfilter import Change, Fault
from tidegate.gate.transaction import Job, Refused, TableMissing, transact, transactions
from tidegate.model import SECOND

SCOPE = Scope("ban", 4, 32, ())
OTHER = Scope("ban", 4, 32, (25,))


def key(number: int) -> bytes:
    return bytes([192, 0, 2, number])


def job(kind: str, *numbers: int, scope: Scope = SCOPE) -> Job:
    return Job(kind, scope, [key(n) for n in numbers], [1000] * len(numbers))  # type: ignore[arg-type]


class Kernel:
    """Refuses elements as it is told; like the kernel, one fault a message of `each` elements."""

    def __init__(self, refuse: Callable[[Change, bytes], int], *, points: bool = True) -> None:
        self.refuse = refuse
        self.points = points
        self.done: list[Change] = []
        self.rounds = 0

    def transact(self, changes: Sequence[Change], each: int) -> list[Fault]:
        self.rounds += 1
        faults = []
        for number, change in enumerate(changes):
            for first in range(0, len(change.keys), each):
                message = change.keys[first : first + each]
                for place, bits in enumerate(message):
                    if code := self.refuse(change, bits):
                        exact = self.points or len(message) == 1
                        fault = (first + place, 1) if exact else (first, len(message))
                        faults.append(Fault(number, *fault, code, False))
                        break
        if not faults:
            self.done = list(changes)
        return faults


def run(kernel: Kernel, *jobs: Job) -> tuple[bool, Refused]:
    refused: Refused = {}
    return transact(kernel, list(jobs), refused), refused  # type: ignore[arg-type]


@pytest.mark.parametrize("points", [True, False])
def test_the_refused_are_left_out_and_named(points: bool) -> None:
    bad = {key(3), key(4), key(9)}
    kernel = Kernel(lambda _c, bits: errno.EINVAL if bits in bad else 0, points=points)
    done, refused = run(kernel, job("create", 1, 2, 3, 4, 5), job("renew", 8, 9, scope=OTHER))
    assert done
    assert set(refused) == {(SCOPE, key(3)), (SCOPE, key(4)), (OTHER, key(9))}
    assert "Invalid argument" in refused[SCOPE, key(3)]
    kept = [[key(n) for n in numbers] for numbers in ((1, 2, 5), (8,), (8,), (8,))]
    assert [list(change.keys) for change in kernel.done] == kept
    assert kernel.rounds <= 3


def test_an_element_that_is_there_already_is_renewed() -> None:
    there = {key(2)}
    kernel = Kernel(
        lambda c, bits: errno.EEXIST if c.operation == "create" and bits in there else 0
    )
    done, refused = run(kernel, job("create", 1, 2), job("create", 1, scope=OTHER))
    assert (done, refused) == (True, {})
    assert [change.operation for change in kernel.done] == ["put", "delete", "put", "create"]


def test_a_full_set_refuses_all_that_follow() -> None:
    kernel = Kernel(lambda _c, bits: errno.ENFILE if bits >= key(3) else 0)
    done, refused = run(kernel, job("create", 1, 2, 3, 4, 5))
    assert done
    assert {bits for _scope, bits in refused} == {key(3), key(4), key(5)}
    assert kernel.rounds == 2


def test_nothing_left_is_nothing_done() -> None:
    done, refused = run(Kernel(lambda *_a: errno.EINVAL), job("create", 1))
    assert (done, len(refused)) == (False, 1)
    assert run(Kernel(lambda *_a: 0)) == (False, {})


def test_a_missing_set_is_another_matter() -> None:
    kernel = Kernel(lambda *_a: 0)
    kernel.transact = lambda changes, each: [Fault(0, 0, 2, errno.ENOENT, True)]  # type: ignore[method-assign]
    with pytest.raises(TableMissing):
        run(kernel, job("create", 1, 2))


def test_a_kernel_that_never_agrees_is_given_up() -> None:
    kernel = Kernel(lambda *_a: 0)
    kernel.transact = lambda changes, each: [Fault(0, 0, 2, errno.ENOMEM, False)]  # type: ignore[method-assign]
    with pytest.raises(GateError, match="element after element"):
        run(kernel, job("create", 1, 2))


def plan(puts: int, renewed: int, drops: int) -> Plan:
    new = {key(n): START + n * SECOND for n in range(1, puts + 1)}
    gone = {key(200 + n) for n in range(drops)}
    return Plan({SCOPE: new}, {SCOPE: set(list(new)[:renewed])}, {SCOPE: gone}, [], set())


def test_one_transaction_where_there_is_room() -> None:
    [jobs] = transactions(plan(3, 1, 1), START, 5)
    assert [(job.kind, len(job.keys)) for job in jobs] == [
        ("remove", 1),
        ("create", 2),
        ("renew", 1),
    ]
    assert jobs[1].timeouts == [2000, 3000]
    assert transactions(plan(0, 0, 0), START, 5) == []


def test_else_in_pieces_and_what_goes_first() -> None:
    pieces = transactions(plan(6, 3, 3), START, 2)
    assert [(jobs[0].kind, len(jobs[0].keys)) for jobs in pieces] == [
        *[("remove", 2), ("remove", 1), ("create", 2)],
        *[("create", 1), ("renew", 2), ("renew", 1)],
    ]
