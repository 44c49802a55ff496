"""What an engine replies, in each shape and without sense: read, or Malformed."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.fleet.decisions import stream
from tidegate.fleet.decisions.stream import STREAM, Parcel
from tidegate.fleet.fields import Malformed
from tidegate.fleet.wire import Kind, Message, seal, unseal
from tidegate.model import SECOND

NOW = 1_755_000_000 * SECOND


@pytest.mark.parametrize(
    "reply",
    [
        [[STREAM, [[b"1-0", [b"m", b"one"]], [b"2-0", [b"m", b"two"]]]]],
        {STREAM: [[b"1-0", [b"m", b"one"]], [b"2-0", [b"m", b"two"]]]},
        {STREAM: [[b"1-0", {b"m": b"one"}], [b"2-0", {b"m": b"two"}]]},
        [[b"other", [[b"9-0", [b"m", b"x"]]]], [STREAM, [[b"1-0", [b"m", b"one"]], [b"2-0", [b"m", b"two"]]]]],
    ],
)  # fmt: skip
def test_messages_are_read_in_each_shape(reply):
    assert stream.messages(reply) == [(b"1-0", b"one"), (b"2-0", b"two")]


def test_nothing_new_is_none():
    assert stream.messages(None) == stream.messages([]) == stream.messages({}) == []


@pytest.mark.parametrize("reply", [[b"7", [b"a", b"one"]], [b"7", {b"a": b"one"}]])
def test_a_page_is_read_in_each_shape(reply):
    assert stream.page(reply) == (b"7", [b"one"])


@pytest.mark.parametrize(
    "reply",
    [None, [b"1"], [b"x", []], [1, []], [b"1", None], [b"1", [b"a"]], [b"1", [b"a", 2]]],
)
def test_pages_without_sense_are_malformed(reply):
    with pytest.raises(Malformed):
        stream.page(reply)


REPLY = st.recursive(
    st.none() | st.integers() | st.binary(max_size=4) | st.just(STREAM) | st.just(b"7-0")
    | st.just(b"m") | st.text(max_size=3) | st.just(ValueError("no")),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.binary(max_size=2) | st.just(STREAM) | st.just(b"m"), inner, max_size=2),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(st.lists(REPLY, max_size=4))
def test_whatever_an_engine_says_of_what_may_go_is_taken_or_malformed(replies):
    assert stream.was_said(replies) in (True, False)
    with contextlib.suppress(Malformed):
        stream.swept(replies)


def test_nothing_is_swept_where_nothing_has_ended():
    assert stream.swept([[], 5, [b"a"]]) == ([], 0)
    assert stream.swept([ValueError("LOADING"), 1, []]) == ([], 0)


def test_the_id_is_that_of_the_sealed_message():
    sealed = seal(Message(Kind.DECISIONS, "web1", 1, NOW, b"x"), bytes(16), lambda _data: bytes(64))
    assert Parcel.of(sealed, NOW).id == unseal(sealed, bytes(16)).id
