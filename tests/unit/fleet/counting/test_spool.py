"""What waits for an engine that is away: one sum a subject, bounded, the oldest go first."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.fleet.counting import functions
from tidegate.fleet.counting.functions import Answer, Form, Hit, Status, Terms, Troubles
from tidegate.fleet.counting.outbox import Outbox
from tidegate.fleet.counting.spool import LATE, Spool
from tidegate.model import MINUTE, SECOND, Subject

NOW = 1_755_000_000 * SECOND
TERMS = Terms(Form.WINDOW, b"windowed", 3, MINUTE)
OTHER = Terms(Form.WINDOW, b"another.", 1, MINUTE)
VALUES = Terms(Form.DISTINCT, b"distinct", 3, MINUTE)
SCORE = Terms(Form.SCORE, b"a score.", 3, MINUTE)
ONE = Subject("192.0.2.1")


def hit(number, second=0, **more):
    return Hit(NOW + second * SECOND, number.to_bytes(6), **more)


def waiting(spool):
    return {
        subject: [one.place[-1] for one in sums.hits]
        for shard in spool._sums.values()
        for (_terms, subject), sums in shard.items()
    }


class Engine:
    """Takes every batch, sometimes without saying so."""

    def __init__(self):
        self.places = []
        self.calls = 0

    def serve(self, outbox, now, answers=True):
        command = outbox.command(now)
        if command is None:
            return
        self.calls += 1
        assert int(command[2]) - 1 <= functions.MOST_SUMS
        counter = int.from_bytes(command[4 + int(command[2]) - 1][3:8])
        for body in command[4 + int(command[2]) :]:
            self.places += [(counter, body[at + 6 : at + 12]) for at in range(8, len(body), 12)]
        if answers:
            outbox.answered(Answer(now, Status.COUNTED, outbox.epoch, counter, Troubles(), ()), now)

    @property
    def counted(self):
        return Counter(place for _counter, place in set(self.places))


def test_hits_of_one_subject_are_one_sum():
    spool, outbox, engine = Spool(1), Outbox("web1", 0, 1), Engine()
    for number in range(6):
        spool.add(TERMS, ONE, hit(number))
    assert len(spool) == 6
    assert spool.fill(outbox, NOW) == 6
    assert len(spool) == 0
    engine.serve(outbox, NOW)
    assert engine.calls == 1
    assert len(engine.counted) == 6


def test_while_a_batch_is_unanswered_the_rest_stays_and_is_merged():
    spool, outbox, engine = Spool(1), Outbox("web1", 0, 1), Engine()
    spool.add(TERMS, ONE, hit(0))
    spool.fill(outbox, NOW)
    engine.serve(outbox, NOW, answers=False)
    spool.add(TERMS, ONE, hit(1))
    assert spool.fill(outbox, NOW) == 0
    engine.serve(outbox, NOW)
    assert spool.fill(outbox, NOW) == 1
    engine.serve(outbox, NOW)
    assert set(engine.counted.values()) == {1}
    assert len(engine.counted) == 2


def test_of_one_subject_the_newest_wait_and_the_others_are_counted():
    spool = Spool(1)
    for number in range(20):
        spool.add(TERMS, ONE, hit(number, 20 - number))
    assert waiting(spool) == {ONE: list(range(12))}
    assert spool.thinned == 8
    for number in range(20):
        spool.add(SCORE, ONE, hit(number))
    assert len(spool) == 32


def test_of_a_value_the_newest_waits():
    spool = Spool(1)
    for number, second in ((1, 5), (2, 9), (3, 1)):
        spool.add(VALUES, ONE, hit(number, second, value=b"somebody"))
    spool.add(VALUES, ONE, hit(4, 0, value=b"another."))
    assert waiting(spool) == {ONE: [2, 4]}
    assert len(spool) == 2


def test_without_room_who_was_quiet_longest_goes_first_over_all_shards():
    spool = Spool(256, subjects=3)
    names = [Subject(f"192.0.2.{number}") for number in range(1, 5)]
    assert len({functions.shard_of(one, 256) for one in names}) > 1
    for number, name in enumerate(names[:3]):
        spool.add(TERMS, name, hit(number))
    spool.add(TERMS, names[0], hit(7))
    spool.add(TERMS, names[3], hit(8))
    assert waiting(spool) == {names[0]: [0, 7], names[2]: [2], names[3]: [8]}
    assert spool.dropped == 1


def test_who_was_quiet_longest_is_not_who_came_first():
    spool = Spool(1, subjects=2)
    names = [Subject(f"192.0.2.{number}") for number in range(3)]
    for number, name in enumerate((names[0], names[1], names[0], names[2])):
        spool.add(TERMS, name, hit(number))
    assert waiting(spool) == {names[0]: [0, 2], names[2]: [3]}


def test_hits_are_bounded_too():
    spool = Spool(1, hits=4)
    spool.add(TERMS, Subject("192.0.2.9"), hit(0))
    spool.add(TERMS, Subject("192.0.2.9"), hit(1))
    for number in range(2, 5):
        spool.add(TERMS, ONE, hit(number))
    assert waiting(spool) == {ONE: [2, 3, 4]}
    assert (spool.dropped, len(spool)) == (2, 3)


def test_what_the_engine_would_not_count_any_more_is_left_out():
    spool, outbox = Spool(1), Outbox("web1", 0, 1)
    spool.add(TERMS, ONE, hit(0))
    spool.add(TERMS, ONE, hit(1, 2))
    spool.add(TERMS, Subject("192.0.2.2"), hit(2))
    assert spool.fill(outbox, NOW + LATE + SECOND) == 1
    assert (spool.late, len(spool)) == (2, 0)
    assert outbox.command(NOW + LATE + SECOND) is not None
    assert spool.fill(Outbox("web1", 0, 1), NOW) == 0


def test_ten_minutes_without_an_engine_come_back_in_calls_of_fifty():
    spool, outbox, engine = Spool(1), Outbox("web1", 0, 1), Engine()
    for number in range(600):
        spool.add(TERMS, Subject(f"10.0.{number >> 7}.{number & 127}"), hit(number))
    rounds = 0
    while len(spool) or not outbox.idle:
        spool.fill(outbox, NOW + 10 * MINUTE)
        engine.serve(outbox, NOW + 10 * MINUTE)
        rounds += 1
    assert rounds == 12
    assert len(engine.counted) == 600
    assert (spool.dropped, spool.thinned, spool.late) == (0, 0, 0)


STEP = st.one_of(
    st.tuples(st.just("add"), st.integers(0, 9), st.sampled_from([TERMS, OTHER])),
    st.tuples(st.just("fill"), st.integers(0, 3), st.none()),
    st.tuples(st.sampled_from(["serve", "lose"]), st.integers(0, 3), st.none()),
)


@settings(max_examples=120, deadline=None)
@given(st.lists(STEP, max_size=60), st.integers(1, 8), st.integers(4, 30))
def test_every_hit_arrives_once_or_is_counted_as_let_go(steps, subjects, hits):
    spool = Spool(4, subjects=subjects, hits=hits)
    outboxes = [Outbox("web1", shard, 1) for shard in range(4)]
    engines = [Engine() for _ in range(4)]
    added = 0
    for what, number, terms in steps:
        if what == "add":
            spool.add(terms, Subject(f"192.0.2.{number}"), hit(added, added))
            added += 1
        elif what == "fill":
            spool.fill(outboxes[number], NOW)
        else:
            engines[number].serve(outboxes[number], NOW, answers=what == "serve")
        assert len(spool) <= hits
        sums = [each for shard in spool._sums.values() for each in shard.values()]
        assert len(sums) <= subjects
        assert len(spool) == sum(len(each.hits) for each in sums)
    while len(spool) or not all(one.idle for one in outboxes):
        for outbox, engine in zip(outboxes, engines, strict=True):
            spool.fill(outbox, NOW)
            engine.serve(outbox, NOW)
    assert sum(len(engine.counted) for engine in engines) == added - spool.dropped - spool.thinned
    assert all(one.dropped == 0 for one in outboxes)
