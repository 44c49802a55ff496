"""What an engine may reply to a listener, also a hostile one: heard, or Malformed."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.fleet.decisions import stream
from tidegate.fleet.decisions.listener import CHECK, Heard, Listener
from tidegate.fleet.decisions.stream import STREAM
from tidegate.fleet.fields import Malformed
from tidegate.model import MINUTE, SECOND

NOW = 1_755_000_000 * SECOND
INFO = (
    b"# Replication\r\nrole:master\r\nmaster_replid:" + b"a" * 40 + b"\r\nmaster_repl_offset:0\r\n"
)
OTHER = INFO.replace(b"a" * 40, b"b" * 40)


ABSENT = ValueError("ERR no such key")


def state(last=b"5-0", said=5):
    return [b"length", 1, b"last-generated-id", last, b"entries-added", said, b"groups", 0]


def listening(last=b"5-0", said=5):
    """A listener that has read everything up to there."""
    one = Listener()
    one.commands(NOW)
    one.take([state(last, said), INFO])
    one.commands(NOW)
    one.take([[b"0", []], None])
    assert (one.phase, one.last) == ("stream", last)
    return one


def questions(listener, now=NOW):
    return [each[0].decode() for each in listener.commands(now)]


def test_who_has_read_all_asks_one_question_in_an_exchange():
    one = listening()
    assert one.commands(NOW + 200_000) == [
        (b"XREAD", b"COUNT", b"%d" % stream.AT_ONCE, b"STREAMS", STREAM, b"5-0")
    ]
    assert one.take([None]) == Heard()


PLACE = b"\x036-0"


def test_where_the_engine_has_our_functions_it_is_asked_in_brief():
    one = listening()
    one.shorten()
    (asked,) = one.commands(NOW + 200_000)
    assert asked == (b"FCALL_RO", b"tg1_heard", b"1", STREAM, b"5-0", b"%d" % stream.AT_ONCE)
    reply = PLACE + b"\0\0\3one" + b"\0\0\0" + b"\0\0\3two"
    assert one.take([reply]) == Heard((b"one", b"two"))
    assert one.last == b"6-0"
    one.reconnected()
    assert "FCALL_RO" in questions(one)
    assert one.take([None, INFO, state(b"6-0", 8)]) == Heard()  # the one of nobody was counted, too


@pytest.mark.parametrize("refused", ["ERR Function not found", "NOPERM no permissions to run"])
def test_an_engine_that_lost_its_functions_is_read_as_any(refused):
    one = listening()
    one.shorten()
    one.commands(NOW + 200_000)
    assert one.take([ValueError(refused)]).trouble == refused
    one.shorten()
    assert "XREAD" in questions(one, NOW + 400_000)


@pytest.mark.parametrize(
    "reply",
    [
        b"", PLACE, b"\x036-", b"\xff6-0", PLACE + b"\0\0\4one", PLACE + b"\0\0", 3, PLACE + b"\0\0\0x",
        b"\x035-0\0\0\1x", b"\x03x-0\0\0\1x",
    ],
)  # fmt: skip
def test_brief_replies_without_sense_are_malformed(reply):
    one = listening()
    one.shorten()
    one.commands(NOW)
    with pytest.raises(Malformed):
        one.take([reply])


def test_whose_data_it_is_and_how_much_is_asked_every_five_seconds():
    one = listening()
    for second in range(1, 5):
        assert questions(one, NOW + second * SECOND) == ["XREAD"]
        one.take([None])
    assert questions(one, NOW + CHECK) == ["XREAD", "INFO", "XINFO"]
    assert one.take([None, INFO, state()]) == Heard()


def test_a_new_connection_is_asked_whose_data_is_behind_it():
    one = listening()
    one.reconnected()
    assert questions(one) == ["XREAD", "INFO", "XINFO"]
    assert one.take([None, OTHER, state()]) == Heard(behind=True, moved=True)
    assert one.phase == "start"


def test_a_clock_that_was_put_back_makes_it_ask():
    assert questions(listening(), NOW - 10 * SECOND)[-3:] == ["XREAD", "INFO", "XINFO"]


NEW = [[STREAM, [[b"6-0", [b"m", b"x"]], [b"7-0", [b"m", b"y"]]]]]


@pytest.mark.parametrize(
    ("read", "count", "missed", "moved"),
    [
        (NEW, state(b"7-0", 7), False, False),
        (NEW, state(b"7-0", 8), True, False),  # one between was removed before we read it
        (NEW, state(b"9-0", 9), False, False),  # more was said behind our reading
        (None, state(b"5-0", 6), True, False),
        (None, state(b"4-0", 5), True, True),
        (NEW, state(b"9-0", 2), True, True),  # another stream in its place
        (None, ABSENT, True, True),
    ],
)
def test_the_count_of_the_engine_tells_what_was_missed(read, count, missed, moved):
    one = listening()
    one.reconnected()
    one.commands(NOW)
    assert one.take([read, INFO, count]).moved is moved
    assert (one.phase == "start") is missed


def test_who_makes_the_count_wrong_makes_us_read_all_again_once_a_minute():
    one = listening()
    for minute in range(3):
        for second in range(5, 60, 5):
            asked = questions(one, NOW + minute * MINUTE + second * SECOND)
            replies = {
                "HSCAN": [b"0", []],
                "XREAD": None,
                "INFO": INFO,
                "XINFO": state(b"5-0", 77 + second),
            }
            one.take([replies[each] for each in asked])
            if one.phase == "start":
                assert questions(one) == ["XINFO", "INFO"]
                one.take([state(), INFO])
                one.commands(NOW)
                one.take([[b"0", []], None])
    assert one.snapshots == 4


def test_a_stream_that_is_not_there_is_an_empty_one():
    one = Listener()
    assert questions(one) == ["XINFO", "INFO"]
    assert one.take([ABSENT, INFO]) == Heard(behind=True)
    assert one.last == b"0-0"


def test_a_snapshot_that_was_begun_is_begun_anew_on_another_connection():
    one = Listener()
    one.commands(NOW)
    one.take([ABSENT, INFO])
    one.commands(NOW)
    assert one.take([[b"17", [b"a", b"one"]], None]) == Heard((b"one",), behind=True, kept=1)
    one.reconnected()
    assert questions(one) == ["XINFO", "INFO"]
    one.take([ABSENT, INFO])
    assert one.commands(NOW)[0][2] == b"0"
    assert one.snapshots == 2


def test_a_refusal_is_trouble_and_everything_is_asked_again():
    one = listening()
    one.commands(NOW)
    assert one.take([ValueError("LOADING Redis is loading")]).trouble.startswith("LOADING")
    assert len(one.commands(NOW)) == 3


def test_asked_to_it_reads_the_snapshot_again_and_the_stream_on():
    one = listening()
    one.again()
    assert questions(one) == ["HSCAN", "XREAD"]
    one.again()  # in the middle of it: once more from the beginning
    one.take([[b"0", []], [[STREAM, [[b"6-0", [b"m", b"claims"]]]]]])
    assert (one.phase, one.last) == ("snapshot", b"6-0")
    assert questions(one) == ["HSCAN", "XREAD"]
    one.take([[b"0", []], None])
    assert one.phase == "stream"


def test_what_others_had_only_claimed_when_it_began_is_read_when_they_have_said_it():
    one = listening()
    assert questions(one, NOW + 9 * SECOND)[0] == "XREAD"
    one.take([None, INFO, state(b"5-0", 5)])
    asked = questions(one, NOW + 10 * SECOND)
    assert asked == ["HSCAN", "XREAD"]
    assert one.take([[b"0", [b"id", b"a ban"]], None]).bodies == (b"a ban",)
    assert "HSCAN" not in questions(one, NOW + MINUTE)


@pytest.mark.parametrize(
    "replies",
    [
        [], [None, None], [3], [b"x"], [[3]], [[[STREAM]]], [[[STREAM, 4]]], [[[STREAM, [[b"1-0"]]]]],
        [[[STREAM, [[b"x", [b"m", b"1"]]]]]], [[[STREAM, [["6-0", [b"m", b"1"]]]]]],
        [[[STREAM, [[b"6-0", [b"m", 7]]]]]], [[[STREAM, [[b"5-0", [b"m", b"again"]]]]]],
        [[[STREAM, [[b"6-0", [b"m", b"1"]], [b"6-0", [b"m", b"1"]]]]]],
    ],
)  # fmt: skip
def test_replies_without_sense_are_malformed(replies):
    one = listening()
    one.commands(NOW)
    with pytest.raises(Malformed):
        one.take(replies)


@pytest.mark.parametrize("reply", [None, 3, b"", b"role:master\r\n", "role:master", [INFO]])
def test_info_that_tells_nothing_is_malformed(reply):
    one = Listener()
    one.commands(NOW)
    with pytest.raises(Malformed):
        one.take([state(), reply])


@pytest.mark.parametrize("reply", [None, 3, [], [b"length"], state(b"x"), state(said=b"5"), {}])
def test_a_state_without_sense_is_malformed(reply):
    one = Listener()
    one.commands(NOW)
    with pytest.raises(Malformed):
        one.take([reply, INFO])


REPLY = st.recursive(
    st.none() | st.integers() | st.binary(max_size=4) | st.just(STREAM) | st.just(b"7-0")
    | st.just(b"m") | st.text(max_size=3) | st.just(INFO) | st.just(ValueError("no"))
    | st.just(ABSENT) | st.just(state()),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.binary(max_size=2) | st.just(STREAM) | st.just(b"m"), inner, max_size=2),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(REPLY, max_size=3), min_size=1, max_size=4))
def test_whatever_an_engine_says_is_heard_or_malformed(exchanges):
    one = Listener()
    one.brief = bool(len(exchanges) % 2)
    for replies in exchanges:
        asked = one.commands(NOW)
        assert all(isinstance(word, bytes) for command in asked for word in command)
        try:
            heard = one.take(replies)
        except Malformed:
            continue
        assert all(isinstance(body, bytes) for body in heard.bodies)
