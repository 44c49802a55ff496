"""The functions in a real server: what they count, once, and to whom they say so."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.fleet.servers import Server
from tests.fleet.timed import Timed, told_the_time

from tidegate.fleet.counting import functions, oracle
from tidegate.fleet.counting.functions import Answer, Form, Hit, Status, Sum, Terms
from tidegate.fleet.decisions import stream
from tidegate.fleet.engine.connection import Refused
from tidegate.fleet.together import together
from tidegate.model import MINUTE, SECOND, Micros, Subject

NOW = 1_790_000_000_000  # milliseconds
START: Micros = NOW * 1000
THEM = Subject("192.0.2.7")
FIVE = Terms(Form.WINDOW, b"fivemins", 5, 5 * MINUTE)


@pytest.fixture
def engine(shared_server: Server) -> Iterator[Timed]:
    connection = shared_server.connect()
    yield Timed(connection, NOW)
    connection.close()


def hits(*times: Micros, first: int = 0) -> tuple[Hit, ...]:
    return tuple(
        Hit(START + time, functions.place_of("log", first + number))
        for number, time in enumerate(times)
    )


def ask(
    engine: Timed, host: str, counter: int, *sums: Sum, epoch: int = 1, back: int = 0
) -> Answer:
    command = functions.count_command(host, 0, (epoch, counter), back, engine.now * 1000, sums)
    return functions.read_answer(engine.call(command)[0])


def one(*found: Hit, terms: Terms = FIVE, subject: Subject = THEM) -> Sum:
    return Sum(terms, subject, found)


def test_three_hosts_cross_a_limit_that_none_of_them_crosses(engine: Timed) -> None:
    assert not ask(engine, "web1", 1, one(*hits(0, SECOND))).crossings
    assert not ask(engine, "web2", 1, one(*hits(0, 2 * SECOND))).crossings
    (crossing,) = ask(engine, "web3", 1, one(*hits(3 * SECOND))).crossings
    assert (crossing.subject, crossing.mark, crossing.form, crossing.count) == (
        THEM, FIVE.mark, Form.WINDOW, 5,
    )  # fmt: skip
    assert (crossing.first, crossing.last) == (START, START + 3 * SECOND)
    assert crossing.arrived == START
    assert crossing.tags == tuple(map(functions.tag, ("web1", "web2", "web3")))


def test_a_batch_that_comes_again_counts_once_and_is_answered_the_same(engine: Timed) -> None:
    first = ask(engine, "web1", 1, one(*hits(0, 1, 2, 3, 4)))
    engine.advance(1500)
    again = ask(engine, "web1", 1, one(*hits(0, 1, 2, 3, 4)))
    assert again == first._replace(now=START + 1_500_000)
    assert again.crossings


def test_the_same_line_read_again_after_a_restart_counts_once(engine: Timed) -> None:
    ask(engine, "web1", 1, one(*hits(0, 1000, 2000, 3000)), epoch=1)
    again = ask(engine, "web1", 1, one(*hits(0, 1000, 2000, 3000)), epoch=2)
    assert again.troubles.twice == 4
    assert not again.crossings
    assert ask(engine, "web1", 2, one(*hits(9000, first=9)), epoch=2).crossings


def test_batches_that_come_late_or_too_early_count_nothing(engine: Timed) -> None:
    ask(engine, "web1", 1, one(*hits(0)))
    ask(engine, "web1", 2, one(*hits(0, first=1)))
    assert ask(engine, "web1", 1, one(*hits(0, first=5)))[1:4] == (Status.OLD, 1, 2)
    assert ask(engine, "web1", 5, one(*hits(0, first=6)), back=3)[1:4] == (Status.GAP, 1, 2)
    assert ask(engine, "web1", 1, one(*hits(0, first=7)), epoch=0)[1:4] == (Status.OLD, 1, 2)
    # What the host has no more cannot come first.
    assert ask(engine, "web1", 5, one(*hits(0, first=8)), back=0).status is Status.COUNTED


def test_a_crossing_is_handed_out_again_until_it_is_confirmed(engine: Timed) -> None:
    (crossing,) = ask(engine, "web1", 1, one(*hits(0, 1, 2, 3, 4))).crossings
    due = functions.due_command([0, 1])
    assert functions.read_due(engine.call(due)[0])[1] == ()
    engine.advance(2000)
    assert ask(engine, "web2", 1, one(*hits(0), subject=Subject("192.0.2.8"))).crossings == (
        crossing,
    )
    assert functions.read_due(engine.call(due)[0])[1] == ()
    engine.advance(2000)
    assert functions.read_due(engine.call(due)[0]) == (engine.now * 1000, (crossing,))
    confirm = functions.confirm_command(0, [crossing.token])
    assert engine.call(confirm, confirm) == [1, 0]
    engine.advance(2000)
    assert functions.read_due(engine.call(due)[0])[1] == ()


def test_a_crossing_that_nobody_confirms_is_dropped(engine: Timed) -> None:
    ask(engine, "web1", 1, one(*hits(0, 1, 2, 3, 4)))
    engine.advance(299_000)
    due = functions.due_command([0])
    assert functions.read_due(engine.call(due)[0])[1]
    engine.advance(2000)
    assert not functions.read_due(engine.call(due)[0])[1]
    assert engine.call(("EXISTS", functions.waiting_key(0))) == [0]


def test_hits_on_a_gate_that_is_being_closed_do_not_count(engine: Timed) -> None:
    ask(engine, "web1", 1, one(*hits(0, 1, 2, 3, 4)))
    more = ask(engine, "web1", 2, one(*hits(*range(SECOND, 6 * SECOND, SECOND), first=10)))
    assert not more.crossings
    assert more.troubles.rested == 5
    late = hits(*range(11 * SECOND, 16 * SECOND, SECOND), first=20)
    assert ask(engine, "web1", 3, one(*late)).crossings


def test_a_window_is_as_long_as_it_says(engine: Timed) -> None:
    apart = (0, 0, 0, 0, 5 * MINUTE + 1000)
    assert not ask(engine, "web1", 1, one(*hits(*(time - 5 * MINUTE for time in apart)))).crossings
    other = Subject("192.0.2.8")
    within = (-5 * MINUTE, 0, 0, 0, 0)
    assert ask(engine, "web1", 2, one(*hits(*within), subject=other)).crossings


def test_a_host_whose_clock_is_off_counts_nothing(engine: Timed) -> None:
    command = functions.count_command("web1", 0, (1, 1), 0, START + 10 * MINUTE, [one(*hits(0))])
    answer = functions.read_answer(engine.call(command)[0])
    assert (answer.status, answer.now) == (Status.SKEWED, START)
    assert engine.call(("KEYS", "{tg:*")) == [[]]


def test_hits_of_another_time_are_refused_and_said(engine: Timed) -> None:
    answer = ask(engine, "web1", 1, one(*hits(2 * MINUTE, -21 * MINUTE, 0)))
    assert (answer.troubles.ahead, answer.troubles.late) == (1, 1)
    assert ask(engine, "web1", 2, one(*hits(-19 * MINUTE, first=5))).troubles.late == 0


def test_different_values_count_once_on_however_many_hosts(engine: Timed) -> None:
    users = Terms(Form.DISTINCT, b"username", 3, MINUTE)

    def tried(*names: bytes) -> tuple[Hit, ...]:
        return tuple(Hit(START, bytes(6), name.ljust(8)) for name in names)

    assert not ask(engine, "web1", 1, one(*tried(b"root", b"root"), terms=users)).crossings
    again = ask(engine, "web2", 1, one(*tried(b"root", b"admin"), terms=users))
    assert not again.crossings
    assert again.troubles.twice == 1
    (crossing,) = ask(engine, "web3", 1, one(*tried(b"guest"), terms=users)).crossings
    assert crossing.count == 3
    assert len(crossing.tags) == 3


def test_points_halve_and_their_sum_crosses(engine: Timed) -> None:
    score = Terms(Form.SCORE, b"comments", 15, 60 * MINUTE)

    def given(*points: int, at: Micros = 0, first: int = 0) -> tuple[Hit, ...]:
        return tuple(
            Hit(START + at, functions.place_of("log", first + number), points=worth)
            for number, worth in enumerate(points)
        )

    assert not ask(engine, "web1", 1, one(*given(15), terms=score)).crossings
    engine.advance(3_600_000)
    half = given(7, at=60 * MINUTE)
    assert not ask(engine, "web2", 1, one(*half, terms=score)).crossings
    (crossing,) = ask(engine, "web3", 1, one(*given(1, at=60 * MINUTE), terms=score)).crossings
    assert crossing.count == 15  # 15.5
    assert len(crossing.tags) == 3
    reached = score._replace(form=Form.REACHED)
    assert ask(engine, "web1", 2, one(*given(15, at=60 * MINUTE, first=9), terms=reached)).crossings


def test_every_key_expires(engine: Timed) -> None:
    score = Terms(Form.SCORE, b"comments", 15, MINUTE)
    ask(engine, "web1", 1, one(*hits(0)), one(*hits(0), terms=score))
    assert len(engine.call(("KEYS", "{tg:*"))[0]) == 3  # type: ignore[arg-type]
    engine.advance(19 * 60_000)
    assert len(engine.call(("KEYS", "{tg:*"))[0]) == 2  # type: ignore[arg-type]
    engine.advance(24 * 3_600_000)
    assert engine.call(("KEYS", "{tg:*")) == [[]]


def test_a_host_has_a_quota_of_new_subjects(engine: Timed) -> None:
    source = told_the_time(functions.library()).replace("QUOTA = 20000", "QUOTA = 3")
    engine.call(("FUNCTION", "LOAD", "REPLACE", source))
    many = [one(*hits(0), subject=Subject(f"192.0.2.{last}")) for last in range(5)]
    assert ask(engine, "web1", 1, *many).troubles.refused == 2
    assert ask(engine, "web1", 2, *many).troubles == functions.Troubles(twice=3, refused=2)
    assert ask(engine, "web2", 1, *many[:3]).troubles == functions.Troubles()
    engine.advance(60_000)
    assert ask(engine, "web1", 3, *many[3:]).troubles == functions.Troubles()


def test_few_crossings_can_wait(engine: Timed, monkeypatch: pytest.MonkeyPatch) -> None:
    source = told_the_time(functions.library()).replace("PENDING = 10000", "PENDING = 2")
    engine.call(("FUNCTION", "LOAD", "REPLACE", source))
    monkeypatch.setattr(oracle, "PENDING", 2)
    many = [one(*hits(0, 1, 2, 3, 4), subject=Subject(f"192.0.2.{last}")) for last in range(5)]
    command = functions.count_command("web1", 0, (1, 1), 0, START, many)
    (reply,) = engine.call(command)
    assert reply == oracle.Oracle(NOW).call(command)
    answer = functions.read_answer(reply)
    assert (len(answer.crossings), answer.troubles.unleased) == (5, 3)
    engine.advance(2000)
    (reply,) = engine.call(functions.due_command([0]))
    assert len(functions.read_due(reply)[1]) == 2


def test_what_somebody_else_put_into_our_keys_stops_nobody(engine: Timed) -> None:
    """A hostile host with the rights of a host."""
    tally, record = functions.sum_key(FIVE, THEM, 0), functions.record_key("web1", 0)
    waiting = functions.waiting_key(0)
    for command in (
        ("HSET", tally, "a", "b"), ("HSET", record, "a", "b"),
        ("ZADD", waiting, 1, "x", 2, "y" * 30, 3, "\xff" * 9000),
    ):  # fmt: skip
        engine.call(command)
    answer = ask(engine, "web1", 1, one(*hits(0, 1, 2, 3, 4)))
    assert answer.status is Status.COUNTED
    assert len(answer.crossings) == 1
    engine.call(("SET", waiting, "a string"), ("SET", record, "short"))
    answer = ask(engine, "web1", 1, one(*hits(0, 1, 2, 3, 4), subject=Subject("192.0.2.8")))
    assert len(answer.crossings) == 1
    assert answer.troubles.unleased == 1


BODY = b"\0\5" + (300_000).to_bytes(6) + NOW.to_bytes(6) + bytes(6)


@pytest.mark.parametrize(
    "keys, args",
    [
        ([], []),
        (["{tg:00}h:web1", "{tg:01}w:mark:192.0.2.7"], [bytes(16), BODY]),
        (["h:web1"], [bytes(16)]),
        (["{tg:00}h:web1"], [bytes(15)]),
        (["{tg:00}h:web1"], [bytes(16), BODY]),
        (["{tg:00}h:web1", "{tg:00}x:mark:192.0.2.7"], [bytes(16), BODY]),
        (["{tg:00}h:web1", "{tg:00}w:mark:192.0.2.7"], [bytes(16), BODY[:-1]]),
        (["{tg:00}h:web1", "{tg:00}w:mark:192.0.2.7"], [bytes(16), BODY[:8]]),
        (["{tg:00}h:web1", "{tg:00}w:mark:192.0.2.7"], [bytes(16), bytes(2) + BODY[2:]]),
        (["{tg:00}h:web1", "{tg:00}w:mark:192.0.2.7"], [bytes(16), b"\xff" + BODY[1:]]),
        (["{tg:00}h:web1", "{tg:00}w:mark:192.0.2.7"], [bytes(16), BODY[:2] + b"\xff" + BODY[3:]]),
        (
            ["{tg:00}h:web1", "{tg:00}s:mark:192.0.2.7"],
            [bytes(16), BODY[:2] + bytes(5) + b"\1" + bytes(14)],
        ),
        (["{tg:00}h:web1", "{tg:00}w:mark:" + "a" * 150], [bytes(16), BODY]),
        (["{tg:00}h:web1", "{tg:00}w:mark:a\0b"], [bytes(16), BODY]),
        (["{tg:00}h:web1"] + ["{tg:00}w:mark:192.0.2.7"] * 65, [bytes(16)] + [BODY] * 65),
    ],
)
def test_what_makes_no_sense_changes_nothing(
    engine: Timed, keys: list[str], args: list[bytes]
) -> None:
    (reply,) = engine.connection.call([("FCALL", "tg1_count", len(keys), *keys, *args)], 10)
    assert isinstance(reply, Refused)
    assert "tidegate:" in str(reply)
    assert engine.call(("KEYS", "{tg:*")) == [[]]


def test_what_lies_in_a_key_and_is_no_tally_counts_as_nothing(engine: Timed) -> None:
    score = Terms(Form.SCORE, b"comments", 15, MINUTE)
    for terms in (FIVE, score):
        for damaged in (b"", b"x", bytes(33), bytes(40)):
            engine.call(("SET", functions.sum_key(terms, THEM, 0), damaged, "EX", 60))
            engine.call(("DEL", functions.record_key("web1", 0)))
            answer = ask(engine, "web1", 1, one(*hits(0), terms=terms))
            assert answer.troubles == functions.Troubles()


def test_what_was_said_is_read_in_brief(engine: Timed) -> None:
    assert engine.call(stream.read(b"0-0", brief=True))[0] is None
    said = [b"one", bytes(300), b""]
    for body in said:
        engine.call(("XADD", stream.STREAM, "*", "m", body))
    engine.call(("XADD", stream.STREAM, "*", "other", b"two"))
    places = [place for place, _fields in engine.call(("XRANGE", stream.STREAM, "-", "+"))[0]]  # type: ignore[union-attr,attr-defined,misc]
    assert stream.briefly(engine.call(stream.read(b"0-0", brief=True))[0]) == (
        places[-1], [*said, b""],
    )  # fmt: skip
    (reply,) = engine.call(stream.read(places[1], brief=True))
    assert stream.briefly(reply) == (places[-1], [b"", b""])
    assert stream.briefly(engine.call(stream.read(places[-1], brief=True))[0]) == (b"", [])


def test_counting_and_hearing_in_one_call_is_as_in_two(engine: Timed) -> None:
    engine.call(("XADD", stream.STREAM, "*", "m", b"said"))
    for number, place in enumerate((b"0-0", b"9999999999999-0"), 1):
        count = functions.count_command("web1", 0, (1, number), 0, START, [one(*hits(number))])
        heard = stream.read(place, brief=True)
        sent = together([count, heard])
        assert len(sent.commands) == 1
        answer, blob = sent.spread(engine.call(*sent.commands))
        assert functions.read_answer(answer).status is Status.COUNTED
        assert [blob] == engine.call(heard)
        assert [answer] == engine.call(count)  # counted already


def test_what_is_wrong_in_one_of_both_leaves_the_other(engine: Timed) -> None:
    engine.call(("SET", stream.STREAM, "no stream"))
    count = functions.count_command("web1", 0, (1, 1), 0, START, [one(*hits(1))])
    sent = together([count, stream.read(b"0-0", brief=True)])
    answer, refused = sent.spread(engine.connection.call(sent.commands, 30))
    assert functions.read_answer(answer).status is Status.COUNTED
    assert isinstance(refused, Refused)
    engine.call(("DEL", stream.STREAM), ("XADD", stream.STREAM, "*", "m", b"said"))
    wrong = (*count[:-1], b"cut")
    sent = together([wrong, stream.read(b"0-0", brief=True)])
    refused, blob = sent.spread(engine.connection.call(sent.commands, 30))
    assert isinstance(refused, Refused)
    assert stream.briefly(blob)[1] == [b"said"]


def test_a_score_that_somebody_spoiled_stops_nobody(engine: Timed) -> None:
    """Any host may write there; what is no number as a lifetime would refuse the whole batch."""
    score = Terms(Form.SCORE, b"comments", 15, MINUTE)
    now = NOW // 1000
    epoch = now // (16 * 60_000)
    for heads in (
        (0, now, (1 << 48) - 1, 5, 5), (0, now, epoch + 70, 1 << 62, 1 << 62),
        (0, (1 << 48) - 1, epoch, 0, 0), ((1 << 48) - 1, now, epoch, 0, 0),
        (0, now, epoch, 1 << 62, 1 << 62), (0, now, 0, 5, 5), (0, now, epoch, -1 << 63, -1 << 63),
        (0, now, epoch + 1, -1 << 63, 1 << 62),
    ):  # fmt: skip
        spoiled = b"".join(number.to_bytes(6) for number in heads[:3])
        spoiled += b"".join(number.to_bytes(8, signed=True) for number in heads[3:])
        engine.call(("SET", functions.sum_key(score, THEM, 0), spoiled))
        engine.call(("DEL", functions.record_key("web1", 0)))
        answer = ask(engine, "web1", 1, one(*hits(0), terms=score), one(*hits(0)))
        assert answer.status is Status.COUNTED
        (left,) = engine.call(("PTTL", functions.sum_key(score, THEM, 0)))
        assert 0 < left <= 40 * 24 * 3_600_000
    window = functions.sum_key(FIVE, THEM, 0)
    engine.call(("SET", window, b"\xff" * 6 + (b"\xff" * 6 + bytes(10)) * 30))
    engine.call(("DEL", functions.record_key("web1", 0)))
    assert ask(engine, "web1", 1, one(*hits(0))).status is Status.COUNTED
    (left,) = engine.call(("PTTL", window))
    assert 0 < left <= 40 * 24 * 3_600_000


def test_messages_of_any_size_keep_nobody_from_what_is_behind_them(engine: Timed) -> None:
    """Anybody who may say something may say 17 MiB: more than anybody reads at once."""
    engine.call(*[("XADD", stream.STREAM, f"{n}-1", "m", b"said %d" % n) for n in range(1, 4)])
    large = "redis.call('XADD', KEYS[1], '4-1', 'm', string.rep('x', 17 * 1048576))"
    engine.call(("EVAL", large, 1, stream.STREAM))
    engine.call(("XADD", stream.STREAM, "5-1", "m", b"said 5"))
    for number in range(6, 50):
        engine.call(("XADD", stream.STREAM, f"{number}-1", "m", bytes(1 << 20)))
    engine.call(("XADD", stream.STREAM, "50-1", "m", b"said 50"))
    place, found = b"0-0", []
    for _ in range(60):
        (blob,) = engine.call(stream.read(place, brief=True))
        last, some = stream.briefly(blob)
        if not last:
            break
        assert sum(map(len, some)) <= 8 << 20
        place, found = last, [*found, *some]
    assert place == b"50-1"
    assert [one for one in found if one[:4] == b"said"] == [
        b"said %d" % n for n in (1, 2, 3, 5, 50)
    ]


def test_what_is_kept_is_read_whatever_somebody_puts_beside_it(engine: Timed) -> None:
    engine.call(*[("HSET", stream.HELD, f"id{n}", b"said %d" % n) for n in range(300)])
    large = "redis.call('HSET', KEYS[1], ARGV[1], string.rep('x', tonumber(ARGV[2])))"
    engine.call(("EVAL", large, 1, stream.HELD, "huge", 17 << 20))
    for number in range(20):
        engine.call(("EVAL", large, 1, stream.HELD, f"large{number}", 1 << 20))
    cursor, found = b"0", set()
    while True:
        (reply,) = engine.call(stream.scan(cursor, brief=True))
        cursor, some = stream.page(reply)
        assert sum(map(len, some)) <= 15 << 20
        found.update(some)
        if cursor == b"0":
            break
    assert {one for one in found if one[:4] == b"said"} == {b"said %d" % n for n in range(300)}
    (plain,) = engine.call(("DEL", stream.HELD), stream.scan(b"0", brief=True))[1:]
    assert stream.page(plain) == (b"0", [])
