"""Two calls in one: the same replies come out as of two."""

from __future__ import annotations

import pytest

from tidegate.fleet.counting import functions
from tidegate.fleet.counting.functions import Form, Hit, Sum, Terms
from tidegate.fleet.decisions import stream
from tidegate.fleet.together import together
from tidegate.model import MINUTE, Subject

SUM = Sum(Terms(Form.WINDOW, b"fivemins", 5, MINUTE), Subject("192.0.2.7"), (Hit(0, b"places"),))
COUNT = functions.count_command("web1", 0, (1, 1), 0, 0, [SUM])
HEARD = stream.read(b"5-0", brief=True)
OTHER = ("PING",)


def test_counting_and_hearing_are_one_call():
    sent = together([OTHER, COUNT, OTHER, HEARD, OTHER])
    assert [command[:2] for command in sent.commands] == [
        OTHER, ("FCALL", "tg1_round"), OTHER, OTHER,
    ]  # fmt: skip
    _fcall, _name, number, *rest = sent.commands[1]
    assert rest[:number] == [*COUNT[3:5], stream.STREAM]
    assert rest[number:] == [*COUNT[5:], b"5-0"]
    assert sent.spread(["a", ["count", "heard"], "b", "c"]) == ["a", "count", "b", "heard", "c"]


@pytest.mark.parametrize("odd", [None, [], [1, 2, 3], ValueError("no"), b"x"])
def test_a_reply_that_is_not_two_is_that_of_both(odd):
    assert together([COUNT, HEARD]).spread([odd]) == [odd, odd]


@pytest.mark.parametrize(
    "commands",
    [[], [OTHER], [COUNT], [HEARD], [HEARD, COUNT], [COUNT, COUNT, HEARD], [COUNT, HEARD, HEARD],
     [COUNT, stream.read(b"5-0", brief=False)]],
)  # fmt: skip
def test_anything_else_goes_as_it_is(commands):
    sent = together(commands)
    assert sent.commands == commands
    assert sent.spread(list(range(len(commands)))) == list(range(len(commands)))
