"""Batches against the engine's twin: whatever is lost, doubled or forgotten, all is counted once."""

from __future__ import annotations

import random
from copy import deepcopy

from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.fleet.counting import functions, outbox
from tidegate.fleet.counting.functions import Answer, Command, Form, Hit, Status, Terms, Troubles
from tidegate.fleet.counting.oracle import Oracle
from tidegate.fleet.counting.outbox import Outbox
from tidegate.model import HOUR, SECOND, Subject

NOW = 1_790_000_000_000
THEM = Subject("192.0.2.7")
MANY = Terms(Form.WINDOW, b"never so", 1000, HOUR)
USERS = Terms(Form.DISTINCT, b"username", 3, HOUR)


def hit(number: int, time: int = NOW) -> Hit:
    return Hit(time * 1000, functions.place_of("log", number), number.to_bytes(8))


def answer(status: Status, epoch: int, counter: int) -> Answer:
    return Answer(NOW * 1000, status, epoch, counter, Troubles(), ())


def number_of(command: Command | None) -> tuple[int, int, int, int]:
    """(epoch, counter, how far back, sums) of a command."""
    assert command is not None
    keys = command[2]
    assert isinstance(keys, int)
    head = command[3 + keys]
    assert isinstance(head, bytes)
    return (*map(int.from_bytes, (head[:3], head[3:8], head[8:10])), keys - 1)  # type: ignore[return-value]


def test_the_same_goes_out_until_it_is_answered() -> None:
    box = Outbox("web1", 0, 7)
    assert box.idle
    assert box.command(0) is None
    box.add(MANY, THEM, hit(1))
    first = box.command(NOW)
    box.add(MANY, THEM, hit(2))
    assert box.command(NOW) == first
    assert number_of(first) == (7, 1, 0, 1)
    assert box.answered(answer(Status.COUNTED, 7, 1), NOW)
    assert not box.answered(answer(Status.COUNTED, 7, 1), NOW)
    assert number_of(box.command(NOW)) == (7, 2, 1, 1)
    assert not box.answered(answer(Status.COUNTED, 7, 1), NOW)
    assert number_of(box.command(NOW)) == (7, 2, 1, 1)
    assert not box.idle


def test_what_is_answered_is_kept_for_a_successor_and_then_forgotten() -> None:
    box = Outbox("web1", 0, 1)
    for number in range(1, 4):
        box.add(MANY, THEM, hit(number))
        box.command(number * SECOND)
        box.answered(answer(Status.COUNTED, 1, number), number * SECOND)
    box.add(MANY, THEM, hit(4))
    assert number_of(box.command(4 * SECOND)) == (1, 4, 3, 1)
    assert not box.answered(answer(Status.GAP, 1, 1), 4 * SECOND)
    assert number_of(box.command(4 * SECOND)) == (1, 2, 1, 1)
    box.answered(answer(Status.COUNTED, 1, 2), 4 * SECOND)
    box.answered(answer(Status.COUNTED, 1, 3), 4 * SECOND)
    assert number_of(box.command(10 * SECOND)) == (1, 4, 0, 1)


def test_whoever_counted_under_our_name_makes_us_begin_anew() -> None:
    box = Outbox("web1", 0, 1)
    box.add(MANY, THEM, hit(1))
    box.command(NOW)
    box.answered(answer(Status.OLD, 4, 9), NOW)
    assert number_of(box.command(NOW)) == (5, 1, 0, 1)
    box.answered(answer(Status.OLD, 5, 9), NOW)
    assert number_of(box.command(NOW)) == (6, 1, 0, 1)
    # What an earlier life is told, and what a clock is told, changes nothing.
    assert not box.answered(answer(Status.COUNTED, 1, 1), NOW)
    assert not box.answered(answer(Status.SKEWED, 6, 1), NOW)
    assert box.answered(answer(Status.COUNTED, 6, 1), NOW)


def test_whoever_leaves_us_no_number_stops_us() -> None:
    box = Outbox("web1", 0, 1)
    box.add(MANY, THEM, hit(1))
    box.command(NOW)
    box.answered(answer(Status.OLD, (1 << 24) - 1, 9), NOW)
    assert box.usurped
    assert box.command(NOW) is None


def test_a_batch_that_is_never_taken_goes_out_empty() -> None:
    engine = Oracle(NOW)
    box = Outbox("web1", 0, 1)
    for number in (1, 2):
        box.add(MANY, THEM, hit(number))
    assert number_of(box.command(NOW * 1000)) == (1, 1, 0, 1)
    box.refused()
    assert box.dropped == 2
    command = box.command(NOW * 1000)
    assert number_of(command) == (1, 1, 0, 0)
    assert command is not None
    assert box.answered(functions.read_answer(engine.call(command)), NOW * 1000)
    assert box.idle


def test_what_was_counted_meanwhile_is_not_sent_again() -> None:
    box = Outbox("web1", 0, 1)
    box.add(MANY, THEM, hit(1))
    box.command(NOW)
    box.answered(answer(Status.OLD, 1, 1), NOW)
    assert box.idle


def test_batches_hold_no_more_than_one_call_may() -> None:
    box = Outbox("web1", 0, 1)
    for last in range(120):
        box.add(MANY, Subject(f"192.0.2.{last}"), hit(last))
    sizes = []
    for counter in range(1, 4):
        sizes.append(number_of(box.command(NOW))[3])
        box.answered(answer(Status.COUNTED, 1, counter), NOW)
    assert sizes == [50, 50, 20]


def test_what_waits_is_bounded_and_what_is_left_out_is_counted() -> None:
    few = Terms(Form.WINDOW, b"only two", 2, HOUR)
    box = Outbox("web1", 0, 1)
    for number in range(20):
        box.add(few, THEM, hit(number))
    for number in (1, 1, 2, 1):
        box.add(USERS, THEM, hit(number, NOW + number))
    box.add(USERS, THEM, hit(2, NOW))
    command = box.command(NOW)
    assert command is not None
    bodies = [one for one in command[-2:] if isinstance(one, bytes)]
    assert [len(body) for body in bodies] == [8 + 8 * 12, 8 + 2 * 14]
    for number in range(outbox.MOST + 5):
        box.add(few, Subject(f"uid:{number}"), hit(1))
    assert box.dropped == 5
    other = Outbox("web1", 0, 1)
    other.add(few, Subject("service:" + "x" * 200), hit(1))
    other.add(few, Subject("a b"), hit(1))
    assert other.dropped == 2
    other.add(few, Subject("service:a\\x2db@c.service"), hit(1))
    assert not other.idle


FAULTS = ("none", "none", "none", "command", "answer", "again", "die", "copy", "fail over")


@settings(deadline=None, max_examples=200)
@given(
    steps=st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 2), st.sampled_from(FAULTS)), max_size=60
    )
)
def test_all_is_counted_once(steps: list[tuple[int, int, str]]) -> None:
    """An engine whose successor knows what its copy knew; hosts that die and read lines again."""
    engine = Oracle(NOW)
    copy = deepcopy(engine)
    hosts = ("web1", "web2", "web3")
    boxes = {host: Outbox(host, 0, 1) for host in hosts}
    written: dict[str, list[Hit]] = {host: [] for host in hosts}
    sent: list[Command] = []

    def exchange(host: str, fault: str) -> None:
        command = boxes[host].command(engine.now * 1000)
        if command is None or fault == "command":
            return
        sent.append(command)
        reply = engine.call(command)
        if fault != "answer":
            boxes[host].answered(functions.read_answer(reply), engine.now * 1000)

    for which, lines, fault in steps:
        host = hosts[which]
        for _ in range(lines):
            written[host].append(hit(len(written[host]), engine.now))
            boxes[host].add(MANY, THEM, written[host][-1])
        if fault == "again" and sent:
            engine.call(sent[len(written[host]) % len(sent)])
        elif fault == "die":
            boxes[host] = Outbox(host, 0, boxes[host].epoch + 1)
            for line in written[host]:
                boxes[host].add(MANY, THEM, line)
        elif fault == "copy":
            copy = deepcopy(engine)
        elif fault == "fail over":
            copy.now = engine.now
            engine, copy = copy, deepcopy(copy)
        exchange(host, fault)
        engine.now += 40  # at most 60 steps: all that a copy lacks is younger than 5 s
    for host in hosts:
        boxes[host].add(MANY, Subject("192.0.2.8"), hit(0, engine.now))  # so that it asks
        for _ in range(200):
            exchange(host, "none")
        assert boxes[host].idle
    tally = engine.tallies.get(functions.sum_key(MANY, THEM, 0))
    counted = sorted((one.tag, one.time, one.name) for one in tally.entries) if tally else []
    assert counted == sorted(
        (functions.tag(host), one.time // 1000, one.place)
        for host in hosts
        for one in written[host]
    )


@settings(deadline=None, max_examples=200)
@given(
    lines=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 2)), max_size=16),
    order=st.randoms(use_true_random=False),
    need=st.integers(4, 6),
)
def test_a_limit_is_crossed_if_one_machine_that_saw_all_would_say_so(
    lines: list[tuple[int, int]], order: random.Random, need: int
) -> None:
    """In whatever order the lines come, and whichever host wrote them."""
    terms = Terms(Form.WINDOW, b"a window", need, 10 * SECOND)
    engine = Oracle(NOW)
    boxes = {host: Outbox(f"web{host}", 0, 1) for host in range(3)}
    numbered = list(enumerate(lines))
    order.shuffle(numbered)
    crossings = []
    for number, (second, host) in numbered:
        boxes[host].add(terms, THEM, hit(number, NOW - second * 1000))
        if order.random() < 0.7:
            command = boxes[host].command(NOW * 1000)
            assert command is not None
            told = functions.read_answer(engine.call(command))
            boxes[host].answered(told, NOW * 1000)
            crossings += told.crossings
    for box in boxes.values():
        while (command := box.command(NOW * 1000)) is not None:
            told = functions.read_answer(engine.call(command))
            box.answered(told, NOW * 1000)
            crossings += told.crossings
    times = sorted(second for second, _host in lines)
    crossed = any(last - first <= 10 for first, last in zip(times, times[need - 1 :], strict=False))
    assert bool(crossings) == crossed
    for one in crossings:
        assert one.last - one.first <= 10 * SECOND
